"""Store: a study's points as parts of Parquet in a folder, each written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sim.errors import ConfigError, Problem
from sim.studies.sweep.space import Keys
from sim.studies.sweep.study import Study
from sim.version import __version__

ABOUT: Final = "study.json"
SCREEN: Final = "screen"
"""Folder of the first stage of two, within that of the second."""
Warn = Callable[[str], None]


@dataclass(kw_only=True, eq=False)
class Store:
    """The folder of one study. `identity` is of all that its points share."""

    folder: Path
    identity: str
    _known: Keys = field(default_factory=lambda: np.zeros(0, np.uint64))

    def open(self, study: Study, warn: Warn) -> None:
        """Begin or resume: what is there must be of the same base, load and version.

        ConfigError for the folder of another study, or one with other things in it. Parts that
        cannot be read are put aside.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        about = self.folder / ABOUT
        if about.is_file():
            self._same(about)
        elif any(path.name != SCREEN for path in self.folder.iterdir()):
            raise ConfigError(
                [Problem(file=str(self.folder), message="is neither empty nor a study's: give "
                         "another folder with -o")]
            )  # fmt: skip
        for left in self.folder.glob("*.tmp"):  # of a run that was killed
            left.unlink()
        self._write(self._about(study))
        found = [np.zeros(0, np.uint64)]
        for path in parts(self.folder):
            keys = _keys(path)
            if keys is None:
                aside = path.with_suffix(".corrupt")
                path.replace(aside)
                warn(f"{path} cannot be read: kept as {aside.name}, its points are computed again")
            else:
                found.append(keys)
        self._known = np.unique(np.concatenate(found))

    def _same(self, about: Path) -> None:
        try:
            told = json.loads(about.read_text(encoding="utf-8"))
            identity, title = told["identity"], told["title"]
        except (ValueError, KeyError, TypeError):
            raise ConfigError(
                [Problem(file=str(about), message="is not a study's: give another folder with -o")]
            ) from None
        if identity != self.identity:
            message = (
                f"holds '{title}' with another base, load, fidelity or version: give another "
                "folder with -o"
            )
            raise ConfigError([Problem(file=str(self.folder), message=message)])

    def _about(self, study: Study) -> dict[str, Any]:
        return {
            "identity": self.identity,
            "version": __version__,
            "name": study.name,
            "title": study.title,
            "base": study.base_name,
            "fidelity": study.fidelity,
            "load": dict(study.load) if study.fidelity != "events" else None,
            "axes": [
                {"paths": list(axis.paths), "levels": [list(each) for each in axis.levels],
                 "unit": axis.unit}
                for axis in study.space.axes
            ],
            "objectives": dict(study.objectives),
            "per": list(study.per),
            "constraints": [str(each) for each in study.constraints],
            "columns": list(study.columns),
            "banded": list(study.banded),
        }  # fmt: skip

    def _write(self, told: Mapping[str, Any]) -> None:
        written = self.folder / f"{ABOUT}.{os.getpid()}.tmp"
        written.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        written.replace(self.folder / ABOUT)

    def tell(self, name: str, value: Any) -> None:
        """Add to study.json; the next run begins without it."""
        told = json.loads((self.folder / ABOUT).read_text(encoding="utf-8"))
        self._write({**told, name: value})

    def missing(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Which of the points with these keys are not there yet."""
        if not len(self._known):
            return np.ones(len(keys), bool)
        at = np.minimum(np.searchsorted(self._known, keys), len(self._known) - 1)
        return np.asarray(self._known[at] != keys)


def parts(folder: Path) -> list[Path]:
    """Parts of a study, by name."""
    return sorted(folder.glob("part-*.parquet"))


def _keys(path: Path) -> Keys | None:
    try:
        column = pq.read_table(path, columns=["key"]).column("key")
        return np.asarray(column.to_numpy(), np.uint64)
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return None


def part_path(folder: Path, keys: Keys) -> Path:
    """The part of the points with these keys, in this order."""
    name = hashlib.blake2b(np.asarray(keys).tobytes(), digest_size=8).hexdigest()
    return folder / f"part-{name}.parquet"


def write_part(folder: Path, columns: Mapping[str, Any]) -> Path:
    """Write points as one part, named by their keys; returns its path."""
    table = pa.table(dict(columns))
    path = part_path(folder, columns["key"])
    written = folder / f"{path.name}.{os.getpid()}.tmp"
    try:
        pq.write_table(table, written, compression="zstd", compression_level=1)
        written.replace(path)
    except OSError as error:
        with suppress(OSError):
            written.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise OSError(
            error.errno, f"{reason}; points written before are kept: the same command resumes",
            str(path),
        ) from None  # fmt: skip
    return path
