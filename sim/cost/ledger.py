"""Ledger: what a system costs and emits, line by line, each as [low, base, high].

Lines add up to the totals. Low is the end that makes things cheap: low prices, few defects, many
units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sim.cost.carbon import embodied_die, operational
from sim.cost.ownership import Site, electricity_cost, energy_kWh, facility_cost, facility_W
from sim.cost.process import Process
from sim.cost.silicon import RETICLE_mm, die_cost, dies_per_wafer, murphy_yield
from sim.errors import ConfigError, Infeasible, Problem
from sim.hardware import Device, System

Floats = npt.NDArray[np.float64]

SMALL_W: Final = 100.0
"""Rated power below which a device sits on a small board."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Practice:
    """Packaging, boards, volume and ownership; each [low, base, high]."""

    interposer_USD_per_mm2: Floats
    flip_chip_USD_per_mm2: Floats
    board_USD: Floats
    small_board_USD: Floats
    units: Floats
    years: Floats
    maintenance_per_year: Floats
    memory_kg_per_GB: Floats
    package_kg: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """One entry: what it is, in what unit, how it came about, and whose numbers it rests on."""

    name: str
    unit: str
    value: Floats
    formula: str
    sources: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The line as plain values."""
        low, base, high = (float(each) for each in self.value)
        return {
            "name": self.name, "unit": self.unit, "low": low, "base": base, "high": high,
            "formula": self.formula, "sources": list(self.sources),
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Ledger:
    """Lines of a system; `totals` by name, None where a number is not known."""

    system: str
    lines: tuple[Line, ...]
    totals: Mapping[str, Floats | None]

    def to_json(self) -> dict[str, Any]:
        """The ledger as plain values."""
        return {
            "system": self.system,
            "lines": [line.to_json() for line in self.lines],
            "totals": {
                name: None
                if value is None
                else dict(zip(("low", "base", "high"), map(float, value), strict=True))
                for name, value in self.totals.items()
            },
        }


def three(value: float) -> Floats:
    """One number for all ends."""
    return np.full(3, float(value))


def check_die(device: Device, process: Process) -> float:
    """Area of one die of `device`, mm2.

    Infeasible where it isn't known; ConfigError where it is larger than the reticle or the wafer.
    """
    if device.die_area_mm2 is None:
        raise Infeasible(f"{device.title}: the area of its die is not known; give `die.area`")
    each = device.die_area_mm2 / device.dies
    reticle = RETICLE_mm[0] * RETICLE_mm[1]
    wafer = np.pi * (process.wafer_mm / 2.0) ** 2
    if each > wafer:
        message = (
            f"{each:g} mm2 is larger than a wafer of {process.wafer_mm:g} mm ({wafer:,.0f} mm2)"
        )
        raise ConfigError([Problem(path="die.area", message=message)])
    if each > reticle and not device.wafer_scale:
        message = (
            f"{each:g} mm2 is larger than the reticle's {reticle:g} mm2: give `die.count`, or "
            "`die.wafer_scale: true`"
        )
        raise ConfigError([Problem(path="die.area", message=message)])
    return each


def silicon_lines(device: Device, process: Process) -> Iterator[Line]:
    """Dies of one device: how many a wafer gives, how many work, what they cost and embody."""
    area = check_die(device, process)
    if device.wafer_scale:
        gross, good, how = 1.0, three(1.0), "one a wafer, defects worked around"
    else:
        gross = float(np.asarray(dies_per_wafer(area, wafer_mm=process.wafer_mm)))
        good = np.asarray(murphy_yield(area, process.defects_per_cm2))
        how = "Murphy: ((1 - exp(-A D)) / (A D))^2"
    defects = _sources(process.sources, "defects_per_cm2")
    yield Line(name="die area", unit="mm2", value=three(area * device.dies),
               formula=f"{device.dies} x {area:g}",
               sources=_sources(device.sources, "die.area"))  # fmt: skip
    yield Line(name="dies a wafer", unit="dies", value=three(gross),
               formula="pi r^2 / A - pi d / sqrt(2 A)", sources=())  # fmt: skip
    yield Line(name="yield", unit="share", value=good[::-1] if not device.wafer_scale else good,
               formula=how, sources=defects)  # fmt: skip
    cost = np.asarray(die_cost(process.wafer_USD, three(gross), good))
    yield Line(name="dies", unit="USD", value=cost * device.dies,
               formula="wafer / (dies a wafer x yield) x dies",
               sources=(*_sources(process.sources, "wafer"), *defects))  # fmt: skip
    carbon = np.asarray(embodied_die(area, good, kg_per_cm2=process.carbon_kg_per_cm2))
    yield Line(name="dies' carbon", unit="kgCO2e", value=carbon * device.dies,
               formula="area x carbon a cm2 / yield",
               sources=_sources(process.sources, "carbon_kg_per_cm2"))  # fmt: skip


def _sources(numbers: Mapping[str, Any], path: str) -> tuple[str, ...]:
    """Sources of the numbers at `path` and below it."""
    found = {
        number.source
        for key, number in numbers.items()
        if key == path or key.startswith(f"{path}.")
    }
    return tuple(sorted(found))


def device_lines(
    device: Device, process: Process, practice: Practice, prices: Mapping[str, tuple[Floats, str]]
) -> Iterator[Line]:
    """Everything one device is made of. `prices` has USD a GB and its source by technology."""
    yield from silicon_lines(device, process)
    stacked = False
    for memory in device.memories:
        found = prices.get(memory.technology or "")
        if found is None or memory.capacity_B is None:
            continue
        stacked |= (memory.technology or "").startswith(("hbm", "hybrid"))
        gigabytes = memory.capacity_B / 1e9
        yield Line(name=f"memory {memory.name}", unit="USD", value=found[0] * gigabytes,
                   formula=f"{gigabytes:.4g} GB x price a GB", sources=(found[1],))  # fmt: skip
        yield Line(name=f"memory {memory.name}'s carbon", unit="kgCO2e",
                   value=practice.memory_kg_per_GB * gigabytes,
                   formula=f"{gigabytes:.4g} GB x carbon a GB", sources=("act-dram",))  # fmt: skip
    area = device.die_area_mm2 or 0.0
    per_mm2 = practice.interposer_USD_per_mm2 if stacked else practice.flip_chip_USD_per_mm2
    yield Line(name="package and test", unit="USD", value=per_mm2 * area,
               formula=f"{area:g} mm2 x {'interposer' if stacked else 'flip-chip'} a mm2",
               sources=("package-estimate",))  # fmt: skip
    yield Line(name="package's carbon", unit="kgCO2e", value=practice.package_kg,
               formula="one package", sources=("act-fab",))  # fmt: skip
    small = device.tdp_W is not None and device.tdp_W < SMALL_W
    yield Line(name="board, cooling, chassis", unit="USD",
               value=practice.small_board_USD if small else practice.board_USD,
               formula=f"a device {'below' if small else 'not below'} {SMALL_W:g} W",
               sources=("board-estimate",))  # fmt: skip


def ledger(
    system: System,
    process: Process,
    site: Site,
    practice: Practice,
    prices: Mapping[str, tuple[Floats, str]],
) -> Ledger:
    """The ledger of `system`, at its rated power.

    Capital is the list price where the device has one, else its cost and its part of the NRE.
    """
    device = system.device
    lines = list(device_lines(device, process, practice, prices))

    def total(unit: str) -> Floats:
        return np.asarray(sum(line.value for line in lines if line.unit == unit))

    unit_cost, unit_kg = total("USD"), total("kgCO2e")
    nre = process.mask_set_USD + process.design_USD
    spread = nre / practice.units[::-1]
    nre_sources = (*_sources(process.sources, "mask_set"), *_sources(process.sources, "design"))
    lines.append(Line(name="NRE a unit", unit="USD/unit", value=spread,
                      formula="(mask set + design) / units",
                      sources=(*nre_sources, "volume-estimate")))  # fmt: skip
    listed = None if device.price_USD is None else three(device.price_USD)
    each = unit_cost + spread if listed is None else listed
    how = "list price" if listed is not None else "cost and NRE a unit"
    devices = each * system.count
    lines.append(Line(name="devices", unit="USD, capital", value=devices,
                      formula=f"{system.count} x {how}",
                      sources=_sources(device.sources, "price")))  # fmt: skip
    embodied = unit_kg * system.count
    capex, tco, used = devices, None, None
    if device.tdp_W is not None:
        drawn = np.asarray(facility_W(device.tdp_W * system.count, site))
        house = np.asarray(facility_cost(drawn, site))
        bill = np.asarray(electricity_cost(drawn, practice.years, site))
        capex = devices + house
        upkeep = capex * practice.maintenance_per_year * practice.years
        tco = capex + bill + upkeep
        used = np.asarray(operational(energy_kWh(drawn, practice.years), site.carbon_kg_per_kWh))
        lines += [
            Line(name="facility", unit="USD, capital", value=house,
                 formula="rated power x PUE x facility a W", sources=("site-estimate",)),
            Line(name="electricity", unit="USD, running", value=bill,
                 formula="rated power x PUE x years x price", sources=("site-estimate",)),
            Line(name="maintenance", unit="USD, running", value=upkeep,
                 formula="capital x share a year x years", sources=("board-estimate",)),
            Line(name="electricity's carbon", unit="kgCO2e, running", value=used,
                 formula="rated power x PUE x years x grid", sources=("site-estimate",)),
        ]  # fmt: skip
    return Ledger(
        system=system.name,
        lines=tuple(lines),
        totals={
            "die_area_mm2": three((device.die_area_mm2 or 0.0) * system.count),
            "nre_usd": nre,
            "unit_cost_usd": unit_cost,
            "capex_usd": capex,
            "tco_usd": tco,
            "embodied_kgCO2e": embodied,
            "operational_kgCO2e": used,
        },
    )
