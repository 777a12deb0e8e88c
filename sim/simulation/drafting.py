"""Drafting: the draft that a scenario asks for, and what speculation doesn't go with."""

from __future__ import annotations

from sim.errors import ConfigError, Problem
from sim.graph import Graph
from sim.mapping.layout import Layout
from sim.scenario import Scenario
from sim.workload.speculation import draft_graph, unfit


def drafted(scenario: Scenario) -> Graph | None:
    """The draft's operators; None without speculation. ConfigError for what it doesn't go with."""
    speculation = scenario.speculation
    if speculation is None:
        return None
    problems = [
        Problem(path=f"speculation.{key}", message=message)
        for key, message in unfit(scenario.model, speculation).items()
    ]
    problems += [Problem(path="speculation", message=message) for message in _apart(scenario)]
    if problems:
        raise ConfigError(problems)
    return draft_graph(scenario.model, speculation)


def _apart(scenario: Scenario) -> list[str]:
    """What of a scenario speculation doesn't go with."""
    speculation, scheduler = scenario.speculation, scenario.scheduler
    assert speculation is not None
    systems = [pool.system for pool in scenario.pools]
    refused = {
        "a policy of your own decides sequence by sequence; take a built-in scheduler": (
            scheduler.policy is not None
        ),
        "layered-prefill cuts iterations by layers, which the draft hasn't; take another kind": (
            scheduler.policy is None and scheduler.kind == "layered-prefill"
        ),
        "where the draft would run is not said with experts apart; leave split out": (
            scenario.split is not None
        ),
        "the draft isn't cut into pipeline stages; write parallel.pp 1": any(
            (pool.parallel.pp or 1) > 1 for pool in scenario.pools
        ),
        "a hardwired chip has no room for a draft": any(
            system.device.hardwired is not None for system in systems
        ),
        "self-speculation drafts with the model as published; leave techniques out": (
            speculation.draft == "self" and bool(scenario.techniques)
        ),
    }
    return [message for message, there in refused.items() if there]


def check_heads(draft: Graph, layout: Layout) -> None:
    """ConfigError where tensor parallelism doesn't divide the draft's heads."""
    for op in draft.ops:
        heads, kv_heads, tp = op.heads, op.kv_heads, layout.tp
        if (heads and heads % tp) or (kv_heads and kv_heads % tp and tp % kv_heads):
            message = (
                f"the {heads} heads ({kv_heads} of keys and values) of {draft.name} don't divide "
                f"over tp = {tp}, which drafts as wide as the model runs: write a parallel.tp that "
                "divides both"
            )
            raise ConfigError([Problem(path="speculation.draft", message=message)])
