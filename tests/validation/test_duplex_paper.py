"""Do the printed results of the Duplex paper come out, and is the page that says so current?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sim.evidence.papers import reproduce
from sim.evidence.papers.duplex.systems import released_split
from sim.evidence.reproduction import Reproduction
from sim.report.evidence import reproduction_page

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "reproduce-duplex.md"
TARGETS = (
    "T1", "T2", "T3a", "T3b", "T4a", "T4b", "T5", "T9a", "T9b", "T11a", "T11b", "T13-mixtral",
    "T13-glam", "T13-grok", "T15", "T16", "F5c-2048-4096", "F5c-4096-4096", "F5c-8192-4096", "F8",
)  # fmt: skip
OPEN = {"T9a", "T11a"}
"""Outside their tolerance, as the page says; a row that leaves this set must leave the page too."""


@pytest.fixture(scope="module")
def found() -> Reproduction:
    return reproduce("duplex")


def test_targets_pass_but_for_the_open_ones(found: Reproduction) -> None:
    rows = {row.id: row for row in found.rows}
    missed = {name for name in TARGETS if rows[name].status != "pass"}
    assert missed == OPEN
    assert set(found.residuals) == OPEN
    assert len(missed) <= 0.2 * len(TARGETS)


def test_what_is_exact_is_exact(found: Reproduction) -> None:
    assert [row.id for row in found.rows if row.kind == "identity" and row.status != "pass"] == []
    released = [row for row in found.rows if row.id.startswith("S12")]
    assert len(released) == 7
    assert all(row.status == "pass" for row in released)


def test_page_is_what_the_command_writes(found: Reproduction) -> None:
    assert PAGE.read_text(encoding="utf-8") == reproduction_page(found)


def test_released_split_leaves_few_tokens_in_memory_and_moves_the_largest() -> None:
    """Four spaces of one expert: Logic-PIM is taken four times as fast up to 10.7 tokens."""
    own = np.array([[[8.0], [8.0], [8.0], [8.0]], [[8.0], [8.0], [8.0], [200.0]]])
    stays = released_split(own, np.zeros((2, 4)), np.zeros((2, 4)))
    assert stays.tolist() == [[True] * 4, [True, True, True, False]]
