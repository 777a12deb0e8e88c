"""Prepare: everything decided before the first iteration, which run and explain share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from sim.engines.scheduler import Scheduler
from sim.errors import ConfigError, Infeasible, Key, placing
from sim.graph import Graph
from sim.kernel.records import CHUNKED, LAYERED, WHOLE
from sim.mapping.assemblies import assembly_of
from sim.mapping.capacity import Budget, budget
from sim.mapping.program import Choices, Program
from sim.scenario import Scenario
from sim.simulation.checks import Case, causal, check, check_draft_heads, image_tokens
from sim.techniques import apply
from sim.workload.layers import build_graph
from sim.workload.speculation import draft_graph
from sim.workload.traffic import Closed, Constant, Empirical, Poisson, Sessions, Trace
from sim.workload.traffic.arrivals import requests_of
from sim.workload.traffic.samples import with_blocks

MOST_REQUESTS: Final = 100_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A scenario with its graph, the program of one replica, its memory and its requests.

    Of a fleet the replica is one of its first pool, of pools apart one that decodes.

    `extra_prompt` tokens (image patches) come in front of every prompt of `requests`.
    """

    scenario: Scenario
    graph: Graph
    program: Program
    budget: Budget
    requests: Trace
    extra_prompt: int


def prepare(scenario: Scenario, *, within: Key = ()) -> Prepared:
    """What both engines need to run `scenario`; `within` is where its pool is written, of pools.

    Raises ConfigError for a mapping that cannot be, Infeasible where the model does not fit.
    """
    with placing(scenario.places, within or scenario.pools[0].written):
        return _prepared(scenario)


def _prepared(scenario: Scenario) -> Prepared:
    graph = apply(build_graph(scenario.model), scenario.techniques)
    requests = _requests(scenario)
    check(Case(scenario=scenario, graph=graph, requests=requests))
    extra = image_tokens(scenario.model)
    scheduler = scenario.scheduler
    prompts = requests.input_tokens
    if scheduler.kv_reserve == "paged":  # a preempted request computes its answer again too
        prompts = prompts + requests.output_tokens
    longest = int(prompts.max()) + extra
    lead = scenario.pools[0]
    draft = draft_of(scenario)
    ahead = 0 if scenario.speculation is None else scenario.speculation.tokens
    program, memory = _laid_out(
        replace(scenario, system=lead.system, parallel=lead.parallel),
        graph,
        draft,
        tokens=_most_tokens(scheduler, longest, causal=causal(graph), ahead=ahead),
        sequences=min(scheduler.max_batch, len(requests.input_tokens)) * (1 + ahead),
    )
    return Prepared(
        scenario=scenario,
        graph=graph,
        program=program,
        budget=memory,
        requests=requests,
        extra_prompt=extra,
    )


def draft_of(scenario: Scenario) -> Graph | None:
    """The draft's operators; None without speculation."""
    if scenario.speculation is None:
        return None
    return draft_graph(scenario.model, scenario.speculation)


def _laid_out(
    scenario: Scenario, graph: Graph, draft: Graph | None, *, tokens: int, sequences: int
) -> tuple[Program, Budget]:
    """Program and memory of one replica; with stages left open, of the fewest that fit."""
    system, wanted = scenario.system, scenario.parallel
    choices = Choices(
        router=scenario.router,
        placement=scenario.placement,
        split=scenario.split,
        speculation=scenario.speculation,
        draft=draft,
        seed=scenario.seed,
    )
    assembly = assembly_of(system, choices)
    refused: Infeasible | None = None
    for stages in assembly.stages(graph, system, wanted, choices):
        try:
            layout = assembly.plan(graph, system, replace(wanted, pp=stages), choices)
            if draft is not None:
                check_draft_heads(draft, layout)
            program = assembly.assemble(graph, system, layout, scenario.precision, choices)
            memory = budget(
                program,
                utilization=scenario.scheduler.memory_utilization,
                tokens=tokens,
                sequences=sequences,
            )
        except Infeasible as error:
            refused = refused or error
        except ConfigError:  # so many stages leave no devices for the rest
            if refused is None:
                raise
            break
        else:
            return program, memory
    assert refused is not None
    raise refused


def _requests(scenario: Scenario) -> Trace:
    """The requests of the run; a closed loop draws enough to keep its clients busy to the end."""
    traffic = scenario.traffic
    if isinstance(traffic, Closed):
        traffic = replace(traffic, requests=traffic.requests + traffic.concurrency)
    if not isinstance(traffic, Trace):
        _check_count(traffic)
    requests = requests_of(traffic, scenario.seed)
    if scenario.scheduler.prefix_cache:
        requests = with_blocks(requests)
    encoder = scenario.model.encoder
    if encoder is not None and encoder.tokens and not encoder.output_tokens:
        # an image or a clip is as long as the encoder takes it, whatever lengths the traffic has
        fixed = np.full_like(requests.input_tokens, encoder.tokens)
        requests = replace(requests, input_tokens=fixed)
    if scenario.model.layers:
        return requests
    # an encoder-only model answers once, whatever output lengths the traffic has
    return replace(requests, output_tokens=np.ones_like(requests.output_tokens))


def _check_count(traffic: Poisson | Closed | Sessions) -> None:
    """Infeasible for more requests than there is memory for."""
    if isinstance(traffic, Sessions):
        count = float(traffic.sessions)
        if isinstance(traffic.turns, Constant):
            count *= traffic.turns.tokens
        elif not isinstance(traffic.turns, Empirical):
            count *= traffic.turns.mean
    else:
        count = float(traffic.requests)
    count *= max(traffic.samples, 1)  # what is wrong with fewer is told elsewhere
    if count > MOST_REQUESTS:
        raise Infeasible(
            f"{count:,.0f} requests are more than the {MOST_REQUESTS:,} that a run has room for",
            requests=count,
            most=MOST_REQUESTS,
        )


def _most_tokens(scheduler: Scheduler, longest: int, *, causal: bool, ahead: int) -> int:
    """Tokens of the largest iteration: what activations must have room for.

    `ahead` tokens are drafted for each sequence.
    """
    limit, batch = scheduler.prompt_tokens, scheduler.max_batch * (1 + ahead)
    cut = scheduler.rules.cut if causal else WHOLE
    if cut == CHUNKED:
        return max(limit, batch)
    if cut == LAYERED:
        return min(limit, longest * scheduler.max_batch) + batch
    # prompts go together up to the limit, and one longer than it goes alone
    prompts = max(longest, min(limit, longest * scheduler.max_batch))
    return prompts + (batch if scheduler.rules.mixes or scheduler.rules.static else 0)
