"""Checks: features of a scenario that don't go together, each one a small function.

Each returns what is wrong, or None; tables say at which key of the scenario it is told. What shows
in a document alone, without a model or a trace, is told by `config.scenario_form`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from sim.engines.fleet import Fleet
from sim.errors import ConfigError, Problem
from sim.graph import Graph
from sim.kernel.records import LAYERED
from sim.mapping.layout import Layout
from sim.scenario import Scenario
from sim.workload.architecture import Architecture
from sim.workload.speculation import unfit
from sim.workload.traffic import Closed, Trace


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """What checks look at: a scenario, the graph of its model with techniques, its requests."""

    scenario: Scenario
    graph: Graph
    requests: Trace

    @property
    def layered(self) -> bool:
        """Whether prompts pass the layers group by group."""
        scheduler = self.scenario.scheduler
        return scheduler.rules.cut == LAYERED and scheduler.policy is None


Check = Callable[[Case], str | None]


def check(case: Case) -> None:
    """ConfigError with everything in `CHECKS` that is wrong."""
    problems = list(_problems(CHECKS, case))
    if case.scenario.speculation is not None:
        model_problems = unfit(case.scenario.model, case.scenario.speculation)
        problems += [
            Problem(path=f"speculation.{key}", message=message)
            for key, message in model_problems.items()
        ]
        problems += _problems(SPECULATION_CHECKS, case)
    if problems:
        raise ConfigError(problems)


def check_pools(case: Case) -> None:
    """ConfigError with everything in `POOL_CHECKS` that is wrong with a fleet or pools apart."""
    problems = list(_problems(POOL_CHECKS, case))
    if problems:
        raise ConfigError(problems)


def _problems(checks: Mapping[str, tuple[Check, ...]], case: Case) -> Iterator[Problem]:
    for path, functions in checks.items():
        for function in functions:
            message = function(case)
            if message is not None:
                yield Problem(path=path, message=message)


def causal(graph: Graph) -> bool:
    """Whether prompts can be cut in chunks: a stream sees them token by token."""
    return any(stream.kind == "causal" for stream in graph.streams)


def image_tokens(model: Architecture) -> int:
    """Tokens that an image adds to every prompt of a model with a vision encoder."""
    return model.encoder.output_tokens if model.layers and model.encoder else 0


def prefix_cache_needs_blocks(case: Case) -> str | None:
    """A prefix cache has nothing to go by where prompts are mere lengths."""
    if case.scenario.scheduler.prefix_cache and case.requests.blocks is None:
        return (
            "needs traffic that says what prompts consist of: `sessions`, a trace with `hash_ids` "
            "(Mooncake's JSON lines), or several answers to a prompt (`traffic.samples`)"
        )
    return None


def prefix_cache_and_images(case: Case) -> str | None:
    """Images in front of prompts are not among their blocks."""
    if case.scenario.scheduler.prefix_cache and image_tokens(case.scenario.model):
        return "needs prompts of text alone: this model puts an image in front"
    return None


def order_needs_priorities(case: Case) -> str | None:
    """A queue ordered by priorities that requests don't have."""
    if case.scenario.scheduler.order == "priority" and case.requests.priority is None:
        return (
            f"{case.requests.name} has no priorities: give the trace a column 'priority' (0 before "
            "1), or write shares, traffic.priorities: {0: 0.2, 1: 0.8}"
        )
    return None


def samples_need_decoder(case: Case) -> str | None:
    """Several answers of a model that has nothing to decode."""
    if case.scenario.traffic.samples > 1 and not case.graph.decodes:
        return f"{case.scenario.model.name} has nothing to decode: leave it out"
    return None


def samples_and_steady_start(case: Case) -> str | None:
    """Answers to one prompt that would begin at different progress."""
    traffic = case.scenario.traffic
    if traffic.samples > 1 and isinstance(traffic, Closed) and traffic.start == "steady":
        return (
            "several answers to a prompt begin together, so a closed loop can't begin at random "
            "progress: closed.start: cold"
        )
    return None


def layered_needs_causal_prompts(case: Case) -> str | None:
    """Groups of layers pass a prompt one after the other, which an encoder can't."""
    if case.layered and not causal(case.graph):
        return "layered-prefill needs a decoder that reads the prompt; an encoder reads this one"
    return None


def layered_and_pipeline(case: Case) -> str | None:
    """Layers are cut once: by groups or by pipeline stages."""
    if case.layered and (case.scenario.parallel.pp or 1) > 1:
        return "layered-prefill needs parallel.pp 1: a pipeline cuts the layers already"
    return None


def speculation_and_policy(case: Case) -> str | None:
    """A policy of the user's doesn't say how many tokens are drafted."""
    if case.scenario.scheduler.policy is not None:
        return "a policy of your own decides sequence by sequence; take a built-in scheduler"
    return None


def speculation_and_layered(case: Case) -> str | None:
    """The draft has no layers of the groups."""
    if case.layered:
        return (
            "layered-prefill cuts iterations by layers, which the draft hasn't; take another kind"
        )
    return None


def speculation_and_split(case: Case) -> str | None:
    """Two sides, and nowhere said which of them drafts."""
    if case.scenario.split is not None:
        return "where the draft would run is not said with experts apart; leave split out"
    return None


def speculation_and_pipeline(case: Case) -> str | None:
    """The draft is not cut into stages."""
    if any((pool.parallel.pp or 1) > 1 for pool in case.scenario.pools):
        return "the draft isn't cut into pipeline stages; write parallel.pp 1"
    return None


def speculation_and_metal(case: Case) -> str | None:
    """A chip with one model in its metal can't run another one."""
    if any(pool.system.device.hardwired is not None for pool in case.scenario.pools):
        return "a hardwired chip has no room for a draft"
    return None


def self_speculation_and_techniques(case: Case) -> str | None:
    """A technique names layers of the model, of which the draft has fewer."""
    speculation = case.scenario.speculation
    if speculation is not None and speculation.draft == "self" and case.scenario.techniques:
        return "self-speculation drafts with the model as published; leave techniques out"
    return None


PREFIX_ROUTE: Final = "prefix needs replicas that keep prefixes: scheduler.prefix_cache: true"


def fleet_route_needs_prefixes(case: Case) -> str | None:
    """A router that goes by cached prefixes, of which there are none."""
    fleet, cached = case.scenario.fleet, case.scenario.scheduler.prefix_cache
    return PREFIX_ROUTE if fleet is not None and fleet.route == "prefix" and not cached else None


def pools_apart_route_needs_prefixes(case: Case) -> str | None:
    """As `fleet_route_needs_prefixes`, of prefill replicas."""
    apart, cached = case.scenario.disaggregate, case.scenario.scheduler.prefix_cache
    return PREFIX_ROUTE if apart is not None and apart.route == "prefix" and not cached else None


def pools_apart_need_decoder(case: Case) -> str | None:
    """A pool for decoding without anything to decode."""
    if case.scenario.disaggregate is not None and not case.graph.decodes:
        return f"{case.scenario.model.name} has nothing to decode: leave it out"
    return None


CHECKS: Final[Mapping[str, tuple[Check, ...]]] = {
    "scheduler.prefix_cache": (
        prefix_cache_needs_blocks,
        prefix_cache_and_images,
    ),
    "scheduler.order": (order_needs_priorities,),
    "traffic.samples": (samples_need_decoder, samples_and_steady_start),
    "scheduler.kind": (layered_needs_causal_prompts, layered_and_pipeline),
}
"""By the key at which it is told: what every scenario is checked for."""

SPECULATION_CHECKS: Final[Mapping[str, tuple[Check, ...]]] = {
    "speculation": (
        speculation_and_policy,
        speculation_and_layered,
        speculation_and_split,
        speculation_and_pipeline,
        speculation_and_metal,
        self_speculation_and_techniques,
    )
}
"""What a scenario with speculation is checked for."""

POOL_CHECKS: Final[Mapping[str, tuple[Check, ...]]] = {
    "fleet.route": (fleet_route_needs_prefixes,),
    "disaggregate.route": (pools_apart_route_needs_prefixes,),
    "disaggregate": (pools_apart_need_decoder,),
}
"""What a scenario with a fleet or with pools apart is checked for before it is served."""


def check_autoscale(fleet: Fleet, system: str, replicas: int) -> None:
    """ConfigError where a system holds several `replicas`, which can't come and go alone."""
    if fleet.autoscale is not None and replicas > 1:
        message = (
            f"replicas come and go with their systems: {system} holds {replicas} of them; set "
            "parallel.dp: 1, or take a smaller system"
        )
        raise ConfigError([Problem(path="fleet.autoscale", message=message)])


def check_replicas(fleet: Fleet, replicas: int) -> None:
    """ConfigError for replicas that are named but not among the fleet's, or slowed twice."""
    named = [("failures", outage.replica) for outage in fleet.outages]
    named += [("slowdown", slowdown.replica) for slowdown in fleet.slowdowns]
    problems = [
        Problem(
            path=f"fleet.{key}",
            message=f"there is no replica {number}: they are numbered 0 to {replicas - 1}",
        )
        for key, number in named
        if number >= replicas
    ]
    slowed = [slowdown.replica for slowdown in fleet.slowdowns]
    if len(set(slowed)) < len(slowed):
        problems.append(Problem(path="fleet.slowdown", message="a replica is named twice"))
    if problems:
        raise ConfigError(problems)


def check_draft_heads(draft: Graph, layout: Layout) -> None:
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
