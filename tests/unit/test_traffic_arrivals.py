"""Is the right part of a trace replayed, and do drawn arrivals follow their process?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sim.errors import ConfigError
from sim.workload.traffic import Closed, Constant, Gaussian, LogNormal, Poisson, Trace
from sim.workload.traffic.arrivals import requests_of, select
from sim.workload.traffic.summary import summary


def _trace(*arrivals: float) -> Trace:
    n = len(arrivals)
    return Trace(
        name="t",
        arrival_s=np.array(arrivals),
        input_tokens=np.arange(10, 10 + n),
        output_tokens=np.arange(1, 1 + n),
        dropped=2,
    )


SIX = _trace(0.0, 1.0, 2.5, 4.0, 4.0, 10.0)


def test_window_is_half_open_and_starts_the_clock() -> None:
    part = select(SIX, window_s=(1.0, 4.0))
    assert part.arrival_s.tolist() == [0.0, 1.5]
    assert part.input_tokens.tolist() == [11, 12]
    assert part.output_tokens.tolist() == [2, 3]
    assert part.name == "t"
    assert part.dropped == 2
    assert select(SIX, window_s=(2.0, 1e9)).arrival_s.tolist() == [0.5, 2.0, 2.0, 8.0]


def test_rate_scale_is_applied_after_the_window_and_limit_last() -> None:
    part = select(SIX, window_s=(2.0, 20.0), rate_scale=2, limit=3)
    assert part.arrival_s.tolist() == [0.25, 1.0, 1.0]
    assert part.input_tokens.tolist() == [12, 13, 14]
    assert select(SIX, rate_scale=0.5).arrival_s.tolist() == [0.0, 2.0, 5.0, 8.0, 8.0, 20.0]
    assert select(SIX, limit=100).arrival_s.tolist() == SIX.arrival_s.tolist()


def test_without_a_window_the_clock_starts_at_the_first_arrival() -> None:
    assert select(_trace(2100.0, 2100.5)).arrival_s.tolist() == [0.0, 0.5]


def test_the_trace_itself_is_left_alone() -> None:
    before = SIX.arrival_s.copy()
    part = select(SIX)
    part.arrival_s[:] = -1
    assert SIX.arrival_s.tolist() == before.tolist()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window_s": (5.0, 9.0)}, "no requests: trace t runs from 0 s to 10 s"),
        ({"window_s": (4.0, 4.0)}, "a later end"),
        ({"window_s": (-1.0, 4.0)}, "a start from 0"),
        ({"window_s": (0.0, float("nan"))}, "a later end"),
        ({"rate_scale": 0.0}, "above 0"),
        ({"rate_scale": float("inf")}, "above 0"),
        ({"limit": 0}, "at least 1"),
    ],
)
def test_options_that_leave_nothing(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        select(SIX, **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no requests"):
        select(_trace())


OPEN = Poisson(
    rate_per_s=2.0,
    requests=20_000,
    input=Gaussian(mean=512, std=100),
    output=LogNormal(mean=200, std=100),
)


def test_poisson_gaps_are_exponential_and_independent() -> None:
    gaps = np.diff(requests_of(OPEN, seed=0).arrival_s, prepend=0.0)
    n = len(gaps)
    assert gaps.mean() == pytest.approx(0.5, rel=4 / np.sqrt(n))
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=4 / np.sqrt(n))
    assert (gaps > 0.5).mean() == pytest.approx(np.exp(-1), abs=4 * np.sqrt(0.233 / n))
    assert np.corrcoef(gaps[:-1], gaps[1:])[0, 1] == pytest.approx(0, abs=4 / np.sqrt(n))


def test_each_draw_has_its_own_stream() -> None:
    base = requests_of(OPEN, seed=7)
    faster = requests_of(replace(OPEN, rate_per_s=4.0), seed=7)
    assert faster.arrival_s.tolist() == (base.arrival_s / 2).tolist()
    assert faster.input_tokens.tolist() == base.input_tokens.tolist()
    fixed = requests_of(replace(OPEN, input=Constant(tokens=9)), seed=7)
    assert set(fixed.input_tokens.tolist()) == {9}
    assert fixed.arrival_s.tolist() == base.arrival_s.tolist()
    assert fixed.output_tokens.tolist() == base.output_tokens.tolist()
    same = requests_of(replace(OPEN, output=OPEN.input), seed=7)
    assert same.output_tokens.tolist() != same.input_tokens.tolist()


def test_the_seed_decides() -> None:
    one, again, other = (requests_of(OPEN, seed=seed) for seed in (1, 1, 2))
    assert one.arrival_s.tolist() == again.arrival_s.tolist()
    assert one.output_tokens.tolist() == again.output_tokens.tolist()
    assert one.arrival_s.tolist() != other.arrival_s.tolist()
    assert one.input_tokens.tolist() != other.input_tokens.tolist()


def test_closed_loop_has_lengths_only_and_the_same_ones_as_open() -> None:
    closed = requests_of(
        Closed(concurrency=4, requests=20_000, input=OPEN.input, output=OPEN.output), seed=7
    )
    assert closed.name == "closed"
    assert not closed.arrival_s.any()
    assert closed.output_tokens.tolist() == requests_of(OPEN, seed=7).output_tokens.tolist()


def test_a_trace_is_its_own_requests() -> None:
    assert requests_of(SIX, seed=3) is SIX


@pytest.mark.parametrize("change", [{"rate_per_s": 0.0}, {"requests": 0}])
def test_impossible_traffic(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        requests_of(replace(OPEN, **change), seed=0)  # type: ignore[arg-type]


def test_summary_by_hand() -> None:
    told = summary(_trace(1.0, 2.0, 4.0))
    assert told == {
        "name": "t",
        "requests": 3,
        "dropped": 2,
        "duration_s": 3.0,
        "rate_per_s": 2 / 3,
        "gap_cv": pytest.approx(0.5 / 1.5),
        "input_tokens": {"mean": 11.0, "p50": 11.0, "p90": 11.8, "p99": 11.98, "max": 12},
        "output_tokens": {"mean": 2.0, "p50": 2.0, "p90": 2.8, "p99": 2.98, "max": 3},
        "total_input_tokens": 33,
        "total_output_tokens": 6,
    }


def test_summary_says_none_where_it_cannot_say() -> None:
    one = summary(_trace(1.0))
    assert (one["duration_s"], one["rate_per_s"], one["gap_cv"]) == (0.0, None, None)
    at_once = summary(_trace(0.0, 0.0))
    assert (at_once["rate_per_s"], at_once["gap_cv"]) == (None, None)
    nothing = summary(_trace())
    assert (nothing["requests"], nothing["duration_s"]) == (0, None)
    assert nothing["input_tokens"]["p90"] is None
