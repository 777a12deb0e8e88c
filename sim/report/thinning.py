"""Thinning: which points of a study a page can hold, the same ones every time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from sim.studies.sweep.results import Results

if TYPE_CHECKING:
    import pandas as pd

Mask = npt.NDArray[np.bool_]

MOST_POINTS: Final = 40_000
"""Points on one page: a scatter of more shows nothing more."""
MOST_VALUES: Final = 600_000
"""Points times result columns on one page, 8 bytes each: keeps studies with many columns small."""
MOST_BEST: Final = 10_000
"""Points of a front on one page."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Thinned:
    """Points of a study in order of their keys; masks say which are what.

    Good ones keep the constraints and have a value for every objective.
    """

    table: pd.DataFrame
    good: Mask
    front: Mask
    knee: Mask
    feasible: int
    """Points of the study that have results."""
    whole_front: int
    """Points of its front; more than `front` has where that was too many."""


def thinned(results: Results) -> Thinned:
    """The front, its knee, the front of every level of an axis, and a sample of the rest.

    The sample are the points with the smallest keys. Keys are hashes of what a point is: neither
    the order nor the number of the parts a study was computed in matters.
    """
    import pandas as pd

    columns = len(results.about["columns"]) + len(results.banded)  # bands have half the bytes
    room = min(MOST_POINTS, MOST_VALUES // max(columns, 1))
    best, knee = results.pareto(), None
    parts = []
    if not best.empty:
        knee = results.knee()["key"]
        parts = [best[best["key"] == knee], _smallest(best, MOST_BEST), _levels(results)]
    good, rest, feasible = sample(results, room)
    # mostly good points, as they are what is asked for; either may use what the other leaves
    left = max(room - sum(map(len, parts)), 0)
    few = min(len(rest), max(left // 5, left - len(good)))
    parts += [_smallest(good, left - few), _smallest(rest, few)]
    table = pd.concat([_plain(part) for part in parts], ignore_index=True)
    table = table.drop_duplicates("key").sort_values("key", ignore_index=True)
    keys = table["key"].to_numpy()
    return Thinned(
        table=table,
        good=_comparable(results, table),
        front=np.isin(keys, best["key"].to_numpy()),
        knee=keys == knee if knee is not None else np.zeros(len(keys), bool),
        feasible=feasible,
        whole_front=len(best),
    )


def _comparable(results: Results, table: pd.DataFrame) -> Mask:
    """Points that keep the constraints and have a value for every objective."""
    comparable = np.zeros(len(table), bool)
    comparable[results.signed(table, results.wanted())[1]] = True
    return comparable


def _levels(results: Results) -> pd.DataFrame:
    """Fronts of the points of each level: who then filters by one level finds them all."""
    import pandas as pd

    fronts = [results.pareto(per=list(dict.fromkeys([*results.per, axis])))
             for axis in results.main_axes]  # fmt: skip
    if not fronts:
        return results.pareto().iloc[:0]
    pooled = pd.concat([_plain(each) for each in fronts], ignore_index=True)
    return _smallest(pooled.drop_duplicates("key"), MOST_BEST)


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """Without categories: those of two parts differ."""
    named = table.columns[table.dtypes == "category"]
    return table.astype(dict.fromkeys(named, object))


def _smallest(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """The `count` points with the smallest keys."""
    if len(table) <= count:
        return table
    if count <= 0:
        return table.iloc[:0]
    return table.iloc[np.argpartition(table["key"].to_numpy(), count - 1)[:count]]


def sample(results: Results, room: int) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Up to `room` points that can be compared, as many that cannot; and how many have results."""
    import pandas as pd

    good: list[pd.DataFrame] = []
    rest: list[pd.DataFrame] = []
    feasible = 0
    for table in results.tables():
        keep, ok = _comparable(results, table), (table["status"] == "ok").to_numpy()
        feasible += int(ok.sum())
        for kept, which in ((good, keep), (rest, ok & ~keep)):
            kept.append(_plain(_smallest(table[which], room)))
            kept[:] = [_smallest(pd.concat(kept, ignore_index=True), room)]
    return good[0], rest[0], feasible
