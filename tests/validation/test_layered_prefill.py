"""Layered Prefill: what of its tables the simulator gives, and what it doesn't."""

from __future__ import annotations

import pytest

from sim.config.catalogue import load_system
from sim.evidence.papers import layered_prefill, reproduce
from sim.evidence.papers.layered_prefill.laboratory import one_prompt
from sim.evidence.reproduction import Reproduction

MISSES = {
    "e-ttft", "e-ttft-p99", "e-tbt", "e-tbt-p99", "d-arxiv", "f-ttft", "f-itl-p50", "f-e2e",
}  # fmt: skip
"""Rows outside their tolerance, each with its reason in the reproduction."""


@pytest.fixture(scope="module")
def found() -> Reproduction:
    return reproduce("layered-prefill", figures=True)


def test_rows_that_miss_are_known_and_explained(found: Reproduction) -> None:
    assert {row.id for row in found.rows if row.status == "miss"} == MISSES
    assert set(found.residuals) == MISSES


def test_enough_rows_are_predicted(found: Reproduction) -> None:
    predicted = [row for row in found.rows if row.kind == "predicted" and row.status == "pass"]
    assert len(predicted) >= 18
    assert len(found.rows) >= 20


def test_one_row_calibrates_the_bytes_and_the_others_follow(found: Reproduction) -> None:
    rows = {row.id: row for row in found.rows}
    for chunk in (1024, 2048, 4096, 8192):
        row = rows[f"a-{chunk}-bytes"]
        assert row.kind == "predicted"
        assert abs(row.error) <= 0.05
    assert rows["a-512-bytes"].kind == "calibrated"


def test_more_groups_mean_smaller_gaps_and_a_later_first_token(found: Reproduction) -> None:
    table = found.tables["groups"]
    assert [row["groups"] for row in table] == list(layered_prefill.GROUP_COUNTS)
    gaps = [row["tbt_p99_s"] for row in table]
    firsts = [row["ttft_s"] for row in table]
    assert gaps == sorted(gaps, reverse=True)
    assert firsts == sorted(firsts)


def test_the_set_up_gives_equal_results_each_time() -> None:
    system = load_system("h100-x2")
    one, other = (one_prompt(system, 2048) for _ in "ab")
    assert one.to_json() == other.to_json()
