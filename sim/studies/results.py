"""Results: the points of a study as a table, and what is best among them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sim.config.fields import unknown_name
from sim.errors import ConfigError, Problem
from sim.studies.pareto import front, knee, ranks
from sim.studies.store import ABOUT, parts

if TYPE_CHECKING:
    import pandas as pd

_SIGNS = {
    "<=": np.less_equal, ">=": np.greater_equal, "<": np.less, ">": np.greater, "==": np.equal,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """Points of a study in `folder`; `about` is its study.json."""

    folder: Path
    about: Mapping[str, Any]
    loaded: pd.DataFrame | None = None

    def in_memory(self) -> Results:
        """The same with its table read."""
        return replace(self, loaded=self.frame)

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
        found: pd.DataFrame = table.to_pandas()
        return found.sort_values([*self.axes, "key"], kind="stable", ignore_index=True)

    @property
    def axes(self) -> list[str]:
        """Columns of the axes."""
        return [path for axis in self.about["axes"] for path in axis["paths"]]

    @property
    def objectives(self) -> Mapping[str, str]:
        """Columns wanted low ("min") or high ("max")."""
        found: Mapping[str, str] = self.about["objectives"]
        return found

    @cached_property
    def good(self) -> npt.NDArray[np.bool_]:
        """Points that are feasible and keep every constraint."""
        keep = np.array(self.frame["status"] == "ok")
        for text in self.about["constraints"]:
            column, sign, value = text.split()
            with np.errstate(invalid="ignore"):
                keep &= _SIGNS[sign](self.frame[column].to_numpy(), float(value))
        return np.asarray(keep)

    def signed(
        self, objectives: Mapping[str, str] | None = None
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
        """Objectives of good points as numbers to minimise [point, objective], and their rows."""
        wanted = objectives or self.objectives
        for column in wanted:
            if column not in self.frame:
                raise ConfigError(unknown_name(column, list(self.about["columns"])))
        values = np.stack(
            [
                self.frame[column].to_numpy(float) * (-1.0 if direction == "max" else 1.0)
                for column, direction in wanted.items()
            ],
            axis=1,
        )
        keep = np.flatnonzero(self.good & np.isfinite(values).all(axis=1))
        return values[keep], keep

    @property
    def per(self) -> list[str]:
        """Axes that are given: each combination of them has a front of its own."""
        return list(self.about.get("per", ()))

    def best(self, objectives: Mapping[str, str] | None = None) -> npt.NDArray[np.intp]:
        """Rows of the front; of those of every combination of the axes that are given."""
        values, rows = self.signed(objectives)
        if not self.per:
            return rows[front(values)]
        codes = self.frame[self.per].iloc[rows].groupby(self.per, observed=True, dropna=False)
        found = [own[front(values[own])] for own in codes.indices.values()]
        return np.sort(rows[np.concatenate(found)]) if found else rows

    def pareto(self, *columns: str, objectives: Mapping[str, str] | None = None) -> pd.DataFrame:
        """Points that none other is better than in every objective, best in the first one first.

        `columns` are objectives to minimise (those of the study keep their direction); without any,
        all objectives of the study. With `per` in the study, of every combination of those axes.
        """
        wanted = dict(objectives or self.objectives)
        if columns:
            wanted = {column: self.objectives.get(column, "min") for column in columns}
        found = self.frame.iloc[self.best(wanted)]
        first = next(iter(wanted))
        return found.sort_values(
            [*self.per, first, *self.axes],
            ascending=[True] * len(self.per) + [wanted[first] == "min"] + [True] * len(self.axes),
        )

    def knee(self, *columns: str) -> pd.Series[Any]:
        """The point of the front that is farthest from the plane through its ends."""
        wanted = {each: self.objectives.get(each, "min") for each in columns or self.objectives}
        values, rows = self.signed(wanted)
        if not len(rows):
            raise ConfigError("no point is feasible and keeps the constraints")
        chosen = np.flatnonzero(front(values))
        found: pd.Series[Any] = self.frame.iloc[rows[chosen[knee(values[chosen])]]]
        return found

    def ranked(self, objectives: Mapping[str, str], most: int) -> pd.DataFrame:
        """The `most` points of the lowest non-dominated rank, ties as they come."""
        values, rows = self.signed(objectives)
        order = np.argsort(ranks(values), kind="stable")[:most]
        return self.frame.iloc[np.sort(rows[order])]


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


def columns_of(results: Results, names: Sequence[str]) -> list[str]:
    """`names`, each a column of the results; ConfigError with the nearest one otherwise."""
    known = list(results.frame.columns)
    for name in names:
        if name not in known:
            raise ConfigError(unknown_name(name, known))
    return list(names)
