"""Fleets: requests dealt to replicas, replicas that die, and requests that go on elsewhere."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import simpy

from sim.engines.fleet import Breakdowns, Outage, Slowdown
from sim.engines.serving.autoscaling import DRAINING, STARTING, UP, Autoscaler
from sim.engines.serving.outcome import UNWATCHED, Outcome, Served, Watch, whole_run
from sim.engines.serving.pool import OF_FLEET, OF_SYSTEM, Pool, Room
from sim.engines.serving.replica import Kind
from sim.engines.serving.requests import Requests, ended
from sim.engines.serving.routing import Ahead, ByLength, ByPrefix, RoundRobin, families
from sim.kernel.records import WAITING

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]
Events = Generator[simpy.Event, Any, None]
"""A SimPy process."""


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
    """Of each replica: how often it died, requests taken from it then, and seconds it was away.

    `retried` are requests that were tried more than once, by whatever replica.
    """

    failures: Numbers
    retries: Numbers
    down_s: Floats
    retried: int


@dataclass(kw_only=True, eq=False)
class Crew:
    """Replicas of several kinds, `counts` of each, at work on one table of requests.

    Replicas are numbered over all kinds from 0. `home` [requests] is the replica that each request
    was given last, -1 before that. What interacts with them (failures, repairs, the autoscaler) are
    SimPy processes; between two of their events the kernel advances all replicas.
    """

    kinds: Sequence[Kind]
    counts: Sequence[int]
    requests: Requests
    route: str = "round-robin"
    trouble: Trouble = NO_TROUBLE
    scaler: Autoscaler | None = None
    watch: Watch = UNWATCHED
    room: Room = OF_FLEET

    def __post_init__(self) -> None:
        total = sum(self.counts)
        self.env = simpy.Environment()
        self.table = self.requests.table
        self._make_pools(total)
        self.dead = np.zeros(total, bool)
        self._back = [self.env.event() for _ in range(total)]
        self._update_alive()
        self.home = np.full(len(self.table), -1, np.int64)
        self.failures = np.zeros(total, np.int64)
        self.retries = np.zeros(total, np.int64)
        self.down_s = np.zeros(total)
        self.tries = np.zeros(len(self.table), np.int64)
        self._turn = 0
        self._held: list[Numbers] = []
        self._ahead: Ahead | None = None
        blocks = self.requests.blocks
        if self.route == "round-robin":
            self._ahead = RoundRobin()
        elif self.route == "by-length":
            self._ahead = ByLength(prompts=self.table["input"].copy(), replicas=total)
        elif self.route == "prefix" and blocks is not None:
            self._ahead = ByPrefix(
                prompts=self.table["input"].copy(), blocks=blocks, replicas=total
            )
        assert self._ahead is not None or self.route == "least-loaded"
        self._plan()

    def _make_pools(self, total: int) -> None:
        """Pools of replicas that are alike, slowed ones apart; where each replica is in them."""
        slow = {each.replica: each.factor for each in self.trouble.slowdowns}
        self.pools: list[Pool] = []
        places: dict[int, tuple[Pool, int]] = {}
        first = 0
        for kind, count in zip(self.kinds, self.counts, strict=True):
            alike: dict[float, list[int]] = {}
            for number in range(first, first + count):
                alike.setdefault(slow.get(number, 1.0), []).append(number)
            for factor, numbers in alike.items():
                pool = Pool(
                    kind=kind, count=len(numbers), requests=self.requests, slowdown=factor,
                    room=self.room, watch=self.watch, on_pause=self._report,
                )  # fmt: skip
                self.pools.append(pool)
                places |= {number: (pool, index) for index, number in enumerate(numbers)}
            first += count
        self.where = [places[number] for number in range(total)]

    def _update_alive(self) -> None:
        """Note which replicas take requests: those that are up and not away."""
        self.alive = ~self.dead
        if self.scaler is not None:
            self.alive &= self.scaler.state == UP

    def _plan(self) -> None:
        """Begin the processes: known outages, breakdowns of each replica, the autoscaler."""
        for outage in self.trouble.outages:
            self.env.process(self._outage(outage))
        if self.trouble.breakdowns is not None:
            drawn = np.random.SeedSequence(self.trouble.seed).spawn(5)[4]
            for number, seed in enumerate(drawn.spawn(len(self.where))):
                random = np.random.default_rng(seed)
                self.env.process(self._breakdowns(number, self.trouble.breakdowns, random))
        if self.scaler is not None and self.scaler.moves:
            self.env.process(self._scale(self.scaler))

    def serve(self) -> Served:
        """Serve all requests; outcomes in the order of replicas, of all that there are."""
        self.work()
        assert ended(self.table, np.arange(len(self.table))).all(), "a request was lost"
        return whole_run(self.outcomes())

    def work(self) -> None:
        """Serve all requests of the table, in order of arrival, to the end."""
        arrivals = self.table["arrival_s"]
        total, dealt = len(arrivals), 0
        while True:
            at_s = self.env.peek()
            last = dealt + int(np.searchsorted(arrivals[dealt:], at_s, side="left"))
            self._arrive(np.arange(dealt, last))
            dealt = last
            self.advance(at_s)
            self._report()
            if at_s == math.inf or (dealt == total and self.ended() == total):
                self._drain(np.ones(len(self.where), bool))
                return
            self.env.step()

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

    def _report(self) -> None:
        if self.watch.on_progress is not None:
            now_s = max(float(pool.states["now_s"].max()) for pool in self.pools)
            self.watch.report(self.ended(), len(self.table), now_s)

    def _arrive(self, rows: Numbers) -> None:
        """Requests arrive; where no replica is alive they wait for one."""
        if not len(rows):
            return
        if not self.alive.any():
            self._held.append(rows)
        elif self._ahead is not None:
            self._give(rows, self._dealt(self._ahead, rows), 0.0)
        elif len(self.pools) == 1 and self.pools[0].kind.scheduler.policy is None:
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
        loads = self._loads()
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

    def _outage(self, outage: Outage) -> Events:
        """A replica dies when it is known to, if it is on and not away already."""
        yield self.env.timeout(outage.at_s)
        if self._is_on(outage.replica) and not self.dead[outage.replica]:
            yield from self._away(outage.replica, outage.for_s)

    def _breakdowns(
        self, number: int, breakdowns: Breakdowns, random: np.random.Generator
    ) -> Events:
        """A replica dies now and then; one that is away already, by an outage, has to be back."""
        while True:
            yield self.env.timeout(random.exponential(breakdowns.mtbf_s))
            if not self._is_on(number):
                continue
            if self.dead[number]:
                yield self._back[number]
            else:
                yield from self._away(number, breakdowns.repair_s)

    def _is_on(self, number: int) -> bool:
        return self.scaler is None or bool(self.scaler.running[number])

    def _away(self, number: int, for_s: float) -> Events:
        """A replica takes no more requests, dies after the iteration under way, and is back later.

        What it has then goes elsewhere.
        """
        pool, index = self.where[number]
        self.dead[number] = True
        self._update_alive()
        yield self._at(pool.clock_s(index))
        rows = pool.drop(index)
        if isinstance(self._ahead, ByPrefix):
            self._ahead.forget(number)
        self.failures[number] += 1
        self.retries[number] += len(rows)
        self.tries[rows] += 1
        self.down_s[number] += for_s
        self._retry(rows, self.env.now)
        yield self.env.timeout(for_s)
        self.dead[number] = False
        back, self._back[number] = self._back[number], self.env.event()
        back.succeed()
        self._resume(number)

    def _at(self, at_s: float) -> simpy.Event:
        """`at_s`, if that is to come, but for rounding: never later, when replicas would go on."""
        now_s = self.env.now
        wait_s = max(at_s - now_s, 0.0)
        while wait_s > 0.0 and now_s + wait_s > at_s:
            wait_s = math.nextafter(wait_s, 0.0)
        return self.env.timeout(wait_s)

    def _resume(self, number: int) -> None:
        """A replica takes requests again: those that waited for one go on, if it is not away."""
        if isinstance(self._ahead, ByPrefix):
            self._ahead.join(number, self.alive)
        self._update_alive()
        held, self._held = self._held, []
        for rows in held:
            self._retry(rows, self.env.now)

    def _scale(self, scaler: Autoscaler) -> Events:
        """The autoscaler looks every period, and starts or stops replicas."""
        while True:
            loads = self._loads()
            self._drain(loads == 0)
            in_flight = int(loads[scaler.state == UP].sum()) + sum(map(len, self._held))
            wanted = scaler.wanted(self.env.now, in_flight)
            more = wanted - int(np.isin(scaler.state, (STARTING, UP)).sum())
            if more > 0:
                for number in scaler.start(more, self.env.now, self.dead):
                    self.env.process(self._start(scaler, int(number)))
            elif more < 0:
                scaler.stop(-more, self.env.now, self.dead)
                self._update_alive()
            yield self.env.timeout(scaler.rule.period_s)

    def _start(self, scaler: Autoscaler, number: int) -> Events:
        """A replica starts, and takes requests once it is up."""
        yield self.env.timeout(scaler.rule.start_up_s)
        if scaler.ready(number, self.env.now):
            self._resume(number)

    def _loads(self) -> Numbers:
        """Requests of each replica that have not ended."""
        return np.array([pool.issued[index] - pool.ended[index] for pool, index in self.where])

    def _drain(self, empty: npt.NDArray[np.bool_]) -> None:
        """Replicas that drain and are `empty` are off since they finished."""
        scaler = self.scaler
        if scaler is None:
            return
        for number in np.flatnonzero((scaler.state == DRAINING) & empty):
            pool, index = self.where[number]
            scaler.drained(int(number), pool.clock_s(index))
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
        return Faults(
            failures=self.failures, retries=self.retries, down_s=self.down_s,
            retried=int((self.tries > 0).sum()),
        )  # fmt: skip


def serve_trace(kind: Kind, requests: Requests, *, watch: Watch = UNWATCHED) -> Served:
    """Serve `requests`, dealt round-robin to the layout's replicas."""
    crew = Crew(
        kinds=[kind], counts=[kind.program.layout.dp], requests=requests, watch=watch,
        room=OF_SYSTEM,
    )  # fmt: skip
    return crew.serve()
