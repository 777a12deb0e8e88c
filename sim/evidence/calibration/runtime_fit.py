"""Runtimes of servers fitted: the host's seconds an iteration, a sequence, a request.

Run again whenever kernels change: what they don't explain is what a host takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from sim.config.fitted import load_runtime
from sim.evidence.calibration.fit import Floats, fits, fitted
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.registry import name_of, tables_of
from sim.evidence.measured.server_tables import cases_of
from sim.evidence.measured.servers import Case, Servers, answered
from sim.evidence.measured.tables import read_table
from sim.hardware.runtime import Runtime

FAMILIES: Final = (
    "silicon", "argonne", "splitwise", "mlperf", "apex", "vllm-series", "vllm-replay", "cent",
)  # fmt: skip
MOST_CASES: Final = 40
"""Cases of a runtime that a fit looks at, evenly spread."""
Keep = Callable[[Case], bool]


def all_cases(folder: Path) -> dict[str, list[tuple[str, Case]]]:
    """Cases of every server table in `folder` with the table's name, by runtime."""
    cases: dict[str, list[tuple[str, Case]]] = {}
    for form, path in tables_of(folder, *FAMILIES):
        for case in cases_of(form, read_table(path, form.required)):
            cases.setdefault(case.runtime, []).append((name_of(path), case))
    return cases


def fit_runtime(
    name: str, cases: Sequence[tuple[str, Case]], servers: Servers, keep: Keep
) -> Runtime:
    """The runtime with its host fitted to the kept cases that can be predicted."""
    start, phases = load_runtime(name), fits("servers")["only"].get(name, fits("servers")["phases"])
    able = [
        (table, case) for table, case in cases
        if keep(case) and any(phase in phases for phase in case.measured)
    ]  # fmt: skip
    picked = [able[place] for place in _spread(len(able), MOST_CASES)]
    points = [
        (table, case, phase)
        for table, case in picked
        for phase, value in case.measured.items()
        if phase in phases
        and value > 0.0
        and np.isfinite(answered(case, servers)[0].get(phase, np.nan))
    ]
    if not points:
        return replace(start, host_step_s=None, host_sequence_s=None, fitted_on=())

    def predict(constants: Mapping[str, float]) -> Floats:
        servers.tried[name] = _with(start, constants)
        return np.array([answered(case, servers)[0][phase] for _, case, phase in points])

    bounds = fits("servers")["bounds"]
    best = fitted(
        # from 0 no slope shows: steps are shares of where a constant is
        {key: max(getattr(start, key) or 0.0, 0.01 * most) for key, (_, most) in bounds.items()},
        bounds,
        predict,
        np.array([case.measured[phase] for _, case, phase in points]),
        evaluations=12,
    )
    runtime = _fit_request(_with(start, best), picked, servers)
    del servers.tried[name]
    tables = tuple(sorted({table for table, _, _ in points}))
    return replace(runtime, fitted_on=tables)


def _fit_request(start: Runtime, cases: Sequence[tuple[str, Case]], servers: Servers) -> Runtime:
    """`start` with what a request takes on its way to the engine, from first tokens of clients."""
    first_tokens = [
        (case, case.measured["ttft"]) for _, case in cases
        if case.clients and case.measured.get("ttft", 0.0) > 0.0
        and np.isfinite(answered(case, servers)[0].get("ttft", np.nan))
    ]  # fmt: skip
    habits = start.habits
    if not first_tokens or habits is None:
        return start

    def loss(request_s: float) -> float:
        servers.tried[start.name] = replace(start, habits=replace(habits, request_s=request_s))
        predicted = np.array([answered(case, servers)[0]["ttft"] for case, _ in first_tokens])
        return float(
            np.abs(np.log(predicted / np.array([ttft_s for _, ttft_s in first_tokens]))).mean()
        )

    # queues jump where requests move, so there is no slope to follow
    best = min(fits("servers")["requests"], key=loss)
    return replace(start, habits=replace(habits, request_s=best))


def _with(runtime: Runtime, numbers: Mapping[str, float]) -> Runtime:
    changed: Any = dict(numbers)
    return replace(runtime, **changed)


def _spread(count: int, most: int) -> list[int]:
    """At most `most` places out of `count`, evenly spread."""
    return sorted({int(place) for place in np.linspace(0, count - 1, min(count, most))})


def fit(
    constants: Constants, folder: Path, without: str = "",
    best: Mapping[str, Runtime] | None = None,
) -> dict[str, Runtime]:  # fmt: skip
    """Every runtime of servers fitted with kernels as in `constants`.

    `without`: "" for all rows, "degrees-K" or "models-K" without the tensor-parallel degrees or the
    models of that part. A runtime of which nothing else
    was measured takes what its devices estimate of the host. Where that part has no row of a
    runtime, it stays as `best` has it.
    """
    kind, _, part = without.partition("-")

    def keep(case: Case) -> bool:
        return not without or case.parts[kind] != int(part)

    servers = Servers(constants, folder)
    cases = all_cases(folder)
    runtimes: dict[str, Runtime] = {}
    for name in fits("servers")["runtimes"]:
        known = cases.get(name, [])
        if best is not None and all(keep(case) for _, case in known):
            runtimes[name] = best[name]
        else:
            runtimes[name] = fit_runtime(name, known, servers, keep)
    return runtimes


def errors_of(runtimes: Mapping[str, Runtime], folder: Path) -> dict[str, dict[str, float]]:
    """Median error of each runtime by table and phase."""
    servers = Servers(Constants(), folder, tried=dict(runtimes))
    errors: dict[str, dict[str, float]] = {}
    for name, cases in all_cases(folder).items():
        if name not in runtimes:
            continue
        sizes: dict[str, list[float]] = {}
        for table, case in cases:
            answers = answered(case, servers)[0]
            for phase, measured in case.measured.items():
                error = (
                    abs(answers.get(phase, np.nan) / measured - 1.0) if measured > 0.0 else np.nan
                )
                if np.isfinite(error):
                    sizes.setdefault(f"{table.split('/')[-1]} {phase}", []).append(error)
        errors[name] = {key: float(np.median(each)) for key, each in sizes.items()}
    return errors
