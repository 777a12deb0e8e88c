"""Forms of traffic, and what is made of them: the requests, or what draws them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from sim.config import library
from sim.config.document import Document
from sim.config.traces import load_trace
from sim.errors import ConfigError, Key, Problem
from sim.quantities import Count, Flag, Index, Leaf, Positive, Rate, Share, Text, Time
from sim.values import Short
from sim.workload.traffic import (
    Closed,
    Constant,
    Empirical,
    Gaussian,
    Length,
    LogNormal,
    Poisson,
    Sessions,
    Traffic,
)
from sim.workload.traffic.arrivals import select
from sim.workload.traffic.priorities import check_priorities
from sim.workload.traffic.readers import read_lengths
from sim.workload.traffic.samples import check_samples

SAMPLE: Final = "azure-like-2k"
"""The embedded traffic, whose lengths are the default."""


@dataclass(frozen=True, kw_only=True)
class LengthForm:
    """Tokens of a prompt or an answer: a number of them, or one distribution."""

    constant: Count | None = None
    """Tokens of every one; the number alone stands for it."""
    gaussian: Gaussian | None = None
    """Normal lengths."""
    lognormal: LogNormal | None = None
    """Log-normal lengths."""
    empirical: Text | None = None
    """A file with observed lengths."""

    def __post_init__(self) -> None:
        """ConfigError for none or several of them."""
        if sum(getattr(self, name.name) is not None for name in fields(self)) != 1:
            raise ConfigError(
                "one length is due: a number of tokens, {gaussian: {mean, std}}, "
                "{lognormal: {mean, std}} or {empirical: PATH}"
            )

    def length(self, column: Literal["input", "output"], folder: Path) -> Length:
        """The length itself; a file starts from `folder`, and has one for prompts and answers."""
        if self.constant is not None:
            return Constant(tokens=self.constant)
        if self.empirical is None:
            distribution = self.gaussian or self.lognormal
            assert distribution is not None
            return distribution
        inputs, outputs = read_lengths(library.path_from(self.empirical, folder))
        return Empirical(tokens=tuple((inputs if column == "input" else outputs).tolist()))


Tokens = Annotated[LengthForm, Short("constant")]


@dataclass(frozen=True, kw_only=True)
class PoissonForm:
    """Open loop with exponential gaps."""

    rate_per_s: Rate
    """Requests that arrive in a time, in the mean."""
    requests: Count
    """How many requests there are."""
    input: Tokens | None = None
    """Tokens of a prompt; as in the embedded sample if left out."""
    output: Tokens | None = None
    """Tokens of an answer; as in the embedded sample if left out."""


@dataclass(frozen=True, kw_only=True)
class ClosedForm:
    """Clients that send their next request when the last one ends."""

    concurrency: Count
    """How many clients there are."""
    requests: Count
    """How many requests there are."""
    input: Tokens | None = None
    """Tokens of a prompt; as in the embedded sample if left out."""
    output: Tokens | None = None
    """Tokens of an answer; as in the embedded sample if left out."""
    start: Literal["steady", "cold"] = "steady"
    """With requests at random progress, as if it had run for long, or with fresh prompts."""


@dataclass(frozen=True, kw_only=True)
class SessionsForm:
    """Conversations whose prompts hold all that was said before."""

    rate_per_s: Rate
    """Conversations that begin in a time, in the mean."""
    sessions: Count
    """How many conversations there are."""
    turns: Tokens
    """Turns of a conversation."""
    input: Tokens | None = None
    """Tokens of a message; as in the embedded sample if left out."""
    output: Tokens | None = None
    """Tokens of an answer; as in the embedded sample if left out."""
    shared: Index = Sessions.shared
    """Tokens that come first in all prompts."""
    templates: Count = Sessions.templates
    """Different texts of these."""
    think_s: Time = Sessions.think_s
    """Time between an answer and the next message, in the mean."""
    pace_s: Time | None = None
    """Time that people take an answer's token to need, where they don't wait; 20 ms if left out."""
    wait: Flag = Sessions.wait
    """Whether people wait for the answer as it really ends."""

    def __post_init__(self) -> None:
        """ConfigError for a pace that doesn't count."""
        if self.wait and self.pace_s is not None:
            message = "with `wait` the answer's own end counts: leave it out"
            raise ConfigError([Problem(path="pace", message=message)])


def _class(value: Any) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, str) and re.fullmatch(r"0|-?[1-9][0-9]{0,8}", value):
        value, whole = int(value), True
    if not whole or abs(value) >= 10**9:
        raise ConfigError(f"{value!r}: a class is a whole number, the smaller the more urgent")
    return int(value)


Class = Annotated[int, Leaf(read=_class, schema={"type": "integer"})]


@dataclass(frozen=True, kw_only=True)
class TrafficForm:
    """A trace, Poisson arrivals, a closed loop or sessions; a name alone is that of a trace."""

    trace: Text | None = None
    """Name or path of a trace."""
    window_s: tuple[Time, Time] | None = None
    """Part of the trace, from and to."""
    rate_scale: Positive | None = None
    """How many times as many requests arrive in a time."""
    limit: Count | None = None
    """Requests of the trace, the first ones."""
    poisson: PoissonForm | None = None
    """Open loop."""
    closed: ClosedForm | None = None
    """Closed loop."""
    sessions: SessionsForm | None = None
    """Conversations."""
    priorities: Mapping[Class, Share] = field(default_factory=dict)
    """Classes of requests and their shares, the smaller number the more urgent."""
    samples: Count = 1
    """Answers to each prompt (OpenAI's `n`)."""

    def __post_init__(self) -> None:
        """ConfigError for none or several kinds, and for keys of another kind."""
        kinds = ("trace", "poisson", "closed", "sessions")
        stated = [name for name in kinds if getattr(self, name) is not None]
        if len(stated) != 1:
            raise ConfigError(
                "exactly one of trace, poisson, closed, sessions is due, here are "
                f"{', '.join(stated) or 'none'}"
            )
        if self.trace is None and any((self.window_s, self.rate_scale, self.limit)):
            raise ConfigError("window, rate_scale and limit go with a trace only")


def traffic_of(form: TrafficForm, document: Document, path: Key) -> Traffic:
    """The traffic that a form at `path` of `document` describes; ConfigError where it can't be."""
    traffic = _kind(form, document, path)
    traffic = replace(traffic, priorities=tuple(form.priorities.items()), samples=form.samples)
    check_priorities(traffic)
    check_samples(traffic)
    return traffic


def _kind(form: TrafficForm, document: Document, path: Key) -> Traffic:
    if form.poisson is not None:
        lengths = _lengths(form.poisson, document, (*path, "poisson"))
        rate, requests = form.poisson.rate_per_s, form.poisson.requests
        return Poisson(rate_per_s=rate, requests=requests, **lengths)
    if form.closed is not None:
        closed = form.closed
        return Closed(
            concurrency=closed.concurrency,
            requests=closed.requests,
            start=closed.start,
            **_lengths(closed, document, (*path, "closed")),
        )
    if form.sessions is not None:
        sessions, at = form.sessions, (*path, "sessions")
        return Sessions(
            rate_per_s=sessions.rate_per_s,
            sessions=sessions.sessions,
            turns=sessions.turns.length("output", library.folder_of(document, path)),
            shared=sessions.shared,
            templates=sessions.templates,
            think_s=sessions.think_s,
            pace_s=Sessions.pace_s if sessions.pace_s is None else sessions.pace_s,
            wait=sessions.wait,
            **_lengths(sessions, document, at),
        )
    assert form.trace is not None
    try:
        trace = load_trace(form.trace, library.folder_of(document, (*path, "trace")))
    except ConfigError as error:
        raise library.placed(error, document, (*path, "trace")) from None
    try:
        return select(
            trace, window_s=form.window_s, rate_scale=form.rate_scale or 1.0, limit=form.limit
        )
    except ConfigError as error:
        part = "trace" if form.window_s is None else "window"
        raise ConfigError([document.problem((*path, part), str(error))]) from None


def _lengths(
    form: PoissonForm | ClosedForm | SessionsForm, document: Document, path: Key
) -> dict[str, Any]:
    """Lengths of prompts and answers; what is left out is as in the embedded sample."""
    lengths: dict[str, Any] = {}
    columns: tuple[Literal["input", "output"], ...] = ("input", "output")
    for column in columns:
        stated: LengthForm | None = getattr(form, column)
        if stated is None:
            tokens = getattr(load_trace(SAMPLE), f"{column}_tokens")
            lengths[column] = Empirical(tokens=tuple(tokens.tolist()))
        else:
            folder = library.folder_of(document, (*path, column))
            lengths[column] = stated.length(column, folder)
    return lengths


def library_trace(traffic: Any) -> str | None:
    """The trace that a scenario's `traffic` names, or whose lengths it takes; None: no such."""
    if isinstance(traffic, str):
        return traffic
    if not isinstance(traffic, Mapping):
        return None
    if isinstance(traffic.get("trace"), str):
        return str(traffic["trace"])
    kinds = [traffic[name] for name in ("poisson", "closed", "sessions") if name in traffic]
    left_out = any(isinstance(kind, Mapping) and {"input", "output"} - set(kind) for kind in kinds)
    return SAMPLE if left_out else None
