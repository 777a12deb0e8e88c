"""One device: its dies, memories, package and board, as lines of a ledger."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from sim.economics.carbon import embodied_die
from sim.economics.lines import CARBON, DEVICE, Line, sources_at, three, total
from sim.economics.practice import Costs, Practice
from sim.economics.process import Process
from sim.economics.silicon import YIELDS, RETICLE_mm, die_cost, dies_per_wafer
from sim.errors import ConfigError, Infeasible, Problem
from sim.hardware import Device
from sim.hardware.making import Package

SMALL_W: Final = 100.0
"""Rated power below which a device sits on a small board."""


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


def silicon_lines(device: Device, costs: Costs) -> Iterator[Line]:
    """Dies of one device: how many a wafer gives, how many work, what they cost and embody."""
    process, practice, making = costs.process, costs.practice, device.making
    area = check_die(device, process)
    wafer_mm2 = np.pi * (process.wafer_mm / 2.0) ** 2
    gross, how = 1.0, "one a wafer, defects worked around"
    defects: tuple[str, ...] = ()
    good = three(1.0)
    if not device.wafer_scale:
        gross = float(
            np.asarray(
                dies_per_wafer(
                    area, wafer_mm=process.wafer_mm, edge_mm=practice.edge_mm,
                    scribe_mm=practice.scribe_mm,
                )
            )
        )  # fmt: skip
        if gross < 1.0:
            raise Infeasible(
                f"{device.title}: no whole die of {area:g} mm2 fits a wafer of "
                f"{process.wafer_mm:g} mm with a rim of {practice.edge_mm:g} mm and streets of "
                f"{practice.scribe_mm:g} mm"
            )
        critical = np.asarray(making.critical_share)
        good = np.asarray(YIELDS[practice.yield_law](area * critical, process.defects_per_cm2))
        how = f"{practice.yield_law}: defects x critical share of the area"
        defects = (
            *sources_at(process.sources, "defects_per_cm2"),
            *sources_at(device.sources, "die.critical"),
        )
    if making.yield_share is not None:
        good, how = np.asarray(making.yield_share), "as the device states"
        defects = sources_at(device.sources, "die.yield")
    if good.min() < 1e-6:
        raise Infeasible(f"{device.title}: of dies of {area:g} mm2, {good.min():.1e} work")
    yield Line(name="die area", unit="mm2", value=three(area * device.dies),
               formula=f"{device.dies} x {area:g}",
               sources=sources_at(device.sources, "die.area"))  # fmt: skip
    yield Line(name="dies a wafer", unit="dies", value=three(gross),
               formula="one" if device.wafer_scale else "pi r^2 / A - pi d / sqrt(2 A)",
               sources=() if device.wafer_scale
               else sources_at(practice.sources, "edge_mm", "scribe_mm"))  # fmt: skip
    yield Line(name="yield", unit="share", value=good, formula=how, sources=defects)
    cost = np.asarray(die_cost(process.wafer_USD, three(gross), good))
    yield Line(name="dies", unit=DEVICE, value=cost * device.dies,
               formula="wafer / (dies a wafer x yield) x dies",
               sources=(*sources_at(process.sources, "wafer"), *defects))  # fmt: skip
    carbon = np.asarray(
        embodied_die(
            area,
            good,
            kg_per_cm2=process.carbon_kg_per_cm2,
            wafer_area_share=min(gross * area / wafer_mm2, 1.0),
        )
    )
    yield Line(name="dies' carbon", unit=CARBON, value=carbon * device.dies,
               formula="wafer's carbon / (dies a wafer x yield) x dies",
               sources=(*sources_at(process.sources, "carbon_kg_per_cm2"), *defects)
               )  # fmt: skip


def package_of(device: Device) -> Package:
    """Kind of package: as the device says, else by its dies and memories."""
    if device.making.package is not None:
        return device.making.package
    if device.wafer_scale:
        return "wafer-scale"
    if any(memory.stacks for memory in device.memories):
        return "interposer"
    return "chiplets" if device.dies > 1 else "flip-chip"


def memory_lines(device: Device, practice: Practice) -> Iterator[Line]:
    """Memories of one device, and silicon that its processors add to their stacks."""
    for memory in device.memories:
        if memory.capacity_B is None:
            continue
        gigabytes = memory.capacity_B / 1e9
        for what, each, unit, name in (
            ("price", memory.price_USD_per_GB, DEVICE, f"memory {memory.name}"),
            ("carbon", memory.carbon_kg_per_GB, CARBON, f"memory {memory.name}'s carbon"),
        ):
            path = f"memories.{memory.name}.{what}"
            if each is None:
                raise Infeasible(
                    f"{device.title}: the {what} of memory {memory.name} is not known; give "
                    f"`{path}`, a GB"
                )
            yield Line(name=name, unit=unit, value=np.asarray(each) * gigabytes,
                       formula=f"{gigabytes:.4g} GB x {what} a GB",
                       sources=sources_at(device.sources, path))  # fmt: skip
    for processor in device.processors:
        stacks = device.memory(processor.weights_memory).stacks
        added = sum(processor.area_mm2.values())
        if added and stacks:
            yield Line(name=f"{processor.name} in the stacks", unit=DEVICE,
                       value=practice.stack_silicon_USD_per_mm2 * added * stacks,
                       formula=f"{stacks} stacks x {added:.4g} mm2 x silicon a mm2",
                       sources=(
                           *sources_at(device.sources, f"processors.{processor.name}.area"),
                           *sources_at(practice.sources, "stack_silicon_USD_per_mm2"),
                       ))  # fmt: skip


def device_lines(device: Device, costs: Costs) -> Iterator[Line]:
    """Everything one device is made of."""
    packaged = [
        *silicon_lines(device, costs),
        *memory_lines(device, costs.practice),
        *_package_lines(device, costs.practice),
    ]
    yield from packaged
    yield from _loss(packaged, costs.practice)
    yield from _board_lines(device, costs.practice)


def _package_lines(device: Device, practice: Practice) -> Iterator[Line]:
    numbers = practice.sources
    area, kind = device.die_area_mm2 or 0.0, package_of(device)
    yield Line(name="package", unit=DEVICE, value=practice.package_USD_per_mm2[kind] * area,
               formula=f"{area:g} mm2 x {kind} a mm2",
               sources=sources_at(numbers, f"packages.{kind}"))  # fmt: skip
    yield Line(name="test", unit=DEVICE, value=practice.test_USD_per_mm2 * area,
               formula=f"{area:g} mm2 x test a mm2",
               sources=sources_at(numbers, "test_USD_per_mm2"))  # fmt: skip
    yield Line(name="package's carbon", unit=CARBON, value=practice.package_kg,
               formula="one package", sources=sources_at(numbers, "package_kg"))  # fmt: skip


def _board_lines(device: Device, practice: Practice) -> Iterator[Line]:
    numbers = practice.sources
    small = device.tdp_W is not None and device.tdp_W < SMALL_W
    where, own = ("small_board" if small else "board"), device.making.board_USD
    board = getattr(practice, f"{where}_USD") if own is None else np.asarray(own)
    yield Line(name="board, cooling, chassis", unit=DEVICE, value=board,
               formula=f"a device {'below' if small else 'not below'} {SMALL_W:g} W"
               if own is None else "as the device states",
               sources=sources_at(numbers, f"{where}_USD") if own is None
               else sources_at(device.sources, "making.board"))  # fmt: skip
    yield Line(name="board's carbon", unit=CARBON, value=getattr(practice, f"{where}_kg"),
               formula="one board", sources=sources_at(numbers, f"{where}_kg"))  # fmt: skip


def _loss(packaged: list[Line], practice: Practice) -> Iterator[Line]:
    """What is thrown away with the packages that fail: all that is in them."""
    for unit, name in ((DEVICE, "assembly loss"), (CARBON, "assembly loss's carbon")):
        yield Line(name=name, unit=unit,
                   value=total(packaged, unit) * (1.0 / practice.assembly_yield - 1.0),
                   formula="what is in a package x (1 / assembly yield - 1)",
                   sources=sources_at(practice.sources, "assembly_yield"))  # fmt: skip
