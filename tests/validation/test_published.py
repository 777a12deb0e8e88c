"""Is every printed result of a paper in order: judged with a reason, and each simulated?"""

from __future__ import annotations

import pytest

from sim.evidence.papers import PAPERS
from sim.evidence.papers.published import printed, published, reproduction


@pytest.mark.parametrize("paper", PAPERS)
def test_printed_results_are_sourced_and_tolerances_have_reasons(paper: str) -> None:
    lines = published(paper)
    assert len(lines) >= 15
    for id, line in lines.items():
        assert line["quantity"], id
        assert line["source"], id
        assert line["kind"] in ("predicted", "calibrated", "identity"), id
        assert line.get("error_unit", "relative") in ("relative", "points"), id
        assert bool(line.get("tolerance")) == bool(line.get("reason")), id
        assert isinstance(printed(paper, id), float)


def test_a_result_that_is_only_printed_or_only_simulated_is_our_bug() -> None:
    with pytest.raises(AssertionError, match="H2-chip"):
        reproduction("hnlpu", "t", {})


def test_a_printed_quotient_is_its_value() -> None:
    assert printed("layered-prefill", "f-ttft") == 712.84 / 1018.75
