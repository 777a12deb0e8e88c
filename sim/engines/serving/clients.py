"""Clients: a closed loop, in which each sends its next request when its last one has ended."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import simpy

from sim.engines.serving.engine import Engine
from sim.engines.serving.outcome import UNWATCHED, Served, Watch, Window
from sim.engines.serving.pool import OF_SYSTEM, Pool
from sim.engines.serving.replica import Kind
from sim.engines.serving.requests import Requests, arrive, ended
from sim.workload.traffic import Closed

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


def serve_closed(
    kind: Kind,
    requests: Requests,
    loop: Closed,
    *,
    seed: int = 0,
    systems: int = 1,
    watch: Watch = UNWATCHED,
    arrivals: Callable[[int, int, float], Floats] | None = None,
) -> Served:
    """Keep `loop.concurrency` requests in the system until `loop.requests` have ended.

    They are rows of `requests` in order, `loop.samples` of them a request. "steady" begins with
    requests at uniformly random progress, which take at least two output tokens each; "cold"
    measures from the moment when as many requests have ended as there are clients. Clients are
    dealt round-robin to the replicas of all `systems` and stay with theirs. `arrivals` of requests
    [first, last) that clients may send at a time are at that time, if not given.
    """
    steady = loop.start == "steady" and kind.program.graph.decodes
    if steady:
        outputs = requests.table["output"]
        np.maximum(outputs[: loop.concurrency], 2, out=outputs[: loop.concurrency])
    replicas = kind.program.layout.dp * systems
    pool = Pool(kind=kind, count=replicas, requests=requests, room=OF_SYSTEM, watch=watch)
    clients = Clients(pool=pool, loop=loop, watch=watch, arrivals=arrivals)
    random = np.random.default_rng(np.random.SeedSequence(seed).spawn(4)[3])
    for engine in clients.engines:
        clients.issue(engine, len(range(engine.number, loop.concurrency, replicas)))
        if steady:
            lengths = requests.table["output"][engine.rows]
            progress = 1 + (random.random(len(lengths)) * (lengths - 1)).astype(np.int64)
            pool.preload(engine.number, np.minimum(progress, lengths - 1))
    return clients.run()


@dataclass(kw_only=True, eq=False)
class Clients:
    """Closed-loop clients in front of the replicas of a pool."""

    pool: Pool
    loop: Closed
    watch: Watch
    arrivals: Callable[[int, int, float], Floats] | None
    env: simpy.Environment = field(default_factory=simpy.Environment)
    issued: int = 0
    """Requests sent, by all clients."""
    warm: tuple[float, Floats, tuple[int, ...]] | None = None
    """When warm-up ended, what was done by then, and gaps recorded by then."""

    def __post_init__(self) -> None:
        self.engines = [
            Engine(env=self.env, pool=self.pool, source=self, number=number)
            for number in range(self.pool.count)
        ]
        self._ended = 0
        self._under_way: list[Rows] = [np.zeros(0, np.int64)] * self.pool.count
        """Requests of each engine that have answers to come."""

    def run(self) -> Served:
        """Serve until as many requests have ended as the loop asks for."""
        self.done = self.env.event()
        for engine in self.engines:
            self.env.process(engine.run())
        self.env.run(until=self.done)
        from_s, before, gaps = self.warm or (0.0, np.zeros(3), (0,) * len(self.engines))
        generated, prefilled, joules = self._done_by(self.env.now) - before
        window = Window(
            from_s=from_s,
            until_s=self.env.now,
            generated_tokens=float(generated),
            prefill_tokens=float(prefilled),
            operator_joules=float(joules),
            first_gaps=gaps,
        )
        table = self.pool.requests.table
        outcomes = (self.pool.outcome(engine.number, table[engine.rows]) for engine in self.engines)
        return Served(outcomes=tuple(outcomes), window=window)

    def horizon_s(self, engine: Engine) -> float:
        """As `Source.horizon_s`: only an engine's own completions bring it more."""
        return math.inf

    def issue(self, engine: Engine, count: int) -> None:
        """Hand the next `count` requests to `engine`, as far as there are any."""
        samples, table = self.loop.samples, self.pool.requests.table
        first, last = self.issued, min(self.issued + count, len(table) // self.loop.samples)
        rows = np.arange(first * samples, last * samples)
        at_s = self.env.now if self.arrivals is None else self.arrivals(first, last, self.env.now)
        arrive(table, rows, at_s, self.pool.kind.scheduler)
        engine.hand_over(rows)
        under_way = self._under_way[engine.number], np.arange(first, last)
        self._under_way[engine.number] = np.concatenate(under_way)
        self.issued = last

    def on_completion(self, engine: Engine) -> None:
        """As `Source.on_completion`: who has all answers sends the next request."""
        under_way, samples = self._under_way[engine.number], self.loop.samples
        rows = under_way[:, None] * samples + np.arange(samples)
        over = ended(self.pool.requests.table, rows).all(axis=1)
        self._under_way[engine.number] = under_way[~over]
        self._ended += int(over.sum())
        if self.loop.start == "cold" and self.warm is None and self._ended >= self.loop.concurrency:
            gaps = tuple(len(self.pool.gaps_so_far(each.number)) for each in self.engines)
            self.warm = self.env.now, self._done_by(self.env.now), gaps
        if self._ended % 64 == 0:
            self.watch.report(self._ended, self.loop.requests, self.env.now)
        if self._ended >= self.loop.requests and not self.done.triggered:
            self.done.succeed()
        else:
            self.issue(engine, int(over.sum()))

    def _done_by(self, at_s: float) -> Floats:
        done = [engine.done_by(at_s) for engine in self.engines]
        return np.asarray(np.sum(done, axis=0))
