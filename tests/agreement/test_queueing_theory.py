"""A single-server queue made of the serving engine obeys M/D/1, M/M/1 and Little's law.

Construction. `max_batch` 1 makes the engine a first-come-first-served server of one request at a
time: a request is admitted when the one before it ends, or at its arrival if the server is idle.
With one-token prompts, a state-space model takes the same time for every token (no cache grows and
a prompt token costs what a decoded one does), so service time is output length times that time.
Constant length gives M/D/1. A length drawn as an exponential rounded up (mean 100 tokens) gives
M/M/1 but for 0.5 % in the mean wait (its second moment is 2 m^2 - m, not 2 m^2).

Each seed's mean wait, with the first tenth of the requests dropped as warm-up, is one independent
sample; theory must lie in the 99 % confidence interval (Student's t, 9 degrees of freedom) of the
10. References: Kleinrock, Queueing Systems I (1975), 3.2 and 5.6; Little, Op. Res. 9(3), 1961.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from builders import at_once, program, serve_closed, served, trace

from sim.engines import roofline
from sim.engines.scheduler import Scheduler
from sim.engines.serving.outcome import Outcome
from sim.kernel.records import DONE, LOG_COLUMNS, PREFILL, SEQUENCES
from sim.workload.traffic import Closed, Constant

SEEDS, REQUESTS = 10, 20_000
T_99 = 3.2498
"""Student's t, two-sided 99 %, 9 degrees of freedom."""
MEAN_TOKENS = 100
SERVER = Scheduler(max_batch=1)
KV_B = 2.0**30


def token_time() -> float:
    """Seconds the server takes for a token, prompt or not."""
    times = np.diff(roofline.request_times(program("ssm"), 1, 50), prepend=0.0)
    assert times == pytest.approx(np.full(50, times[0]), rel=1e-12)
    return float(times[0])


def mean_waits(load: float, exponential: bool) -> tuple[np.ndarray, float, float]:
    """Mean wait of each seed, the arrival rate and the mean service time."""
    one_token = token_time()
    tokens = 1.0 / -math.expm1(-1.0 / MEAN_TOKENS) if exponential else 1.0
    service = tokens * one_token
    rate = load / service
    waits = []
    for seed in range(SEEDS):
        random = np.random.default_rng(seed)
        arrivals = np.cumsum(random.exponential(1.0 / rate, REQUESTS))
        outputs = np.ones(REQUESTS, np.int64)
        if exponential:
            outputs = np.ceil(random.exponential(MEAN_TOKENS, REQUESTS)).astype(np.int64)
        requests = trace(*zip(arrivals, np.ones(REQUESTS, np.int64), outputs, strict=True))
        got = served(program("ssm"), SERVER, KV_B, requests).requests
        assert (got["status"] == DONE).all()
        waits.append((got["admitted_s"] - got["arrival_s"])[REQUESTS // 10 :].mean())
    return np.array(waits), rate, service


def inside_interval(samples: np.ndarray, theory: float) -> None:
    half = T_99 * samples.std(ddof=1) / math.sqrt(len(samples))
    assert abs(samples.mean() - theory) <= half, f"{samples.mean()} +- {half}, theory {theory}"
    assert half < 0.1 * theory, "the interval is too wide to test anything"


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_waiting_time_of_constant_service_is_m_d_1(load: float) -> None:
    waits, _, service = mean_waits(load, exponential=False)
    inside_interval(waits, load * service / (2.0 * (1.0 - load)))


def test_waiting_time_of_exponential_service_is_m_m_1() -> None:
    load = 0.7
    waits, rate, service = mean_waits(load, exponential=True)
    inside_interval(waits, load / (1.0 / service - rate))


def batched(kind: str) -> Outcome:
    random = np.random.default_rng(11)
    arrivals = np.cumsum(random.exponential(3e-4, 300))
    rows = zip(arrivals, random.integers(1, 60, 300), random.integers(1, 60, 300), strict=True)
    scheduler = Scheduler(kind=kind, max_batch=16)  # type: ignore[arg-type]
    return served(program("dense"), scheduler, KV_B, trace(*rows), log=100_000)


def test_little_law_of_the_running_batch() -> None:
    """Sequences in iterations times their seconds add up to the requests' time in service."""
    got = batched("continuous")
    features = got.log[:, LOG_COLUMNS:].reshape(len(got.log), -1, 4, 4)
    sequences = got.log[:, 2] + features[:, 0, PREFILL, SEQUENCES]
    in_service = (got.requests["last_s"] - got.requests["admitted_s"]).sum()
    assert (sequences * got.log[:, 1]).sum() == pytest.approx(in_service, rel=1e-9)
    assert sequences.max() <= 16
    assert got.log[:, 2].max() > 4


@pytest.mark.parametrize("replicas", [1, 3])
def test_little_law_of_a_closed_loop(replicas: int) -> None:
    """Every client has exactly one request in the system at every moment."""
    random = np.random.default_rng(2)
    inputs, outputs = random.integers(1, 60, 230), random.integers(1, 60, 230)
    loop = Closed(
        concurrency=12, requests=200, input=Constant(tokens=1), output=Constant(tokens=1),
        start="cold",
    )  # fmt: skip
    of = program("dense", count=replicas, tp=1, dp=replicas)
    result = serve_closed(of, Scheduler(max_batch=5), KV_B, loop, at_once(inputs, outputs))
    requests = np.concatenate([outcome.requests for outcome in result.outcomes])
    ends = np.sort(requests["last_s"][requests["status"] == DONE])
    stop = float(ends[loop.requests - 1])
    # one replica may have run ahead of the moment the last request ended
    done = (requests["status"] == DONE) & (requests["last_s"] <= stop)
    left = np.where(done, requests["last_s"], stop)
    begun = requests["arrival_s"] <= stop
    assert (left - requests["arrival_s"])[begun].sum() == pytest.approx(12 * stop, rel=1e-9)
    assert done.sum() >= loop.requests
