"""Each metric of docs/reference/metrics.md, on requests whose numbers a person can check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.engines.serving.outcome import Outcome, Served, Window
from sim.kernel.records import DONE, REJECTED, REQUEST
from sim.results.measurement import Measurement
from sim.results.metrics import measured
from sim.results.statistics import latencies, request_counts, spread
from sim.scenario import Slo
from sim.simulation.outcomes import Outcomes

# (arrival, first token, last token, output tokens, longest gap)
THREE = [(0.0, 1.0, 3.0, 5, 0.5), (1.0, 1.5, 1.5, 1, 0.0), (2.0, 4.0, 10.0, 4, 3.0)]


def requests(rows: list[tuple[float, float, float, int, float]]) -> np.ndarray:
    made = np.zeros(len(rows), REQUEST)
    for record, (arrival, first, last, output, gap) in zip(made, rows, strict=True):
        record["arrival_s"], record["first_s"], record["last_s"] = arrival, first, last
        record["output"], record["max_gap_s"], record["status"] = output, gap, DONE
    return made


def served(made: np.ndarray, gaps: list[tuple[float, int]], window: Window | None = None) -> Served:
    outcome = Outcome(
        requests=made,
        gaps=np.array(gaps, dtype=float).reshape(-1, 2),
        seconds=np.zeros((1, 2, 4)),
        joules=np.zeros((1, 2, 3)),
        weights_B=np.zeros(1),
        iterations=1,
        preemptions=0,
        busy_s=1.0,
        host_s=0.0,
        end_s=10.0,
        operator_joules=0.0,
        kv_peak_B=0.0,
        kv_capacity_B=0.0,
        prefill_tokens=300,
        generated_tokens=10,
        cached_tokens=0,
        asked_tokens=0,
        log=np.zeros((0, 0)),
    )
    whole = Window(
        from_s=float(made["arrival_s"].min()),
        until_s=float(made["last_s"].max()),
        generated_tokens=10,
        prefill_tokens=300,
        operator_joules=0.0,
        first_gaps=(0,),
    )
    return Served(outcomes=(outcome,), window=window or whole)


def metrics_of(outcome: Served, made: np.ndarray, slo: Slo) -> Mapping[str, Any]:
    return measured(
        Measurement(outcomes=Outcomes(served=outcome, groups=()), requests=made, slo=slo)
    )


def test_ttft_is_arrival_to_first_token() -> None:
    assert latencies(requests(THREE))["ttft_s"].tolist() == [1.0, 0.5, 2.0]


def test_e2e_is_arrival_to_last_token() -> None:
    assert latencies(requests(THREE))["e2e_s"].tolist() == [3.0, 0.5, 8.0]


def test_tpot_is_per_request_and_undefined_for_one_token() -> None:
    tpot = latencies(requests(THREE))["tpot_s"]
    assert tpot[[0, 2]].tolist() == [0.5, 2.0]
    assert np.isnan(tpot[1])


def test_tbt_pools_every_gap() -> None:
    made = requests(THREE)
    metrics = metrics_of(served(made, [(0.5, 4), (3.0, 1), (1.5, 2)]), made, Slo())
    every = [0.5] * 4 + [1.5] * 2 + [3.0]
    assert metrics["tbt_s"]["mean"] == pytest.approx(np.mean(every))
    assert metrics["tbt_s"]["p90"] == pytest.approx(np.percentile(every, 90))
    assert metrics["tbt_s"]["max"] == 3.0


def test_rates_count_from_first_arrival_to_last_completion() -> None:
    made = requests([(row[0] + 5.0, row[1] + 5.0, row[2] + 5.0, *row[3:]) for row in THREE])
    metrics = metrics_of(served(made, []), made, Slo())
    assert metrics["throughput_tok_per_s"] == pytest.approx(10 / 10.0)
    assert metrics["prefill_tok_per_s"] == pytest.approx(300 / 10.0)
    assert metrics["request_rate_per_s"] == pytest.approx(3 / 10.0)


def test_closed_loop_counts_after_warm_up() -> None:
    made = requests(THREE)
    window = Window(
        from_s=1.5,  # the second request ends warm-up, so it isn't counted
        until_s=9.5,
        generated_tokens=6,
        prefill_tokens=200,
        operator_joules=0.0,
        first_gaps=(1,),
    )
    metrics = metrics_of(served(made, [(9.0, 5), (0.5, 2)], window), made, Slo())
    assert metrics["throughput_tok_per_s"] == pytest.approx(6 / 8.0)
    assert metrics["prefill_tok_per_s"] == pytest.approx(200 / 8.0)
    assert metrics["request_rate_per_s"] == pytest.approx(1 / 8.0)  # the third ends after it
    assert metrics["ttft_s"]["max"] == 1.0
    assert metrics["tbt_s"]["max"] == 0.5


def test_goodput_needs_ttft_and_every_gap_within_the_slo() -> None:
    made = requests(THREE)
    one = served(made, [])
    assert metrics_of(one, made, Slo())["goodput_req_per_s"] is None
    for slo, good in (
        (Slo(ttft_s=1.0), 2),
        (Slo(ttft_s=0.9), 1),
        (Slo(tbt_s=0.4), 1),
        (Slo(ttft_s=5.0, tbt_s=0.5), 2),
        (Slo(ttft_s=5.0, tbt_s=5.0), 3),
    ):
        metrics = metrics_of(one, made, slo)
        assert metrics["goodput_req_per_s"] == pytest.approx(good / 10.0)


def test_a_request_running_at_the_start_has_no_ttft() -> None:
    made = requests(THREE)
    made["first_s"][0] = np.nan
    times = latencies(made)
    assert np.isnan(times["ttft_s"][0])
    assert np.isnan(times["e2e_s"][0])


def test_rejected_requests_have_no_latency_and_are_counted() -> None:
    made = requests(THREE)
    made["status"][2] = REJECTED
    assert np.isnan(latencies(made)["ttft_s"][2])
    counts = request_counts(made)
    assert (counts["arrived"], counts["completed"], counts["rejected"]) == (3, 2, 1)
    assert counts["unfinished"] == 0


def test_spread_of_nothing_is_unknown() -> None:
    assert set(spread(np.array([])).values()) == {None}
    assert set(spread(np.array([np.nan])).values()) == {None}


@given(
    st.lists(
        st.tuples(st.floats(0.0, 1e6), st.integers(1, 50)),
        min_size=1,
        max_size=40,
    )
)
def test_weighted_percentiles_equal_those_of_the_expanded_list(
    weighted: list[tuple[float, int]],
) -> None:
    values = np.array([value for value, _ in weighted])
    counts = np.array([count for _, count in weighted])
    every = np.repeat(values, counts)
    found = spread(values, counts)
    for percent in (50, 90, 99):
        assert found[f"p{percent}"] == pytest.approx(np.percentile(every, percent), rel=1e-9)
    assert found["mean"] == pytest.approx(every.mean(), rel=1e-9)
    assert found["max"] == every.max()
