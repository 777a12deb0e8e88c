"""Simulations: open-loop traces and closed-loop clients in front of replicas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import simpy

from sim.engines.scheduler import Scheduler
from sim.engines.serving.engine import ALWAYS, Engine, Outcome
from sim.kernel.records import DONE, REJECTED
from sim.mapping.program import Program
from sim.workload.traffic import Blocks, Closed, Trace

Floats = npt.NDArray[np.float64]
Tokens = npt.NDArray[np.int64]
Progress = Callable[[int, int, float], None]
"""Called with requests ended, requests in all and simulated seconds."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """When measuring began and ended, and what all replicas did in between.

    `first_gaps` are the records of each outcome's `gaps` that belong to the time before.
    """

    from_s: float
    until_s: float
    generated_tokens: float
    prefill_tokens: float
    operator_joules: float
    first_gaps: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """Outcomes of all replicas, and the window that metrics count in."""

    outcomes: tuple[Outcome, ...]
    window: Window


def serve_trace(
    program: Program,
    scheduler: Scheduler,
    kv_B: float,
    trace: Trace,
    *,
    extra_prompt: int = 0,
    on_progress: Progress | None = None,
    log_iterations: int = 0,
    log_window_s: tuple[float, float] = ALWAYS,
) -> Served:
    """Replay `trace`, its requests dealt round-robin to the layout's replicas.

    `extra_prompt` tokens (image patches) come in front of every prompt.
    """
    env = simpy.Environment()
    engines: list[Engine] = []

    def report(engine: Engine) -> None:
        if on_progress is not None:
            ended = sum(int(e.state[0]["completed"] + e.state[0]["rejected"]) for e in engines)
            on_progress(ended, len(trace.arrival_s), env.now)

    replicas = program.layout.dp
    for replica in range(replicas):
        engine = Engine(
            env,
            program,
            scheduler,
            kv_B,
            on_progress=report,
            log_iterations=log_iterations,
            log_window_s=log_window_s,
        )
        rows = trace.dealt(replica, replicas)
        own = trace.of(rows)
        engine.submit(
            own.arrival_s,
            own.input_tokens + extra_prompt,
            own.output_tokens,
            own.blocks,
            own.priority,
            rows,
            own.parent,
        )
        env.process(engine.run())
        engines.append(engine)
    env.run()
    return whole_run(tuple(engine.outcome() for engine in engines))


def whole_run(outcomes: tuple[Outcome, ...]) -> Served:
    """All of an open loop: from the first arrival to the last completion."""
    arrivals = np.concatenate([outcome.requests["arrival_s"] for outcome in outcomes])
    ends = np.concatenate(
        [outcome.requests["last_s"][outcome.requests["status"] == DONE] for outcome in outcomes]
    )
    first = float(arrivals.min())
    window = Window(
        from_s=first,
        until_s=float(ends.max(initial=first)),
        generated_tokens=sum(outcome.generated_tokens for outcome in outcomes),
        prefill_tokens=sum(outcome.prefill_tokens for outcome in outcomes),
        operator_joules=sum(outcome.operator_joules for outcome in outcomes),
        first_gaps=(0,) * len(outcomes),
    )
    return Served(outcomes=outcomes, window=window)


def serve_closed(
    program: Program,
    scheduler: Scheduler,
    kv_B: float,
    loop: Closed,
    prompts: Tokens,
    outputs: Tokens,
    seed: int,
    *,
    priority: Tokens | None = None,
    blocks: Blocks | None = None,
    parent: Tokens | None = None,
    systems: int = 1,
    extra_prompt: int = 0,
    on_progress: Progress | None = None,
    log_iterations: int = 0,
    log_window_s: tuple[float, float] = ALWAYS,
) -> Served:
    """Keep `loop.concurrency` requests in the system until `loop.requests` have ended.

    Lengths come from `prompts` and `outputs`, classes from `priority`, in order, `loop.samples`
    rows a request, with `blocks` and `parent` as a trace has them. "steady" begins with requests at
    uniformly random progress, which takes at least two output tokens each; "cold" measures from the
    moment when as many requests have ended as there are clients. Clients are dealt round-robin to
    the replicas of all `systems` and stay with theirs.
    """
    steady = loop.start == "steady" and program.graph.decodes
    if steady:
        outputs = outputs.copy()
        np.maximum(outputs[: loop.concurrency], 2, out=outputs[: loop.concurrency])
    clients = Clients(
        env=simpy.Environment(),
        loop=loop,
        prompts=prompts + extra_prompt,
        outputs=outputs,
        priority=priority,
        blocks=blocks,
        parent=parent,
        on_progress=on_progress,
    )
    random = np.random.default_rng(np.random.SeedSequence(seed).spawn(4)[3])
    replicas = program.layout.dp * systems
    for replica in range(replicas):
        engine = Engine(
            clients.env,
            program,
            scheduler,
            kv_B,
            on_completion=clients.on_completion,
            log_iterations=log_iterations,
            log_window_s=log_window_s,
        )
        clients.engines.append(engine)
        clients.issue(engine, len(range(replica, loop.concurrency, replicas)))
        if steady:
            lengths = engine.requests["output"]
            progress = 1 + (random.random(len(lengths)) * (lengths - 1)).astype(np.int64)
            engine.preload(np.minimum(progress, lengths - 1))
    return clients.run()


@dataclass(kw_only=True, eq=False)
class Clients:
    """Closed-loop clients in front of engines: each sends its next request when one ends."""

    loop: Closed
    prompts: Tokens
    outputs: Tokens
    on_progress: Progress | None
    priority: Tokens | None = None
    blocks: Blocks | None = None
    parent: Tokens | None = None
    env: simpy.Environment = field(default_factory=simpy.Environment)
    engines: list[Engine] = field(default_factory=list)
    issued: int = 0
    ended: dict[Engine, int] = field(default_factory=dict)
    under_way: dict[Engine, Tokens] = field(default_factory=dict)
    """Of several samples: requests of an engine that have answers to come, counted from 0 there."""
    warm: tuple[float, Floats, tuple[int, ...]] | None = None
    """When warm-up ended, what was done by then, and gaps recorded by then."""

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
        return Served(outcomes=tuple(engine.outcome() for engine in self.engines), window=window)

    def issue(self, engine: Engine, count: int) -> None:
        """Hand the next `count` requests to `engine`, as far as there are any."""
        samples = self.loop.samples
        last = min(self.issued + count, len(self.prompts) // samples)
        chosen = slice(self.issued * samples, last * samples)
        arrivals = np.full(chosen.stop - chosen.start, self.env.now)
        if samples > 1:
            begun = len(engine.requests) // samples
            fresh = np.arange(begun, begun + last - self.issued)
            before = self.under_way.get(engine, fresh[:0])
            self.under_way[engine] = np.concatenate([before, fresh])
        engine.submit(
            arrivals,
            self.prompts[chosen],
            self.outputs[chosen],
            blocks=None if self.blocks is None else self.blocks.of(chosen),
            priority=None if self.priority is None else self.priority[chosen],
            numbers=np.arange(chosen.start, chosen.stop),
            parent=None if self.parent is None else self.parent[chosen],
        )
        self.issued = last

    def on_completion(self, engine: Engine) -> None:
        """One or more requests of `engine` have ended now."""
        ended = self._ended(engine)
        fresh = ended - self.ended.get(engine, 0)
        self.ended[engine] = ended
        total = sum(self.ended.values())
        if self.loop.start == "cold" and self.warm is None and total >= self.loop.concurrency:
            gaps = tuple(len(each.gaps_so_far()) for each in self.engines)
            self.warm = self.env.now, self._done_by(self.env.now), gaps
        if self.on_progress is not None and total % 64 == 0:
            self.on_progress(total, self.loop.requests, self.env.now)
        if total >= self.loop.requests and not self.done.triggered:
            self.done.succeed()
        else:
            self.issue(engine, fresh)

    def _ended(self, engine: Engine) -> int:
        """Requests of `engine` that have ended, with all of their samples."""
        if self.loop.samples == 1:
            return int(engine.state[0]["completed"] + engine.state[0]["rejected"])
        status = engine.requests["status"].reshape(-1, self.loop.samples)
        begun = self.under_way[engine]
        over = np.isin(status[begun], (DONE, REJECTED)).all(axis=1)
        self.under_way[engine] = begun[~over]
        return self.ended.get(engine, 0) + int(over.sum())

    def _done_by(self, at_s: float) -> Floats:
        done = [engine.done_by(at_s) for engine in self.engines]
        return np.asarray(np.sum(done, axis=0))
