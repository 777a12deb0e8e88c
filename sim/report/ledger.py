"""The ledger of a system, for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType

from sim.economics.lines import Ledger
from sim.report.tables import table
from sim.results.quantity import digits


def ledger_report(ledger: Ledger) -> RenderableType:
    """Everything `sim cost` prints: lines with their formulas, then totals."""
    lines = table(
        f"Cost of {ledger.system} ({ledger.basis})",
        "line",
        "unit",
        "low",
        "base",
        "high",
        "formula",
        "sources",
        left=2,
    )
    for line in ledger.lines:
        lines.add_row(
            line.name, line.unit, *map(digits, line.bounds), line.formula,
            ", ".join(line.sources),
        )  # fmt: skip
    totals = table("Totals", "total", "low", "base", "high")
    for name, value in ledger.totals.items():
        ends = ("-",) * 3 if value is None else tuple(digits(float(each)) for each in value)
        totals.add_row(name, *ends)
    return Group(lines, totals)
