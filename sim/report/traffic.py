"""The table of `sim trace summarize`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from sim.report.tables import table
from sim.results.quantity import digits, si
from sim.results.statistics import STATISTICS


def summary_report(about: Mapping[str, Any]) -> RenderableType:
    """Counts and rate of a trace, then its lengths."""
    lengths = table("Lengths, tokens", "", *STATISTICS, "total")
    for side in ("input", "output"):
        spread = about[f"{side}_tokens"]
        total = f"{about[f'total_{side}_tokens']:,}"
        lengths.add_row(side, *(digits(spread[column], 4) for column in STATISTICS), total)
    classes = about.get("priorities")
    return Group(
        Text(
            f"{about['name']}: {about['requests']:,} requests in {si(about['duration_s'], 's')}, "
            f"{digits(about['rate_per_s'])}/s; gaps vary by {digits(about['gap_cv'])} of their "
            "mean (1 is Poisson)"
            + (f"; {about['dropped']:,} rows without output dropped" if about["dropped"] else "")
        ),
        *([] if classes is None else [Text(f"Priorities: {_counted(classes)}")]),
        lengths,
    )


def _counted(classes: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} of class {name}" for name, count in classes.items())
