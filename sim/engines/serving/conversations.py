"""Conversations: requests that come some time after the answer to another one has ended."""

from __future__ import annotations

import heapq
import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import simpy

from sim.engines.serving.engine import Engine
from sim.engines.serving.outcome import UNWATCHED, Served, Watch, whole_run
from sim.engines.serving.pool import OF_SYSTEM, Pool
from sim.engines.serving.replica import Kind
from sim.engines.serving.requests import Requests, arrive, ended

Rows = npt.NDArray[np.int64]


def serve_following(
    kind: Kind, requests: Requests, *, systems: int = 1, watch: Watch = UNWATCHED
) -> Served:
    """Serve `requests` that follow others, as `requests.follows` says, on all replicas.

    Those that follow nobody arrive as they stand and are dealt round-robin; who follows goes to the
    same replica, also after a request that was rejected. Of several answers to a request all have
    to end.
    """
    assert requests.follows is not None
    table, replicas = requests.table, kind.program.layout.dp * systems
    pool = Pool(kind=kind, count=replicas, requests=requests, room=OF_SYSTEM, watch=watch)
    env = simpy.Environment()
    talks = Talks(env=env, pool=pool, watch=watch)
    first = talks.heads[requests.follows.previous[talks.heads] < 0]
    for engine in talks.engines:
        for row in first[engine.number :: replicas].tolist():
            talks.expect(engine, row, float(table["arrival_s"][row]))
    for engine in talks.engines:
        env.process(engine.run())
    env.run()
    outcomes = []
    for engine in talks.engines:
        rows = np.array(engine.rows, np.int64)
        rows = rows[np.argsort(table["arrival_s"][rows], kind="stable")]
        outcomes.append(pool.outcome(engine.number, table[rows]))
    return whole_run(tuple(outcomes))


def heads_of(parent: Rows) -> Rows:
    """The first row of each request: of several answers to it, of one else all there are."""
    if not parent.any():
        return np.arange(len(parent))
    return np.flatnonzero(np.diff(parent, prepend=0))


@dataclass(kw_only=True, eq=False)
class Talks:
    """The source of conversations: a request ends, and after a while the one that follows arrives.

    A request goes by its first row; with those up to the next one's it has ended.
    """

    env: simpy.Environment
    pool: Pool
    watch: Watch

    def __post_init__(self) -> None:
        follows, table = self.pool.requests.follows, self.pool.requests.table
        assert follows is not None
        self.heads = heads_of(table["parent"])
        self._next = np.full(len(table), -1)
        later = self.heads[follows.previous[self.heads] >= 0]
        self._next[follows.previous[later]] = later
        self._head = np.repeat(self.heads, np.diff(self.heads, append=len(table)))
        self._left = np.bincount(self._head, minlength=len(table))
        self._think_s = follows.think_s
        count = self.pool.count
        self.engines = [
            Engine(env=self.env, pool=self.pool, source=self, number=number)
            for number in range(count)
        ]
        self._due: list[list[tuple[float, int]]] = [[] for _ in range(count)]
        self._arrived: set[int] = set()
        self._open: list[list[int]] = [[] for _ in range(count)]

    def horizon_s(self, engine: Engine) -> float:
        """As `Source.horizon_s`: when the next request is due that is known to come."""
        due = self._due[engine.number]
        while due and due[0][1] in self._arrived:
            heapq.heappop(due)
        return due[0][0] if due else math.inf

    def expect(self, engine: Engine, row: int, at_s: float) -> None:
        """A request arrives at `at_s`."""
        heapq.heappush(self._due[engine.number], (at_s, row))
        self.env.process(self._arrive(engine, row, at_s))

    def _arrive(self, engine: Engine, row: int, at_s: float) -> Generator[simpy.Event, Any, None]:
        yield self.env.timeout(max(at_s - self.env.now, 0.0))
        rows = np.arange(row, row + int(self._left[row]))
        self._arrived.add(row)
        self._open[engine.number].extend(rows.tolist())
        arrive(self.pool.requests.table, rows, self.env.now, self.pool.kind.scheduler)
        engine.hand_over(rows)

    def on_completion(self, engine: Engine) -> None:
        """As `Source.on_completion`: what follows those that ended is due after a while."""
        under_way = np.array(self._open[engine.number], np.int64)
        over = ended(self.pool.requests.table, under_way)
        for head in self._head[under_way[over]].tolist():
            self._left[head] -= 1
            row = int(self._next[head])
            if row >= 0 and self._left[head] == 0:
                self.expect(engine, row, self.env.now + float(self._think_s[row]))
        self._open[engine.number] = under_way[~over].tolist()
        states = self.pool.states
        total = int(states["completed"].sum() + states["rejected"].sum())
        self.watch.report(total, len(self._next), self.env.now)
