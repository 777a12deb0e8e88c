"""Formats: kinds of tables as `tables.yaml` describes them, and the rows that predictions are."""

from __future__ import annotations

import importlib
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
PER_SECOND: Final[Mapping[str, float]] = {"us": 1e6, "ms": 1e3, "s": 1.0}


class Unsupported(Exception):
    """A row that can't be predicted: no such model, an unknown device or number format."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of table: what its files are called, its columns, and what predicts its rows.

    `files` matches "dataset/table" whole; its named groups are columns too. `columns` has the
    table's column by the name that readers use, `optional` likewise for columns that only some
    tables have, `given` the same value for every row. `measured` names the column of measured
    values, or one by phase. `unpivot` makes rows of the columns that end in its "suffix": their
    names become column "into", and with "whole" sums of them become rows of that name first.
    `lookups` (a name of `spellings.yaml` where tables share them) find columns by patterns.
    `phase`, `dtype`, `reason` and `choice` are texts with columns in braces, `shape` the columns
    that part rows into folds. `held_out` is what constants that are fitted to such tables haven't
    seen in turn: of servers that is the host's times alone, as what a framework does was chosen on
    all rows. `reader` is the module that predicts, `operator`, `question` or
    `measures` what it predicts with, `numbers` constants of that, each explained in `tables.yaml`.
    """

    family: str
    files: str
    unit: str
    reader: str
    columns: Mapping[str, str] = field(default_factory=dict)
    optional: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    measured: str | Mapping[str, str] = ""
    unpivot: Mapping[str, str] = field(default_factory=dict)
    phase: str = "{phase}"
    dtype: str = "{dtype}"
    reason: str = ""
    choice: str = ""
    better: Better = "low"
    held_out: Sequence[str] = ()
    shape: Sequence[str] = ()
    operator: str = ""
    question: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    lookups: str | Sequence[Mapping[str, Any]] = ()
    measures: Sequence[Mapping[str, Any]] = ()

    def matches(self, name: str) -> bool:
        """Whether `name` ("dataset/table") is of this kind."""
        return re.fullmatch(self.files, name) is not None

    @property
    def required(self) -> tuple[str, ...]:
        """Columns that a table of this kind must have."""
        measured = self.measured if isinstance(self.measured, Mapping) else {"": self.measured}
        own = (*self.columns.values(), *measured.values(), *(m["column"] for m in self.measures))
        return tuple(dict.fromkeys(name for name in own if name))

    def predict(self, table: Table, constants: Constants) -> pd.DataFrame:
        """Predictions of a table's rows: a frame of `COLUMNS` (see `rows`)."""
        reader = importlib.import_module(f"sim.evidence.measured.{self.reader}")
        predicted: pd.DataFrame = reader.predict(self, table, constants)
        return predicted

    def frame(self, table: Table) -> pd.DataFrame:
        """The table's rows with columns as readers call them; number formats in lower case."""
        frame = table.frame
        if self.unpivot:
            frame = unpivoted(frame, **self.unpivot)
        match = re.fullmatch(self.files, f"{table.dataset}/{table.name}")
        groups = match.groupdict() if match else {}
        named: dict[str, Any] = {**self.given, **{k: v for k, v in groups.items() if v is not None}}
        own = {**self.optional, **self.columns}
        if self.unpivot:
            own |= {name: name for name in (self.unpivot["into"], "whole", "measured")}
        named |= {name: frame[column] for name, column in own.items() if column in frame}
        if isinstance(self.measured, str) and self.measured:
            named["measured"] = frame[self.measured]
        if isinstance(self.measured, Mapping):
            named |= {f"measured {name}": frame[column] for name, column in self.measured.items()}
        renamed = pd.DataFrame(named, index=frame.index)
        if "dtype" in renamed:
            renamed["dtype"] = renamed["dtype"].astype(str).str.lower()
        return renamed


def unpivoted(frame: pd.DataFrame, suffix: str, into: str, whole: str = "") -> pd.DataFrame:
    """A row of `measured` for each column that ends in `suffix`, its name in column `into`.

    With `whole`, rows of that name with the sum over these columns come first; column "whole" has
    for the others the row of that sum.
    """
    parts = [column for column in frame.columns if column.endswith(suffix)]
    others = frame.drop(columns=parts)
    rows = []
    for part in parts:
        named: dict[str, Any] = {into: part.removesuffix(suffix), "measured": frame[part]}
        rows.append(others.assign(**named))
    if whole:
        rows = [one.assign(whole=frame.index) for one in rows]
        named = {into: whole, "measured": frame[parts].sum(axis=1)}
        rows.insert(0, others.assign(**named))
    return pd.concat(rows, ignore_index=True)


def text_of(template: str, frame: pd.DataFrame) -> pd.Series:
    """`template` a row, with columns of `frame` where their names are in braces."""
    texts = pd.Series("", index=frame.index)
    for literal, column in re.findall(r"([^{]*)(?:\{([^}]*)\})?", template):
        texts += literal + (frame[column].astype(str) if column else "")
    return texts


def rows(
    measured: npt.ArrayLike,
    predicted: npt.ArrayLike,
    *,
    device: Any,
    phase: Any,
    dtype: Any,
    reason: Any = "",
    fold: Any = 0,
) -> pd.DataFrame:
    """Predictions of a table's rows beside what was measured.

    `predicted` is NaN where a row is unsupported, and `reason` says why. `fold` [rows] in
    0..FOLDS-1 is the part of the shapes a row belongs to: held-out constants of that part haven't
    seen it. Column choice names the options among which a user would choose (`score.ranking`), ""
    where there is no choice, and better says which of them are: "low" values or "high".
    """
    return pd.DataFrame(
        {
            "measured": np.asarray(measured, float),
            "predicted": np.asarray(predicted, float),
            "device": device,
            "phase": phase,
            "dtype": dtype,
            "reason": reason,
            "choice": "",
            "better": "low",
            "fold": fold,
        }
    )


def fold_of(keys: pd.Series) -> npt.NDArray[np.int64]:
    """Part of the shapes, 0..FOLDS-1, of each key: by its checksum, so always the same."""
    distinct = {key: zlib.crc32(str(key).encode()) % FOLDS for key in keys.unique()}
    return keys.map(distinct).to_numpy(np.int64)
