"""Results: the points of a study, part by part or as one table, and what is best among them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sim.errors import ConfigError, Problem
from sim.notebook import html_table
from sim.quantities import unknown_name
from sim.results.metrics import column_of
from sim.studies.sweep.pareto import front, knee, ranks, signed
from sim.studies.sweep.store import ABOUT, parts
from sim.studies.sweep.study import Constraint

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """Points of a study in `folder`; `about` is its study.json.

    Fronts, counts and effects are found part by part: a study may be larger than memory.
    """

    folder: Path
    about: Mapping[str, Any]
    loaded: pd.DataFrame | None = None
    _fronts: dict[Any, pd.DataFrame] = field(default_factory=dict, repr=False)
    """Fronts found before: a pass over a large study takes a while."""

    def in_memory(self) -> Results:
        """The same with its table read."""
        return replace(self, loaded=self.frame)

    def tables(self) -> Iterator[pd.DataFrame]:
        """The points, a table at a time; ConfigError where there are none."""
        if self.loaded is not None:
            yield self.loaded
            return
        import pyarrow.parquet as pq

        paths = parts(self.folder)
        if not paths:
            raise ConfigError([Problem(file=str(self.folder), message="holds no points yet")])
        for path in paths:
            yield pq.read_table(path).to_pandas()

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a point: key, axes, status, reason, result columns; in order of the axes."""
        if self.loaded is not None:
            return self.loaded
        import pyarrow as pa
        import pyarrow.parquet as pq

        tables = [pq.read_table(path) for path in parts(self.folder)]
        if not tables:
            raise ConfigError([Problem(file=str(self.folder), message="holds no points yet")])
        table = pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()
        points: pd.DataFrame = table.to_pandas()
        return points.sort_values([*self.axes, "key"], kind="stable", ignore_index=True)

    @property
    def axes(self) -> list[str]:
        """Columns of the axes."""
        return [path for axis in self.about["axes"] for path in axis["paths"]]

    @property
    def main_axes(self) -> list[str]:
        """First path of every axis: those zipped with it move along."""
        return [axis["paths"][0] for axis in self.about["axes"]]

    @property
    def objectives(self) -> Mapping[str, str]:
        """Columns wanted low ("min") or high ("max")."""
        directions: Mapping[str, str] = self.about["objectives"]
        return directions

    def better(self, column: str) -> str:
        """Whether a column is wanted low ("min") or high ("max"), as the study says or usually."""
        return self.objectives.get(column, column_of(column).better)

    @property
    def banded(self) -> tuple[str, ...]:
        """Objectives that have error bands beside them: "tpot_s_low", "tpot_s_high"."""
        known = self.about.get("banded", ())
        return tuple(name for name in self.objectives if name in known)

    @property
    def per(self) -> list[str]:
        """Axes that are given: each combination of them has a front of its own."""
        return list(self.about.get("per", ()))

    def wanted(self, columns: Sequence[str] = ()) -> dict[str, str]:
        """Objectives called `columns`, to minimise unless the study says else; all without any.

        ConfigError with the nearest name for what is no column.
        """
        known = list(self.about["columns"])
        for name in columns:
            if name not in known:
                raise ConfigError(unknown_name(name, known))
        return {name: self.objectives.get(name, "min") for name in columns or self.objectives}

    def good_of(self, table: pd.DataFrame) -> npt.NDArray[np.bool_]:
        """Which points of a table are feasible and keep every constraint."""
        keep = np.array(table["status"] == "ok")
        for text in self.about["constraints"]:
            constraint = Constraint.of(text)
            keep &= constraint.kept(table[constraint.column].to_numpy(float))
        return np.asarray(keep)

    @cached_property
    def good(self) -> npt.NDArray[np.bool_]:
        """Points of `frame` that are feasible and keep every constraint."""
        return self.good_of(self.frame)

    def signed(
        self, table: pd.DataFrame, directions: Mapping[str, str]
    ) -> tuple[Floats, npt.NDArray[np.intp]]:
        """Objectives of a table's good points as numbers to minimise, and their rows."""
        values = signed(table, directions)
        keep = np.flatnonzero(self.good_of(table) & np.isfinite(values).all(axis=1))
        return values[keep], keep

    def pareto(
        self,
        *columns: str,
        objectives: Mapping[str, str] | None = None,
        per: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Points that none other is better than in every objective, best in the first one first.

        `columns` are objectives to minimise (those of the study keep their direction); without any,
        all objectives of the study. One front for each combination of the axes `per`, those of the
        study if nothing is said.
        """
        import pandas as pd

        directions = dict(objectives) if objectives is not None else self.wanted(columns)
        by = self.per if per is None else list(per)
        known = (*directions.items(), *by)
        if known not in self._fronts:
            fronts = [self._front(table, directions, by) for table in self.tables()]
            self._fronts[known] = self._front(pd.concat(fronts, ignore_index=True), directions, by)
        first = next(iter(directions))
        return self._fronts[known].sort_values(
            [*by, first, *self.axes],
            ascending=[True] * len(by) + [directions[first] == "min"] + [True] * len(self.axes),
            ignore_index=True,
        )

    def _front(
        self, table: pd.DataFrame, directions: Mapping[str, str], by: Sequence[str]
    ) -> pd.DataFrame:
        values, rows = self.signed(table, directions)
        groups = _groups(table.iloc[rows], by)
        best = np.concatenate([group[front(values[group])] for group in groups])
        return table.iloc[np.sort(rows[best])]

    def knee(self, *columns: str) -> pd.Series[Any]:
        """The point of the front nearest to its ideal, objectives scaled over the front.

        The front is of all points, whatever the study's `per`: `knees` has one of each.
        """
        best: pd.Series[Any] = self.knees(*columns, per=()).iloc[0]
        return best

    def knees(self, *columns: str, per: Sequence[str] | None = None) -> pd.DataFrame:
        """The knee of every front: one for each combination of the axes `per`, as in `pareto`."""
        directions = self.wanted(columns)
        by = self.per if per is None else list(per)
        best = self.pareto(objectives=directions, per=by)
        if best.empty:
            raise ConfigError("no point is feasible and keeps the constraints")
        values = self.signed(best, directions)[0]
        rows = [group[knee(values[group])] for group in _groups(best, by)]
        return best.iloc[np.sort(rows)].reset_index(drop=True)

    def _repr_html_(self) -> str:
        names = [*self.axes, *self.objectives]
        best = self.pareto()
        title = f"{self.about['title']}: front of {len(best):,} points"
        return html_table(title, names, best[names].head(20).itertuples(index=False))

    def ranked(self, objectives: Mapping[str, str], most: int) -> pd.DataFrame:
        """The `most` points of the lowest non-dominated rank, ties as they come."""
        values, rows = self.signed(self.frame, objectives)
        order = np.argsort(ranks(values), kind="stable")[:most]
        return self.frame.iloc[np.sort(rows[order])]


def _groups(table: pd.DataFrame, by: Sequence[str]) -> list[npt.NDArray[np.intp]]:
    """Rows of `table` by what stands on the axes `given`; all together without any."""
    if not by or table.empty:
        return [np.arange(len(table))]
    named = table[list(by)].astype(object)
    named = named.where(named.notna(), "(inactive)")
    return [np.asarray(rows) for rows in named.groupby(list(by)).indices.values()]


def load_results(folder: str | Path) -> Results:
    """The results in a folder; ConfigError where it is no study's."""
    path = Path(folder) / ABOUT
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        assert isinstance(about["axes"], list)
    except FileNotFoundError:
        message = "is no study's folder: `sim sweep STUDY -o DIR` makes one"
        raise ConfigError([Problem(file=str(folder), message=message)]) from None
    except (ValueError, KeyError, TypeError, AssertionError, OSError):
        raise ConfigError([Problem(file=str(path), message="cannot be read")]) from None
    return Results(folder=Path(folder), about=about)
