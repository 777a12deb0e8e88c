"""Following: requests that come some time after the answer to another one has ended."""

from __future__ import annotations

import heapq
import math
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import simpy

from sim.engines.scheduler import Scheduler
from sim.engines.serving.engine import ALWAYS, Engine
from sim.engines.serving.simulation import Progress, Served, whole_run
from sim.kernel.records import DONE, REJECTED
from sim.mapping.program import Program
from sim.workload.traffic import Trace

Numbers = npt.NDArray[np.int64]


def serve_following(
    program: Program,
    scheduler: Scheduler,
    kv_B: float,
    trace: Trace,
    *,
    systems: int = 1,
    extra_prompt: int = 0,
    on_progress: Progress | None = None,
    log_iterations: int = 0,
    log_window_s: tuple[float, float] = ALWAYS,
) -> Served:
    """Serve `trace`, whose requests follow others as its `follows` says, on all replicas.

    Those that follow nobody arrive as they stand and are dealt round-robin; who follows goes to the
    same replica, also after a request that was rejected. Of several answers to a request all have
    to end.
    """
    follows = trace.follows
    assert follows is not None
    env = simpy.Environment()
    heads = heads_of(trace)
    first = heads[follows.previous[heads] < 0]
    replicas = program.layout.dp * systems
    talks: list[Talks] = []
    for replica in range(replicas):
        own = Talks(env=env, trace=trace, extra_prompt=extra_prompt, on_progress=on_progress)
        own.every = talks
        own.engine = Engine(
            env,
            program,
            scheduler,
            kv_B,
            horizon=own.horizon,
            on_completion=own.on_completion,
            log_iterations=log_iterations,
            log_window_s=log_window_s,
        )
        for row in first[replica::replicas].tolist():
            own.expect(row, float(trace.arrival_s[row]))
        talks.append(own)
    for own in talks:
        env.process(own.engine.run())
    env.run()
    return whole_run(tuple(own.engine.outcome() for own in talks))


def heads_of(trace: Trace) -> Numbers:
    """The first row of each request: of several answers to it, of one else all there are."""
    if trace.parent is None:
        return np.arange(len(trace.arrival_s))
    return np.flatnonzero(np.diff(trace.parent, prepend=0))


@dataclass(kw_only=True, eq=False)
class Talks:
    """What one engine is asked: a request ends, and after a while the one that follows arrives.

    A request goes by its first row; with those up to the next one's it has ended.
    """

    env: simpy.Environment
    trace: Trace
    extra_prompt: int
    on_progress: Progress | None
    engine: Engine = field(init=False)
    every: list[Talks] = field(default_factory=list)
    """Those of all engines."""
    ended: int = 0

    def __post_init__(self) -> None:
        follows = self.trace.follows
        assert follows is not None
        rows = len(follows.previous)
        heads = heads_of(self.trace)
        self._next = np.full(rows, -1)
        later = heads[follows.previous[heads] >= 0]
        self._next[follows.previous[later]] = later
        self._head = np.repeat(heads, np.diff(heads, append=rows))
        self._left = np.bincount(self._head, minlength=rows)
        self._think_s = follows.think_s
        self._due: list[tuple[float, int]] = []
        self._arrived: set[int] = set()
        self._rows: list[int] = []
        self._open: list[int] = []

    def horizon(self) -> float:
        """When the next request is due that is known to come."""
        while self._due and self._due[0][1] in self._arrived:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else math.inf

    def expect(self, row: int, at_s: float) -> None:
        """A request arrives at `at_s`."""
        heapq.heappush(self._due, (at_s, row))
        self.env.process(self._arrive(row, at_s))

    def _arrive(self, row: int, at_s: float) -> Generator[simpy.Event, Any, None]:
        yield self.env.timeout(max(at_s - self.env.now, 0.0))
        trace, own = self.trace, slice(row, row + int(self._left[row]))
        rows = np.arange(own.start, own.stop)
        self._arrived.add(row)
        self._open.extend(range(len(self._rows), len(self._rows) + len(rows)))
        self._rows.extend(rows.tolist())
        self.engine.submit(
            np.full(len(rows), self.env.now),
            trace.input_tokens[own] + self.extra_prompt,
            trace.output_tokens[own],
            None if trace.blocks is None else trace.blocks.of(own),
            None if trace.priority is None else trace.priority[own],
            rows,
            None if trace.parent is None else trace.parent[own],
        )

    def on_completion(self, engine: Engine) -> None:
        """One or more requests have ended now: those that follow them are due after a while."""
        status = engine.requests["status"][self._open]
        over = (status == DONE) | (status == REJECTED)
        for number in np.array(self._open)[over].tolist():
            head = self._head[self._rows[number]]
            self._left[head] -= 1
            row = int(self._next[head])
            if row >= 0 and self._left[head] == 0:
                self.expect(row, self.env.now + float(self._think_s[row]))
        self._open = np.array(self._open)[~over].tolist()
        self.ended += int(over.sum())
        if self.on_progress is not None:
            total = sum(own.ended for own in self.every)
            self.on_progress(total, len(self.trace.arrival_s), self.env.now)
