"""Do the tables of the HNLPU paper come out, and is the page that says so current?"""

from __future__ import annotations

from pathlib import Path

import pytest

import sim
from sim.config.document import parse_document
from sim.config.inputs import InputsForm
from sim.config.validate import validated
from sim.errors import ConfigError, Infeasible
from sim.evidence.papers import reproduce
from sim.mapping.hardwired import Grid, chips_needed, weights_per_chip
from sim.report.evidence import reproduction_page
from sim.workload.layers import build_graph

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "reproduce-hnlpu.md"


def test_every_row_passes_or_is_shown_only() -> None:
    found = reproduce("hnlpu")
    assert [row.id for row in found.rows if row.status == "miss"] == []
    assert sum(row.status == "pass" for row in found.rows) >= 120
    assert (
        sum(row.kind == "calibrated" for row in found.rows) == 19
    )  # 2K bars, stall, rate, power, upkeep, operators
    assert PAGE.read_text(encoding="utf-8") == reproduction_page(found)


def test_without_rounding_the_printed_roundings_show() -> None:
    rows = {row.id: row for row in reproduce("hnlpu", rounding=False).rows}
    assert rows["H9-good"].simulated == pytest.approx(26.7, abs=0.1)
    assert rows["H9-electricity-1-low"].simulated == pytest.approx(0.0241, abs=1e-4)


def test_a_grid_must_divide_the_experts_and_blocks_must_leave_room() -> None:
    graph = build_graph(sim.load_model("gpt-oss-120b"))
    with pytest.raises(Infeasible, match="128 experts do not divide over 25 chips"):
        weights_per_chip(graph, Grid(rows=5, columns=5))
    assert chips_needed(graph, 0.0788e-6, 254.0, 858.0) == 16
    with pytest.raises(Infeasible, match="the reticle has 858"):
        chips_needed(graph, 0.0788e-6, 900.0, 858.0)


@pytest.mark.parametrize(
    ("line", "words"),
    [("x: -1", "a number from 0 on"), ("x: {low: 3, high: 2}", "low 3 is above high 2")],
)
def test_wrong_inputs_are_one_clear_error(line: str, words: str) -> None:
    text = f"title: t\nsource: s\nnumbers:\n  {line}\n"
    with pytest.raises(ConfigError, match=words):
        validated(InputsForm, parse_document(text, "inputs.yaml"))
