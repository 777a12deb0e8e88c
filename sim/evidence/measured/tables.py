"""Tables: measured data in a folder, found by name and read with the columns their format has."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pandas as pd

from sim.errors import ConfigError, Problem

VARIABLE: Final = "SIM_DATA"
SUFFIXES: Final = (".csv.gz", ".csv")
BESIDE: Final = ("traces", "models")
"""Folders beside the tables: workloads and model configurations."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """One table: `dataset` is its folder, `name` its file without ending."""

    dataset: str
    name: str
    path: Path
    frame: pd.DataFrame
    built: dict[str, Any] = field(default_factory=dict)
    """What predictions have made of the frame, to use again."""

    @property
    def folder(self) -> Path:
        """The folder that all data sets are in."""
        return self.path.parent.parent

    def beside(self, name: str) -> Path | None:
        """Another table of the same data set."""
        paths = (self.path.parent / f"{name}{suffix}" for suffix in SUFFIXES)
        return next((path for path in paths if path.is_file()), None)


def data_folder(given: str | Path | None) -> Path:
    """The folder of measured data: `given`, else what the environment variable names.

    Raises ConfigError where neither is a folder.
    """
    named = given or os.environ.get(VARIABLE)
    if not named:
        raise ConfigError(
            "no measured data: give the folder of the tables as --data DIR, or name it in the "
            f"environment variable {VARIABLE}"
        )
    folder = Path(named)
    if not folder.is_dir():
        origin = "--data" if given else VARIABLE
        raise ConfigError(f"{origin} {named}: no such folder; the folder of the tables is due")
    return folder


def table_paths(folder: Path) -> Iterator[Path]:
    """Every table in the folders of `folder`, in order of name."""
    for path in sorted(folder.glob("*/*")):
        if path.name.endswith(SUFFIXES) and path.parent.name not in BESIDE:
            yield path


def stem(path: Path) -> str:
    """Name of a table's file without its ending."""
    name = path.name
    return next(name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix))


def read_table(path: Path, columns: Sequence[str]) -> Table:
    """The table of `path`, which must have `columns`.

    Raises ConfigError naming the file and what is missing or cannot be read.
    """
    try:
        frame = pd.read_csv(path, low_memory=False)
    except (OSError, EOFError, ValueError, UnicodeDecodeError, gzip.BadGzipFile) as error:
        raise _unreadable(path, str(error) or type(error).__name__) from error
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        has = ", ".join(str(column) for column in frame.columns)
        raise _unreadable(path, f"no column {', '.join(missing)}; it has {has}", line=1)
    if frame.empty:
        raise _unreadable(path, "no row", line=1)
    return Table(dataset=path.parent.name, name=stem(path), path=path, frame=frame)


def _unreadable(path: Path, message: str, line: int | None = None) -> ConfigError:
    return ConfigError([Problem(file=str(path), line=line, path="", message=message)])
