"""Run: fit every family of kernels, and once more without each part of the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from sim.config.fitted import load_kernels, load_runtime
from sim.evidence.calibration import (
    edge_fit,
    experts_fit,
    power_fit,
    protocols_fit,
    runtime_fit,
    shared_fit,
)
from sim.evidence.calibration.documents import (
    Data,
    fitted_text,
    kernels_numbers,
    protocols_numbers,
    runtime_numbers,
)
from sim.evidence.calibration.fit import Measured, fits, measured_tables
from sim.evidence.calibration.kernels_fit import (
    FAMILIES,
    but,
    by_family,
    every,
    everywhere,
    fit,
    wanted,
)
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.formats import FOLDS
from sim.hardware.kernels import Kernels

SHARED: Final = "nvidia"
"""What every generation has alike: the kernels of devices whose generation nobody measured."""
SERVERS_HELD_OUT: Final = tuple(
    f"{kind}-{part}" for kind in ("degrees", "models") for part in range(FOLDS)
)
EDGE_HELD_OUT: Final = tuple(f"chips-{part}" for part in range(FOLDS))
SHAPES: Final = tuple(f"shapes-{part}" for part in range(FOLDS))
Files = Iterator[tuple[str, str]]


def calibrated(folder: Path, date: str) -> Files:
    """Files of kernels, protocols and power laws, by path below hw_configs/fitted, with their text.

    Constants are fitted to all of the measured tables in `folder`; those that each file holds out
    without each part of the shapes, and for each family to the devices of the others alone.
    """
    tables, known = measured_tables(folder, *FAMILIES), fits("families")
    families = by_family(tables)
    best = {name: fit(load_kernels(name), seen, every) for name, seen in families.items()}
    best |= _unlimited(best, families)
    if (nearest := known["nearest"][SHARED]) in families:
        best[SHARED] = shared_fit.fit(
            load_kernels(SHARED), known["process"], best[nearest], best, families
        )
    best |= experts_fit.fit(Constants(kernels=dict(best)), folder, "")
    held_out: dict[str, dict[str, Data]] = {name: {} for name in best}
    for without in (*SHAPES, "devices"):
        for name, kernels in _held_out(best, families, folder, without).items():
            held_out[name][without] = kernels_numbers(kernels)
    for name, kernels in best.items():
        seen = tables if name == SHARED else families[name]
        on = (table.name for table in seen)
        devices = shared_fit.among(best, families) if name == SHARED else everywhere
        text = fitted_text(
            "kernels", name, kernels_numbers(kernels), date=date,
            fitted_on=(*on, *_of_experts(name, folder)),
            errors=errors_of(kernels, seen, devices), held_out=held_out[name],
        )  # fmt: skip
        yield f"kernels/{name}.yaml", text
    yield from _protocols(folder, date)
    yield from power_fit.calibrated(folder, date)
    yield from runtimes(folder, date)


def _unlimited(
    best: Mapping[str, Kernels], families: Mapping[str, list[Measured]]
) -> dict[str, Kernels]:
    """Families whose measured devices no power limit holds, with the energy that others imply."""
    known = shared_fit.limited(best, families)
    return {
        name: shared_fit.with_flop(best[name], tables[0].device.process, known, families)
        for name, tables in families.items()
        if name not in known
    }


def _held_out(
    best: Mapping[str, Kernels], families: Mapping[str, list[Measured]], folder: Path, without: str
) -> dict[str, Kernels]:
    """Kernels of each family fitted without its devices, or without a part of the shapes."""
    fitted: dict[str, Kernels] = {}
    for name, tables in families.items():
        if without == "devices":
            others = {other: of for other, of in families.items() if other != name}
            nearest = fits("families")["nearest"][name]
            start = best[nearest if nearest in others else next(iter(others))]
            process = tables[0].device.process
            fitted[name] = shared_fit.fit(best[name], process, start, best, others)
        else:
            fitted[name] = fit(best[name], tables, but(int(without.removeprefix("shapes-"))))
    fitted |= experts_fit.fit(Constants(kernels=dict(fitted)), folder, without)
    return {name: kernels for name, kernels in fitted.items() if name != SHARED}


def _protocols(folder: Path, date: str) -> Files:
    parts = ("", *SHAPES)
    partial = {without: protocols_fit.fit(Constants(), folder, without) for without in parts}
    for name, protocols in partial.pop("").items():
        held_out = {
            without: protocols_numbers(others[name])
            for without, others in partial.items()
            if name in others
        }
        yield (
            f"protocols/{name}.yaml",
            fitted_text(
                "protocols", name, protocols_numbers(protocols), date=date,
                fitted_on=protocols.fitted_on, errors={}, held_out=held_out,
            ),
        )  # fmt: skip


def runtimes(folder: Path, date: str) -> Files:
    """Files of runtimes of servers and of edge devices, with kernels as the files have them."""
    for fitting, parts in ((runtime_fit, SERVERS_HELD_OUT), (edge_fit, EDGE_HELD_OUT)):
        best = fitting.fit(Constants(), folder)
        errors = fitting.errors_of(best, folder)
        partial = {without: fitting.fit(Constants(), folder, without, best) for without in parts}
        for name, runtime in best.items():
            runs_on = load_runtime(name).runs_on
            held_out = {
                without: runtime_numbers(name, replace(others[name], runs_on=runs_on))
                for without, others in partial.items()
                if name in others
            }
            yield (
                f"runtimes/{name}.yaml",
                fitted_text(
                    "runtimes", name, runtime_numbers(name, replace(runtime, runs_on=runs_on)),
                    date=date, fitted_on=runtime.fitted_on, errors=errors[name], held_out=held_out,
                ),
            )  # fmt: skip


def _of_experts(name: str, folder: Path) -> Iterator[str]:
    """Tables of experts of the devices that have the kernels of this name."""
    for table in measured_tables(folder, "moe"):
        if table.kernels is not None and table.kernels.name == name:
            yield table.name


def errors_of(
    kernels: Kernels, tables: list[Measured],
    devices: Callable[[Kernels], Constants] = everywhere,
) -> Mapping[str, float]:  # fmt: skip
    """Median error by table and what was fitted of it, with what `kernels` make of devices."""
    errors: dict[str, float] = {}
    for table in tables:
        rows = table.form.predict(table.table, devices(kernels))
        for part in fits("kernels"):
            chosen = wanted(part, rows) & (rows["measured"] > 0.0)
            if chosen.any():
                size = (rows["predicted"] / rows["measured"] - 1.0).abs()[chosen]
                errors[f"{table.table.name} {part['section']}"] = float(size.median())
    return errors
