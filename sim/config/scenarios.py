"""Scenarios: from a name, a path or a mapping, with values changed, to one frozen Scenario."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from sim.config import catalogue, library
from sim.config.changes import changed
from sim.config.digest import digest
from sim.config.document import Document
from sim.config.scenario_form import (
    ClosedForm,
    DTypeForm,
    LengthForm,
    PoissonForm,
    ScenarioForm,
    TrafficForm,
)
from sim.config.validate import validated
from sim.dtypes import Precision
from sim.errors import ConfigError, Problem
from sim.hardware import System
from sim.scenario import Parallel, Scenario, Scheduler, Slo
from sim.techniques import TECHNIQUES
from sim.units import Source, Sourced
from sim.workload.architecture import Architecture
from sim.workload.routing import Router
from sim.workload.traffic import (
    Closed,
    Constant,
    Empirical,
    Gaussian,
    Length,
    LogNormal,
    Poisson,
    Trace,
    Traffic,
)
from sim.workload.traffic.arrivals import select
from sim.workload.traffic.readers import read_lengths

SAMPLE = "azure-like-2k"
"""The embedded traffic, whose lengths are the default."""

Part = TypeVar("Part")


def load_scenario(
    given: str | Path | Mapping[str, Any] | Scenario,
    *,
    sets: Sequence[str] = (),
    **replacements: Any,
) -> Scenario:
    """The scenario of a name, a path, a mapping like the YAML, or a Scenario ready-made.

    `sets` are "path=value" strings: they reach keys of the scenario and everything its references
    name (`system.device.memories.hbm.bandwidth=5 TB/s`). `replacements` are keys of the scenario;
    `model` and `system` may be objects. Raises ConfigError with everything wrong at once.
    """
    if isinstance(given, Scenario):
        return _changed_scenario(given, sets, replacements)
    name, document = catalogue.document_of("scenarios", given)
    objects = {
        key: value
        for key, value in replacements.items()
        if isinstance(value, Architecture | System | Trace | Closed | Poisson)
    }
    for key, value in replacements.items():
        plain = "(object)" if key in objects and key != "traffic" else value
        if key in objects and key == "traffic":
            plain = {"trace": SAMPLE}
        if isinstance(value, Path):
            plain = str(value)
        document = document.with_value((key,), plain, {})
    document = changed(document, sets)
    return _Loader(document=document, objects=objects).scenario(name)


def _changed_scenario(
    scenario: Scenario, sets: Sequence[str], replacements: Mapping[str, Any]
) -> Scenario:
    if sets:
        raise ConfigError("`sets` change what a YAML says; change a ready Scenario by `replace`")
    loaders: dict[str, Callable[[Any], Any]] = {
        "model": catalogue.load_model,
        "system": catalogue.load_system,
    }
    ready = {
        key: loaders[key](value) if key in loaders and isinstance(value, str | Path) else value
        for key, value in replacements.items()
    }
    made = replace(scenario, **ready)
    return replace(made, digest=digest(made))


@dataclass(kw_only=True)
class _Loader:
    """Loads the parts of one document, collecting what is wrong with each."""

    document: Document
    objects: Mapping[str, Any]
    problems: list[Problem] = field(default_factory=list)
    numbers: dict[str, Sourced] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)

    def scenario(self, name: str) -> Scenario:
        try:
            form = validated(ScenarioForm, self.document)
        except ConfigError as error:
            self.problems += error.problems
            self._references_anyway()
            raise ConfigError(list(dict.fromkeys(self.problems))) from None
        system = self._try(("system",), self._system)
        model = self._try(("model",), self._model)
        traffic = self._try(("traffic",), lambda: self._traffic(form.traffic))
        for index, technique in enumerate(form.techniques):
            self._technique(index, technique)
        if self.problems or system is None or model is None or traffic is None:
            raise ConfigError(list(dict.fromkeys(self.problems)))
        made = Scenario(
            name=form.name or name,
            model=model,
            system=system,
            traffic=traffic,
            precision=_precision(form.dtype, model),
            parallel=Parallel(**form.parallel.model_dump()),
            scheduler=Scheduler(**form.scheduler.model_dump()),
            router=None if form.router is None else Router(**form.router.model_dump()),
            placement=dict(form.placement),
            techniques=form.techniques,
            slo=Slo(
                ttft_s=None if form.slo.ttft is None else form.slo.ttft.value,
                tbt_s=None if form.slo.tbt is None else form.slo.tbt.value,
            ),
            seed=form.seed,
        )
        used = {number.source for number in self.numbers.values()}
        known = {**catalogue.load_sources(), **self.sources}
        return replace(
            made,
            digest=digest(made),
            sources=self.numbers,
            bibliography={key: known[key] for key in sorted(used) if key in known},
        )

    def _references_anyway(self) -> None:
        """Model and system are looked at even where other keys are wrong: all errors at once."""
        data = self.document.data
        for key, load in (("system", self._system), ("model", self._model)):
            if isinstance(data, dict) and isinstance(data.get(key), str | dict):
                self._try((key,), load)

    def _try(self, path: tuple[str, ...], load: Callable[[], Part]) -> Part | None:
        try:
            return load()
        except ConfigError as error:
            for each in error.problems:
                placed = each if each.file else self.document.problem(path, each.message)
                self.problems.append(placed)
            return None

    def _system(self) -> System:
        if "system" in self.objects:
            system: System = self.objects["system"]
        else:
            given = self.document.data["system"]
            base = catalogue.folder_of(self.document, ("system",))
            if isinstance(given, str):
                name, document = catalogue.system_document(given, base)
            else:
                document = library.with_bases("systems", self.document.under(("system",)))
                name = str(document.data.get("name") or "inline")
            system = catalogue.system_of(name, document)
            self._own_sources(document)
        self.numbers |= {f"system.{path}": each for path, each in system.sources.items()}
        return system

    def _own_sources(self, document: Document) -> None:
        """Sources that the files of this scenario bring along."""
        device = document.data.get("device")
        parts = [document.data.get("sources")]
        if isinstance(device, dict):
            parts.append(device.get("sources"))
        elif isinstance(device, str) and library.is_path(device):
            base = catalogue.folder_of(document, ("device",))
            parts.append(catalogue.document_of("devices", device, base)[1].data.get("sources"))
        for part in parts:
            for key, item in (part or {}).items():
                self.sources[key] = Source(
                    key=key, kind=item["kind"], title=item["title"], note=item.get("note", "")
                )

    def _model(self) -> Architecture:
        if "model" in self.objects:
            found: Architecture = self.objects["model"]
            return found
        given = self.document.data["model"]
        if isinstance(given, str):
            model = catalogue.load_model(given, catalogue.folder_of(self.document, ("model",)))
        else:
            document = library.with_bases("models", self.document.under(("model",)))
            model = catalogue.model_of(str(document.data.get("name") or "inline"), document)
        if model.source is not None:
            key = model.source
            if key not in catalogue.load_sources():
                self.sources[key] = Source(key=key, kind="datasheet", title=key)
            self.numbers["model"] = Sourced(value=None, text=model.title, unit="", source=key)
        return model

    def _traffic(self, form: TrafficForm) -> Traffic:
        if "traffic" in self.objects:
            ready: Traffic = self.objects["traffic"]
            return ready
        if form.poisson is not None:
            return Poisson(
                rate_per_s=form.poisson.rate.value,
                requests=form.poisson.requests,
                **self._lengths(form.poisson, "poisson"),
            )
        if form.closed is not None:
            return Closed(
                concurrency=form.closed.concurrency,
                requests=form.closed.requests,
                start=form.closed.start,
                **self._lengths(form.closed, "closed"),
            )
        assert form.trace is not None
        base = catalogue.folder_of(self.document, ("traffic", "trace"))
        self._note_trace(form.trace, base)
        window = None if form.window is None else (form.window[0].value, form.window[1].value)
        return select(
            catalogue.load_trace(form.trace, base),
            window_s=window,
            rate_scale=form.rate_scale or 1.0,
            limit=form.limit,
        )

    def _note_trace(self, name: str, base: Path) -> None:
        """Remember where the traffic comes from, where the library says."""
        _, about = catalogue.trace_file(name, base)
        if about is None or about.source is None:
            return
        for key, item in about.sources.items():
            self.sources[key] = Source(key=key, kind=item.kind, title=item.title, note=item.note)
        self.numbers["traffic"] = Sourced(
            value=None, text=about.title, unit="", source=about.source
        )

    def _lengths(self, form: PoissonForm | ClosedForm, kind: str) -> dict[str, Length]:
        sample: Trace | None = None
        if form.input is None or form.output is None:
            sample = catalogue.load_trace(SAMPLE)
            self._note_trace(SAMPLE, Path())
        found: dict[str, Length] = {}
        for side in ("input", "output"):
            given: LengthForm | None = getattr(form, side)
            if given is not None:
                base = catalogue.folder_of(self.document, ("traffic", kind, side))
                found[side] = _length(given, side, base)
            elif sample is not None:
                tokens = getattr(sample, f"{side}_tokens")
                found[side] = Empirical(tokens=tuple(tokens.tolist()))
        return found

    def _technique(self, index: int, given: Mapping[str, Any]) -> None:
        path = ("techniques", index)
        kind = str(given.get("kind"))
        if kind not in TECHNIQUES:
            message = library.unknown("techniques", kind, TECHNIQUES)
            self.problems.append(self.document.problem((*path, "kind"), message))
            return
        try:
            TECHNIQUES[kind].check({key: value for key, value in given.items() if key != "kind"})
        except ConfigError as error:
            self.problems += [
                self.document.problem((*path, each.path or ""), each.message)
                for each in error.problems
            ]


def _precision(form: DTypeForm, model: Architecture) -> Precision:
    """Formats asked for; weights left out are as the model is published."""
    weights = form.weights or model.weights_dtype
    experts = form.experts
    if form.weights is None and experts is None:
        experts = model.quantised_experts_dtype
    return Precision(
        weights=weights,
        kv=form.kv or "fp16",
        activations=form.activations or "fp16",
        experts=experts,
    )


def _length(form: LengthForm, side: str, base: Path) -> Length:
    if form.constant is not None:
        return Constant(tokens=form.constant)
    if form.gaussian is not None:
        return Gaussian(mean=form.gaussian.mean, std=form.gaussian.std)
    if form.lognormal is not None:
        return LogNormal(mean=form.lognormal.mean, std=form.lognormal.std)
    assert form.empirical is not None
    inputs, outputs = read_lengths(library.path_from(form.empirical, base))
    return Empirical(tokens=tuple((inputs if side == "input" else outputs).tolist()))
