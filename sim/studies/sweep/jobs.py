"""Run a study: its points in chunks, by one process, several, or a Dask cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    as_completed,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import pyarrow as pa

from sim.config.costs import cost_inputs
from sim.config.digest import content
from sim.config.scenarios import load_document
from sim.errors import ConfigError
from sim.hardware.residuals import LEVELS
from sim.results.metrics import column_of
from sim.studies.sweep.closed_form import Evaluator
from sim.studies.sweep.events import simulated
from sim.studies.sweep.results import Results, load_results
from sim.studies.sweep.search import is_search, places, searched
from sim.studies.sweep.space import Ints, Keys, Space, base_key
from sim.studies.sweep.store import SCREEN, Store, Warn, part_path, write_part
from sim.studies.sweep.study import LEVEL, Study, load_study
from sim.version import __version__

CHUNK: Final = {"closed-form": 1 << 17, "events": 16}
"""Points of one part: what a kill may cost."""
SHARES: Final = 32
"""Parts at least of a generation that is simulated, whatever the number of processes."""
Progress = Callable[[int, int, float], None]
"""Called with points done, of how many, and seconds since the start."""
Crew = Callable[[Iterable["Job"]], Iterator[int]]
"""Does jobs; gives the places of the space that each covers, as it ends."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One chunk: levels [point, axis] and keys of its points."""

    study: Study
    folder: Path
    rows: Ints
    keys: Any
    places: int
    """Places of the space that it covers."""


def sweep(
    study: str | Path | Mapping[str, Any] | Study,
    *,
    output: str | Path | None = None,
    workers: int | None = None,
    dask: str | None = None,
    on_progress: Progress | None = None,
    warn: Warn = lambda _: None,
) -> Results:
    """The results of a study, as far as they are not in the folder `output` already.

    Without `output` they are kept in memory. `workers` are processes: by default one for closed
    forms, whose kernel uses all cores, and one a core for events. `dask` is the address of a
    scheduler whose workers see `output`.
    """
    found = study if isinstance(study, Study) else load_study(study)
    if output is None:
        with TemporaryDirectory() as folder:
            return _swept(found, Path(folder), workers, dask, on_progress, warn).in_memory()
    return _swept(found, Path(output), workers, dask, on_progress, warn)


def _swept(
    study: Study,
    folder: Path,
    workers: int | None,
    dask: str | None,
    on_progress: Progress | None,
    warn: Warn,
) -> Results:
    if study.fidelity == "two-stage":
        first = replace(
            study, fidelity="closed-form", constraints=study.screen,
            objectives=_closed(study.objectives),
        )  # fmt: skip
        screened = _swept(first, folder / SCREEN, workers, dask, on_progress, warn)
        study = replace(study, fidelity="events", space=_best(study, screened), search=None)
    identity = _identity(study)
    store = Store(folder=folder, identity=f"{identity:016x}")
    store.open(study, warn)
    done, started = 0, time.monotonic()
    with _crew(study, workers, dask) as crew:
        for count in _counts(study, store, identity, crew):
            done += count
            if on_progress is not None:
                on_progress(done, places(study), time.monotonic() - started)
    return load_results(folder)


def _identity(study: Study) -> int:
    """A number for what all points share: base, what its costs rest on, load, fidelity, version."""
    base = load_document(study.base)
    parts = [base.digest or "", content(cost_inputs(base)), study.fidelity, __version__]
    if study.fidelity == "closed-form":
        parts += [f"{name}={value}" for name, value in study.load.items()]
    return base_key(parts)


def _counts(study: Study, store: Store, identity: int, crew: Crew) -> Iterator[int]:
    """Places of the space done, bit by bit: of all of it, or of those that a search chooses."""
    if not is_search(study):
        yield from crew(_jobs(study, store, identity))
        return

    def compute(rows: Ints, keys: Keys) -> list[Path]:
        jobs = _generation(study, store, rows, keys)
        list(crew(jobs))
        return [part_path(job.folder, job.keys) for job in jobs]

    yield from searched(study, store, identity, compute)


def _generation(study: Study, store: Store, rows: Ints, keys: Keys) -> list[Job]:
    """Chunks of one generation: simulated points are shared out to many processes."""
    size = CHUNK[study.fidelity]
    if study.fidelity == "events":
        size = max(1, min(size, len(rows) // SHARES))
    return [
        Job(study=study, folder=store.folder, rows=rows[begin : begin + size],
            keys=keys[begin : begin + size], places=len(rows[begin : begin + size]))
        for begin in range(0, len(rows), size)
    ]  # fmt: skip


def _jobs(study: Study, store: Store, identity: int) -> Iterator[Job]:
    """Chunks with the points that are not there yet; those without any are passed over."""
    size = CHUNK[study.fidelity]
    for begin in range(0, study.space.size, size):
        rows = study.space.rows(begin, begin + size)
        keys = study.space.keys(rows, identity)
        missing = store.missing(keys)
        yield Job(
            study=study, folder=store.folder, rows=rows[missing], keys=keys[missing],
            places=min(size, study.space.size - begin),
        )  # fmt: skip


@contextmanager
def _crew(study: Study, workers: int | None, dask: str | None) -> Iterator[Crew]:
    """Who does the jobs: this process, several, or a cluster; the same for the whole study."""
    if dask is not None:
        with _cluster(dask) as crew:
            yield crew
        return
    count = workers or (1 if study.fidelity == "closed-form" else os.cpu_count() or 1)
    if count == 1:
        _evaluators.clear()
        yield lambda jobs: map(work, jobs)
        return
    context = get_context("spawn")  # numba's threads do not survive a fork
    with ProcessPoolExecutor(count, mp_context=context) as pool:
        try:
            yield lambda jobs: _windowed(jobs, lambda job: pool.submit(work, job), 2 * count)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _windowed(
    jobs: Iterable[Job], submit: Callable[[Job], Future[int]], most: int
) -> Iterator[int]:
    """Results of jobs, of which no more than `most` wait at a time."""
    waiting: set[Future[int]] = set()
    for job in jobs:
        if not len(job.rows):
            yield job.places
            continue
        waiting.add(submit(job))
        if len(waiting) >= most:
            ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in ended)
    for future in as_completed(waiting):
        yield future.result()


@contextmanager
def _cluster(address: str) -> Iterator[Crew]:
    try:
        import distributed
    except ImportError:
        raise ConfigError("--dask needs the package distributed: pip install distributed") from None
    library: Any = distributed
    with library.Client(address) as client:

        def crew(jobs: Iterable[Job]) -> Iterator[int]:
            waiting = library.as_completed(
                [client.submit(work, job, pure=False) for job in jobs if len(job.rows)]
            )
            for future in waiting:
                yield int(future.result())

        yield crew


_evaluators: dict[int, Evaluator] = {}


def _evaluator(study: Study) -> Evaluator:
    """The evaluator of a study, one a process: what it has loaded serves all chunks."""
    known = _evaluators.get(0)
    if known is None or _evaluated(known.study) != _evaluated(study):
        _evaluators[0] = Evaluator(study=study)
    return _evaluators[0]


def _evaluated(study: Study) -> tuple[Any, ...]:
    """What an evaluator depends on: workers of a cluster outlive a study."""
    return study.base, dict(study.load), study.space.axes


def work(job: Job) -> int:
    """Evaluate one job and write its part; returns how many places it covers."""
    study, rows = job.study, job.rows
    if not len(rows):
        return job.places
    inactive = study.space.inactive(rows)
    columns: dict[str, Any] = {"key": job.keys} | axis_columns(study.space, rows)
    if study.fidelity == "closed-form":
        answer = _evaluator(study).evaluate(rows, inactive)
        status = np.zeros(len(rows), np.int8)
        kinds = ["ok", *dict.fromkeys(status for status, _ in answer.reasons.values())]
        reasons = ["", *dict.fromkeys(reason for _, reason in answer.reasons.values())]
        told = np.zeros(len(rows), np.int32)
        for position, (kind, reason) in answer.reasons.items():
            status[position], told[position] = kinds.index(kind), reasons.index(reason)
        columns["status"] = pa.DictionaryArray.from_arrays(status, kinds)
        columns["reason"] = pa.DictionaryArray.from_arrays(told, reasons)
        columns |= answer.columns
        columns[LEVEL] = pa.DictionaryArray.from_arrays(answer.levels, list(LEVELS))
    else:
        points = [simulated(study, _sets(study.space, row, off))
                  for row, off in zip(rows, inactive, strict=True)]  # fmt: skip
        columns["status"] = [point.status for point in points]
        columns["reason"] = [point.reason for point in points]
        columns |= {name: [point.values[name] for point in points] for name in study.numbers}
        columns[LEVEL] = [point.known for point in points]
    write_part(job.folder, columns)
    return job.places


def _sets(space: Space, row: Any, off: Any) -> list[str]:
    return [
        text
        for axis, level, left in zip(space.axes, row, off, strict=True)
        if not left
        for text in axis.sets(int(level))
    ]


def axis_columns(space: Space, rows: Ints) -> dict[str, Any]:
    """Columns of the axes: numbers of their unit, or names; null where an axis is inactive."""
    columns: dict[str, Any] = {}
    off = space.inactive(rows)
    for index, axis in enumerate(space.axes):
        for position, path in enumerate(axis.paths):
            if position == 0 and axis.numbers is not None:
                values = np.array(axis.numbers)[rows[:, index]]
                columns[path] = pa.array(values, mask=off[:, index])
            else:
                texts = [level[position] for level in axis.levels]
                columns[path] = pa.DictionaryArray.from_arrays(
                    pa.array(rows[:, index].astype(np.int16), mask=off[:, index]), texts
                )
    return columns


def _best(study: Study, screened: Results) -> Space:
    """The space of the points worth simulating: by rank of the closed form, then as they come."""
    frame = screened.ranked(_closed(study.objectives), study.keep)
    axes = study.space.axes
    levels = []
    for _, row in frame.iterrows():
        levels.append([_level(axis, row[axis.name]) for axis in axes])
    rows = np.array(levels, np.int32).reshape(len(levels), len(axes))
    return Space(axes=axes, chosen=rows)


def _level(axis: Any, value: Any) -> int:
    if axis.numbers is not None:
        return int(np.argmin(np.abs(np.array(axis.numbers) - value))) if value == value else 0
    texts = [level[0] for level in axis.levels]
    return texts.index(value) if value in texts else 0


def _closed(objectives: Mapping[str, str]) -> dict[str, str]:
    """Objectives of simulated points as columns of closed-form ones."""
    screened: dict[str, str] = {}
    for name, direction in objectives.items():
        metric = column_of(name).metric
        if metric is not None and (metric.steady or metric.screened_by):
            screened[metric.screened_by or metric.key] = direction
    return screened or {"tpot_s": "min"}
