"""Validation: every table of a folder predicted, scored, and what could not be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from sim.config import library
from sim.config.fitted import load_runtime
from sim.errors import ConfigError, Infeasible
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.formats import FOLDS, Format
from sim.evidence.measured.registry import formats_of, name_of
from sim.evidence.measured.score import GROUP, Group, ranking, scored
from sim.evidence.measured.tables import Table, data_folder, read_table, stem, table_paths
from sim.notebook import html_table


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Scores by group, rows left unpredicted by reason, and tables that were skipped or unreadable.

    `points` has every prediction, as `formats.rows` and the table's name, for plots.
    """

    folder: str
    groups: tuple[Group, ...]
    unsupported: tuple[Mapping[str, Any], ...]
    skipped: tuple[str, ...]
    problems: tuple[str, ...]
    families: tuple[Mapping[str, Any], ...]
    points: pd.DataFrame

    def _repr_html_(self) -> str:
        names = ("dataset", "table", "device", "phase", "dtype", "split", "n", "median_ape", "bias")
        rows = [[getattr(group, name) for name in names] for group in self.groups]
        return html_table(self.folder, names, rows)

    def to_json(self) -> dict[str, Any]:
        """The validation as plain values, without the points."""
        return {
            "groups": [group.to_json() for group in self.groups],
            "families": [dict(each) for each in self.families],
            "unsupported": [dict(each) for each in self.unsupported],
            "skipped": list(self.skipped),
            "problems": list(self.problems),
        }


MANY_TABLES: Final = 20
"""Tables from which on processes of their own pay."""
SIMULATED: Final = ("e2e", "energy", "pim")
Predicted = tuple[list[pd.DataFrame], list[str]]


def validate(
    dataset: str | None = None,
    *,
    data: str | Path | None = None,
    on_progress: Callable[[str], None] = lambda name: None,
) -> Validation:
    """Every table of the folder `data`, or of one data set or table there, predicted and scored.

    Without `data`, of the folder that the environment variable SIM_DATA names. Raises ConfigError
    where `dataset` names none. A table that can't be read is a problem told; the others are scored
    all the same.
    """
    folder = data_folder(data)
    frames: list[pd.DataFrame] = []
    problems: list[str] = []
    paths = [path for path in table_paths(folder) if _named(path, dataset)]
    if not paths:
        there = sorted({path.parent.name for path in table_paths(folder)})
        raise ConfigError(
            f"no table of '{dataset}' in {folder}; there are {', '.join(there)}"
            if there and dataset
            else f"{folder}: no table in it; folders with .csv or .csv.gz files are due"
        )
    known = [path for path in paths if formats_of(name_of(path))]
    skipped = [name_of(path) for path in paths if path not in known]
    for found, wrong in _each(known, on_progress):
        frames += found
        problems += wrong
    points = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    groups: list[Group] = []
    unsupported: list[Mapping[str, Any]] = []
    for frame in frames:
        groups += scored(str(frame["dataset"].iloc[0]), str(frame["table"].iloc[0]), frame)
        unsupported += _unsupported(frame)
    return Validation(
        folder=str(folder),
        groups=tuple(groups),
        unsupported=tuple(unsupported),
        skipped=tuple(skipped),
        problems=tuple(problems),
        families=tuple(_families(points)) if len(points) else (),
        points=points,
    )


def _each(paths: list[Path], on_progress: Callable[[str], None]) -> Iterator[Predicted]:
    """What `_predicted` gives for each table, in order; many tables take a process a core."""
    if len(paths) < MANY_TABLES:
        for path in paths:
            on_progress(name_of(path))
            yield _predicted(path)
        return
    # servers are simulated, which takes longest: their tables begin first
    first = sorted(paths, key=lambda path: path.parent.name not in SIMULATED)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        jobs = {path: pool.submit(_predicted, path) for path in first}
        for path in paths:
            on_progress(name_of(path))
            yield jobs[path].result()


def _predicted(path: Path) -> Predicted:
    """Frames of predictions of one table, and what is wrong with it."""
    frames: list[pd.DataFrame] = []
    problems: list[str] = []
    for form in formats_of(name_of(path)):
        try:
            table = read_table(path, form.required)
            for rows in predictions(form, table):
                frames.append(rows.assign(dataset=table.dataset, table=table.name))
        except (ConfigError, Infeasible) as error:
            problems.append(str(error))
    return frames, problems


def _named(path: Path, dataset: str | None) -> bool:
    return dataset in (None, path.parent.name, stem(path), name_of(path))


def predictions(form: Format, table: Table) -> Iterator[pd.DataFrame]:
    """Rows of a table with the constants as they are, then with those that haven't seen them."""
    rows = form.predict(table, Constants())
    name = f"{table.dataset}/{table.name}"
    devices = [str(name) for name in rows["device"].unique()]
    fitted = {device for device in devices if name in fitted_on(device)}
    known = rows["device"].isin(fitted).to_numpy()
    yield rows.assign(
        family=form.family, split=np.where(known, "calibrated", "zero-shot"), held_out=""
    )
    if not fitted:
        return
    for kind in form.held_out:
        if kind == "devices":
            predicted = form.predict(table, Constants(without="devices"))["predicted"]
        else:
            predicted = pd.Series(np.full(len(rows), np.nan))
            for part in range(FOLDS):
                hidden = (rows[kind if kind in rows else "fold"] == part).to_numpy()
                other = form.predict(table, Constants(without=f"{kind}-{part}"))["predicted"]
                predicted[hidden] = other[hidden]
        held = rows.assign(
            predicted=predicted, family=form.family, split="zero-shot", held_out=kind
        )
        yield held[known]


def fitted_on(device: str) -> tuple[str, ...]:
    """Tables that constants of a device were fitted on."""
    try:
        known = Constants().device(device)
    except ConfigError:  # a row of an unknown device says so itself
        return ()
    names = [table for name in library.files("runtimes") for table in load_runtime(name).fitted_on]
    for processor in known.processors:
        names += processor.kernels.fitted_on if processor.kernels else ()
    names += known.power.fitted_on if known.power else ()
    if known.link is not None and known.link.protocols is not None:
        names += known.link.protocols.fitted_on
    return tuple(names)


def _unsupported(frame: pd.DataFrame) -> Iterator[Mapping[str, Any]]:
    lost = frame[~np.isfinite(frame["predicted"]) & (frame["held_out"] == "")]
    for (table, reason), rows in lost.groupby(["table", "reason"]):
        yield {
            "dataset": str(frame["dataset"].iloc[0]),
            "table": str(table),
            "reason": str(reason) or "no prediction",
            "rows": len(rows),
        }


def _families(points: pd.DataFrame) -> Iterator[Mapping[str, Any]]:
    """Errors of whole families, by what was held out: median over rows, and the worst group's.

    With them how well they choose: among devices or degrees for the same work (`score.ranking`).
    """
    able = points[np.isfinite(points["predicted"])]
    errors = (able["predicted"] / able["measured"] - 1.0).abs()
    keys = ["family", "phase", "split", "held_out"]
    for key, group in able.assign(error=errors).groupby(keys, sort=True):
        family, phase, split, held_out = (str(part) for part in key)
        by_group = group.groupby(["table", *GROUP])["error"].median()
        named = group["choice"].where(group["choice"] == "", group["table"] + "|" + group["choice"])
        rank, regret, choices = ranking(group.assign(choice=named))
        yield {
            "family": family,
            "phase": phase,
            "split": split,
            "held_out": held_out,
            "n": len(group),
            "median_ape": float(group["error"].median()),
            "worst_group": float(by_group.max()),
            "choices": choices,
            "rank": rank,
            "regret": regret,
        }
