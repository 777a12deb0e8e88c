"""With arrivals and queueing taken away, the event engine is the closed form."""

from __future__ import annotations

import numpy as np
import pytest
import simpy
from builders import (
    MODELS,
    SCHEDULERS,
    at_once,
    program,
    serve_closed,
    serve_trace,
    served,
    trace,
)

from sim.engines import roofline
from sim.engines.roofline import Batch
from sim.engines.scheduler import Scheduler
from sim.engines.serving import Kind, Requests
from sim.engines.serving.engine import Engine
from sim.engines.serving.pool import OF_SYSTEM, Pool
from sim.mapping.program import Program
from sim.workload.routing import Router
from sim.workload.traffic import Closed, Constant

EXACT = 1e-9
KV_B = 2.0**30
LAYOUTS = {"alone": {}, "tp 2 x pp 2": {"count": 4, "tp": 2, "pp": 2}}

EXPERTS = {
    "expected": {"ep": 4},
    "drawn": {"ep": 4, "router": Router(kind="zipf", skew=0.8, draw="sampled")},
    "on two units": {"on": "PIM", "ep": 2, "coprocessing": "pe", "split": "exact"},
    "of two groups": {"on": "PIM", "attention_dp": 2, "ep": 2, "coprocessing": "pe+et"},
}


def token_times(of: Program, scheduler: Scheduler, prompt: int, output: int) -> np.ndarray:
    """Seconds of every token of a single request, by the event engine."""
    got = served(of, scheduler, KV_B, trace((0.5, prompt, output)), log=1000)
    assert got.requests["admitted_s"][0] == 0.5
    assert got.requests["last_s"][0] == got.end_s
    ends = got.log[:, 0] + got.log[:, 1] - 0.5
    emitted = ends[-output:]
    assert emitted[0] == pytest.approx(got.requests["first_s"][0] - 0.5, rel=EXACT)
    gaps = np.repeat(got.gaps[:, 0], got.gaps[:, 1].astype(int))
    assert gaps == pytest.approx(np.diff(emitted), rel=1e-6)
    return emitted


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize("architecture", MODELS)
def test_single_request(architecture: str, kind: str, layout: str) -> None:
    of = program(architecture, "PIM", **LAYOUTS[layout])  # type: ignore[arg-type]
    output = 1 if architecture == "encoder-only" else 45
    scheduler = Scheduler(kind=kind)  # type: ignore[arg-type]
    for prompt in (1, 9, 37):  # below, at and beyond the windows of 10 and 12
        want = roofline.request_times(of, prompt, output)
        assert token_times(of, scheduler, prompt, output) == pytest.approx(want, rel=EXACT)


@pytest.mark.parametrize("architecture", ["dense", "sliding", "chunked-window", "mla", "hybrid"])
def test_single_request_in_chunks(architecture: str) -> None:
    of = program(architecture)
    got = served(of, Scheduler(kind="chunked-prefill", token_budget=16), KV_B, trace((0.0, 45, 2)))
    chunks = [(0, 16), (16, 16), (32, 13)]
    steps = [roofline.step(of, Batch(prompts=((45, begin, n),))) for begin, n in chunks]
    first = sum(step.seconds for step in steps)
    assert got.requests["first_s"][0] == pytest.approx(first, rel=EXACT)


@pytest.mark.parametrize("architecture", ["encoder-decoder", "speech", "encoder-only"])
def test_prompts_of_encoders_are_not_cut_in_chunks(architecture: str) -> None:
    of = program(architecture)
    scheduler = Scheduler(kind="chunked-prefill", token_budget=16)
    assert token_times(of, scheduler, 45, 1) == pytest.approx(
        roofline.request_times(of, 45, 1), rel=EXACT
    )


@pytest.mark.parametrize("experts", EXPERTS)
@pytest.mark.parametrize("kind", SCHEDULERS)
def test_equal_requests_together_are_one_batch(kind: str, experts: str) -> None:
    of = program("moe", count=4, **EXPERTS[experts])  # type: ignore[arg-type]
    got = served(of, Scheduler(kind=kind), KV_B, trace(*[(0.0, 20, 30)] * 6))  # type: ignore[arg-type]
    prefill = roofline.step(of, roofline.prefill_batch(6, 20))
    steps = [roofline.step(of, Batch(decodes=((20, n),) * 6)) for n in range(1, 30)]
    total = prefill.seconds + sum(step.seconds for step in steps)
    joules = prefill.joules + sum(step.joules for step in steps)
    assert got.requests["last_s"] == pytest.approx(np.full(6, total), rel=EXACT)
    static = of.machine["static_W"][0] * of.machine["devices"][0] * total
    assert got.operator_joules + static == pytest.approx(joules, rel=EXACT)


def random_trace(count: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return (
        np.sort(random.uniform(0.0, 5e-3, count)),
        random.integers(1, 60, count),
        random.integers(1, 40, count),
    )


def test_replicas_serve_their_share_alone() -> None:
    arrivals, inputs, outputs = random_trace(60)
    rows = list(zip(arrivals, inputs, outputs, strict=True))
    scheduler = Scheduler(max_batch=4)
    both = serve_trace(program("dense", count=2, tp=1, dp=2), scheduler, KV_B, trace(*rows))
    for replica, outcome in enumerate(both.outcomes):
        alone = served(program("dense"), scheduler, KV_B, trace(*rows[replica::2]))
        assert outcome.requests.tobytes() == alone.requests.tobytes()
    assert len(both.outcomes) == 2


def test_requests_arriving_as_events_are_served_as_if_known() -> None:
    """An engine told only of the next arrival does what one does that has the whole trace."""
    arrivals, inputs, outputs = random_trace(40)
    of, scheduler = program("hybrid"), Scheduler(kind="chunked-prefill", token_budget=32)
    env = simpy.Environment()
    sent = 0
    rows = trace(*zip(arrivals, inputs, outputs, strict=True))

    class Feed:
        def horizon_s(self, engine: Engine) -> float:
            return float(arrivals[sent]) if sent < len(arrivals) else np.inf

        def on_completion(self, engine: Engine) -> None:
            pass

    kind = Kind(program=of, scheduler=scheduler, kv_B=KV_B)
    pool = Pool(kind=kind, count=1, requests=Requests.of(kind, rows), room=OF_SYSTEM)
    engine = Engine(env=env, pool=pool, source=Feed())

    def source():  # type: ignore[no-untyped-def]
        nonlocal sent
        for index, arrival in enumerate(arrivals):
            yield env.timeout(arrival - env.now)
            sent = index + 1
            pool.requests.table["arrival_s"][index] = env.now
            engine.hand_over(np.array([index]))

    env.process(source())
    env.process(engine.run())
    env.run()
    want = served(of, scheduler, KV_B, rows)
    got = pool.outcome(0, pool.requests.table)
    for column in ("admitted_s", "first_s", "last_s", "max_gap_s"):
        assert got.requests[column] == pytest.approx(want.requests[column], rel=EXACT)
    assert got.iterations == want.iterations


def closed(replicas: int, start: str) -> bytes:
    _, inputs, outputs = random_trace(120, seed=5)
    of = program("dense", count=replicas, tp=1, dp=replicas)
    loop = Closed(
        concurrency=10, requests=100, input=Constant(tokens=1), output=Constant(tokens=1),
        start=start,  # type: ignore[arg-type]
    )  # fmt: skip
    result = serve_closed(of, Scheduler(max_batch=4), 60000.0, loop, at_once(inputs, outputs), 7)
    parts = [
        part.tobytes()
        for outcome in result.outcomes
        for part in (outcome.requests, outcome.gaps, outcome.seconds, outcome.joules)
    ]
    return b"".join(parts)


@pytest.mark.parametrize("start", ["steady", "cold"])
@pytest.mark.parametrize("replicas", [1, 3])
def test_equal_closed_loops_give_equal_bytes(replicas: int, start: str) -> None:
    assert closed(replicas, start) == closed(replicas, start)


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_equal_traces_give_equal_bytes(kind: str) -> None:
    rows = list(zip(*random_trace(80), strict=True))
    scheduler = Scheduler(kind=kind, max_batch=8, token_budget=32)  # type: ignore[arg-type]
    one, other = (served(program("moe", "PIM"), scheduler, 50000.0, trace(*rows)) for _ in "ab")
    for name in ("requests", "gaps", "seconds", "joules"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
