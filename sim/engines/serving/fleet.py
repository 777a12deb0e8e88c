"""Fleets: requests dealt to replicas, replicas that die, and requests that go on elsewhere."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.engines.fleet import Autoscale, Breakdowns, Outage, Slowdown
from sim.engines.serving.autoscaling import DRAINING, STARTING, UP, Autoscaler, Scaling
from sim.engines.serving.engine import Outcome
from sim.engines.serving.pool import Kind, Pool
from sim.engines.serving.request_table import requests_of
from sim.engines.serving.routing import Ahead, ByLength, ByPrefix, RoundRobin, families
from sim.engines.serving.simulation import Progress, Served, whole_run
from sim.kernel.records import DONE, REJECTED, WAITING
from sim.workload.speculation import draws_of
from sim.workload.traffic import Blocks, Trace

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

DIE, BREAK, FALL, RETURN, DECIDE, READY = range(6)
"""Events. A known outage or a drawn breakdown begins: the replica takes no more requests; its last
iteration ends: what it has goes elsewhere; it is back. The autoscaler decides; a start is over."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What goes wrong in a fleet; `seed` draws breakdowns."""

    outages: tuple[Outage, ...] = ()
    breakdowns: Breakdowns | None = None
    slowdowns: tuple[Slowdown, ...] = ()
    seed: int = 0


NO_TROUBLE = Trouble()


@dataclass(frozen=True, kw_only=True, eq=False)
class Faults:
    """Of each replica: how often it died, requests taken from it then, and seconds it was away."""

    failures: Numbers
    retries: Numbers
    down_s: Floats


@dataclass(kw_only=True, eq=False)
class Crew:
    """Replicas of several kinds, `counts` of each, at work on one table of requests.

    Replicas are numbered over all kinds from 0. `home` [requests] is the replica that each request
    was given last, -1 before that.
    """

    kinds: Sequence[Kind]
    counts: Sequence[int]
    table: Records
    route: str = "round-robin"
    trouble: Trouble = NO_TROUBLE
    blocks: Blocks | None = None
    on_progress: Progress | None = None
    scaler: Autoscaler | None = None
    pools: list[Pool] = field(default_factory=list)

    def __post_init__(self) -> None:
        total = sum(self.counts)
        slow = {each.replica: each.factor for each in self.trouble.slowdowns}
        self.where: list[tuple[Pool, int]] = [None] * total  # type: ignore[list-item]
        first = 0
        for kind, count in zip(self.kinds, self.counts, strict=True):
            own = range(first, first + count)
            factors = dict.fromkeys(slow.get(number, 1.0) for number in own)
            for factor in factors:
                numbers = [number for number in own if slow.get(number, 1.0) == factor]
                pool = Pool(
                    kind=kind, count=len(numbers), table=self.table, blocks=self.blocks,
                    slowdown=factor,
                )  # fmt: skip
                self.pools.append(pool)
                for index, number in enumerate(numbers):
                    self.where[number] = pool, index
            first += count
        self.dead = np.zeros(total, bool)
        self._update_alive()
        self.home = np.full(len(self.table), -1, np.int64)
        self.failures = np.zeros(total, np.int64)
        self.retries = np.zeros(total, np.int64)
        self.down_s = np.zeros(total)
        self._pending = np.zeros(total, bool)
        self.tries = np.zeros(len(self.table), np.int64)
        self._turn = 0
        self._held: list[Numbers] = []
        self._events: list[tuple[float, int, int, int, float]] = []
        self._order = itertools.count()
        self._ahead: Ahead | None = None
        if self.route == "round-robin":
            self._ahead = RoundRobin()
        elif self.route == "by-length":
            self._ahead = ByLength(prompts=self.table["input"].copy(), replicas=total)
        elif self.route == "prefix" and self.blocks is not None:
            self._ahead = ByPrefix(
                prompts=self.table["input"].copy(), blocks=self.blocks, replicas=total
            )
        assert self._ahead is not None or self.route == "least-loaded"
        self._plan()

    def _update_alive(self) -> None:
        """Note which replicas take requests: those that are up and not away."""
        self.alive = ~self.dead
        if self.scaler is not None:
            self.alive &= self.scaler.state == UP

    def _plan(self) -> None:
        """Queue the outages that are known, and the first breakdown of each replica."""
        for outage in self.trouble.outages:
            self._add(outage.at_s, DIE, outage.replica, outage.for_s)
        self._random: list[np.random.Generator] = []
        if self.trouble.breakdowns is not None:
            drawn = np.random.SeedSequence(self.trouble.seed).spawn(5)[4]
            self._random = [np.random.default_rng(each) for each in drawn.spawn(len(self.where))]
            for number in range(len(self.where)):
                self._next_breakdown(number, 0.0)
        if self.scaler is not None and self.scaler.moves:
            self._add(0.0, DECIDE, -1, 0.0)

    def _add(self, at_s: float, kind: int, number: int, for_s: float) -> None:
        heapq.heappush(self._events, (at_s, next(self._order), kind, number, for_s))

    def _next_breakdown(self, number: int, after_s: float) -> None:
        breakdowns = self.trouble.breakdowns
        if breakdowns is not None:
            at_s = after_s + self._random[number].exponential(breakdowns.mtbf_s)
            self._add(at_s, BREAK, number, breakdowns.repair_s)
            self._pending[number] = True

    def serve(self) -> None:
        """Serve all requests of the table, in order of arrival, to the end."""
        arrivals = self.table["arrival_s"]
        total, done = len(arrivals), 0
        while True:
            at_s = self._events[0][0] if self._events else math.inf
            last = done + int(np.searchsorted(arrivals[done:], at_s, side="left"))
            self._arrive(np.arange(done, last))
            done = last
            self.advance(at_s)
            if self.on_progress is not None:
                self.on_progress(self.ended(), total, min(at_s, float(arrivals[-1])))
            if not self._events or (done == total and self.ended() == total):
                self._drain(np.ones(len(self.where), bool))
                return
            self._happen()

    def advance(self, until_s: float) -> None:
        """Let all replicas work until `until_s`."""
        for pool in self.pools:
            pool.advance(until_s)

    def ended(self) -> int:
        """Requests that are done or were rejected."""
        return sum(
            int(pool.states["completed"].sum() + pool.states["rejected"].sum())
            for pool in self.pools
        )

    def _arrive(self, rows: Numbers) -> None:
        """Requests arrive; where no replica is alive they wait for one."""
        if not len(rows):
            return
        if not self.alive.any():
            self._held.append(rows)
        elif self._ahead is not None:
            self._give(rows, self._dealt(self._ahead, rows), 0.0)
        elif len(self.pools) == 1:
            (pool,) = self.pools
            self._turn = pool.deal_to_least(
                int(rows[0]), int(rows[-1]) + 1, self.alive, self.home, self._turn
            )
        else:
            for own in self._families(rows):
                now_s = float(self.table["arrival_s"][own[0]])
                self.advance(now_s)
                self._give_to_least(own, now_s)

    def _give(self, rows: Numbers, homes: Numbers, at_s: float) -> None:
        self.home[rows] = homes
        order = np.argsort(homes, kind="stable")
        cuts = np.flatnonzero(np.diff(homes[order])) + 1
        for own in np.split(rows[order], cuts):
            pool, index = self.where[int(self.home[own[0]])]
            pool.hand_over(index, own, at_s)

    def _dealt(self, route: Ahead, rows: Numbers) -> Numbers:
        """The replica of each request; answers to one prompt are asked of one."""
        first, which = families(self.table["parent"][rows])
        return route.deal(rows[first], self.alive)[which]

    def _families(self, rows: Numbers) -> Iterator[Numbers]:
        """Requests, each with all answers to it among `rows`."""
        _, which = families(self.table["parent"][rows])
        order = np.argsort(which, kind="stable")
        yield from np.split(rows[order], np.flatnonzero(np.diff(which[order])) + 1)

    def _give_to_least(self, rows: Numbers, at_s: float) -> None:
        """As the kernel does it for one pool."""
        total = len(self.where)
        loads = np.array([pool.issued[index] - pool.ended[index] for pool, index in self.where])
        order = (self._turn + np.arange(total)) % total
        order = order[self.alive[order]]
        best = int(order[np.argmin(loads[order])])
        self._give(rows, np.full(len(rows), best), at_s)
        self._turn = (best + 1) % total

    def _retry(self, rows: Numbers, at_s: float) -> None:
        """Requests go to replicas that are alive at `at_s`, in the order given."""
        if not len(rows):
            return
        if not self.alive.any():
            self._held.append(rows)
        elif self._ahead is not None:
            self._give(rows, self._dealt(self._ahead, rows), at_s)
        else:
            for own in self._families(rows):
                self._give_to_least(own, at_s)

    def _happen(self) -> None:
        """The next event: a replica dies, its requests go elsewhere, or it is back."""
        at_s, _, kind, number, for_s = heapq.heappop(self._events)
        if kind == DECIDE:
            return self._decide(at_s)
        pool, index = self.where[number]
        if kind == BREAK:
            self._pending[number] = False
        if kind in (DIE, BREAK):
            if self.scaler is not None and not self.scaler.running[number]:
                if kind == BREAK:
                    self._next_breakdown(number, at_s)
                return None  # it isn't on
            if self.dead[number]:
                return None  # it is away already
            self.dead[number] = True
            self._update_alive()
            # the iteration under way is the last one
            self._add(max(at_s, pool.at_work_until(index)), FALL, number, for_s)
        elif kind == FALL:
            rows = pool.drop(index)
            if isinstance(self._ahead, ByPrefix):
                self._ahead.forget(number)
            self.failures[number] += 1
            self.retries[number] += len(rows)
            self.tries[rows] += 1
            self.down_s[number] += for_s
            self._add(at_s + for_s, RETURN, number, 0.0)
            self._retry(rows, at_s)
        elif kind == RETURN:
            self.dead[number] = False
            if not self._pending[number]:  # a known outage leaves the drawn one as it is
                self._next_breakdown(number, at_s)
            if isinstance(self._ahead, ByPrefix):
                self._ahead.join(number, self.alive)
            self._resume(at_s)
        elif self.scaler is not None and self.scaler.ready(number, at_s):
            if isinstance(self._ahead, ByPrefix):
                self._ahead.join(number, self.alive)
            self._resume(at_s)
        return None

    def _resume(self, at_s: float) -> None:
        """A replica takes requests again: those that waited for one go on, if it is not away."""
        self._update_alive()
        held, self._held = self._held, []
        for rows in held:
            self._retry(rows, at_s)

    def _decide(self, at_s: float) -> None:
        """Start or stop replicas, as the rule wants it."""
        scaler = self.scaler
        assert scaler is not None
        loads = np.array([pool.issued[index] - pool.ended[index] for pool, index in self.where])
        self._drain(loads == 0)
        in_flight = int(loads[scaler.state == UP].sum()) + sum(map(len, self._held))
        more = scaler.wanted(at_s, in_flight) - int(np.isin(scaler.state, (STARTING, UP)).sum())
        if more > 0:
            for number in scaler.start(more, at_s, self.dead):
                self._add(at_s + scaler.rule.start_up_s, READY, int(number), 0.0)
        elif more < 0:
            scaler.stop(-more, at_s, self.dead)
            self._update_alive()
        self._add(at_s + scaler.rule.period_s, DECIDE, -1, 0.0)

    def _drain(self, empty: npt.NDArray[np.bool_]) -> None:
        """Replicas that drain and are `empty` are off since they finished."""
        scaler = self.scaler
        if scaler is None:
            return
        for number in np.flatnonzero((scaler.state == DRAINING) & empty):
            pool, index = self.where[number]
            scaler.drained(int(number), pool.at_work_until(index))
            pool.forget(index)
            if isinstance(self._ahead, ByPrefix):
                self._ahead.forget(int(number))

    def outcomes(self, requests: Records | None = None) -> tuple[Outcome, ...]:
        """What each replica did, with the requests that were given to it last.

        `requests` [as the table] are shown instead of the table's; those with status WAITING, which
        others show, aren't.
        """
        shown = self.table if requests is None else requests
        home = np.where(shown["status"] == WAITING, -1, self.home)
        order = np.argsort(home, kind="stable")
        bounds = np.searchsorted(home[order], np.arange(len(self.where) + 1))
        return tuple(
            pool.outcome(index, shown[order[bounds[number] : bounds[number + 1]]])
            for number, (pool, index) in enumerate(self.where)
        )

    def faults(self) -> Faults:
        """How often replicas died, and what that meant."""
        return Faults(failures=self.failures, retries=self.retries, down_s=self.down_s)


def serve_fleet(
    kinds: Sequence[Kind],
    counts: Sequence[int],
    trace: Trace,
    *,
    route: str = "round-robin",
    trouble: Trouble = NO_TROUBLE,
    extra_prompt: int = 0,
    on_progress: Progress | None = None,
    scaler: Autoscaler | None = None,
) -> tuple[Served, Faults, int]:
    """Replay `trace` on `counts` replicas of each of `kinds`; outcomes in that order.

    `extra_prompt` tokens (image patches) come in front of every prompt. Also what failed, and how
    many requests were tried more than once. A `scaler` says which of the replicas are on.
    """
    table = requests_of(
        kinds[0].scheduler,
        trace.arrival_s,
        trace.input_tokens + extra_prompt,
        trace.output_tokens,
        trace.blocks,
        trace.priority,
        trace.parent,
    )
    if kinds[0].program.speculation is not None:
        table["draw"] = draws_of(kinds[0].program.seed, np.arange(len(table)))
    crew = Crew(
        kinds=kinds, counts=counts, table=table, route=route, trouble=trouble,
        blocks=trace.blocks, on_progress=on_progress, scaler=scaler,
    )  # fmt: skip
    crew.serve()
    assert np.isin(table["status"], (DONE, REJECTED)).all(), "a request was lost"
    return whole_run(crew.outcomes()), crew.faults(), int((crew.tries > 0).sum())


def serve_autoscaled(
    kind: Kind, rule: Autoscale, trace: Trace, **more: Any
) -> tuple[Served, Faults, int, Scaling]:
    """As `serve_fleet` (`more` as there) on the replicas that `rule` keeps on, and when they were.

    Outcomes are of all `rule.most`, those that were never on included.
    """
    scaler = Autoscaler(rule=rule)
    served, faults, retried = serve_fleet([kind], [rule.most], trace, scaler=scaler, **more)
    return served, faults, retried, scaler.scaling()
