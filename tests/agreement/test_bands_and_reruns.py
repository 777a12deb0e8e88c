"""Is what load makes of an error what running again with slower or faster parts gives?

Nothing but arrivals has seconds of its own in these runs, so all times `scale` times as long is the
same as arrivals `scale` times as fast, with every time of the result multiplied by `scale`.
"""

from __future__ import annotations

from typing import Any

import pytest

import sim
from sim.results.bands.load import Load, load_of
from sim.results.run import Run

SCALES = (0.8, 1.25)


def run(scenario: str, rate: float, sets: tuple[str, ...] = ()) -> Run:
    return sim.simulate(scenario, sets=[f"traffic.rate_scale={rate}", *sets])


def factor(one: Run, other: Run, scale: float, name: str, part: str = "mean") -> float:
    values: list[Any] = [each.metrics[name] for each in (one, other)]
    if name.endswith("_per_s"):
        return float(values[1] / scale / values[0])
    return float(values[1][part] * scale / values[0][part])


@pytest.mark.parametrize(
    ("scenario", "rate"),
    [("llama-8b-azure-h100", 0.3), ("llama-8b-azure-h100", 1.0), ("llama-8b-azure-h100", 2.0),
     ("mixtral-azure-h100", 1.0), ("mixtral-azure-h100", 2.0)],
)  # fmt: skip
def test_steps_grow_as_they_do_with_more_load(scenario: str, rate: float) -> None:
    base = run(scenario, rate)
    load = load_of(base.prepared, base.outcomes)
    for scale in SCALES:
        again = run(scenario, rate * scale)
        assert load.step(scale) == pytest.approx(factor(base, again, scale, "tpot_s"), rel=0.06)
        rate_factor = factor(base, again, scale, "throughput_tok_per_s")
        assert 1.0 / load.duration(scale) == pytest.approx(rate_factor, rel=0.01)


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_first_tokens_wait_longer_by_as_much(rate: float) -> None:
    base = run("llama-8b-azure-h100", rate)
    for scale in SCALES:
        again = run("llama-8b-azure-h100", rate * scale)
        assert load_of(base.prepared, base.outcomes).first(scale) == pytest.approx(
            factor(base, again, scale, "ttft_s"), rel=0.06
        )


def test_bursts_make_more_of_it_than_the_law() -> None:
    """The law knows mean arrivals; a trace has bursts, which queue sooner. It stays within half."""
    base = run("llama-8b-azure-h100", 2.0)
    again = run("llama-8b-azure-h100", 2.5)
    found, law = (
        factor(base, again, 1.25, "ttft_s"),
        load_of(base.prepared, base.outcomes).first(1.25),
    )
    assert 1.25 < 0.5 * found < law < found


@pytest.mark.parametrize("rate", [2.0, 3.0])
def test_beyond_saturation_waits_grow_with_the_backlog(rate: float) -> None:
    limit = ("scheduler.max_batch=24",)
    base = run("llama-8b-azure-h100", rate, limit)
    load = load_of(base.prepared, base.outcomes)
    assert load.beyond > 1.1
    again = run("llama-8b-azure-h100", rate * 1.25, limit)
    assert load.first(1.25) == pytest.approx(factor(base, again, 1.25, "ttft_s"), rel=0.1)
    assert 1.0 / load.duration(1.25) == pytest.approx(
        factor(base, again, 1.25, "throughput_tok_per_s"), rel=0.02
    )


def test_near_saturation_an_error_is_amplified_manifold() -> None:
    base = run("llama-8b-azure-h100", 3.0)
    load = load_of(base.prepared, base.outcomes)
    assert isinstance(load, Load)
    assert load.full > 0.8
    found = factor(base, run("llama-8b-azure-h100", 3.75), 1.25, "ttft_s")
    assert found > 5.0
    assert load.first(1.25) == pytest.approx(found, rel=0.8)
    assert load.first(1.25) > 5.0
