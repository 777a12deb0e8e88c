"""Fit: constants that bring predictions nearest to what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import least_squares

from sim.config.document import read_document
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.formats import Format
from sim.evidence.measured.registry import tables_of
from sim.evidence.measured.server_tables import cases_of
from sim.evidence.measured.servers import Servers, case_rows
from sim.evidence.measured.tables import Table, read_table
from sim.hardware import Device
from sim.hardware.kernels import Kernels

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Numbers = Mapping[str, float]
Bounds = Mapping[str, tuple[float, float]]
SCALE: Final = 0.05
"""Error beyond which a row counts less: medians are what is to fall, not squares."""


@cache
def fits(kind: str) -> Any:
    """A part of `fits.yaml`: what is fitted, and on what."""
    return read_document(Path(__file__).with_name("fits.yaml")).data[kind]


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """A table and its predictions as constants are; `servers` prepared for it, if it is of some."""

    form: Format
    table: Table
    rows: pd.DataFrame
    servers: Servers | None = None

    @property
    def name(self) -> str:
        """Data set and table."""
        return f"{self.table.dataset}/{self.table.name}"

    @property
    def device(self) -> Device:
        """The device of the first row."""
        return Constants().device(str(self.rows["device"].iloc[0]))

    @property
    def kernels(self) -> Kernels | None:
        """Kernels of that device."""
        return self.device.processors[0].kernels

    def predicted(self, constants: Constants) -> Floats:
        """Predictions of the rows with other constants; of the same servers, which keep times."""
        if self.servers is None:
            rows = self.form.predict(self.table, constants)
        else:
            servers = replace(self.servers, constants=constants)
            rows = case_rows(cases_of(self.form, self.table), servers)
        return rows["predicted"].to_numpy(float)

    def of_rows(self, index: Places | slice) -> Measured:
        """Some rows as a table of their own."""
        frame = self.table.frame.iloc[index].reset_index(drop=True)
        return measured(self.form, replace(self.table, frame=frame, built={}))

    def seen(self, wanted: pd.Series | npt.NDArray[np.bool_], most: int) -> Seen:
        """At most about `most` of the rows `wanted` that can be predicted, evenly spread."""
        able = np.isfinite(self.rows["predicted"]) & (self.rows["measured"] > 0.0)
        index = np.flatnonzero(able & wanted)
        index = index[:: max(len(index) // most, 1)]
        weights = np.full(len(index), (most / max(len(index), 1)) ** 0.25)
        return Seen(of=self, index=index, weights=weights)


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """Rows of a table that a fit looks at, and how much each counts."""

    of: Measured
    index: Places
    weights: Floats

    @property
    def values(self) -> Floats:
        """What was measured."""
        return self.of.rows["measured"].to_numpy(float)[self.index]


def measured(form: Format, table: Table) -> Measured:
    """A table with its predictions as constants are now."""
    return Measured(form=form, table=table, rows=form.predict(table, Constants()))


def measured_tables(folder: Path, *families: str) -> list[Measured]:
    """Tables of some families in `folder`, but those that are unfit."""
    tables = [
        measured(form, read_table(path, form.required))
        for form, path in tables_of(folder, *families)
    ]
    return [one for one in tables if one.name not in fits("tables")["unfit"]]


def fitted_to(
    start: Numbers, bounds: Bounds, seen: Sequence[Seen],
    constants: Callable[[Numbers], Constants], evaluations: int = 40,
) -> dict[str, float]:  # fmt: skip
    """Numbers from `start` that predict the rows `seen` best, as `constants` has them."""

    def predict(numbers: Numbers) -> Floats:
        tried = constants(numbers)
        return np.concatenate([one.of.predicted(tried)[one.index] for one in seen])

    values, weights = (np.concatenate(parts) for parts in zip(
        *((one.values, one.weights) for one in seen), strict=True
    ))  # fmt: skip
    return fitted(start, bounds, predict, values, weights, evaluations)


def fitted(
    start: Numbers,
    bounds: Bounds,
    predict: Callable[[Numbers], Floats],
    measured: Floats,
    weights: Floats | None = None,
    evaluations: int = 40,
) -> dict[str, float]:
    """Constants within `bounds`, from `start`, that minimise robust log errors of `predict`.

    Names without bounds stay as they are. `weights` [rows] scale the errors. Deterministic.
    """
    names = [name for name in start if name in bounds]
    low = np.array([bounds[name][0] for name in names])
    high = np.array([bounds[name][1] for name in names])
    begun = np.clip([start[name] for name in names], low, high)
    scale = np.maximum(np.abs(begun), 1e-2 * (high - low))
    weight = np.ones(len(measured)) if weights is None else weights

    def errors(scaled: Floats) -> Floats:
        constants = {**start, **dict(zip(names, map(float, scaled * scale), strict=True))}
        return weight * np.log(predict(constants) / measured)

    margin = 1e-9 * (high - low) / scale
    least = least_squares(
        errors,
        np.clip(begun / scale, low / scale + margin, high / scale - margin),
        bounds=(low / scale, high / scale),
        loss="soft_l1",
        f_scale=SCALE,
        diff_step=1e-3,
        max_nfev=evaluations,
    )
    best = np.clip(least.x * scale, low, high)
    return {**start, **dict(zip(names, map(float, best), strict=True))}
