"""Formats: kinds of tables, and how each row of one is predicted."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from sim.evidence.measured.constants import Constants
from sim.evidence.measured.tables import Table

Better = Literal["low", "high"]
COLUMNS: Final = (
    "measured", "predicted", "device", "phase", "dtype", "reason", "choice", "better", "fold",
)  # fmt: skip
FOLDS: Final = 4


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of table: what its files are called, the columns due, and the prediction of its rows.

    `pattern` matches "dataset/table" whole. `predict` gives a frame of `COLUMNS` (see `rows`).
    `unit` is what measured and predicted values are in.
    """

    family: str
    pattern: str
    columns: tuple[str, ...]
    predict: Callable[[Table, Constants], pd.DataFrame]
    unit: str

    def matches(self, name: str) -> bool:
        """Whether `name` ("dataset/table") is of this kind."""
        return re.fullmatch(self.pattern, name) is not None


def rows(
    measured: npt.ArrayLike,
    predicted: npt.ArrayLike,
    *,
    device: Any,
    phase: Any,
    dtype: Any,
    reason: Any = "",
    choice: Any = "",
    better: Better = "low",
    fold: Any = 0,
) -> pd.DataFrame:
    """Predictions of a table's rows beside what was measured.

    `predicted` is NaN where a row is unsupported, and `reason` says why. `choice` names the options
    among which a user would choose (see `score.ranking`). `fold` [rows] in 0..FOLDS-1 is the part
    of the shapes a row belongs to: held-out constants of that part haven't seen it.
    """
    return pd.DataFrame(
        {
            "measured": np.asarray(measured, float),
            "predicted": np.asarray(predicted, float),
            "device": device,
            "phase": phase,
            "dtype": dtype,
            "reason": reason,
            "choice": choice,
            "better": better,
            "fold": fold,
        }
    )


def described(
    table: Table, predicted: npt.NDArray[np.float64], make: Callable[[], pd.DataFrame]
) -> pd.DataFrame:
    """Rows with `predicted`, the rest as `make` gives it once for the table."""
    if "rows" not in table.built:
        table.built["rows"] = make()
    frame: pd.DataFrame = table.built["rows"]
    return frame.assign(predicted=predicted)


def fold_of(keys: pd.Series) -> npt.NDArray[np.int64]:
    """Part of the shapes, 0..FOLDS-1, of each key: by its checksum, so always the same."""
    distinct = {key: zlib.crc32(str(key).encode()) % FOLDS for key in keys.unique()}
    return keys.map(distinct).to_numpy(np.int64)


class Unsupported(Exception):
    """A row that can't be predicted: no such model, an unknown device or number format."""
