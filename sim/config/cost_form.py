"""Forms of processes and sites, and the values they become: low, base and high of each number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sim.config import library
from sim.config.bounds import Bounded, Bounds, Sum
from sim.config.catalogue import load_system
from sim.config.device_form import SourceForm, readings
from sim.config.fields import Factor, Form, Text
from sim.config.memory_form import MemoryForm
from sim.config.validate import validated
from sim.cost.ledger import Ledger, Practice, ledger
from sim.cost.ownership import Site
from sim.cost.process import Process
from sim.errors import ConfigError, Infeasible, Problem
from sim.hardware import System
from sim.units import Sourced

Floats = npt.NDArray[np.float64]


class ProcessForm(Form):
    """A class of processes: what a wafer, a mask set and a design cost, and how many dies fail."""

    title: Text
    source: Text | None = None
    sources: dict[str, SourceForm] = Field(default_factory=dict)
    names: tuple[Text, ...]
    """Processes of this class as devices name them."""
    wafer: Sum
    wafer_mm: Factor | None = None
    defects_per_cm2: Bounded
    mask_set: Sum
    design: Sum
    carbon_kg_per_cm2: Bounded


class SiteForm(Form):
    """Where systems stand."""

    title: Text
    source: Text | None = None
    sources: dict[str, SourceForm] = Field(default_factory=dict)
    pue: Bounded
    facility_USD_per_W: Bounded
    electricity_USD_per_kWh: Bounded
    carbon_kg_per_kWh: Bounded


class PracticeForm(Form):
    """Packaging, boards, volume and ownership."""

    title: Text
    source: Text | None = None
    sources: dict[str, SourceForm] = Field(default_factory=dict)
    interposer_USD_per_mm2: Bounded
    flip_chip_USD_per_mm2: Bounded
    board_USD: Bounded
    small_board_USD: Bounded
    units: Bounded
    years: Bounded
    maintenance_per_year: Bounded
    memory_kg_per_GB: Bounded
    package_kg: Bounded


def bounds(form: Bounds) -> Floats:
    """Low, base and high."""
    return np.array([form.low.value, form.base.value, form.high.value])


@cache
def load_process(process: str) -> Process:
    """The process class that a device's process belongs to.

    What stands after a comma ("2 dies") or in brackets is left out. ConfigError with the known
    names where there is none.
    """
    wanted = process.split(",")[0].split("(")[0].removesuffix("chiplets").strip()
    known: dict[str, str] = {}
    for name in library.files("processes"):
        _, document = library.found_document("processes", name, Path())
        form = validated(ProcessForm, document)
        known |= dict.fromkeys((*form.names, name), name)
        if wanted in (*form.names, name):
            return Process(
                name=name,
                wafer_USD=bounds(form.wafer),
                wafer_mm=300.0 if form.wafer_mm is None else form.wafer_mm.value,
                defects_per_cm2=bounds(form.defects_per_cm2),
                mask_set_USD=bounds(form.mask_set),
                design_USD=bounds(form.design),
                carbon_kg_per_cm2=bounds(form.carbon_kg_per_cm2),
                sources=readings(form, document),
            )
    near = get_close_matches(wanted, known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    message = f"no data for '{wanted}'; {hint}known: {', '.join(sorted(known))}"
    raise ConfigError([Problem(path="die.process", message=message)])


@cache
def load_site(name: str) -> tuple[Site, Mapping[str, Sourced]]:
    """A site of the library or a path, and the sources of its numbers."""
    _, document = library.found_document("sites", name, Path())
    form = validated(SiteForm, document)
    return (
        Site(
            pue=bounds(form.pue),
            facility_USD_per_W=bounds(form.facility_USD_per_W),
            electricity_USD_per_kWh=bounds(form.electricity_USD_per_kWh),
            carbon_kg_per_kWh=bounds(form.carbon_kg_per_kWh),
        ),
        readings(form, document),
    )


@cache
def load_practice(name: str = "default") -> Practice:
    """Packaging, boards, volume and ownership of the library or a path."""
    _, document = library.found_document("costs", name, Path())
    form = validated(PracticeForm, document)
    return Practice(**{each.name: bounds(getattr(form, each.name)) for each in fields(Practice)})


@cache
def memory_prices() -> Mapping[str, tuple[Floats, str]]:
    """USD a GB and its source of every technology that has a price."""
    found: dict[str, tuple[Floats, str]] = {}
    for name in library.files("memories"):
        _, document = library.found_document("memories", name, Path())
        form = validated(MemoryForm, document)
        if form.price is not None:
            found[name] = (bounds(form.price), readings(form, document)["price.base"].source)
    return found


def ledger_of(given: str | System, *, site: str = "default", practice: str = "default") -> Ledger:
    """The ledger of a system, by name or as an object.

    Raises Infeasible where area or process of its die are not known.
    """
    system = given if isinstance(given, System) else load_system(given)
    if system.device.process is None or system.device.die_area_mm2 is None:
        raise Infeasible(
            f"{system.device.title}: area and process of its die are not known; give `die.area` "
            "and `die.process`"
        )
    return ledger(
        system,
        load_process(system.device.process),
        load_site(site)[0],
        load_practice(practice),
        memory_prices(),
    )
