"""Sensitivity: which axes move a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sim.errors import ConfigError
from sim.studies.sweep.results import Results

if TYPE_CHECKING:
    import pandas as pd


def _ok(results: Results, column: str) -> pd.DataFrame:
    results.wanted([column])
    frame = results.frame
    keep = (frame["status"] == "ok").to_numpy() & np.isfinite(frame[column].to_numpy(float))
    if keep.sum() < 2:
        raise ConfigError(f"{column}: fewer than two points have a value")
    found: pd.DataFrame = frame[keep]
    return found


def main_effects(results: Results, column: str) -> pd.DataFrame:
    """Sobol indices of a result by axis, largest first: `first_order` and `total`, from 0 to 1.

    First order is the share of the variance that the axis alone explains, Var(E[y | axis]) /
    Var(y); total is what is left where all others are fixed, E[Var(y | others)] / Var(y). Exact on
    a full grid, levels equally likely; `total` is NaN for samples, where no two points differ in
    one axis alone. Sobol, Mathematics and Computers in Simulation 55, 2001.
    """
    import pandas as pd

    frame = _ok(results, column)
    values = frame[column].astype(float)
    variance = float(values.var(ddof=0))
    axes = results.main_axes
    rows = []
    for axis in axes:
        grouped = values.groupby(frame[axis], observed=True, dropna=False)
        counts, means = grouped.count(), grouped.mean()
        mean = float(np.average(means, weights=counts))
        between = float(np.average((means - mean) ** 2, weights=counts))
        rows.append(
            {
                "axis": axis,
                "levels": int(frame[axis].nunique(dropna=False)),
                "first_order": between / variance if variance else 0.0,
                "total": _total(frame, values, axis, axes, variance),
            }
        )
    made = pd.DataFrame(rows)
    return made.sort_values("first_order", ascending=False, kind="stable", ignore_index=True)


def _total(
    frame: pd.DataFrame, values: pd.Series[Any], axis: str, axes: list[str], variance: float
) -> float:
    others = [each for each in axes if each != axis]
    if not variance:
        return 0.0
    if not others:
        return 1.0
    grouped = values.groupby([frame[each] for each in others], observed=True, dropna=False)
    counts = grouped.count()
    if (counts < 2).all():
        return float("nan")
    within = grouped.var(ddof=0).fillna(0.0)
    return float(np.average(within, weights=counts)) / variance


def tornado(results: Results, column: str, at: pd.Series[Any] | None = None) -> pd.DataFrame:
    """Lowest and highest of a result as each axis moves alone, the widest first.

    All others stay as at the point `at`, a row of the table; the knee if none is given. Axes whose
    neighbours are not among the points (of a sample) are left out.
    """
    import pandas as pd

    point = results.knee() if at is None else at
    frame = _ok(results, column)
    axes = results.main_axes
    same = {axis: _equal(frame[axis], point[axis]) for axis in axes}
    rows = []
    for axis in axes:
        alone = np.ones(len(frame), bool)
        for other in axes:
            if other != axis:
                alone &= same[other]
        own = frame[alone]
        if len(own) < 2:
            continue
        ordered = own.sort_values(column, kind="stable")
        low, high = ordered.iloc[0], ordered.iloc[-1]
        rows.append(
            {
                "axis": axis,
                "low": float(low[column]), "low_at": low[axis],
                "high": float(high[column]), "high_at": high[axis],
                "base": float(point[column]), "base_at": point[axis],
                "span": float(high[column] - low[column]),
            }
        )  # fmt: skip
    columns = ["axis", "low", "low_at", "high", "high_at", "base", "base_at", "span"]
    made = pd.DataFrame(rows, columns=columns)
    return made.sort_values("span", ascending=False, kind="stable", ignore_index=True)


def _equal(column: pd.Series[Any], value: Any) -> Any:
    if value is None or value != value:
        return column.isna().to_numpy()
    return (column == value).to_numpy()
