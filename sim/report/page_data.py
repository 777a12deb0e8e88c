"""Page data: everything the HTML report of a study shows, as plain values and packed columns."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sim.config import library
from sim.config.scenarios import load_document
from sim.errors import ConfigError
from sim.report.bands import LEVELS
from sim.report.studies import short_names
from sim.report.thinning import Thinned, thinned
from sim.results.metrics import column_of
from sim.results.provenance import provenance
from sim.studies.sweep.results import Results
from sim.studies.sweep.sensitivity import main_effects, tornado
from sim.studies.sweep.study import LEVEL, load_study
from sim.studies.sweep.summary import Summary, attribution, summarize

if TYPE_CHECKING:
    import pandas as pd

REASONS: Final = 20
"""Reasons for points without results that are told one by one."""
MOST_EFFECTS: Final = 4_000_000
"""Points up to which effects that need the whole table at once are worth their time."""
GOOD, FRONT, KNEE = 1, 2, 4
"""Bits of `flags`, as explorer.js reads them."""


def page_data(results: Results) -> dict[str, Any]:
    """What the page is made of; equal results give equal values."""
    summary, points = summarize(results), thinned(results)
    about = results.about
    origin = _provenance(about)
    return {
        **_heading(results, summary, points),
        "base": _base(about, origin),
        "axes": _axes(results, points.table),
        "results": [_column(results, points.table, name) for name in about["columns"]],
        "rows": len(points.table),
        "known": _known(points.table),
        "keys": _packed(points.table["key"].to_numpy(), "<u8"),
        "flags": _packed(points.good * GOOD | points.front * FRONT | points.knee * KNEE, "u1"),
        "sensitivity": _sensitivity(results, summary),
        "provenance": origin,
    }


def _heading(results: Results, summary: Summary, points: Thinned) -> dict[str, Any]:
    about = results.about
    reasons = list(summary.reasons.items())
    return {
        **{name: about.get(name) for name in ("title", "name", "fidelity", "load")},
        "version": about["version"],
        "identity": about["identity"],
        "objectives": dict(about["objectives"]),
        "constraints": list(about["constraints"]),
        "per": results.per,
        "points": summary.points,
        "status": dict(sorted(summary.status.items())),
        "reasons": reasons[:REASONS],
        "more_reasons": len(reasons[REASONS:]),
        "good": int(summary.good),
        "feasible": points.feasible,
        "front": points.whole_front,
    }


def _packed(values: Any, kind: str) -> str:
    """Values as the base64 of a little-endian array."""
    return base64.b64encode(np.ascontiguousarray(values).astype(kind).tobytes()).decode("ascii")


def _column(results: Results, table: pd.DataFrame, name: str) -> dict[str, Any]:
    column = column_of(name)
    packed = {
        "name": name, "label": column.text, "unit": column.unit, "better": results.better(name),
        "data": _packed(table[name].to_numpy(float), "<f8"),
    }  # fmt: skip
    if name in results.banded and f"{name}_low" in table:
        ends = {end: table[f"{name}_{end}"].to_numpy(float) for end in ("low", "high")}
        packed |= {end: _packed(values, "<f4") for end, values in ends.items()}
    return packed


def _known(table: pd.DataFrame) -> list[dict[str, Any]]:
    """How well times are known: points by level, with what it means; none of an older study."""
    if LEVEL not in table:
        return []
    counts = table[LEVEL].astype(object).value_counts()
    return [
        {"level": level, "means": words, "points": int(counts[level])}
        for level, words in LEVELS.items()
        if level in counts
    ]


def _axes(results: Results, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Every path of every axis: its levels as text, as numbers where they are, and the points'."""
    labels, axes = short_names(results), []
    for axis in results.about["axes"]:
        for position, path in enumerate(axis["paths"]):
            texts = list(dict.fromkeys(level[position] for level in axis["levels"]))
            unit = axis["unit"] if position == 0 else ""
            label = labels[path].removesuffix(f", {unit}") if unit else labels[path]
            column = table[path]
            numeric = column.dtype.kind in "fiu"
            read = partial(_number, unit=unit) if numeric else str
            codes = _positions(column, texts, unit, read)
            axes.append(
                {
                    "name": path, "label": label, "unit": unit, "main": axis["paths"][0],
                    "levels": texts,
                    "numbers": [_number(each, unit) for each in texts] if numeric else None,
                    "data": _packed(codes, "<i4"),
                }
            )  # fmt: skip
    return axes


def _number(value: Any, unit: str) -> float:
    return float(str(value).removesuffix(unit))


def _positions(
    column: pd.Series[Any], texts: list[str], unit: str, read: Callable[[Any], Any]
) -> list[int]:
    """Positions of a column's values among `texts`, which `read` turns into values; -1 for none.

    Values that are not there yet are added: levels the study has no more, but its folder still.
    """
    known = {read(text): index for index, text in enumerate(texts)}
    for value in sorted({read(value) for value in column.dropna().unique()} - set(known)):
        known[value] = len(texts)
        texts.append(f"{value} {unit}".strip())
    return [-1 if value is None or value != value else known[read(value)] for value in column]


def _sensitivity(results: Results, summary: Summary) -> dict[str, Any]:
    """Which axes explain the front, and what each does to every objective."""
    if not summary.good or not results.main_axes:
        return {"attribution": [], "effects": []}
    whole = summary.points <= MOST_EFFECTS
    return {
        "attribution": _records(attribution(results, summary)),
        "effects": [
            {
                "column": column,
                "shares": _shares(results, column, whole) or _streamed(results, summary, column),
                "tornado": _tornado(results, column) if whole else [],
            }
            for column in results.objectives
        ],
    }


def _shares(results: Results, column: str, whole: bool) -> list[dict[str, Any]]:
    try:
        return _records(main_effects(results, column)) if whole else []
    except ConfigError:  # fewer than two points have a value
        return []


def _streamed(results: Results, summary: Summary, column: str) -> list[dict[str, Any]]:
    """First-order shares alone, which need no more than a pass over the parts."""
    shares = [
        {"axis": axis, "first_order": _finite(summary.moments[column].first_order(axis)),
         "total": None}
        for axis in results.main_axes
    ]  # fmt: skip
    return sorted(shares, key=lambda row: -(row["first_order"] or 0.0))


def _tornado(results: Results, column: str) -> list[dict[str, Any]]:
    try:
        return _records(tornado(results, column))
    except ConfigError:
        return []


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): _finite(value) for name, value in row.items()}
            for row in table.to_dict("records")]  # fmt: skip


def _finite(value: Any) -> Any:
    """A value as JSON has it: None for what is not a number, nine digits of what is.

    Sums over parts differ in the last digits with the order of the parts.
    """
    if isinstance(value, str) or value is None:
        return value
    number = float(value)
    return float(f"{number:.9g}") if math.isfinite(number) else None


def _provenance(about: Mapping[str, Any]) -> dict[str, Any] | None:
    """Sources of the base scenario, where it can be found as it was."""
    try:
        if "base" in about:
            scenario = load_document(library.document_of("scenarios", about["base"])[1])
        else:
            study = load_study(about["name"])
            if not _same(about, study.title, [axis.paths for axis in study.space.axes]):
                return None
            scenario = load_document(study.base)
    except ConfigError:
        return None
    return provenance(scenario) | {"scenario": scenario.name}


def _base(about: Mapping[str, Any], origin: Mapping[str, Any] | None) -> str | None:
    """What `sim run` calls the base scenario; None where it has no name of its own."""
    base = about.get("base")
    if isinstance(base, str):
        return base
    name = None if origin is None else str(origin["scenario"])
    return name if name in library.names("scenarios") else None


def _same(about: Mapping[str, Any], title: str, paths: Sequence[Sequence[str]]) -> bool:
    """Whether a study of the library is the one that `about` tells of."""
    studied = [list(axis["paths"]) for axis in about["axes"]]
    return bool(about["title"] == title and studied == [list(each) for each in paths])
