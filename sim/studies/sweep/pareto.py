"""Pareto: the points that none other beats in everything, and what they are worth together.

All values are to be minimised, [point, objective].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]


def signed(table: pd.DataFrame, objectives: Mapping[str, str]) -> Floats:
    """Objectives of a table's points, those to maximise ("max") negated."""
    columns = [
        table[column].to_numpy(float) * (-1.0 if direction == "max" else 1.0)
        for column, direction in objectives.items()
    ]
    return np.stack(columns, axis=1)


def front(values: Floats) -> npt.NDArray[np.bool_]:
    """Which points are non-dominated; equal ones all are."""
    if len(values) == 0:
        return np.zeros(0, bool)
    if not np.isfinite(values).all():
        raise ValueError("values must be finite: drop the others, and count them")
    if values.shape[1] == 1:
        return np.asarray(values[:, 0] == values[:, 0].min())
    import moocore

    return np.asarray(moocore.is_nondominated(values, keep_weakly=True), bool)


def ranks(values: Floats) -> npt.NDArray[np.int64]:
    """Non-dominated rank: 0 for the front, 1 for the front of the rest, and so on."""
    if len(values) == 0:
        return np.zeros(0, np.int64)
    if values.shape[1] == 1:
        return np.asarray(np.unique(values[:, 0], return_inverse=True)[1], np.int64)
    import moocore

    return np.asarray(moocore.pareto_rank(values), np.int64)


def hypervolume(values: Floats, reference: Floats) -> float:
    """Volume that the points dominate below `reference`; points beyond it add nothing."""
    if len(values) == 0:
        return 0.0
    import moocore

    return float(moocore.hypervolume(values, ref=np.asarray(reference, float)))


def scaled(values: Floats, low: Floats, high: Floats) -> Floats:
    """Values from 0 at `low` to 1 at `high` of each objective."""
    return np.asarray((values - low) / np.where(high > low, high - low, 1.0))


def knee(values: Floats) -> int:
    """Position of the front's point nearest to its ideal, below the plane of its extremes.

    Objectives are scaled to [0, 1] over the front; the sum is the distance from the plane that
    goes through one extreme of each.
    """
    own: Any = scaled(values, values.min(axis=0), values.max(axis=0))
    return int(np.argmin(own.sum(axis=1)))
