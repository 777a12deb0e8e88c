"""Edge runtimes fitted: overheads and shares of llama.cpp and others on edge devices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from sim.config.runtime_form import load_runtime
from sim.evidence.calibration.fit import fitted
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.edge import Timing, cases_in, predicted
from sim.evidence.measured.edge_tables import BUILDERS, COLUMNS
from sim.evidence.measured.formats import fold_of
from sim.evidence.measured.hat import COLUMNS as HAT_COLUMNS
from sim.evidence.measured.hat import hat_cases
from sim.evidence.measured.tables import read_table
from sim.hardware.runtime import Runtime

Bounds = Mapping[str, tuple[float, float]]
MOST_CASES: Final = 1200
"""Cases that a fit looks at, evenly spread."""
LAUNCH: Final = (0.0, 5e-3)
HOST: Final = (0.0, 1e-1)
FILL: Final = (0.0, 1e-4)
SHARE: Final = (0.005, 1.0)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Numbers of a runtime that are fitted together, and the phases of the tables they are of."""

    runtime: str
    tables: tuple[str, ...]
    phases: tuple[str, ...]
    bounds: Bounds


PARTS: Final = (
    Part(
        runtime="llama-cpp-metal", tables=("llamacpp_apple_m_series",), phases=("decode",),
        bounds={"launch_s": LAUNCH, "memory": SHARE, "fill_s": FILL},
    ),
    Part(
        runtime="llama-cpp-metal", tables=("llamacpp_apple_m_series", "llamacpp_llama3_gpus"),
        phases=("prefill",), bounds={"compute": SHARE, "attention": SHARE},
    ),
    Part(
        runtime="llama-cpp-cuda", tables=("llamacpp_llama3_gpus",), phases=("decode",),
        bounds={
            "host_step_s": HOST, "launch_s": LAUNCH, "memory": SHARE, "slot_B_per_s": (2e9, 1e11),
        },
    ),
    Part(
        runtime="llama-cpp-cuda", tables=("llamacpp_llama3_gpus",), phases=("prefill",),
        bounds={"compute": SHARE, "attention": SHARE},
    ),
    Part(
        runtime="llama-cpp-cuda-graphs",
        tables=("llamacpp_dgx_spark_batched", "llamacpp_dgx_spark_depth"), phases=("decode",),
        bounds={
            "host_step_s": HOST, "host_sequence_s": HOST, "launch_s": LAUNCH, "memory": SHARE,
        },
    ),
    Part(
        runtime="llama-cpp-cuda-graphs",
        tables=("llamacpp_dgx_spark_batched", "llamacpp_dgx_spark_depth"), phases=("prefill",),
        bounds={"compute": SHARE, "attention": SHARE},
    ),
    Part(
        runtime="llama-cpp-cpu", tables=("raspberry_pi5_energy", "geerling_wall_power"),
        phases=("decode",), bounds={"memory": SHARE, "compute": SHARE},
    ),
    Part(
        runtime="mlc-jetson", tables=("jetson_orin_nano",), phases=("decode",),
        bounds={"launch_s": LAUNCH, "memory": SHARE},
    ),
    Part(
        runtime="tensorrt-jetson", tables=("jetson_orin_nano",), phases=("image",),
        bounds={"launch_s": LAUNCH, "compute": SHARE},
    ),
    Part(
        runtime="executorch", tables=("executorch_phones",), phases=("decode",),
        bounds={"memory": SHARE},
    ),
    Part(
        runtime="executorch", tables=("executorch_phones",), phases=("prefill",),
        bounds={"compute": SHARE},
    ),
    Part(
        runtime="ollama", tables=("geerling_wall_power",), phases=("decode",),
        bounds={"launch_s": LAUNCH, "memory": SHARE},
    ),
    Part(
        runtime="ollama-vulkan", tables=("geerling_wall_power",), phases=("decode",),
        bounds={"launch_s": LAUNCH, "memory": SHARE},
    ),
    Part(
        runtime="ollama-rocm", tables=("geerling_wall_power",), phases=("decode",),
        bounds={"memory": SHARE},
    ),
    Part(
        runtime="pytorch-eager-gpu", tables=("hat_wmt14ende_gpu_titanxp",),
        phases=("encoder", "decoder"), bounds={"host_step_s": HOST, "launch_s": LAUNCH},
    ),
    Part(
        runtime="pytorch-eager-cpu", tables=("hat_wmt14ende_cpu_raspberrypi",),
        phases=("encoder", "decoder"),
        bounds={
            "host_step_s": HOST, "launch_s": LAUNCH, "memory": SHARE, "compute": SHARE,
            "attention": SHARE,
        },
    ),
)  # fmt: skip


def cases_of(folder: Path, names: Iterable[str]) -> dict[str, list[Timing]]:
    """Cases of edge tables, by table."""
    found: dict[str, list[Timing]] = {}
    for name in names:
        build, columns = BUILDERS.get(name, hat_cases), COLUMNS.get(name, HAT_COLUMNS)
        path = folder / "edge" / f"{name}.csv"
        if path.is_file():
            found[name] = cases_in(read_table(path, columns), build)
    return found


def fit(
    constants: Constants, folder: Path, without: str = "",
    best: Mapping[str, Runtime] | None = None,
) -> dict[str, Runtime]:  # fmt: skip
    """Runtimes refitted: on all rows, or for "chips-K" without rows of part K.

    A part of the rows of a table of many devices is devices, elsewhere shapes or models. Where it
    has no row of a runtime, that stays as `best` has it.
    """
    cases = cases_of(folder, dict.fromkeys(name for part in PARTS for name in part.tables))
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
    found = {name: each for name, each in (best or {}).items() if name not in hit}
    found |= fit_runtimes(constants, seen, lambda name: name not in found, forget=bool(without))
    return {name: replace(each, fitted_on=_tables(name, cases)) for name, each in found.items()}


def _tables(runtime: str, cases: Mapping[str, Sequence[Timing]]) -> tuple[str, ...]:
    """Tables that a runtime is fitted on, of those there are."""
    named = dict.fromkeys(
        table for part in PARTS if part.runtime == runtime for table in part.tables
    )
    return tuple(f"edge/{table}" for table in named if cases.get(table))


def errors_of(runtimes: Mapping[str, Runtime], folder: Path) -> dict[str, dict[str, float]]:
    """Median error of each runtime by table and phase."""
    cases = cases_of(folder, dict.fromkeys(name for part in PARTS for name in part.tables))
    found: dict[str, dict[str, float]] = {name: {} for name in runtimes}
    known = Constants(runtimes=dict(runtimes))
    for table, of in cases.items():
        able = [case for case in of if case.runtime in runtimes and case.program is not None]
        sizes = np.abs(predicted(able, known) / np.array([case.measured for case in able]) - 1.0)
        keys = pd.Series([(case.runtime, case.phase) for case in able], dtype=object)
        for (runtime, phase), own in pd.Series(sizes).groupby(keys):
            found[runtime][f"{table} {phase}"] = float(own.median())
    return found


def fit_runtimes(
    constants: Constants, cases: Mapping[str, Sequence[Timing]],
    wanted: Callable[[str], bool] = lambda _: True, *, forget: bool = False,
) -> dict[str, Runtime]:  # fmt: skip
    """Every runtime that is `wanted`, part by part, on the cases of each table that may be seen.

    Where there are none, `forget` leaves what the device estimates in place of what was fitted.
    """
    found: dict[str, Runtime] = {}
    for part in PARTS:
        if not wanted(part.runtime):
            continue
        start = found.get(part.runtime) or load_runtime(part.runtime)
        mine = [
            case
            for name in part.tables
            for case in cases.get(name, ())
            if case.runtime == part.runtime and case.program and case.phase in part.phases
        ]
        mine = sorted(mine, key=lambda case: case.phase)  # so that even steps meet all phases
        mine = mine[:: max(len(mine) // MOST_CASES, 1)]
        if mine:
            start = _fit_part(part, start, mine, constants)
        elif forget:
            start = replace(start, **dict.fromkeys(part.bounds))  # type: ignore[arg-type]
        found[part.runtime] = start
    return found


def _fit_part(part: Part, start: Runtime, cases: list[Timing], constants: Constants) -> Runtime:
    values = {name: getattr(start, name) for name in part.bounds}
    begun = {
        name: sum(part.bounds[name]) / 2 if value is None else float(value)
        for name, value in values.items()
    }

    def predict(numbers: Mapping[str, float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        tried = {part.runtime: replace(start, **numbers)}  # type: ignore[arg-type]
        return predicted(cases, Constants(without=constants.without, runtimes=tried))

    measured = np.array([case.measured for case in cases])
    best = fitted(begun, part.bounds, predict, measured, evaluations=60)
    return replace(start, **best)  # type: ignore[arg-type]
