"""What a paper prints, in a `published.csv` beside the code that recomputes it.

Columns: id, quantity, unit, published (a number or a quotient), tolerance (empty: shown, not
judged) with its reason, kind, source, and where needed `error_unit`, `at_least`, what is tolerated
without the paper's own rounding, and why a row that misses does (`open`).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from sim.evidence.reproduction import Reproduction, Row

Simulated = Any
"""A number, or the low end, the value and the high end of what is known."""


@cache
def published(paper: str) -> Mapping[str, Mapping[str, str]]:
    """The printed results of a paper as text, by id."""
    path = Path(__file__).parent / paper.replace("-", "_") / "published.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return {line["id"]: line for line in csv.DictReader(file)}


def printed(paper: str, id: str) -> float:
    """One printed number."""
    number, _, divisor = published(paper)[id]["published"].partition("/")
    return float(number) / float(divisor or 1.0)


def reproduction(
    paper: str,
    title: str,
    simulated: Mapping[str, Simulated],
    *,
    assumptions: Iterable[str] = (),
    tables: Mapping[str, Any] | None = None,
    rounding: bool = True,
) -> Reproduction:
    """Every printed result beside what is `simulated` for it, by id, in the printed order."""
    lines = published(paper)
    unlike = set(lines) ^ set(simulated)
    assert not unlike, f"printed or simulated alone: {', '.join(sorted(unlike))}"
    rows = tuple(_row(paper, id, simulated[id], rounding) for id in lines)
    missed = {row.id: lines[row.id].get("open", "") for row in rows if row.status == "miss"}
    return Reproduction(
        paper=paper,
        title=title,
        rows=rows,
        assumptions=tuple(assumptions),
        residuals={id: why for id, why in missed.items() if why},
        tables=tables or {},
    )


def _row(paper: str, id: str, simulated: Simulated, rounding: bool) -> Row:
    line: Mapping[str, Any] = published(paper)[id]
    tolerance = line.get("tolerance", "")
    if not rounding:
        tolerance = line.get("unrounded_tolerance") or tolerance
    low, value, high = simulated if isinstance(simulated, tuple) else (None, simulated, None)
    return Row(
        id=id,
        quantity=line["quantity"],
        unit=line["unit"],
        published=printed(paper, id),
        simulated=float(value),
        error_unit=line.get("error_unit", "relative"),
        tolerance=float(tolerance) if tolerance else None,
        reason=line.get("reason", ""),
        kind=line["kind"],
        source=line["source"],
        at_least=line.get("at_least") == "yes",
        bounds=None if low is None else (float(low), float(high)),
    )
