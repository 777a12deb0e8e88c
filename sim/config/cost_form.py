"""Forms of processes, sites and practices, and the values they become: each with its ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field, model_validator

from sim.config import library
from sim.config.bounds import (
    Bounded,
    Bounds,
    FromOneBounded,
    RatioBounded,
    Sum,
    YearsBounded,
    YieldBounds,
)
from sim.config.catalogue import load_sources, load_system
from sim.config.document import Document
from sim.config.fields import Count, Factor, Form, Index, Number, Reading, Text, unknown_name, wrong
from sim.config.library import Given, document_of, referenced
from sim.config.making_form import ends
from sim.config.sources import SourceForm, readings, sources_of
from sim.config.validate import validated
from sim.economics.ledger import ledger
from sim.economics.lines import Ledger, three
from sim.economics.masks import LayerStack
from sim.economics.ownership import Site
from sim.economics.practice import Basis, Costs, Practice
from sim.economics.process import Process
from sim.economics.silicon import YIELDS
from sim.errors import ConfigError, Infeasible, Problem
from sim.hardware import System
from sim.hardware.making import PACKAGES
from sim.scenario import Costing, Scenario
from sim.units import Sourced

Floats = npt.NDArray[np.float64]
Length = Annotated[Reading, Number(low=0.0, high=50.0)]


class MasksForm(Form):
    """Mask layers of a process; an EUV mask costs `euv_weight` DUV ones."""

    source: Text | None = None
    layers: Count
    euv: Index = 0
    euv_weight: Factor | None = None
    set: Sum
    """Price of all masks of one product."""

    @model_validator(mode="after")
    def _fits(self) -> MasksForm:
        if self.euv > self.layers:
            raise wrong(f"{self.euv} EUV layers of {self.layers} layers", "euv")
        return self


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
    masks: MasksForm
    design: Sum
    carbon_kg_per_cm2: Bounded


class SiteForm(Form):
    """Where systems stand."""

    title: Text
    name: Text | None = None
    source: Text | None = None
    sources: dict[str, SourceForm] = Field(default_factory=dict)
    pue: FromOneBounded
    facility_USD_per_W: Bounded
    electricity_USD_per_kWh: Bounded
    carbon_kg_per_kWh: Bounded


def _by_package(value: Any) -> Any:
    if not isinstance(value, dict) or set(value) != set(PACKAGES):
        raise wrong(f"a number for each of {', '.join(PACKAGES)} is due")
    return value


def _law(value: Any) -> str:
    if value not in YIELDS:
        raise wrong(unknown_name(value, list(YIELDS)))
    return str(value)


class DesignSharesForm(Form):
    """How the design of a chip splits."""

    source: Text | None = None
    architecture: Factor
    verification: Factor
    physical: Factor
    ip: Factor

    @model_validator(mode="after")
    def _whole(self) -> DesignSharesForm:
        total = sum(
            each.value for each in (self.architecture, self.verification, self.physical, self.ip)
        )
        if abs(total - 1.0) > 0.01:
            raise wrong(f"the four shares add up to {total:g}, not to 1")
        return self


class PracticeForm(Form):
    """Packaging, boards, volume and ownership; as `sim.economics.practice.Practice`."""

    title: Text
    name: Text | None = None
    source: Text | None = None
    sources: dict[str, SourceForm] = Field(default_factory=dict)
    yield_law: Annotated[Literal["murphy", "poisson", "negative-binomial"], BeforeValidator(_law)]
    edge_mm: Length
    scribe_mm: Length
    packages: Annotated[dict[str, Bounded], BeforeValidator(_by_package)]
    """USD a mm2 of die by kind of package."""
    test_USD_per_mm2: Bounded
    assembly_yield: YieldBounds
    stack_silicon_USD_per_mm2: Bounded
    board_USD: Bounded
    small_board_USD: Bounded
    design_shares: DesignSharesForm
    respins: Bounded
    units: FromOneBounded
    markup: RatioBounded
    spares: Bounded
    maintenance_per_year: Bounded
    years: YearsBounded
    utilisation: YieldBounds
    package_kg: Bounded
    board_kg: Bounded
    small_board_kg: Bounded


FALLING = frozenset({"assembly_yield", "units", "years", "utilisation"})
"""What makes tokens cheaper as it rises."""


def _ends(form: Bounds, *, falling: bool = False) -> Floats:
    return np.array(ends(form, falling=falling))


def _checked(document: Document, form: Any) -> dict[str, Sourced]:
    """Numbers of a form by path; ConfigError for one without a source."""
    numbers = readings(form, document)
    known = {**load_sources(), **sources_of(form.sources)}
    problems = [
        document.problem(
            tuple(path.split(".")),
            f"unknown source '{number.source}'"
            if number.source
            else f"'{number.text}' has no source: write `source: KEY`",
        )
        for path, number in numbers.items()
        if number.source not in known
    ]
    if problems:
        raise ConfigError(problems)
    return numbers


def process_of(name: str, document: Document) -> Process:
    """The process class that `document` describes."""
    form = validated(ProcessForm, document)
    masks = form.masks
    weight = 6.0 if masks.euv_weight is None else masks.euv_weight.value
    return Process(
        name=name,
        wafer_USD=_ends(form.wafer),
        wafer_mm=300.0 if form.wafer_mm is None else form.wafer_mm.value,
        defects_per_cm2=_ends(form.defects_per_cm2),
        mask_set_USD=_ends(masks.set),
        layers=LayerStack(euv=masks.euv, duv=masks.layers - masks.euv, euv_weight=weight),
        design_USD=_ends(form.design),
        carbon_kg_per_cm2=_ends(form.carbon_kg_per_cm2),
        sources=_checked(document, form),
    )


@cache
def _named_processes() -> Mapping[str, str]:
    """Files of the library by every name a device may give its process."""
    known: dict[str, str] = {}
    for name in library.files("processes"):
        _, document = library.found_document("processes", name, Path())
        known |= dict.fromkeys((*validated(ProcessForm, document).names, name), name)
    return known


@cache
def _library_process(name: str) -> Process:
    return process_of(*library.found_document("processes", name, Path()))


def load_process(process: str) -> Process:
    """The process class that a device's process belongs to, or the one of a path.

    What stands after a comma ("2 dies") or in brackets is left out. ConfigError with the known
    names where there is none.
    """
    if process.endswith((".yaml", ".yml")):
        return process_of(*library.found_document("processes", process, Path()))
    wanted = process.split(",")[0].split("(")[0].removesuffix("chiplets").strip()
    known = _named_processes()
    if wanted in known:
        return _library_process(known[wanted])
    near = get_close_matches(wanted, known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    message = f"no data for '{wanted}'; {hint}known: {', '.join(sorted(known))}"
    raise ConfigError([Problem(path="die.process", message=message)])


def site_of(document: Document) -> Site:
    """The site that `document` describes."""
    form = validated(SiteForm, document)
    names = ("pue", "facility_USD_per_W", "electricity_USD_per_kWh", "carbon_kg_per_kWh")
    numbers = {name: _ends(getattr(form, name)) for name in names}
    return Site(**numbers, sources=_checked(document, form))


def practice_of(document: Document) -> Practice:
    """The practice that `document` describes."""
    form = validated(PracticeForm, document)
    shares = form.design_shares
    return Practice(
        yield_law=form.yield_law,
        edge_mm=form.edge_mm.value,
        scribe_mm=form.scribe_mm.value,
        package_USD_per_mm2={kind: _ends(each) for kind, each in form.packages.items()},
        design_shares={
            part: getattr(shares, part).value
            for part in ("architecture", "verification", "physical", "ip")
        },
        sources=_checked(document, form),
        **_plain_ends(form),
    )


def _plain_ends(form: PracticeForm) -> dict[str, Floats]:
    named = ((name, getattr(form, name)) for name in type(form).model_fields)
    return {
        name: _ends(each, falling=name in FALLING)
        for name, each in named
        if isinstance(each, Bounds)
    }


def load_site(given: Given = "default", base: Path | None = None) -> Site:
    """A site: a name of the library, a path or a mapping."""
    return site_of(document_of("sites", given, base)[1])


def load_practice(given: Given = "default", base: Path | None = None) -> Practice:
    """Packaging, boards, volume and ownership: a name of the library, a path or a mapping."""
    return practice_of(document_of("costs", given, base)[1])


@cache
def usual_costing() -> Costing:
    """The site and practice of a scenario that names none."""
    return Costing(site=load_site(), practice=load_practice())


def costs_of(system: System, site: Site, practice: Practice, basis: Basis = "price") -> Costs:
    """What a ledger of `system` needs; Infeasible where area or process of its die are unknown."""
    device = system.device
    if device.process is None or device.die_area_mm2 is None:
        raise Infeasible(
            f"{device.title}: area and process of its die are not known; give `die.area` and "
            "`die.process`"
        )
    return Costs(process=load_process(device.process), site=site, practice=practice, basis=basis)


def cost_inputs(scenario: Scenario) -> tuple[Costing, Process | None]:
    """What costs of a scenario rest on beside its system; no process where there is no data."""
    process = scenario.system.device.process
    try:
        found = None if process is None else load_process(process)
    except ConfigError:
        found = None
    return scenario.cost or usual_costing(), found


def ledger_of(
    given: str | Path | System,
    *,
    site: Given = "default",
    practice: Given = "default",
    basis: Basis = "price",
) -> Ledger:
    """The ledger of a system at its rated power, over the expected years at every end.

    Raises Infeasible where area or process of its die are not known.
    """
    given = str(given) if isinstance(given, Path) else given
    system = given if isinstance(given, System) else load_system(given)
    usual = load_practice(practice)
    usual = replace(usual, years=three(usual.years[1]))
    try:
        return ledger(system, costs_of(system, load_site(site), usual, basis))
    except ConfigError as error:
        if isinstance(given, System):
            raise
        raise ConfigError([_placed(each, given) for each in error.problems]) from None


def _placed(problem: Problem, given: str) -> Problem:
    """`problem` with the file and line of the device's number it is about."""
    if problem.file is not None or problem.path is None:
        return problem
    _, document = document_of("systems", given)
    path = tuple(problem.path.split("."))
    return referenced("devices", document, ("device",))[1].problem(path, problem.message)
