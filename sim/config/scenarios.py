"""Scenarios: from a name, a path or a mapping, with values changed, to one frozen Scenario."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, Unpack

from sim.config import catalogue, fleets, library, offload_form
from sim.config.changes import changed
from sim.config.digest import digest
from sim.config.document import Document, value_at
from sim.config.dtype_form import DTypeForm, kv_of
from sim.config.fields import Reading
from sim.config.fitted import load_runtime, runtime_numbers
from sim.config.policy_code import policy_of
from sim.config.provenance import Noted, leaves
from sim.config.python_parts import SETTINGS, changed_scenario, check_reach, ready
from sim.config.replacements import Replacements
from sim.config.scenario_form import (
    CostForm,
    ScenarioForm,
    SchedulerForm,
)
from sim.config.sources import USER, load_sources, sourced
from sim.config.speculation_form import OWN, SpeculationForm, speculation_of
from sim.config.split_form import SplitForm
from sim.config.traffic import traffic_of
from sim.config.traffic_form import TrafficForm
from sim.config.validate import validated
from sim.dtypes import Precision
from sim.economics.ownership import Site
from sim.economics.practice import Practice
from sim.engines.fleet import Disaggregation, Fleet
from sim.errors import ConfigError, Key, Place, Problem, placing
from sim.hardware import Device, System
from sim.hardware.runtime import Runtime, under
from sim.mapping.layout import Split
from sim.scenario import Costing, Parallel, Scenario, Scheduler, Slo
from sim.techniques import TECHNIQUES
from sim.units import Source
from sim.values import build
from sim.workload.architecture import Architecture
from sim.workload.routing import Router
from sim.workload.speculation import Speculation
from sim.workload.traffic import Traffic

Part = TypeVar("Part")


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
    name, what the YAML would say, or an object. Only with `allow_code` is a scheduler imported that
    the scenario names (`scheduler.policy: module:function`). Raises ConfigError with everything
    wrong at once.
    """
    replacements: dict[str, Any] = {**parts}
    if isinstance(sets, str):
        raise ConfigError(f"`sets` is a list of path=value texts: write sets=[{sets!r}]")
    if isinstance(given, Scenario):
        return changed_scenario(given, sets, replacements)
    settings = {
        SETTINGS.get(key, key): value
        for key, value in replacements.items()
        if isinstance(value, Precision | Parallel | Scheduler | Router | Slo | Speculation)
    }
    if settings:
        rest = {
            key: value
            for key, value in replacements.items()
            if SETTINGS.get(key, key) not in settings
        }
        scenario = load_scenario(given, sets=sets, allow_code=allow_code, **rest)
        return changed_scenario(scenario, (), settings)
    if isinstance(replacements.get("system"), Device):
        replacements["system"] = catalogue.one_of(replacements["system"])
    if isinstance(given, Mapping):
        replacements = {key: each for key, each in given.items() if ready(each)} | replacements
        given = {key: each for key, each in given.items() if not ready(each)}
    name, document = library.document_of("scenarios", given)
    if not isinstance(document.data, dict):
        raise ConfigError([document.problem((), "a mapping (key: value) is due")])
    objects = {key: value for key, value in replacements.items() if ready(value)}
    for key, value in replacements.items():
        plain = "(object)" if key in objects else value
        if isinstance(value, Path):
            plain = str(value)
        # a place of its own: relative paths start from the current folder
        document = document.with_value((key,), plain, Place(file=f"argument {key}"))
    check_reach(sets, objects)
    return load_document(document, sets=sets, name=name, objects=objects, allow_code=allow_code)


def load_document(
    document: Document,
    *,
    sets: Sequence[str] = (),
    name: str = "inline",
    objects: Mapping[str, Any] | None = None,
    allow_code: bool = False,
) -> Scenario:
    """The scenario that `document` describes, with "path=value" changes."""
    document = fleets.with_system(changed(document, sets))
    with placing(document.written):
        loader = _Loader(document=document, objects=objects or {}, allow_code=allow_code)
        return loader.scenario(name)


@dataclass(kw_only=True)
class _Loader:
    """Loads the parts of one document, collecting what is wrong with each."""

    document: Document
    objects: Mapping[str, Any]
    allow_code: bool
    problems: list[Problem] = field(default_factory=list)
    noted: Noted = field(default_factory=Noted)
    runtime: Runtime | None = None

    def scenario(self, name: str) -> Scenario:
        try:
            form = validated(ScenarioForm, self.document)
        except ConfigError as error:
            self.problems += error.problems
            self._references_anyway()
            raise ConfigError(list(dict.fromkeys(self.problems))) from None
        if form.runtime is not None:
            self.runtime = self._try(("runtime",), partial(self._runtime, form.runtime))
        system = self._try(("system",), self._system)
        model = self._try(("model",), self._model)
        traffic = self._try(("traffic",), lambda: self._traffic(form.traffic))
        costing = self._try(("cost",), lambda: self._costing(form.cost))
        scheduler = self._try(("scheduler",), lambda: _scheduler(form.scheduler, self.allow_code))
        fleet, apart = self._pools(form, system)
        split = None if form.split is None else self._split(form.split)
        drafted = self._try(("speculation",), lambda: self._speculation(form.speculation, model))
        for index, technique in enumerate(form.techniques):
            self._technique(index, technique)
        if self.problems or not (system and model and traffic and scheduler):
            raise ConfigError(list(dict.fromkeys(self.problems)))
        made = Scenario(
            name=form.name or name,
            model=model,
            system=system,
            runtime=self.runtime,
            traffic=traffic,
            precision=_precision(form.dtype, model),
            parallel=form.parallel.value(),
            scheduler=scheduler,
            router=None if form.router is None else Router(**form.router.model_dump()),
            placement=dict(form.placement),
            techniques=form.techniques,
            slo=Slo(
                ttft_s=_seconds(form.slo.ttft),
                tbt_s=_seconds(form.slo.tbt),
            ),
            cost=costing,
            fleet=fleet,
            disaggregate=apart,
            split=split,
            speculation=drafted,
            seed=form.seed,
            places=self.document.written,
        )
        self.noted.numbers.update(offload_form.offload_numbers(form.scheduler, USER.key))
        used = {number.source for number in self.noted.numbers.values()}
        known = {**load_sources(), **self.noted.sources}
        return replace(
            made,
            digest=digest(made),
            sources=self.noted.numbers,
            bibliography={key: known[key] for key in sorted(used) if key in known},
        )

    def _references_anyway(self) -> None:
        """Model and system are looked at even where other keys are wrong: all errors at once."""
        data = self.document.data
        for key, load in (("system", self._system), ("model", self._model)):
            if isinstance(data, dict) and isinstance(data.get(key), str | dict):
                self._try((key,), load)

    def _try(self, path: Key, load: Callable[[], Part]) -> Part | None:
        try:
            return load()
        except ConfigError as error:
            for each in error.problems:
                message = each.message
                told = each.file or (each.path or "").split(".")[0] == path[0]
                if each.file and each.path is None and not library.exists(Path(each.file)):
                    message, told = f"{each.file}: {message}", False  # named here, and not there
                self.problems.append(each if told else self.document.problem(path, message))
            return None

    def _system(self, path: Key = ("system",)) -> System:
        if path == ("system",) and "system" in self.objects:
            system: System = self.objects["system"]
        else:
            given = value_at(self.document.data, path)
            base = library.folder_of(self.document, path)
            if isinstance(given, str):
                name, document = library.document_of("systems", given, base)
            else:
                document = library.with_bases("systems", self.document.under(path))
                name = str(document.data.get("name") or "inline")
            system = catalogue.system_of(name, document)
            self.noted.sources |= system.bibliography
        for own, each in system.sources.items():
            if own.replace("device", "runtime", 1) not in self.noted.numbers:
                self.noted.numbers[".".join(map(str, (*path, own)))] = each
        return system if self.runtime is None else under(system, self.runtime)

    def _pools(
        self, form: ScenarioForm, system: System | None
    ) -> tuple[Fleet | None, Disaggregation | None]:
        """Fleet and pools apart, their systems loaded."""
        if system is None or (form.fleet is None and form.disaggregate is None):
            return None, None
        unused = fleets.unused_system(self.document)
        if unused is not None:
            self.problems.append(self.document.problem(("system",), unused))
        for key in ("fleet", "disaggregate"):
            for path, number in leaves(self.document.data.get(key), (key,)):
                self.noted.number(path, number, USER.key)
        parallel = form.parallel.value()

        def system_at(path: Key) -> System:
            if value_at(self.document.data, path) == self.document.data["system"]:
                return system
            found = self._try(path, lambda: self._system(path))
            return system if found is None else found  # what is wrong is noted

        more = self.document, system, parallel, system_at
        apart = None
        if form.disaggregate is not None:
            given = form.disaggregate
            apart = self._try(("disaggregate",), lambda: fleets.disaggregation_of(given, *more))
        return None if form.fleet is None else fleets.fleet_of(form.fleet, *more), apart

    def _split(self, form: SplitForm) -> Split | None:
        for path, number in leaves(self.document.data["split"], ("split",)):
            self.noted.number(path, number, USER.key)
        experts = self._try(("split", "experts"), lambda: self._system(("split", "experts")))
        return None if experts is None else form.value(experts)

    def _runtime(self, given: str) -> Runtime:
        """The runtime of a name or path; its numbers take the place of the device's."""
        runtime = load_runtime(given, library.folder_of(self.document, ("runtime",)))
        name, document = library.referenced("runtimes", self.document, ("runtime",))
        for key, number in runtime_numbers(name, document).items():
            self.noted.numbers[f"runtime.{key}"] = number
        return runtime

    def _costing(self, form: CostForm) -> Costing | None:
        if form == CostForm():
            return None
        parts = {}
        for part, kind in (("site", "sites"), ("practice", "costs")):
            given = getattr(form, part)
            base = library.folder_of(self.document, ("cost", part))
            if isinstance(given, dict):
                parts[part] = library.with_bases(kind, self.document.under(("cost", part)))
            else:
                try:
                    parts[part] = library.document_of(kind, given, base)[1]
                except ConfigError as error:
                    raise ConfigError(
                        [
                            each
                            if each.file
                            else self.document.problem(("cost", part), each.message)
                            for each in error.problems
                        ]
                    ) from None
        site, practice = sourced(Site, parts["site"]), sourced(Practice, parts["practice"])
        for part, numbers in (("site", site.sources), ("practice", practice.sources)):
            self.noted.numbers |= {f"cost.{part}.{path}": each for path, each in numbers.items()}
        return Costing(site=site, practice=practice, basis=form.basis)

    def _speculation(
        self, form: SpeculationForm | None, model: Architecture | None
    ) -> Speculation | None:
        if form is None or form.tokens == 0 or model is None:
            return None
        at = ("speculation",)
        for path, number in leaves({**self.document.data["speculation"], "draft": None}, at):
            self.noted.number(path, number, USER.key)
        draft = None
        if form.draft not in OWN:
            named = (*at, "draft")
            near = get_close_matches(str(form.draft), OWN, n=1)
            if near and form.draft not in library.files("models"):
                message = f"unknown draft '{form.draft}'; did you mean '{near[0]}'?"
                raise ConfigError([self.document.problem(named, message)])
            draft = self._try(named, lambda: self._model(named))
            if draft is None:
                return None
        return speculation_of(form, model, draft, self.document)

    def _model(self, at: Key = ("model",)) -> Architecture:
        if at == ("model",) and "model" in self.objects:
            model: Architecture = self.objects["model"]
            self._note_model(model, None, at)
            return model
        given = value_at(self.document.data, at)
        base = library.folder_of(self.document, at)
        document: Document | None = None
        if isinstance(given, dict):
            document = library.with_bases("models", self.document.under(at))
            model = catalogue.model_of(str(document.data.get("name") or "inline"), document)
        elif catalogue.config_json(given, base) is not None:
            model = catalogue.load_model(given, base)
        else:
            name, document = library.document_of("models", given, base)
            model = catalogue.model_of(name, document)
        self._note_model(model, document, at)
        return model

    def _note_model(self, model: Architecture, document: Document | None, at: Key) -> None:
        """Remember where each number of the model comes from."""
        key = model.source or USER.key
        if document is not None:
            for name, form in (document.data.get("sources") or {}).items():
                self.noted.sources[name] = Source(key=name, kind=form["kind"], title=form["title"])
        if key not in load_sources() and key not in self.noted.sources:
            self.noted.sources[key] = Source(key=key, kind="datasheet", title=key)
        data = _dimensions(model) if document is None else document.data
        for path, number in leaves(data, ()):
            place = None if document is None else document.places.get(path)
            source = place.source if place is not None and place.source == USER.key else key
            self.noted.number((*at, *path), number, source)

    def _traffic(self, form: TrafficForm) -> Traffic:
        if "traffic" in self.objects:
            ready: Traffic = self.objects["traffic"]
            return ready
        return traffic_of(form, self.document, self.noted)

    def _technique(self, index: int, given: Mapping[str, Any]) -> None:
        path = ("techniques", index)
        kind = str(given.get("kind"))
        if kind not in TECHNIQUES:
            message = library.unknown("techniques", kind, TECHNIQUES)
            self.problems.append(self.document.problem((*path, "kind"), message))
            return
        try:
            parameters = {key: value for key, value in given.items() if key != "kind"}
            build(TECHNIQUES[kind].parameters, parameters)
        except ConfigError as error:
            self.problems += [
                self.document.problem((*path, each.path or ""), each.message)
                for each in error.problems
            ]


def _dimensions(model: Architecture) -> dict[str, Any]:
    """What a model made in Python or read from a config.json states, a layer of each kind once."""
    stated = {each.name: getattr(model, each.name) for each in fields(model)}
    kinds = [asdict(block) for block in dict.fromkeys(model.layers)]
    encoder = model.encoder
    if encoder is not None:
        stated["encoder"] = asdict(replace(encoder, layers=tuple(dict.fromkeys(encoder.layers))))
    return stated | {"layers": len(model.layers), "blocks": kinds}


def _seconds(time: Reading | None) -> float | None:
    return None if time is None else time.value


def _scheduler(form: SchedulerForm, allow_code: bool) -> Scheduler:
    """The scheduler, times in seconds."""
    read = {"deadline", "deadline_per_token", "host", "kv_tiers", "policy"}
    policy = None if form.policy is None else policy_of(form.policy, allowed=allow_code)
    hosted = form.preemption == "swap" or form.host is not None
    return Scheduler(
        **form.model_dump(exclude=read),
        policy=policy,
        host=offload_form.host_of(form.host) if hosted else None,
        kv_tiers=offload_form.tiers_of(form.kv_tiers),
        deadline_s=_seconds(form.deadline) or 0.0,
        deadline_s_per_token=_seconds(form.deadline_per_token) or 0.0,
    )


def _precision(form: DTypeForm, model: Architecture) -> Precision:
    """Formats asked for; weights left out are as the model is published."""
    weights = form.weights or model.weights_dtype
    experts = form.experts
    if form.weights is None and experts is None:
        experts = model.quantised_experts_dtype
    return Precision(
        weights=weights,
        kv=kv_of(form),
        activations=form.activations or "fp16",
        experts=experts,
    )
