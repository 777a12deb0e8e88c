"""Run: fit every family of kernels, and once more without each part of the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from sim.config.fitted_files import fitted_form
from sim.config.kernels_form import load_kernels
from sim.config.library import title_of
from sim.config.runtime_form import RuntimeForm
from sim.evidence.calibration import (
    edge_fit,
    experts_fit,
    power_fit,
    protocols_fit,
    runtime_fit,
    shared_fit,
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
from sim.evidence.calibration.written import kernels_text, protocols_text, runtime_text
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.formats import FOLDS
from sim.hardware.kernels import Kernels
from sim.hardware.runtime import Runtime

SHARED: Final = "nvidia"
"""What every generation has alike: the kernels of devices whose generation nobody measured."""
ABOUT: Final = "Written by `sim calibrate`: fit again rather than change by hand."
HELD_OUT: Final = "Fitted without {}: `sim validate` predicts those with it. No device names it."
SERVERS_HELD_OUT: Final = tuple(
    f"{kind}-{part}" for kind in ("degrees", "models") for part in range(FOLDS)
)
EDGE_HELD_OUT: Final = tuple(f"chips-{part}" for part in range(FOLDS))
SHAPES: Final = tuple(f"shapes-{part}" for part in range(FOLDS))
Files = Iterator[tuple[str, str]]


def calibrated(folder: Path, date: str) -> Files:
    """Files of kernels, protocols and power laws, by path below hw_configs, with their text.

    Constants are fitted to all of the measured tables in `folder`, then without each part of the
    shapes, then for each family to the devices of the others alone.
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
    for name, kernels in best.items():
        seen = tables if name == SHARED else families[name]
        on = (table.name for table in seen)
        whole = replace(kernels, fitted_on=(*on, *_of_experts(name, folder)))
        devices = shared_fit.among(best, families) if name == SHARED else everywhere
        errors = errors_of(whole, seen, devices)
        text = kernels_text(
            whole, title=title_of("kernels", name), date=date, errors=errors, about=ABOUT
        )
        yield f"kernels/{name}.yaml", text
    for without in (*SHAPES, "devices"):
        yield from _held_out(best, families, folder, date, without)
    yield from _protocols(folder, date)
    yield from power_fit.calibrated(folder, date, ABOUT, HELD_OUT)
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
    best: Mapping[str, Kernels], families: Mapping[str, list[Measured]], folder: Path, date: str,
    without: str,
) -> Files:  # fmt: skip
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
    fitted.pop(SHARED, None)
    for name, kernels in fitted.items():
        text = kernels_text(
            replace(kernels, fitted_on=()), title=title_of("kernels", name), date=date, errors={},
            about=HELD_OUT.format("its devices" if without == "devices" else without),
        )  # fmt: skip
        yield f"kernels/held-out/{name}.without-{without}.yaml", text


def _protocols(folder: Path, date: str) -> Files:
    for without in ("", *SHAPES):
        for name, found in protocols_fit.fit(Constants(), folder, without).items():
            text = protocols_text(
                replace(found, fitted_on=()) if without else found,
                title=title_of("protocols", name), date=date, errors={},
                about=HELD_OUT.format(without) if without else ABOUT,
            )  # fmt: skip
            held = f"held-out/{name}.without-{without}" if without else name
            yield f"protocols/{held}.yaml", text


def runtimes(folder: Path, date: str) -> Files:
    """Files of runtimes of servers and of edge devices, with kernels as the files have them."""
    for fitting, held_out in ((runtime_fit, SERVERS_HELD_OUT), (edge_fit, EDGE_HELD_OUT)):
        best = fitting.fit(Constants(), folder)
        errors = fitting.errors_of(best, folder)
        for name, found in best.items():
            yield f"runtimes/{name}.yaml", _runtime_text(found, name, date, errors[name], ABOUT)
        for without in held_out:
            for name, found in fitting.fit(Constants(), folder, without, best).items():
                text = _runtime_text(
                    replace(found, fitted_on=()), name, date, {}, HELD_OUT.format(without)
                )
                yield f"runtimes/held-out/{name}.without-{without}.yaml", text


def _runtime_text(
    runtime: Runtime, name: str, date: str, errors: Mapping[str, float], about: str
) -> str:
    _, form, _ = fitted_form("runtimes", RuntimeForm, name)
    if runtime.fitted_on:  # those without a part of the data only predict what was left out
        runtime = replace(runtime, runs_on=form.runs_on)
    return runtime_text(
        runtime, form.habits, title=title_of("runtimes", name), date=date, errors=errors,
        about=about,
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
