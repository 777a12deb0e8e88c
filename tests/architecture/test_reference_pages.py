"""Do the reference pages say what the code says?"""

from __future__ import annotations

from reference_pages import PAGE, written

from sim.results.metrics import METRICS


def test_the_table_of_metrics_is_current() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == written(page), "write it anew: python tests/architecture/reference_pages.py"


def test_every_metric_has_a_text_and_exists_somewhere() -> None:
    for metric in METRICS:
        assert metric.text.endswith(".")
        assert metric.simulated or metric.steady
    assert len({metric.key for metric in METRICS}) == len(METRICS)
