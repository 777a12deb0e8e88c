"""Traffic of a scenario: from its form to the requests, or to what draws them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from sim.config import catalogue, library
from sim.config.document import Document
from sim.config.provenance import Noted, leaves
from sim.config.sources import USER
from sim.config.traffic_form import (
    ClosedForm,
    LengthForm,
    PoissonForm,
    SessionsForm,
    TrafficForm,
)
from sim.errors import ConfigError
from sim.units import Source, Sourced
from sim.workload.traffic import (
    Closed,
    Constant,
    Empirical,
    Gaussian,
    Length,
    LogNormal,
    Poisson,
    Sessions,
    Trace,
    Traffic,
)
from sim.workload.traffic.arrivals import select
from sim.workload.traffic.priorities import check_priorities
from sim.workload.traffic.readers import read_lengths
from sim.workload.traffic.samples import check_samples

SAMPLE = "azure-like-2k"
"""The embedded traffic, whose lengths are the default."""


class _Lengths(TypedDict):
    input: Length
    output: Length


def traffic_of(form: TrafficForm, document: Document, noted: Noted) -> Traffic:
    """The traffic that `form` describes; its numbers and their sources go to `noted`."""
    made = replace(
        _kind(form, document, noted),
        priorities=tuple(form.priorities.items()),
        samples=form.samples,
    )
    check_priorities(made)
    check_samples(made)
    return made


def _kind(form: TrafficForm, document: Document, noted: Noted) -> Traffic:
    for path, number in leaves(document.data["traffic"], ("traffic",)):
        noted.number(path, number, USER.key)
    if form.poisson is not None:
        noted.quantity(("traffic", "poisson", "rate"), form.poisson.rate)
        return Poisson(
            rate_per_s=form.poisson.rate.value,
            requests=form.poisson.requests,
            **_lengths(form.poisson, "poisson", document, noted),
        )
    if form.closed is not None:
        return Closed(
            concurrency=form.closed.concurrency,
            requests=form.closed.requests,
            start=form.closed.start,
            **_lengths(form.closed, "closed", document, noted),
        )
    if form.sessions is not None:
        return _sessions(form.sessions, document, noted)
    assert form.trace is not None
    base = library.folder_of(document, ("traffic", "trace"))
    window = None if form.window is None else (form.window[0].value, form.window[1].value)
    try:
        _note_trace(form.trace, base, noted)
        trace = catalogue.load_trace(form.trace, base)
    except ConfigError as error:
        raise ConfigError(
            [each if each.file else document.problem(("traffic", "trace"), each.message)
             for each in error.problems]
        ) from None  # fmt: skip
    part = "trace" if window is None else "window"
    try:
        return select(
            trace,
            window_s=window,
            rate_scale=form.rate_scale or 1.0,
            limit=form.limit,
        )
    except ConfigError as error:
        raise ConfigError([document.problem(("traffic", part), str(error))]) from None


def _sessions(form: SessionsForm, document: Document, noted: Noted) -> Sessions:
    for name, given in (("rate", form.rate), ("think", form.think), ("pace", form.pace)):
        if given is not None:
            noted.quantity(("traffic", "sessions", name), given)
    turns = _length(form.turns, "turns", library.folder_of(document, ("traffic",)))
    return Sessions(
        rate_per_s=form.rate.value,
        sessions=form.sessions,
        turns=turns,
        shared=form.shared,
        templates=form.templates,
        think_s=Sessions.think_s if form.think is None else form.think.value,
        pace_s=Sessions.pace_s if form.pace is None else form.pace.value,
        wait=form.wait,
        **_lengths(form, "sessions", document, noted),
    )


def _note_trace(name: str, base: Path, noted: Noted) -> None:
    """Remember where the traffic comes from, where the library says."""
    _, about = catalogue.trace_file(name, base)
    if about is None or about.source is None:
        return
    for key, item in about.sources.items():
        noted.sources[key] = Source(key=key, kind=item.kind, title=item.title, note=item.note)
    noted.numbers["traffic"] = Sourced(value=None, text=about.title, unit="", source=about.source)


def _lengths(
    form: PoissonForm | ClosedForm | SessionsForm, kind: str, document: Document, noted: Noted
) -> _Lengths:
    sample: Trace | None = None
    if form.input is None or form.output is None:
        sample = catalogue.load_trace(SAMPLE)
        _note_trace(SAMPLE, Path(), noted)
    found: dict[str, Length] = {}
    for side in ("input", "output"):
        given: LengthForm | None = getattr(form, side)
        if given is not None:
            base = library.folder_of(document, ("traffic", kind, side))
            found[side] = _length(given, side, base)
        elif sample is not None:
            tokens = getattr(sample, f"{side}_tokens")
            found[side] = Empirical(tokens=tuple(tokens.tolist()))
    return {"input": found["input"], "output": found["output"]}


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
