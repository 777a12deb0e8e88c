"""Simulations: open-loop traces and closed-loop clients in front of replicas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import simpy

from sim.engines.scheduler import Scheduler
from sim.engines.serving.engine import Engine, Outcome
from sim.mapping.program import Program
from sim.workload.traffic import Closed, Trace

Progress = Callable[[int, int, float], None]
"""Called with requests ended, requests in all and simulated seconds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """Outcomes of all replicas, and when measuring began (after warm-up in a closed loop).

    `warm_tokens` were generated, `warm_prefill_tokens` prefilled and `warm_operator_joules` spent
    by operators before that moment.
    """

    outcomes: tuple[Outcome, ...]
    measured_from_s: float = 0.0
    warm_tokens: int = 0
    warm_prefill_tokens: int = 0
    warm_operator_joules: float = 0.0
    warm_gaps: tuple[int, ...] = ()
    """Records of each outcome's `gaps` that belong to the warm-up."""


def serve_trace(
    program: Program,
    scheduler: Scheduler,
    kv_B: float,
    trace: Trace,
    *,
    extra_prompt: int = 0,
    on_progress: Progress | None = None,
    log_iterations: int = 0,
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
            env, program, scheduler, kv_B, on_progress=report, log_iterations=log_iterations
        )
        engine.submit(
            trace.arrival_s[replica::replicas],
            trace.input_tokens[replica::replicas] + extra_prompt,
            trace.output_tokens[replica::replicas],
        )
        env.process(engine.run())
        engines.append(engine)
    env.run()
    return Served(outcomes=tuple(engine.outcome() for engine in engines))


def serve_closed(
    program: Program,
    scheduler: Scheduler,
    kv_B: float,
    loop: Closed,
    prompts: npt.NDArray[np.int64],
    outputs: npt.NDArray[np.int64],
    seed: int,
    *,
    extra_prompt: int = 0,
    on_progress: Progress | None = None,
    log_iterations: int = 0,
) -> Served:
    """Keep `loop.concurrency` requests in the system until `loop.requests` have ended.

    Lengths come from `prompts` and `outputs`, in order. "steady" begins with requests at uniformly
    random progress; "cold" measures from the moment when as many requests have ended as there are
    clients. Clients are dealt round-robin to replicas and stay with theirs.
    """
    env = simpy.Environment()
    done = env.event()
    issued = 0
    warm_s, warm_tokens, warm_prefill_tokens, warm_joules = 0.0, 0, 0, 0.0
    warm_gaps: tuple[int, ...] = ()
    engines: list[Engine] = []

    def issue(engine: Engine, count: int) -> None:
        nonlocal issued
        count = min(count, len(prompts) - issued)
        chosen = slice(issued, issued + count)
        engine.submit(np.full(count, env.now), prompts[chosen] + extra_prompt, outputs[chosen])
        issued += count

    def ended(engine: Engine) -> int:
        return int(engine.state[0]["completed"] + engine.state[0]["rejected"])

    counted: dict[int, int] = {}

    def on_completion(engine: Engine) -> None:
        nonlocal warm_s, warm_tokens, warm_prefill_tokens, warm_joules, warm_gaps
        fresh = ended(engine) - counted.get(id(engine), 0)
        counted[id(engine)] = ended(engine)
        total = sum(counted.values())
        if loop.start == "cold" and warm_s == 0.0 and total >= loop.concurrency:
            warm_s = env.now
            warm_tokens = sum(int(e.state[0]["generated_tokens"]) for e in engines)
            warm_prefill_tokens = sum(int(e.state[0]["prefill_tokens"]) for e in engines)
            warm_joules = sum(float(e.joules.sum()) for e in engines)
            warm_gaps = tuple(len(e.gaps_so_far()) for e in engines)
        if on_progress is not None and total % 64 == 0:
            on_progress(total, loop.requests, env.now)
        if total >= loop.requests and not done.triggered:
            done.succeed()
        else:
            issue(engine, fresh)

    random = np.random.default_rng(np.random.SeedSequence(seed).spawn(4)[3])
    replicas = program.layout.dp
    for replica in range(replicas):
        engine = Engine(
            env,
            program,
            scheduler,
            kv_B,
            on_completion=on_completion,
            log_iterations=log_iterations,
        )
        clients = len(range(replica, loop.concurrency, replicas))
        issue(engine, clients)
        if loop.start == "steady":
            lengths = engine.requests["output"]
            progress = 1 + (random.random(len(lengths)) * (lengths - 1)).astype(np.int64)
            engine.preload(np.minimum(progress, lengths - 1))
        engines.append(engine)
    for engine in engines:
        env.process(engine.run())
    env.run(until=done)
    return Served(
        outcomes=tuple(engine.outcome() for engine in engines),
        measured_from_s=warm_s,
        warm_tokens=warm_tokens,
        warm_prefill_tokens=warm_prefill_tokens,
        warm_operator_joules=warm_joules,
        warm_gaps=warm_gaps,
    )
