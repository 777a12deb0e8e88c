"""Runtimes of servers fitted: the host's seconds an iteration and a sequence, from measured tables.

Run again whenever kernels change: what they don't explain is what a host takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from sim.config.runtime_form import load_runtime
from sim.evidence.calibration.fit import fitted
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.formats import fold_of
from sim.evidence.measured.replay import Floats
from sim.evidence.measured.server_tables import FORMATS, cases_of
from sim.evidence.measured.servers import Case, Servers, answered
from sim.evidence.measured.tables import read_table, stem, table_paths
from sim.hardware.runtime import Runtime

PHASES: Final = ("tpot", "tpot-mean", "latency", "token", "offline-rate")
"""What is fitted: times of many iterations; a first token hangs on queues more than on hosts."""
ONLY: Final[Mapping[str, tuple[str, ...]]] = {"trtllm-mlperf": ("offline-rate",)}
"""Fewer phases of some: at a rate near capacity MLPerf's latencies tell submitters' settings."""
BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "host_step_s": (0.0, 6e-2), "host_sequence_s": (0.0, 1e-3),
}  # fmt: skip
MOST_CASES: Final = 50
"""Cases of a runtime that a fit looks at, evenly spread."""
FITTED: Final = (
    "vllm", "vllm-0.12", "vllm-2024", "vllm-rocm-2024", "vllm-2023", "trtllm", "trtllm-2024",
    "trtllm-mlperf", "sglang", "deepspeed-mii",
)  # fmt: skip
Keep = Callable[[Case], bool]


def all_cases(folder: Path) -> dict[str, list[tuple[str, Case]]]:
    """Cases of every server table in `folder` with the table's name, by runtime."""
    found: dict[str, list[tuple[str, Case]]] = {}
    for path in table_paths(folder):
        name = f"{path.parent.name}/{stem(path)}"
        form = next((each for each in FORMATS if each.matches(name)), None)
        if form is not None:
            for case in cases_of(read_table(path, form.columns)):
                found.setdefault(case.runtime, []).append((name, case))
    return found


def fit_runtime(
    name: str, cases: Sequence[tuple[str, Case]], servers: Servers, keep: Keep
) -> Runtime:
    """The runtime with its host fitted to the kept cases that can be predicted."""
    start = load_runtime(name)
    able = [
        (table, case) for table, case in cases
        if keep(case) and any(phase in ONLY.get(name, PHASES) for phase in case.measured)
    ]  # fmt: skip
    picked = [able[place] for place in _spread(len(able), MOST_CASES)]
    told = [
        (table, case, phase)
        for table, case in picked
        for phase, value in case.measured.items()
        if phase in ONLY.get(name, PHASES)
        and value > 0.0
        and np.isfinite(answered(case, servers)[0].get(phase, np.nan))
    ]
    if not told:
        return start

    def predict(constants: Mapping[str, float]) -> Floats:
        servers.tried[name] = _with(start, constants)
        return np.array([answered(case, servers)[0][phase] for _, case, phase in told])

    best = fitted(
        {key: getattr(start, key) or 0.0 for key in BOUNDS},
        BOUNDS,
        predict,
        np.array([case.measured[phase] for _, case, phase in told]),
        evaluations=12,
    )
    del servers.tried[name]
    tables = tuple(sorted({table for table, _, _ in told}))
    return replace(_with(start, best), fitted_on=tables)


def _with(runtime: Runtime, numbers: Mapping[str, float]) -> Runtime:
    changed: Any = dict(numbers)
    return replace(runtime, **changed)


def _spread(count: int, most: int) -> list[int]:
    """At most `most` places out of `count`, evenly spread."""
    return sorted({int(place) for place in np.linspace(0, count - 1, min(count, most))})


def fit(constants: Constants, folder: Path, without: str = "") -> dict[str, Runtime]:
    """Every runtime of servers fitted with kernels as in `constants`.

    `without`: "" for all rows, "shapes-K" without fold K of the lengths and layouts, "model-NAME"
    or "tp-N" without the rows of a model or a degree (their `choice` or `fold` names it).
    """
    keep: Keep = _all
    if without.startswith("shapes-"):
        part = int(without.removeprefix("shapes-"))
        keep = lambda case: _fold(case.fold) != part  # noqa: E731
    elif without.startswith("model-"):
        name = without.removeprefix("model-")
        keep = lambda case: name not in case.choice  # noqa: E731
    elif without.startswith("tp-"):
        degree = without.removeprefix("tp-")
        keep = lambda case: not case.fold.endswith(f"|{degree}")  # noqa: E731
    servers = Servers(constants, folder)
    cases = all_cases(folder)
    return {name: fit_runtime(name, cases.get(name, []), servers, keep) for name in FITTED}


def _all(_case: Case) -> bool:
    return True


def _fold(key: str) -> int:
    return int(fold_of(pd.Series([key]))[0])
