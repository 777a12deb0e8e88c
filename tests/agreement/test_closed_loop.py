"""Closed loops: rates agree with each other, with the number of replicas, and across starts."""

from __future__ import annotations

import numpy as np
import pytest
from builders import at_once, program, serve_closed

from sim.engines.scheduler import Scheduler
from sim.engines.serving.outcome import Served
from sim.kernel.records import RUNNING
from sim.results.measurement import Measurement
from sim.results.metrics import measured
from sim.scenario import Slo
from sim.simulation.outcomes import Outcomes
from sim.workload.traffic import Closed, Constant

OUTPUT = 64


def closed(
    start: str, *, requests: int, clients: int = 16, dp: int = 1, first: int = OUTPUT
) -> Served:
    loop = Closed(
        concurrency=clients,
        requests=requests,
        input=Constant(tokens=32),
        output=Constant(tokens=OUTPUT),
        start=start,  # type: ignore[arg-type]
    )
    number = requests + clients
    outputs = np.full(number, OUTPUT)
    outputs[0] = first
    return serve_closed(
        program("dense", count=dp, tp=1, dp=dp),
        Scheduler(max_batch=clients),
        2.0**40,
        loop,
        at_once(np.full(number, 32), outputs),
        seed=5,
    )


def metrics(served: Served) -> dict[str, float]:
    requests = np.concatenate([outcome.requests for outcome in served.outcomes])
    return measured(
        Measurement(outcomes=Outcomes(served=served, groups=()), requests=requests, slo=Slo())
    )


@pytest.mark.parametrize("requests", [32, 64, 128])
def test_rate_of_requests_times_their_length_is_the_throughput(requests: int) -> None:
    found = metrics(closed("cold", requests=requests))
    assert found["request_rate_per_s"] * OUTPUT == pytest.approx(found["throughput_tok_per_s"])


@pytest.mark.parametrize("start", ["cold", "steady"])
def test_two_replicas_with_twice_the_clients_are_twice_as_fast(start: str) -> None:
    """The tolerance is one round of requests at each end of some thirty."""
    one = metrics(closed(start, requests=480))
    two = metrics(closed(start, requests=960, clients=32, dp=2))
    ratio = two["throughput_tok_per_s"] / one["throughput_tok_per_s"]
    assert ratio == pytest.approx(2.0, rel=0.03)


def test_steady_and_cold_starts_settle_at_the_same_rate() -> None:
    """Clients in step and out of step batch differently; the mean iteration differs a little."""
    rates = [
        metrics(closed(start, requests=960))["throughput_tok_per_s"] for start in ("cold", "steady")
    ]
    assert rates[0] == pytest.approx(rates[1], rel=0.10)


@pytest.mark.parametrize("first", [1, 2, OUTPUT])
def test_a_steady_start_has_every_client_running_whatever_the_first_draw(first: int) -> None:
    served = closed("steady", requests=1, first=first)
    (outcome,) = served.outcomes
    started = outcome.requests[:16]
    assert np.isnan(started["first_s"]).all()  # none of them had to prefill
    assert (started["status"] == RUNNING).sum() >= 14
