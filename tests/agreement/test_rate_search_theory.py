"""The rate search against M/D/1, whose distribution of waiting times is known.

A server of one request at a time whose requests take equally long: one-token prompts and answers of
a state-space model. The SLO lets a share of them wait no longer than some times the service; theory
says at which load that share is reached (Erlang 1909; Kleinrock, Queueing Systems I, 5.10).

The tolerance, 3 %: of 40,000 requests the share has a standard error of 0.0015, which is 1.5 % in
the load where the share depends least on it (0.9 and half a service), and arrivals drawn at a rate
come at one that is 0.5 % off; the search itself stops within 0.5 %.
"""

from __future__ import annotations

import math

import pytest

import sim

SERVER = {
    "model": "mamba-2.8b",
    "system": "h100",
    "traffic": {"poisson": {"rate": "20 /s", "requests": 40_000, "input": 1, "output": 1}},
    "scheduler": {"kind": "continuous", "max_batch": 1},
}


def served_within(load: float, waits: float) -> float:
    """Share of the requests of M/D/1 that wait at most so many service times."""
    return (1.0 - load) * sum(
        math.exp(load * (waits - k)) * (load * (k - waits)) ** k / math.factorial(k)
        for k in range(math.floor(waits) + 1)
    )


def highest_load(share: float, waits: float) -> float:
    """The load at which that share waits so long, by bisection of the formula."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if served_within(middle, waits) >= share else (low, middle)
    return low


def test_the_formula() -> None:
    """As many as there is idle time don't wait; the mean wait is Pollaczek and Khinchine's."""
    assert served_within(0.6, 0.0) == pytest.approx(0.4)
    step = 0.01
    waiting = sum(1.0 - served_within(0.6, (n + 0.5) * step) for n in range(1500)) * step
    assert waiting == pytest.approx(0.6 / (2.0 * 0.4), rel=1e-3)


@pytest.mark.parametrize(("share", "waits"), [(0.9, 0.5), (0.9, 2.0), (0.5, 1.0), (0.99, 4.0)])
def test_the_highest_rate_is_the_one_of_theory(share: float, waits: float) -> None:
    service = sim.simulate(SERVER, sets=["traffic.poisson.rate=0.01 /s"]).metrics["ttft_s"]["p50"]
    found = sim.capacity(
        SERVER,
        slo=sim.Slo(ttft_s=(1.0 + waits) * service),
        attain=share,
        tolerance=0.005,
        curve=False,
    )
    assert found.rate_per_s is not None
    assert found.rate_per_s * service == pytest.approx(highest_load(share, waits), rel=0.03)
    assert found.limited_by == "ttft"
