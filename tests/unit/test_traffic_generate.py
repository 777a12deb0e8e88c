"""Is a generated trace like the one it was fitted on, and is the shipped sample that trace?"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sim.errors import ConfigError
from sim.workload.traffic import Trace
from sim.workload.traffic.generate import (
    QUANTILE_LEVELS,
    TraceStatistics,
    fit,
    from_mapping,
    generate,
    to_mapping,
)
from sim.workload.traffic.readers import read_trace, write_trace
from sim.workload.traffic.summary import summary

SAMPLE = Path(__file__).parents[2] / "workloads" / "traffic" / "azure-like-2k.csv"


@pytest.fixture(scope="module")
def sidecar() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(SAMPLE.with_suffix(".yaml").read_text())
    return loaded


def _recorded() -> Trace:
    folder = os.environ.get("SIM_DATA")
    if not folder:
        pytest.skip("set SIM_DATA to the folder of measured data to test on recorded traces")
    return read_trace(Path(folder) / "traces" / "azure2023_conv.csv.gz")


def _made() -> Trace:
    rng = np.random.default_rng(0)
    common = rng.standard_normal(5_000)
    return Trace(
        name="made",
        arrival_s=np.cumsum(rng.gamma(0.25, 2.0, 5_000)),
        input_tokens=np.rint(np.exp(6 + common)).astype(np.int64) + 1,
        output_tokens=np.rint(300 + 20 * (common + rng.standard_normal(5_000))).astype(np.int64),
    )


def test_fit_finds_what_was_put_in() -> None:
    found = fit(_made())
    assert found.rate_per_s == pytest.approx(2.0, rel=4 * 2 / np.sqrt(5_000))
    assert found.gap_cv == pytest.approx(2.0, rel=0.1)
    # Pearson's of the normals is 1/sqrt(2); Spearman's is 6/pi asin(half of it).
    assert found.rank_correlation == pytest.approx(6 / np.pi * np.arcsin(0.5**1.5), abs=0.03)
    assert len(found.input_quantiles) == len(QUANTILE_LEVELS)
    assert found.input_quantiles[0] == _made().input_tokens.min()
    assert found.output_quantiles[-1] == _made().output_tokens.max()


def test_generated_is_like_fitted() -> None:
    statistics = fit(_made())
    again = fit(generate(statistics, requests=20_000, seed=5))
    assert again.rate_per_s == pytest.approx(statistics.rate_per_s, rel=0.06)
    assert again.gap_cv == pytest.approx(statistics.gap_cv, rel=0.06)
    assert again.rank_correlation == pytest.approx(statistics.rank_correlation, abs=0.02)
    for name in ("input_quantiles", "output_quantiles"):
        made, wanted = (np.array(getattr(each, name)) for each in (again, statistics))
        # The outermost levels lie beyond the last of 20,000 evenly spread ones.
        assert made[1:-1] == pytest.approx(wanted[1:-1], rel=0.02, abs=1)


def test_gaps_are_gamma_with_the_burstiness_asked_for() -> None:
    flat = (5.0,) * len(QUANTILE_LEVELS)
    base = TraceStatistics(
        rate_per_s=4.0,
        gap_cv=0.0,
        input_quantiles=flat,
        output_quantiles=flat,
        rank_correlation=0.0,
    )
    paced = generate(base, requests=9, seed=0)
    assert paced.arrival_s.tolist() == [i / 4 for i in range(9)]
    assert set(paced.input_tokens.tolist()) == {5}
    for cv in (0.5, 1.0, 3.0):
        told = summary(generate(replace(base, gap_cv=cv), requests=40_000, seed=1))
        assert told["rate_per_s"] == pytest.approx(4.0, rel=4 * cv / 200)
        assert told["gap_cv"] == pytest.approx(cv, rel=0.05)


def test_perfect_correlation_is_kept() -> None:
    ramp = tuple(1.0 + 1000 * level for level in QUANTILE_LEVELS)
    for sign in (1.0, -1.0):
        made = generate(
            TraceStatistics(
                rate_per_s=1.0,
                gap_cv=1.0,
                input_quantiles=ramp,
                output_quantiles=ramp,
                rank_correlation=sign,
            ),
            requests=300,
            seed=0,
        )
        order = np.argsort(made.input_tokens)
        assert (np.diff(made.output_tokens[order]) * sign >= 0).all()


def test_equal_seeds_give_equal_traces_and_one_request_is_enough() -> None:
    statistics = fit(_made())
    first, again, other = (generate(statistics, 100, seed) for seed in (1, 1, 2))
    assert first.arrival_s.tolist() == again.arrival_s.tolist()
    assert first.input_tokens.tolist() == again.input_tokens.tolist()
    assert first.input_tokens.tolist() != other.input_tokens.tolist()
    assert generate(statistics, 1, 0).arrival_s.tolist() == [0.0]


def test_mapping_round_trip_and_mistakes() -> None:
    statistics = fit(_made())
    plain = to_mapping(statistics)
    assert from_mapping(plain) == statistics
    with pytest.raises(ConfigError, match="gap_cv: is missing"):
        from_mapping({name: value for name, value in plain.items() if name != "gap_cv"})
    for name, value, words in (
        ("gap_vc", 1.0, "gap_vc: is not known"),
        ("rate_per_s", "fast", "a number is due"),
        ("rate_per_s", -1, "above 0"),
        ("gap_cv", float("nan"), "from 0 on"),
        ("rank_correlation", 2, r"\[-1, 1\]"),
        ("input_quantiles", 3, "a list of numbers"),
        ("input_quantiles", [1, 2], f"{len(QUANTILE_LEVELS)} numbers"),
        ("input_quantiles", [0.0] * len(QUANTILE_LEVELS), "from 1 token"),
        ("output_quantiles", [9.0, 8.0] + [9.0] * (len(QUANTILE_LEVELS) - 2), "must not fall"),
    ):
        with pytest.raises(ConfigError, match=words):
            from_mapping({**plain, name: value})
    with pytest.raises(ConfigError, match="at least 1"):
        generate(statistics, 0, 0)
    with pytest.raises(ConfigError, match="too short"):
        fit(generate(statistics, 1, 0))


def test_the_sample_is_made_from_its_sidecar_byte_for_byte(
    sidecar: dict[str, Any], tmp_path: Path
) -> None:
    made = generate(
        from_mapping(sidecar["statistics"]), requests=sidecar["requests"], seed=sidecar["seed"]
    )
    write_trace(made, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == SAMPLE.read_bytes()


def test_the_sample_is_like_the_recorded_trace(sidecar: dict[str, Any]) -> None:
    told = summary(read_trace(SAMPLE))
    wanted = sidecar["recorded"]
    assert told["requests"] == 2000
    # Arrivals are 2,000 random draws: three standard errors.
    assert told["rate_per_s"] == pytest.approx(wanted["rate_per_s"], rel=3 * 1.08 / np.sqrt(2000))
    assert told["gap_cv"] == pytest.approx(wanted["gap_cv"], rel=0.1)
    # Lengths are evenly spread quantiles: close by construction, except the very longest.
    for column in ("input_tokens", "output_tokens"):
        for name in ("mean", "p50", "p90", "p99"):
            assert told[column][name] == pytest.approx(wanted[column][name], rel=0.01)
        assert 0.7 * wanted[column]["max"] <= told[column]["max"] <= wanted[column]["max"]


def test_the_sidecar_states_the_recorded_trace(sidecar: dict[str, Any]) -> None:
    recorded = _recorded()
    assert to_mapping(fit(recorded)) == sidecar["statistics"]
    told = summary(recorded)
    for name, value in sidecar["recorded"].items():
        if isinstance(value, dict):
            assert told[name] == pytest.approx(value, rel=1e-5)
        else:
            assert told[name] == pytest.approx(value, rel=1e-5)
    assert sidecar["source"] in sidecar["sources"]
