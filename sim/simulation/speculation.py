"""Speculation in a run: what it goes with, and what it came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sim.engines.roofline import Step, decode_batch, drafting, step
from sim.errors import ConfigError, Problem
from sim.graph import Graph
from sim.kernel.records import DONE, SECONDS
from sim.mapping.layout import Layout
from sim.scenario import Scenario
from sim.workload.speculation import draft_graph, unfit

if TYPE_CHECKING:
    from sim.simulation.result import Run


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


def speculation_json(run: Run) -> Mapping[str, Any] | None:
    """What speculation came to; None without.

    `acceptance_length` is tokens a step and sequence, and `expected_length` what the acceptance
    makes of it, both without the cut at the end of answers. Shares are of all busy time, and of
    what operators use. `steady` compares a step with one without speculation.
    """
    speculation = run.scenario.speculation
    if speculation is None:
        return None
    outcomes = run.served.outcomes
    verified = sum(outcome.verified for outcome in outcomes)
    accepted = sum(outcome.accepted_tokens for outcome in outcomes)
    seconds = joules = 0.0
    for part in run.parts:
        drafts = part.prepared.program.drafts
        seconds += float(part.seconds[drafts].sum())
        joules += float(part.joules[drafts].sum())
    busy = sum(part.busy_s for part in run.parts)
    spent = sum(part.operator_joules for part in run.parts)
    return {
        "draft": speculation.name,
        "tokens": speculation.tokens,
        "verifications": verified,
        "drafted_tokens": verified * speculation.tokens,
        "accepted_tokens": accepted,
        "acceptance_rate": _over(accepted, verified * speculation.tokens),
        "acceptance_length": None if not verified else 1.0 + accepted / verified,
        "expected_length": speculation.tokens_per_step,
        "draft_time_share": _over(seconds, busy),
        "draft_energy_share": _over(joules, spent),
        "steady": _steady(run, verified),
    }


def _over(part: float, whole: float) -> float | None:
    return part / whole if whole > 0.0 else None


def _steady(run: Run, verified: int) -> Mapping[str, Any] | None:
    """A decode step of the run's mean batch half through mean answers, with and without drafts."""
    from sim.simulation.prepare import prepare

    records = run.records
    done = records[records["status"] == DONE]
    iterations = sum(outcome.iterations for outcome in run.served.outcomes)
    if not verified or not len(done):
        return None
    program = run.prepared.program
    plain = prepare(replace(run.scenario, speculation=None)).program
    batch = max(round(verified / iterations), 1)
    context = round(float((done["input"] + done["output"] / 2.0).mean()))
    own = step(program, decode_batch(batch, context))
    alone = step(plain, decode_batch(batch, context)).seconds
    draft = _draft_seconds(run, own)
    return {
        "sequences": batch,
        "context": context,
        "step_s": own.seconds,
        "draft_s": draft,
        "plain_s": alone,
        "speedup": program.tokens_per_step * alone / own.seconds,
    }


def _draft_seconds(run: Run, done: Step) -> float:
    """Seconds of all passes of the draft in a decode step."""
    program = drafting(run.prepared.program)
    return float(done.rows[program.drafts, SECONDS].sum()) * done.microbatches
