"""Reproduction: printed results of a paper beside what the simulator computes for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from sim.notebook import html_table

SHOWN: Final = (
    "id", "quantity", "unit", "published", "simulated", "error_unit", "error", "tolerance",
    "kind", "status", "source",
)  # fmt: skip
"""What JSON has of every row."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One printed result. `tolerance` and `error` are in `error_unit`; None: shown, not judged.

    "relative" is (simulated - published) / published; "points" is their difference in hundredths,
    or in the quantity's own unit where it counts things. `at_least` judges only what falls short.
    `bounds` of the simulated value judge instead of a tolerance: the printed one must lie within.
    kind: "predicted" by the simulation; "calibrated" where constants were fitted on it; "identity"
    for arithmetic that can only fail by a mistake. `reason` is why so much is tolerated.
    """

    id: str
    quantity: str
    unit: str
    published: float
    simulated: float
    error_unit: Literal["relative", "points"] = "relative"
    tolerance: float | None
    reason: str = ""
    kind: Literal["predicted", "calibrated", "identity"] = "predicted"
    source: str
    at_least: bool = False
    bounds: tuple[float, float] | None = None

    @property
    def error(self) -> float:
        """Signed error in `error_unit`."""
        difference = self.simulated - self.published
        if self.at_least:
            difference = min(difference, 0.0)
        if self.error_unit == "relative":
            return difference / self.published
        return difference * (100.0 if self.unit in ("x", "share") else 1.0)

    @property
    def status(self) -> Literal["pass", "miss", "info"]:
        """Whether the error is within the tolerance."""
        if self.bounds is not None:
            return "pass" if self.bounds[0] <= self.published <= self.bounds[1] else "miss"
        if self.tolerance is None:
            return "info"
        return "pass" if abs(self.error) <= self.tolerance * (1.0 + 1e-9) else "miss"

    def to_json(self) -> dict[str, Any]:
        """The row as plain values."""
        ends = {} if self.bounds is None else dict(zip(("low", "high"), self.bounds, strict=True))
        return {name: getattr(self, name) for name in SHOWN} | ends


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """All rows of a paper, what they rest on, and why those that miss do.

    `residuals` has a sentence by row id; `tables` rows of figures whose bars are not printed.
    """

    paper: str
    title: str
    rows: tuple[Row, ...]
    assumptions: Sequence[str] = ()
    residuals: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        names = ("id", "quantity", "unit", "published", "simulated", "error", "status")
        rows = [[getattr(row, name) for name in names] for row in self.rows]
        return html_table(self.title, names, rows)

    @property
    def summary(self) -> Mapping[str, int]:
        """Rows by status."""
        statuses = [row.status for row in self.rows]
        return {status: statuses.count(status) for status in ("pass", "miss", "info")}

    def to_json(self) -> dict[str, Any]:
        """The reproduction as plain values, figures' tables left out."""
        return {
            "paper": self.paper,
            "title": self.title,
            "summary": self.summary,
            "assumptions": list(self.assumptions),
            "rows": [row.to_json() for row in self.rows],
            "residuals": dict(self.residuals),
        }
