"""Published estimates of public chips: their cost and carbon lie within the ledger's bounds."""

from __future__ import annotations

from pathlib import Path

from sim.evidence.papers import reproduce
from sim.report.evidence import reproduction_page

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "cost-of-public-chips.md"


def test_figures_lie_within_bounds_or_say_why_not() -> None:
    found = reproduce("public_chips")
    rows = {row.id: row for row in found.rows}
    assert len({row.quantity.split(",")[0] for row in found.rows}) >= 8
    assert {key for key, row in rows.items() if row.status == "miss"} == set(found.residuals)
    assert sum(row.status == "pass" for row in found.rows) >= 0.8 * len(rows)
    for row in found.rows:
        assert row.bounds is not None
        assert row.bounds[0] <= row.simulated <= row.bounds[1]
        assert row.bounds[1] / row.bounds[0] < 6.0, "bounds so wide say nothing"
    assert [key for key, row in rows.items() if row.kind == "calibrated"] == ["C3-h100"]


def test_no_figure_is_an_input() -> None:
    """The board of an H100 is; nothing else may equal what it is checked against."""
    for row in reproduce("public_chips").rows:
        assert row.simulated != row.published, row.id


def test_the_page_is_what_the_command_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == reproduction_page(reproduce("public_chips"))
