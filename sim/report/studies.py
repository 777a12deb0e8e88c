"""Tables of a study: what it came to, its front, and which axes matter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sim.report.quantity import digits
from sim.report.tables import table
from sim.studies.pareto import front, hypervolume, scaled
from sim.studies.results import Results
from sim.studies.sensitivity import attribution, main_effects

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 20
"""Rows of a front that a terminal shows."""


def study_report(results: Results) -> RenderableType:
    """Everything `sim sweep` prints: counts, the front, and which axes explain it."""
    return Group(*_heading(results), *_front(results, ()), *_axes(results))


def front_report(results: Results, columns: Sequence[str]) -> RenderableType:
    """Everything `sim pareto` prints."""
    return Group(*_heading(results), *_front(results, columns))


def _heading(results: Results) -> list[Text]:
    about, frame = results.about, results.frame
    counts = frame["status"].value_counts()
    told = ", ".join(f"{int(counts[name]):,} {name}" for name in counts.index if counts[name])
    lines = [
        Text(str(about["title"]), style="bold"),
        Text(f"{len(frame):,} points, {about['fidelity']}: {told}"),
    ]
    reasons = frame.loc[frame["status"] != "ok", "reason"].value_counts()
    lines += [
        Text(f"  {int(count):,} x {why}") for why, count in list(reasons.items())[:5] if count
    ]
    if about["constraints"]:
        lines.append(Text(f"{int(results.good.sum()):,} keep {' and '.join(about['constraints'])}"))
    return lines


def _wanted(results: Results, columns: Sequence[str]) -> dict[str, str]:
    if not columns:
        return dict(results.objectives)
    return {column: results.objectives.get(column, "min") for column in columns}


def _front(results: Results, columns: Sequence[str]) -> list[RenderableType]:
    wanted = _wanted(results, columns)
    found = results.pareto(*columns)
    if found.empty:
        return [Text("No point is feasible and keeps the constraints.")]
    knee = results.knee(*columns).name
    named = ", ".join(f"{column} ({direction})" for column, direction in wanted.items())
    made = table(
        f"Front of {named}: {len(found):,} points, the knee marked *", "",
        *short_names(results).values(), *wanted, left=1 + len(results.axes),
    )  # fmt: skip
    for index, row in _picked(found, knee).iterrows():
        made.add_row(
            "*" if index == knee else "",
            *(_level(row[axis]) for axis in results.axes),
            *(digits(float(row[column])) for column in wanted),
        )
    lines: list[RenderableType] = [made]
    if len(found) > SHOWN:
        lines.append(Text(f"{SHOWN} of {len(found):,} shown, evenly; `sim report` has all"))
    share = volume(results, wanted)
    return [*lines, Text(f"Hypervolume {share:.4f} of the box between best and worst good point")]


def short_names(results: Results) -> dict[str, str]:
    """The shortest end of each axis's path that no other axis shares, with its unit."""
    units = {axis["paths"][0]: axis["unit"] for axis in results.about["axes"]}
    found: dict[str, str] = {}
    for path in results.axes:
        parts = path.split(".")
        for length in range(1, len(parts) + 1):
            end = ".".join(parts[-length:])
            alike = [each for each in results.axes if f".{each}".endswith(f".{end}")]
            if len(alike) == 1:
                break
        found[path] = f"{end}, {units[path]}" if units.get(path) else end
    return found


def _picked(found: pd.DataFrame, knee: Any) -> pd.DataFrame:
    """At most `SHOWN` rows, evenly spread, the knee among them."""
    if len(found) <= SHOWN:
        return found
    at = set(np.linspace(0, len(found) - 1, SHOWN - 1).astype(int).tolist())
    at.add(list(found.index).index(knee))
    return found.iloc[sorted(at)]


def _level(value: Any) -> str:
    if value is None or value != value:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def volume(results: Results, objectives: dict[str, str]) -> float:
    """Share of the box from the best to the worst of each objective that the front dominates."""
    values, _ = results.signed(objectives)
    if len(values) == 0:
        return math.nan
    low, high = values.min(axis=0), values.max(axis=0)
    own = scaled(values[front(values)], low, high)
    return hypervolume(own, np.ones(own.shape[1]))


def _axes(results: Results) -> list[RenderableType]:
    """Which axes explain the front, and each objective."""
    if not results.good.any() or not results.axes:
        return []
    made = table("Which axes explain the front", "axis", "explains", "front mostly at", "share",
                 "of all", left=1)  # fmt: skip
    for row in attribution(results).to_dict("records"):
        made.add_row(
            str(row["axis"]), f"{row['explains']:.2f}", _level(row["most"]), f"{row['share']:.0%}",
            f"{row['all']:.0%}",
        )  # fmt: skip
    return [made, _effects(results)]


def _effects(results: Results) -> Table:
    first = {column: main_effects(results, column).set_index("axis")["first_order"]
             for column in results.objectives}  # fmt: skip
    made = table("Share of the variance that an axis alone explains", "axis", *first)
    for axis in next(iter(first.values())).index:
        made.add_row(axis, *(f"{each[axis]:.2f}" for each in first.values()))
    return made


def study_summary(results: Results) -> dict[str, Any]:
    """What `sim sweep --json` prints."""
    frame = results.frame
    counts = {str(name): int(count) for name, count in frame["status"].value_counts().items()}
    return {
        "study": results.about["name"],
        "title": results.about["title"],
        "folder": str(results.folder),
        "points": len(frame),
        "status": counts,
        "good": int(results.good.sum()),
        **front_summary(results, ()),
    }


def front_summary(results: Results, columns: Sequence[str]) -> dict[str, Any]:
    """What `sim pareto --json` prints: objectives, front, knee, hypervolume."""
    wanted = _wanted(results, columns)
    found = results.pareto(*columns)
    share = volume(results, wanted)
    return {
        "objectives": wanted,
        "front": [_plain(row) for _, row in found.iterrows()],
        "knee": _plain(results.knee(*columns)) if len(found) else None,
        "hypervolume": None if math.isnan(share) else share,
    }


def _plain(row: pd.Series[Any]) -> dict[str, Any]:
    """A row as JSON has it: no NaN, no numpy."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if name == "key":
            found["key"] = f"{int(value):016x}"
        elif value is None or value != value:
            found[str(name)] = None
        else:
            found[str(name)] = value if isinstance(value, str) else float(value)
    return found
