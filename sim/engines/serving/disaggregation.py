"""Disaggregation: prompts run in one pool, and their caches go over links to another that decodes.

Nothing that the decode pool does reaches back: prompts are served to the end, their caches sent in
the order of their first tokens, and the decode pool then has an open-loop source. What a prompt
left is out of the prefill pool's memory once its first token is there, and waits for room in the
decode pool's outside of both. Several answers to a prompt are prefilled on one replica; each sends
its own cache, and decodes where it comes to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sim.engines.serving.engine import Outcome
from sim.engines.serving.fleet import Crew
from sim.engines.serving.pool import Kind
from sim.engines.serving.request_table import requests_of
from sim.engines.serving.simulation import Progress, Served, whole_run
from sim.hardware import Link
from sim.kernel.records import DONE, REJECTED, WAITING
from sim.workload.speculation import draws_of
from sim.workload.traffic import Trace

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cache:
    """What a prompt leaves: `prompt_B` [requests] bytes in all, in equal parts of `layers`."""

    prompt_B: Floats
    layers: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Transfers:
    """Caches sent, in order of arrival of their requests.

    `sender` [n] is the prefill replica, `busy_s` how long its link was taken, `exposed_s` from the
    first token to the cache being there, `queue_s` from then until the decode pool had room (NaN:
    it never had).
    """

    sender: Numbers
    size_B: Floats
    busy_s: Floats
    exposed_s: Floats
    queue_s: Floats


def sent(
    link: Link, cache_B: Floats, layers: int, begun_s: Floats, done_s: Floats, *, overlap: bool
) -> Floats:
    """When caches are there that one link sends in turn, sorted by `done_s`; shape [n].

    A prefill from `begun_s` to `done_s` passes equally long layers; with `overlap` the cache of
    each is sent after it. The link sends at its rate while there is something to send, and waits
    for the prefill where that is slower; then only the last layer comes after `done_s`. The time
    of a hop comes once, after the last byte, and holds nobody up.
    """
    rate = link.bandwidth_B_per_s * link.efficiency
    ends = np.empty(len(cache_B))
    free_s = -np.inf
    for index in range(len(cache_B)):
        size_s, done = float(cache_B[index]) / rate, float(done_s[index])
        if overlap:
            first = float(begun_s[index]) + (done - float(begun_s[index])) / layers
            free_s = max(max(first, free_s) + size_s, done + size_s / layers)
        else:
            free_s = max(done, free_s) + size_s
        ends[index] = free_s
    return ends + link.latency_s


def serve_disaggregated(
    prefill: tuple[Sequence[Kind], Sequence[int]],
    decode: tuple[Sequence[Kind], Sequence[int]],
    trace: Trace,
    cache: Cache,
    link: Link,
    *,
    overlap: bool = True,
    route: str = "round-robin",
    extra_prompt: int = 0,
    on_progress: Progress | None = None,
) -> tuple[Served, Transfers]:
    """Replay `trace` on a pool that prefills and one that decodes, each kinds and their counts.

    Outcomes are of the prefill replicas first; a request counts to the replica it ended on.
    """
    prompts = trace.input_tokens + extra_prompt
    asked = requests_of(
        prefill[0][0].scheduler, trace.arrival_s, prompts, trace.output_tokens, trace.blocks,
        trace.priority, trace.parent,
    )  # fmt: skip
    if decode[0][0].program.speculation is not None:
        asked["draw"] = draws_of(decode[0][0].program.seed, np.arange(len(asked)))
    first = asked.copy()
    first["output"] = 1
    senders = Crew(
        kinds=prefill[0], counts=prefill[1], table=first, route=route, blocks=trace.blocks
    )
    senders.serve()
    done = first["status"] == DONE
    first["output"] = asked["output"]
    passed = np.flatnonzero(done & (asked["output"] > 1))
    ends, busy_s = _sent_by_each(senders, passed, cache, link, overlap=overlap)
    order = np.argsort(ends, kind="stable")
    rows = passed[order]
    second = _prefilled(first[rows], decode[0][0], ends[order])
    crew = Crew(
        kinds=decode[0],
        counts=decode[1],
        table=second,
        on_progress=on_progress,
        route="round-robin" if route == "prefix" else route,  # what comes is prefilled
    )
    crew.serve()
    assert np.isin(second["status"], (DONE, REJECTED)).all(), "a request was lost"
    queue_s = np.empty(len(rows))
    queue_s[order] = second["admitted_s"] - second["arrival_s"]
    for name in ("arrival_s", "admitted_s", "cached", "loaded", "parent"):
        second[name] = first[name][rows]
    second["preemptions"] += first["preemptions"][rows]
    sizes = cache.prompt_B[passed]
    exposed_s = ends - first["first_s"][passed]
    sender = senders.home[passed]
    first["status"][passed] = WAITING  # shown by those who decoded them
    by_arrival = _sorted_within(crew, second)
    served = whole_run((*senders.outcomes(first), *by_arrival))
    return served, Transfers(
        sender=sender, size_B=sizes, busy_s=busy_s, exposed_s=exposed_s, queue_s=queue_s
    )


def _sent_by_each(
    senders: Crew, passed: Numbers, cache: Cache, link: Link, *, overlap: bool
) -> tuple[Floats, Floats]:
    """When each of the `passed` caches is there, and how long it took its link."""
    table = senders.table
    ends = np.empty(len(passed))
    for number in range(len(senders.where)):
        own = np.flatnonzero(senders.home[passed] == number)
        own = own[np.argsort(table["first_s"][passed[own]], kind="stable")]
        rows = passed[own]
        ends[own] = sent(
            link, cache.prompt_B[rows], cache.layers, table["admitted_s"][rows],
            table["first_s"][rows], overlap=overlap,
        )  # fmt: skip
    return ends, cache.prompt_B[passed] / (link.bandwidth_B_per_s * link.efficiency)


def _prefilled(done: Records, kind: Kind, arrival_s: Floats) -> Records:
    """Requests that come with their prompt in memory and their first token."""
    made = requests_of(kind.scheduler, arrival_s, done["input"], done["output"])
    made["prefilled"], made["generated"] = done["input"], 1
    for name in ("first_s", "last_s", "max_gap_s", "priority", "urgency", "draw"):
        made[name] = done[name]
    return made


def _sorted_within(crew: Crew, requests: Records) -> tuple[Outcome, ...]:
    """Outcomes of `crew`, each with its requests in order of arrival."""
    return tuple(
        replace(own, requests=own.requests[np.argsort(own.requests["arrival_s"], kind="stable")])
        for own in crew.outcomes(requests)
    )
