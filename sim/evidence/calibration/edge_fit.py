"""Edge runtimes fitted: overheads and shares of llama.cpp and others on edge devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from sim.config.fitted import load_runtime
from sim.evidence.calibration.fit import Floats, Numbers, fits, fitted
from sim.evidence.measured import edge_tables, hat
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.edge import Timing, predicted
from sim.evidence.measured.formats import fold_of
from sim.evidence.measured.registry import tables_of
from sim.evidence.measured.tables import read_table, stem
from sim.hardware.runtime import Runtime

MOST_CASES: Final = 1200
"""Cases that a fit looks at, evenly spread."""
Part = Mapping[str, Any]
"""Numbers of a runtime that are fitted together, and the phases of the tables they are of."""


def cases_of(folder: Path) -> dict[str, list[Timing]]:
    """Cases of edge tables that a runtime is fitted on, by table."""
    names = {table for part in fits("edge") for table in part["tables"]}
    cases: dict[str, list[Timing]] = {}
    for form, path in tables_of(folder, "edge"):
        if stem(path) in names:
            build = hat.cases_of if form.reader == "hat" else edge_tables.cases_of
            cases[stem(path)] = build(form, read_table(path, form.required))
    return cases


def fit(
    constants: Constants, folder: Path, without: str = "",
    best: Mapping[str, Runtime] | None = None,
) -> dict[str, Runtime]:  # fmt: skip
    """Runtimes refitted: on all rows, or for "chips-K" without rows of part K.

    A part of the rows of a table of many devices is devices, elsewhere shapes or models. Where it
    has no row of a runtime, that stays as `best` has it.
    """
    cases = cases_of(folder)
    hidden = int(without.removeprefix("chips-")) if without else -1
    folds = {name: fold_of(pd.Series([case.fold for case in of])) for name, of in cases.items()}
    seen = {
        name: [case for case, part in zip(of, folds[name], strict=True) if part != hidden]
        for name, of in cases.items()
    }
    hit = {
        case.runtime for name, of in cases.items()
        for case, part in zip(of, folds[name], strict=True) if part == hidden
    }  # fmt: skip
    runtimes = {name: runtime for name, runtime in (best or {}).items() if name not in hit}
    runtimes |= fit_runtimes(
        constants, seen, lambda name: name not in runtimes, forget=bool(without)
    )
    return {
        name: replace(runtime, fitted_on=_tables(name, cases)) for name, runtime in runtimes.items()
    }


def _tables(runtime: str, cases: Mapping[str, Sequence[Timing]]) -> tuple[str, ...]:
    """Tables that a runtime is fitted on, of those there are."""
    named = dict.fromkeys(
        table for part in fits("edge") if part["runtime"] == runtime for table in part["tables"]
    )
    return tuple(f"edge/{table}" for table in named if cases.get(table))


def errors_of(runtimes: Mapping[str, Runtime], folder: Path) -> dict[str, dict[str, float]]:
    """Median error of each runtime by table and phase."""
    cases = cases_of(folder)
    errors: dict[str, dict[str, float]] = {name: {} for name in runtimes}
    known = Constants(runtimes=dict(runtimes))
    for table, of in cases.items():
        able = [case for case in of if case.runtime in runtimes and case.program is not None]
        sizes = np.abs(predicted(able, known) / np.array([case.measured for case in able]) - 1.0)
        keys = pd.Series([(case.runtime, case.phase) for case in able], dtype=object)
        for (runtime, phase), own in pd.Series(sizes).groupby(keys):
            errors[runtime][f"{table} {phase}"] = float(own.median())
    return errors


def fit_runtimes(
    constants: Constants, cases: Mapping[str, Sequence[Timing]],
    wanted: Callable[[str], bool] = lambda _: True, *, forget: bool = False,
) -> dict[str, Runtime]:  # fmt: skip
    """Every runtime that is `wanted`, part by part, on the cases of each table that may be seen.

    Where there are none, `forget` leaves what the device estimates in place of what was fitted.
    """
    runtimes: dict[str, Runtime] = {}
    for part in fits("edge"):
        name, phases = part["runtime"], part["phases"]
        if not wanted(name):
            continue
        runtime = runtimes.get(name) or load_runtime(name)
        picked = [
            case
            for table in part["tables"]
            for case in cases.get(table, ())
            if case.runtime == name and case.program and case.phase in phases
        ]
        picked = sorted(picked, key=lambda case: case.phase)  # so that even steps meet all phases
        picked = picked[:: max(len(picked) // MOST_CASES, 1)]
        if picked:
            runtime = _fit_part(part, runtime, picked, constants)
        elif forget:
            runtime = _with(runtime, dict.fromkeys(part["bounds"]))
        runtimes[name] = runtime
    return runtimes


def _with(runtime: Runtime, numbers: Mapping[str, float | None]) -> Runtime:
    changed: Any = dict(numbers)
    return replace(runtime, **changed)


def _fit_part(part: Part, start: Runtime, cases: list[Timing], constants: Constants) -> Runtime:
    bounds = part["bounds"]
    values = {name: getattr(start, name) for name in bounds}
    begun = {
        name: sum(bounds[name]) / 2 if value is None else float(value)
        for name, value in values.items()
    }

    def predict(numbers: Numbers) -> Floats:
        tried = {part["runtime"]: _with(start, numbers)}
        return predicted(cases, Constants(without=constants.without, runtimes=tried))

    measured = np.array([case.measured for case in cases])
    return _with(start, fitted(begun, bounds, predict, measured, evaluations=60))
