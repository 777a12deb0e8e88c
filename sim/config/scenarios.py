"""Scenarios: from a name, a path or a mapping, with values changed, to one frozen Scenario."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar, Unpack

from sim.config import fleets, library
from sim.config.catalogue import one_of
from sim.config.changes import changed, with_usual_cost
from sim.config.digest import digest
from sim.config.document import Document, value_at
from sim.config.dtype_form import DTypeForm
from sim.config.fleet_form import DisaggregateForm, FleetForm, PoolForm, SplitForm
from sim.config.forms import Reading, reading
from sim.config.hosts import with_default_host
from sim.config.policy_code import with_policy
from sim.config.provenance import numbers_of, sources_of_files
from sim.config.python_parts import changed_scenario
from sim.config.replacements import Replacements
from sim.config.scenario_form import CostForm, ScenarioForm
from sim.config.sources import load_sources
from sim.config.speculation_form import SpeculationForm
from sim.engines.fleet import Pool
from sim.errors import ConfigError, Key, Place, Problem, placing
from sim.hardware import Device, System
from sim.hardware.runtime import under
from sim.scenario import Costing, Scenario

Part = TypeVar("Part")

_KEYS: Final = {"precision": "dtype"}
"""Keys of a document by the names that parts have in Python, where these differ."""


def load_scenario(
    given: str | Path | Mapping[str, Any] | Scenario,
    *,
    sets: Sequence[str] = (),
    allow_code: bool = False,
    **parts: Unpack[Replacements],
) -> Scenario:
    """The scenario of a name, a path, a mapping like the YAML, or a Scenario ready-made.

    `sets` are "path=value" strings: they reach keys of the scenario and everything its references
    name (`system.device.memories.hbm.bandwidth=5 TB/s`). `parts` are keys of the scenario, each a
    name, what the YAML would say, or an object; so may parts of these and of a mapping be. Only
    with `allow_code` is a scheduler imported that the scenario names (`scheduler.policy:
    module:function`). Raises ConfigError with everything wrong at once.
    """
    replacements: dict[str, Any] = {**parts}
    if isinstance(sets, str):
        raise ConfigError(f"`sets` is a list of path=value texts: write sets=[{sets!r}]")
    if isinstance(given, Scenario):
        return changed_scenario(given, sets, replacements)
    name, document = library.document_of("scenarios", given)
    if not isinstance(document.data, dict):
        raise ConfigError([document.problem((), "a mapping (key: value) is due")])
    for key, value in replacements.items():
        part = str(value) if isinstance(value, Path) else value
        # a place of its own: relative paths start from the current folder
        place = Place(file=f"argument {key}")
        document = document.with_value((_KEYS.get(key, key),), part, place)
    return load_document(document, sets=sets, name=name, allow_code=allow_code)


def load_document(
    document: Document,
    *,
    sets: Sequence[str] = (),
    name: str = "inline",
    allow_code: bool = False,
) -> Scenario:
    """The scenario that `document` describes, with "path=value" changes."""
    document = _with_defaults(changed(document, sets))
    with placing(document.written):
        document = with_policy(document, allowed=allow_code)
        return _composed(reading(ScenarioForm, document, sourced=False), document, name)


def _with_defaults(document: Document) -> Document:
    """`document` with all that it takes from elsewhere where it says nothing."""
    if not isinstance(document.data, dict):
        return document
    document = with_default_host(fleets.with_system(document))
    if isinstance(document.data.get("system"), Device):
        system = one_of(document.data["system"])
        document = document.with_value(("system",), system, document.place(("system",)))
    return with_usual_cost(document) if isinstance(document.data.get("cost"), dict) else document


def _composed(read: Reading, document: Document, name: str) -> Scenario:
    """The scenario of a form, its parts fitted to each other; ConfigError for what isn't so."""
    form: ScenarioForm = read.value
    problems: list[Problem] = []

    def part(path: Key, make: Callable[[], Part]) -> Part | None:
        try:
            return make()
        except ConfigError as error:
            problems.extend(library.placed(error, document, path).problems)
            return None

    def ran(system: System) -> System:
        return system if form.runtime is None else under(system, form.runtime)

    whole = ran(form.system)

    def pool_of(pool: PoolForm, path: Key) -> Pool:
        same = pool.system is None or pool.system is form.system
        same = same or value_at(document.data, (*path, "system")) == document.data["system"]
        return Pool(
            system=whole if same or pool.system is None else ran(pool.system),
            replicas=pool.replicas,
            parallel=pool.parallel or form.parallel,
            written=path,
        )

    unused = fleets.unused_system(document)
    if unused is not None:
        problems.append(document.problem(("system",), unused))
    fleet, apart, split, cost = form.fleet, form.disaggregate, form.split, form.cost
    drafted, formats = form.speculation, form.dtype
    if isinstance(fleet, FleetForm):
        stated_fleet = fleet
        fleet = part(("fleet",), lambda: fleets.fleet_of(stated_fleet, document, pool_of))
    if isinstance(apart, DisaggregateForm):
        stated_pools = apart
        apart = part(
            ("disaggregate",), lambda: fleets.disaggregation_of(stated_pools, document, pool_of)
        )
    if isinstance(split, SplitForm):
        split = replace(split.split(), system=ran(split.experts))
    if isinstance(drafted, SpeculationForm):
        stated_draft = drafted
        drafted = part(("speculation",), lambda: stated_draft.speculation(form.model, document))
    if isinstance(cost, CostForm):
        cost = Costing(site=cost.site, practice=cost.practice, basis=cost.basis)
    if isinstance(formats, DTypeForm):
        formats = formats.precision(form.model)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    scenario = Scenario(
        name=form.name or name,
        model=form.model,
        system=whole,
        runtime=form.runtime,
        traffic=form.traffic,
        precision=formats,
        parallel=form.parallel,
        scheduler=form.scheduler,
        router=form.router,
        placement=form.placement,
        techniques=form.techniques,
        slo=form.slo,
        cost=cost,
        fleet=fleet,
        disaggregate=apart,
        split=split,
        speculation=drafted,
        seed=form.seed,
        places=document.written,
    )
    numbers = numbers_of(read, document)
    known = {**load_sources(), **sources_of_files(read, document)}
    used = sorted({number.source for number in numbers.values()} & set(known))
    return replace(
        scenario,
        digest=digest(scenario),
        sources=numbers,
        bibliography={key: known[key] for key in used},
    )
