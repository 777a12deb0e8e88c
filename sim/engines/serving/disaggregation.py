"""Disaggregation: prompts run in one pool, and their caches go over links to another that decodes.

Nothing that the decode pool does reaches back: prompts are served to the end, their caches sent in
the order of their first tokens, and the decode pool then has an open-loop source. What a prompt
left is out of the prefill pool's memory once its first token is there, and waits for room in the
decode pool's outside of both. Several answers to a prompt are prefilled on one replica; each sends
its own cache, and decodes where it comes to.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from sim.engines.serving.fleet import Crew
from sim.engines.serving.outcome import UNWATCHED, Outcome, Served, Watch, whole_run
from sim.engines.serving.replica import Kind
from sim.engines.serving.requests import Requests, ended
from sim.hardware import Link
from sim.kernel.records import DONE, REQUEST, WAITING
from sim.workload.speculation import draws_of
from sim.workload.traffic.columns import COLUMNS

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]


KEPT: Final = (
    "input", "output", "first_s", "last_s", "max_gap_s", "busy_s", "joules", "urgency", "draw",
    *(column.name for column in COLUMNS),
)  # fmt: skip
"""What a request keeps of its prefill; blocks and answers to one prompt are told apart there."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Transfer:
    """Caches of prompts, `prompt_B` [requests] bytes in all, in equal parts of `layers`; the link.

    With `overlap` a layer is sent once the prefill has passed it, else nothing before the last one.
    """

    prompt_B: Floats
    layers: int
    link: Link
    overlap: bool = True


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
    prefill: tuple[Kind, int],
    decode: tuple[Kind, int],
    requests: Requests,
    transfer: Transfer,
    *,
    route: str = "round-robin",
    watch: Watch = UNWATCHED,
) -> tuple[Served, Transfers]:
    """Serve `requests` on a pool that prefills and one that decodes, each of so many replicas.

    Outcomes are of the prefill replicas first; a request counts to the replica it ended on.
    """
    first = requests.table
    outputs = first["output"].copy()
    if decode[0].program.speculation is not None:
        first["draw"] = draws_of(decode[0].program.seed, np.arange(len(first)))
    first["output"] = 1
    senders = Crew(kinds=prefill[:1], counts=prefill[1:], requests=requests, route=route)
    senders.work()
    done = first["status"] == DONE
    first["output"] = outputs
    passed = np.flatnonzero(done & (outputs > 1))
    ends, busy_s = _sent_by_each(senders, passed, transfer)
    order = np.argsort(ends, kind="stable")
    rows = passed[order]
    second = _prefilled(first[rows], decode[0], ends[order])
    crew = Crew(
        kinds=decode[:1],
        counts=decode[1:],
        requests=Requests(table=second),
        route="round-robin" if route == "prefix" else route,  # what comes is prefilled
        watch=watch,
    )
    crew.work()
    assert ended(second, np.arange(len(second))).all(), "a request was lost"
    queue_s = np.empty(len(rows))
    queue_s[order] = second["admitted_s"] - second["arrival_s"]
    for name in ("arrival_s", "admitted_s", "cached", "loaded", "parent"):
        second[name] = first[name][rows]
    second["preemptions"] += first["preemptions"][rows]
    sizes = transfer.prompt_B[passed]
    exposed_s = ends - first["first_s"][passed]
    sender = senders.home[passed]
    first["status"][passed] = WAITING  # shown by those who decoded them
    by_arrival = _sorted_within(crew, second)
    served = whole_run((*senders.outcomes(first), *by_arrival))
    return served, Transfers(
        sender=sender, size_B=sizes, busy_s=busy_s, exposed_s=exposed_s, queue_s=queue_s
    )


def _sent_by_each(senders: Crew, passed: Numbers, transfer: Transfer) -> tuple[Floats, Floats]:
    """When each of the `passed` caches is there, and how long it took its link."""
    table, link = senders.table, transfer.link
    ends = np.empty(len(passed))
    for number in range(len(senders.where)):
        own = np.flatnonzero(senders.home[passed] == number)
        own = own[np.argsort(table["first_s"][passed[own]], kind="stable")]
        rows = passed[own]
        ends[own] = sent(
            link, transfer.prompt_B[rows], transfer.layers, table["admitted_s"][rows],
            table["first_s"][rows], overlap=transfer.overlap,
        )  # fmt: skip
    return ends, transfer.prompt_B[passed] / (link.bandwidth_B_per_s * link.efficiency)


def _prefilled(done: Records, kind: Kind, arrival_s: Floats) -> Records:
    """Requests that come with their prompt in memory and their first token."""
    table = np.zeros(len(done), REQUEST)
    for name in KEPT:
        table[name] = done[name]
    table["target"] = table["prefilled"] = table["input"]
    table["generated"] = 1
    table["admitted_s"] = np.nan
    table["arrival_s"] = arrival_s
    return table


def _sorted_within(crew: Crew, requests: Records) -> tuple[Outcome, ...]:
    """Outcomes of `crew`, each with its requests in order of arrival."""
    return tuple(
        replace(own, requests=own.requests[np.argsort(own.requests["arrival_s"], kind="stable")])
        for own in crew.outcomes(requests)
    )
