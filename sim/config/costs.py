"""Costs: processes, sites and practices by name, and what a ledger of a system needs of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from sim.config import library
from sim.config.catalogue import load_system
from sim.config.document import Document
from sim.config.library import Given, document_of, referenced
from sim.config.sources import sourced
from sim.economics.ledger import ledger
from sim.economics.lines import Ledger, three
from sim.economics.ownership import Site
from sim.economics.practice import Basis, Costs, Practice
from sim.economics.process import Process
from sim.errors import ConfigError, Infeasible, Problem
from sim.hardware import System
from sim.scenario import Costing, Scenario


@cache
def _named_processes() -> Mapping[str, str]:
    """Files of the library by every name a device may give its process."""
    known: dict[str, str] = {}
    for name in library.files("processes"):
        known |= dict.fromkeys((*_library_process(name).names, name), name)
    return known


@cache
def _library_process(name: str) -> Process:
    return _process(name)


def _process(given: str) -> Process:
    name, document = library.found_document("processes", given, Path())
    return sourced(Process, document, name=name)


def load_process(process: str) -> Process:
    """The process class that a device's process belongs to, or the one of a path.

    What stands after a comma ("2 dies") or in brackets is left out. ConfigError with the known
    names where there is none.
    """
    if process.endswith((".yaml", ".yml")):
        return _process(process)
    wanted = process.split(",")[0].split("(")[0].removesuffix("chiplets").strip()
    known = _named_processes()
    if wanted in known:
        return _library_process(known[wanted])
    near = get_close_matches(wanted, known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    message = f"no data for '{wanted}'; {hint}known: {', '.join(sorted(known))}"
    raise ConfigError([Problem(path="die.process", message=message)])


def site_of(_name: str, document: Document) -> Site:
    """The site that `document` describes."""
    return sourced(Site, document)


def practice_of(_name: str, document: Document) -> Practice:
    """The practice that `document` describes."""
    return sourced(Practice, document)


def load_site(given: Given = "default", base: Path | None = None) -> Site:
    """A site: a name of the library, a path or a mapping."""
    return site_of(*document_of("sites", given, base))


def load_practice(given: Given = "default", base: Path | None = None) -> Practice:
    """Packaging, boards, volume and ownership: a name of the library, a path or a mapping."""
    return practice_of(*document_of("costs", given, base))


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
