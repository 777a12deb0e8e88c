"""Ledger: what a system costs and emits, line by line, from dies to years of electricity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from sim.economics.carbon import operational
from sim.economics.lines import (
    CAPITAL,
    CARBON,
    DEVICE,
    EMBODIED,
    EMITTED,
    NRE,
    RUNNING,
    Ledger,
    Line,
    sources_at,
    three,
    total,
)
from sim.economics.masks import LayerStack
from sim.economics.ownership import electricity_cost, energy_kWh, facility_cost, facility_W
from sim.economics.practice import Costs
from sim.economics.process import Process
from sim.economics.unit import device_lines
from sim.errors import ConfigError, Infeasible, Problem
from sim.hardware import Device, System

Floats = npt.NDArray[np.float64]


DESIGN: Final = {
    "architecture": "architecture",
    "verification": "verification",
    "physical": "physical design",
    "ip": "licences (IP)",
}
"""Parts of a chip's design."""


def layers_of(device: Device, process: Process) -> LayerStack:
    """Mask layers of the device's process, and which each product has for itself: all, or as said.

    ConfigError where it would own more than there are.
    """
    making, stack = device.making, process.layers
    try:
        return replace(
            stack,
            own_euv=stack.euv if making.own_euv is None else making.own_euv,
            own_duv=stack.duv if making.own_duv is None else making.own_duv,
        )
    except ConfigError as error:
        raise ConfigError(
            [
                Problem(
                    path=f"die.own_layers.{(each.path or '').removeprefix('own_')}",
                    message=f"{each.message} of {process.name}",
                )
                for each in error.problems
            ]
        ) from None


def nre_lines(device: Device, costs: Costs) -> Iterator[Line]:
    """What is spent once for all devices: masks, re-spins, design."""
    process, practice, making = costs.process, costs.practice, device.making
    stack, products = layers_of(device, process), making.products
    masks = sources_at(process.sources, "masks", "mask_set")
    masks += sources_at(device.sources, "die.own_layers", "die.products")
    price = process.mask_set_USD
    own = np.asarray(stack.own_cost(price, products))
    yield Line(name="masks shared by all products", unit=NRE,
               value=np.asarray(stack.shared_cost(price)),
               formula=f"set x {1.0 - stack.own_share:.4g}", sources=masks)  # fmt: skip
    yield Line(name="masks of each product", unit=NRE, value=own,
               formula=f"set x {stack.own_share:.4g} x {products} products",
               sources=masks)  # fmt: skip
    yield Line(name="re-spins", unit=NRE, value=own * practice.respins,
               formula="masks of each product x re-spins",
               sources=(*masks, *sources_at(practice.sources, "respins")))  # fmt: skip
    for part, share in practice.design_shares.items():
        stated = making.design_USD.get(part)
        yield Line(
            name=DESIGN[part], unit=NRE,
            value=process.design_USD * share if stated is None else np.asarray(stated),
            formula=f"design x {share:g}" if stated is None else "as the device states",
            sources=(
                *sources_at(process.sources, "design"),
                *sources_at(practice.sources, "design_shares"),
            ) if stated is None else sources_at(device.sources, f"making.design.{part}"),
        )  # fmt: skip


def ledger(system: System, costs: Costs, used_W: Floats | float | None = None) -> Ledger:
    """The ledger of `system`, which uses `used_W` on average: its rated power if nothing is said.

    Buildings are for the rated power, electricity is of the power used. Owners pay the list price
    where there is one, else cost and part of the NRE with a markup; at basis "cost" without any.
    """
    device, practice = system.device, costs.practice
    lines = list(device_lines(device, costs))
    unit_cost, unit_kg = total(lines, DEVICE), total(lines, CARBON)
    lines += nre_lines(device, costs)
    nre = total(lines, NRE)
    units = practice.units if device.making.units is None else np.asarray(device.making.units)
    volume = (
        sources_at(practice.sources, "units")
        if device.making.units is None
        else sources_at(device.sources, "making.units")
    )
    units = np.maximum(units, float(system.count))  # nobody shares what is left
    spread = nre / units
    lines.append(Line(name="NRE a device", unit="USD/device", value=spread,
                      formula="NRE / units, at least those of this system",
                      sources=volume))  # fmt: skip
    lines += _capital(system, costs, unit_cost, spread, units)
    lines += _embodied(system, costs, unit_kg)
    totals: dict[str, Floats | None] = {
        "die_area_mm2": three((device.die_area_mm2 or 0.0) * system.count),
        "nre_usd": nre,
        "unit_cost_usd": unit_cost,
        "capex_usd": None,
        "tco_usd": None,
        "embodied_kgCO2e": total(lines, EMBODIED),
        "operational_kgCO2e": None,
    }
    rated = None if device.tdp_W is None else device.tdp_W * system.count
    used = rated if used_W is None else used_W
    if used is not None:
        lines += _running(costs, used if rated is None else rated, used, lines)
        totals["capex_usd"] = total(lines, CAPITAL)
        totals["tco_usd"] = total(lines, CAPITAL, RUNNING)
        totals["operational_kgCO2e"] = total(lines, EMITTED)
    _all_finite(lines)
    listed = device.price_USD is not None and costs.basis == "price"
    how = "list price" if listed else "cost, NRE and markup"
    how = "cost and NRE" if costs.basis == "cost" else how
    return Ledger(system=system.name, basis=how, lines=tuple(lines), totals=totals)


def _capital(
    system: System, costs: Costs, unit_cost: Floats, spread: Floats, units: Floats
) -> Iterator[Line]:
    """What the owner pays for devices, spares, and those that replace them."""
    device, practice, making = system.device, costs.practice, system.device.making
    listed = device.price_USD is not None and costs.basis == "price"
    markup, paid = three(1.0), sources_at(device.sources, "price" if listed else "making.markup")
    if costs.basis == "price" and not listed:
        markup = practice.markup if making.markup is None else np.asarray(making.markup)
        paid = paid or sources_at(practice.sources, "markup")
    each = unit_cost * markup if not listed else np.asarray(device.price_USD)
    devices = each * system.count
    how = "list price" if listed else "cost x markup"
    yield Line(name="devices", unit=CAPITAL, value=devices, formula=f"{system.count} x {how}",
               sources=paid)  # fmt: skip
    if not listed:
        yield Line(name="their NRE", unit=CAPITAL, value=spread * markup * system.count,
                   formula=f"{system.count} x NRE a device x markup", sources=paid)  # fmt: skip
    yield Line(name="spares", unit=CAPITAL, value=devices * practice.spares,
               formula="devices x spares",
               sources=sources_at(practice.sources, "spares"))  # fmt: skip
    updates = np.asarray(making.updates)
    if updates.any():
        stack = layers_of(device, costs.process)
        masks = np.asarray(stack.own_cost(costs.process.mask_set_USD, making.products)) / units
        yield Line(name="updates", unit=CAPITAL,
                   value=(unit_cost + masks) * markup * system.count * updates,
                   formula=f"{system.count} x (cost + masks of its own) x markup x updates",
                   sources=sources_at(device.sources, "making.updates"))  # fmt: skip


def _embodied(system: System, costs: Costs, unit_kg: Floats) -> Iterator[Line]:
    """What is emitted by making devices, spares, and those that replace them."""
    updates, spares = np.asarray(system.device.making.updates), costs.practice.spares
    made = unit_kg * system.count
    yield Line(name="devices' carbon", unit=EMBODIED, value=made,
               formula=f"{system.count} x a device's")  # fmt: skip
    yield Line(name="spares' carbon", unit=EMBODIED, value=made * spares,
               formula="devices x spares",
               sources=sources_at(costs.practice.sources, "spares"))  # fmt: skip
    if updates.any():
        yield Line(name="updates' carbon", unit=EMBODIED, value=made * updates,
                   formula="devices x updates",
                   sources=sources_at(system.device.sources, "making.updates"))  # fmt: skip


def _all_finite(lines: list[Line]) -> None:
    """Infeasible where inputs at the rim of what is allowed leave no number."""
    for line in lines:
        if not np.isfinite(line.value).all():
            raise Infeasible(f"{line.name} has no finite value: {line.formula}")


def _running(
    costs: Costs, rated_W: Floats | float, used_W: Floats | float, lines: list[Line]
) -> list[Line]:
    """Buildings, electricity and upkeep of a system that was bought as `lines` say.

    NRE and updates need no upkeep.
    """
    site, practice = costs.site, costs.practice
    house = np.asarray(facility_cost(facility_W(rated_W, site), site))
    drawn, years = np.asarray(facility_W(used_W, site)), practice.years
    bought = house + next(line.value for line in lines if line.name == "devices")
    place, upkeep = site.sources, sources_at(practice.sources, "maintenance_per_year", "years")
    owned = sources_at(practice.sources, "years")
    held = f"{years[1]:g} years" if np.ptp(years) == 0 else "years"
    return [
        Line(name="facility", unit=CAPITAL, value=house,
             formula="rated power x PUE x facility a W",
             sources=sources_at(place, "pue", "facility_USD_per_W")),
        Line(name="electricity", unit=RUNNING,
             value=np.asarray(electricity_cost(drawn, years, site)),
             formula=f"power x PUE x {held} x price",
             sources=(*sources_at(place, "pue", "electricity_USD_per_kWh"), *owned)),
        Line(name="maintenance", unit=RUNNING,
             value=bought * practice.maintenance_per_year * years,
             formula=f"(devices + facility) x share a year x {held}", sources=upkeep),
        Line(name="electricity's carbon", unit=EMITTED,
             value=np.asarray(operational(energy_kWh(drawn, years), site.carbon_kg_per_kWh)),
             formula=f"power x PUE x {held} x grid",
             sources=(*sources_at(place, "pue", "carbon_kg_per_kWh"), *owned)),
    ]  # fmt: skip
