"""Summary: counts, bounds and effects of a study, found in one pass over its parts."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sim.errors import ConfigError
from sim.studies.sweep.pareto import hypervolume, scaled
from sim.studies.sweep.results import Results

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]


@dataclass(kw_only=True, eq=False)
class Moments:
    """Count, sum and squares of a column, all and by level of an axis, about a first value."""

    shift: float | None = None
    all: Floats = field(default_factory=lambda: np.zeros(3))
    levels: dict[str, dict[Any, Floats]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, table: pd.DataFrame, column: str, axes: list[str]) -> None:
        """Add the points of a table that have a value."""
        values = table[column].to_numpy(float)
        keep = np.isfinite(values)
        if not keep.any():
            return
        if self.shift is None:
            self.shift = float(values[keep][0])
        shifted = values[keep] - self.shift
        self.all += [len(shifted), shifted.sum(), (shifted * shifted).sum()]
        for axis in axes:
            codes, names = table[axis].iloc[keep.nonzero()[0]].factorize(use_na_sentinel=False)
            counts = np.bincount(codes, minlength=len(names))
            sums = np.bincount(codes, weights=shifted, minlength=len(names))
            for name, count, total in zip(names, counts, sums, strict=True):
                level = self.levels[axis].setdefault(_name(name), np.zeros(2))
                level += [count, total]

    def first_order(self, axis: str) -> float:
        """Share of the variance that the axis alone explains."""
        count, total, squares = self.all
        if count < 2:
            return math.nan
        mean = total / count
        variance = squares / count - mean**2
        if variance <= 1e-12 * max(squares / count, 1e-300):
            return 0.0
        between = sum(n * (s / n - mean) ** 2 for n, s in self.levels[axis].values()) / count
        return float(between / variance)


def _count(counter: Counter[str], column: pd.Series[Any]) -> None:
    for name, count in column.value_counts().items():
        counter[str(name)] += int(count)


def _order(item: tuple[Any, int]) -> str:
    """Levels in an order that does not depend on that of the parts."""
    return str(item[0])


def _name(level: Any) -> Any:
    return "(inactive)" if level is None or level != level else level


@dataclass(frozen=True, kw_only=True, eq=False)
class Summary:
    """What a study came to; `low` and `high` are of good points, all objectives to minimise."""

    points: int
    good: int
    status: Mapping[str, int]
    reasons: Mapping[str, int]
    levels: Mapping[str, Mapping[Any, int]]
    """Good points by axis and level."""
    moments: Mapping[str, Moments]
    low: Floats
    high: Floats


def summarize(results: Results, directions: Mapping[str, str] | None = None) -> Summary:
    """The summary of a study under objectives, its own if nothing is said."""
    objectives = dict(directions or results.wanted())
    axes = results.main_axes
    status: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    levels: dict[str, Counter[Any]] = {axis: Counter() for axis in axes}
    moments = {column: Moments() for column in objectives}
    low, high = np.full(len(objectives), np.inf), np.full(len(objectives), -np.inf)
    points = good = 0
    for table in results.tables():
        points += len(table)
        _count(status, table["status"])
        _count(reasons, table.loc[table["status"] != "ok", "reason"])
        values, rows = results.signed(table, objectives)
        good += len(rows)
        if len(rows):
            low = np.minimum(low, values.min(axis=0))
            high = np.maximum(high, values.max(axis=0))
        for axis in axes:
            counts = table[axis].iloc[rows].value_counts(dropna=False)
            levels[axis].update({_name(name): int(count) for name, count in counts.items()})
        ok = table[np.array(table["status"] == "ok")]
        for column, column_moments in moments.items():
            column_moments.add(ok, column, axes)
    return Summary(
        points=points, good=good, status={k: v for k, v in status.items() if v},
        reasons={k: v for k, v in reasons.most_common() if v}, levels=levels, moments=moments,
        low=low, high=high,
    )  # fmt: skip


def volume(results: Results, summary: Summary, directions: Mapping[str, str]) -> float:
    """Share of the box from the best to the worst of each objective that the front dominates.

    `summary` is under the same objectives. NaN without any good point.
    """
    if not summary.good:
        return math.nan
    values, _ = results.signed(results.pareto(objectives=directions, per=()), directions)
    unit_values = scaled(values, summary.low, summary.high)
    return hypervolume(unit_values, np.ones(unit_values.shape[1]))


def attribution(results: Results, summary: Summary | None = None) -> pd.DataFrame:
    """How much each axis explains the front, most first.

    `explains` is the total variation distance between its levels on the front and among all good
    points, from 0 (the front has them as often) to 1; `most` is the level the front has most, with
    its `share` of the front and of `all` points. Axes that are given are left out.
    """
    import pandas as pd

    counts = summary or summarize(results)
    if not counts.good:
        raise ConfigError("no point is feasible and keeps the constraints")
    best = results.pareto()
    rows = []
    for axis in (name for name in results.main_axes if name not in results.per):
        on_front = Counter(_name(each) for each in best[axis])
        shares = {level: (on_front[level] / len(best), count / counts.good)
                  for level, count in sorted(counts.levels[axis].items(), key=_order)}  # fmt: skip
        most = max(shares, key=lambda level: shares[level][0])
        rows.append(
            {
                "axis": axis,
                "explains": sum(abs(front - whole) for front, whole in shares.values()) / 2.0,
                "most": most,
                "share": shares[most][0],
                "all": shares[most][1],
            }
        )
    table = pd.DataFrame(rows, columns=["axis", "explains", "most", "share", "all"])
    return table.sort_values("explains", ascending=False, kind="stable", ignore_index=True)
