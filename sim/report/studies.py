"""Tables of a study: what it came to, its front, and which axes matter."""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sim.report.plots import levels_of
from sim.report.tables import table
from sim.results.quantity import digits
from sim.studies.sweep.results import Results
from sim.studies.sweep.summary import Summary, attribution, summarize, volume

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 20
"""Rows of a front that a terminal shows."""


def study_report(results: Results) -> RenderableType:
    """Everything `sim sweep` prints: counts, the front, and which axes explain it."""
    directions = results.wanted()
    summary = summarize(results, directions)
    return Group(
        *_heading(results, summary), *_front(results, directions, summary), *_axes(results, summary)
    )


def front_report(results: Results, columns: Sequence[str]) -> RenderableType:
    """Everything `sim pareto` prints."""
    directions = results.wanted(columns)
    summary = summarize(results, directions)
    return Group(*_heading(results, summary), *_front(results, directions, summary))


def _heading(results: Results, summary: Summary) -> list[Text]:
    about = results.about
    counts = ", ".join(f"{count:,} {name}" for name, count in summary.status.items())
    lines = [
        Text(str(about["title"]), style="bold"),
        Text(f"{summary.points:,} points, {about['fidelity']}: {counts}"),
    ]
    lines += [Text(f"  {count:,} x {why}") for why, count in list(summary.reasons.items())[:5]]
    if about["constraints"]:
        lines.append(Text(f"{summary.good:,} keep {' and '.join(about['constraints'])}"))
    return lines


def _front(results: Results, directions: dict[str, str], summary: Summary) -> list[RenderableType]:
    if not summary.good:
        return [Text("No point is feasible and keeps the constraints.")]
    front = results.pareto(objectives=directions)
    knees = set(results.knees(*directions)["key"])
    objectives = ", ".join(f"{column} ({direction})" for column, direction in directions.items())
    each = f" for each of {', '.join(results.per)}" if results.per else ""
    shown = table(
        f"Front of {objectives}{each}: {len(front):,} points, "
        f"{'each' if each else 'its'} knee marked *",
        "",
        *short_names(results).values(), *directions, left=1 + len(results.axes),
    )  # fmt: skip
    for _, row in _picked(front, knees).iterrows():
        shown.add_row(
            "*" if row["key"] in knees else "",
            *(_level(row[axis]) for axis in results.axes),
            *(_within(row, column, results) for column in directions),
        )
    lines: list[RenderableType] = [shown]
    if note := levels_of(front):
        lines.append(Text(note.replace("Bars", "In brackets"), style="dim"))
    if len(front) > SHOWN:
        lines.append(Text(f"{SHOWN} of {len(front):,} shown, evenly; `sim report` has all"))
    share = volume(results, summary, directions)
    return [*lines, Text(f"Hypervolume {share:.4f} of the box between best and worst good point")]


def _within(row: pd.Series[Any], column: str, results: Results) -> str:
    """A value of a point, with its band where it has one."""
    value = digits(float(row[column]))
    if column not in results.about.get("banded", ()) or f"{column}_low" not in row:
        return value
    low, high = (digits(float(row[f"{column}_{end}"]), 2) for end in ("low", "high"))
    return f"{value} ({low} to {high})"


def short_names(results: Results) -> dict[str, str]:
    """The shortest end of each axis's path that no other axis shares, with its unit."""
    units = {axis["paths"][0]: axis["unit"] for axis in results.about["axes"]}
    names: dict[str, str] = {}
    for path in results.axes:
        parts = path.split(".")
        for length in range(1, len(parts) + 1):
            end = ".".join(parts[-length:])
            alike = [each for each in results.axes if f".{each}".endswith(f".{end}")]
            if len(alike) == 1:
                break
        names[path] = f"{end}, {units[path]}" if units.get(path) else end
    return names


def _picked(front: pd.DataFrame, knees: Set[Any]) -> pd.DataFrame:
    """Rows evenly spread, at most `SHOWN` beside the knees, which are among them."""
    if len(front) <= SHOWN:
        return front
    bends = np.flatnonzero(front["key"].isin(knees).to_numpy()).tolist()
    at = set(np.linspace(0, len(front) - 1, max(SHOWN - len(bends), 2)).astype(int).tolist())
    at |= set(bends)
    return front.iloc[sorted(at)]


def _level(value: Any) -> str:
    if value is None or value != value:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _axes(results: Results, summary: Summary) -> list[RenderableType]:
    """Which axes explain the front, and each objective."""
    if not summary.good or not results.axes:
        return []
    shown = table("Which axes explain the front", "axis", "explains", "front mostly at", "share",
                 "of all", left=1)  # fmt: skip
    for row in attribution(results, summary).to_dict("records"):
        shown.add_row(
            str(row["axis"]), f"{row['explains']:.2f}", _level(row["most"]), f"{row['share']:.0%}",
            f"{row['all']:.0%}",
        )  # fmt: skip
    return [shown, _effects(results, summary)]


def _effects(results: Results, summary: Summary) -> Table:
    shown = table("Share of the variance that an axis alone explains", "axis", *summary.moments)
    for axis in results.main_axes:
        shown.add_row(axis, *(f"{each.first_order(axis):.2f}" for each in summary.moments.values()))
    return shown


def study_summary(results: Results) -> dict[str, Any]:
    """What `sim sweep --json` prints."""
    summary = summarize(results)
    return {
        "study": results.about["name"],
        "title": results.about["title"],
        "folder": str(results.folder),
        "points": summary.points,
        "status": dict(summary.status),
        "good": summary.good,
        **front_summary(results, (), summary),
    }


def front_summary(
    results: Results, columns: Sequence[str], summary: Summary | None = None
) -> dict[str, Any]:
    """What `sim pareto --json` prints: objectives, front, knee, hypervolume."""
    directions = results.wanted(columns)
    share = volume(results, summary or summarize(results, directions), directions)
    front = results.pareto(objectives=directions)
    return {
        "objectives": directions,
        "per": results.per,
        "front": [_plain(row) for _, row in front.iterrows()],
        "knee": _plain(results.knee(*directions)) if len(front) else None,
        "knees": [_plain(row) for _, row in results.knees(*directions).iterrows()]
        if len(front)
        else [],
        "hypervolume": None if math.isnan(share) else share,
    }


def _plain(row: pd.Series[Any]) -> dict[str, Any]:
    """A row as JSON has it: no NaN, no numpy."""
    plain: dict[str, Any] = {}
    for name, value in row.items():
        if name == "key":
            plain["key"] = f"{int(value):016x}"
        elif value is None or value != value:
            plain[str(name)] = None
        else:
            plain[str(name)] = value if isinstance(value, str) else float(value)
    return plain
