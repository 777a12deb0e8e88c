"""Forms of traffic."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from sim.config.fields import Count, Flag, Form, Index, Positive, Rate, Share, Text, Time, wrong
from sim.config.sources import SourceForm
from sim.workload.traffic.forms import Sessions


class MomentsForm(Form):
    """Mean and standard deviation in tokens."""

    mean: Positive
    std: Annotated[float, BeforeValidator(lambda value: not_negative(value))]


def not_negative(value: Any) -> float:
    """`value` where it is a number from 0 on; raises the error to say where it is not."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise wrong(f"{value!r}: a number from 0 on is due")
    return float(value)


class LengthForm(Form):
    """Tokens of a prompt or an answer: `512`, or one distribution."""

    constant: Count | None = None
    gaussian: MomentsForm | None = None
    lognormal: MomentsForm | None = None
    empirical: Text | None = None
    """A file with observed lengths."""

    @model_validator(mode="after")
    def _one(self) -> LengthForm:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise wrong(
                "one length is due: a number of tokens, {gaussian: {mean, std}}, "
                "{lognormal: {mean, std}} or {empirical: PATH}"
            )
        return self


def _length(value: Any) -> Any:
    if isinstance(value, dict):
        return value
    return {"constant": value}


Length = Annotated[LengthForm, BeforeValidator(_length, json_schema_input_type=int | LengthForm)]


class PoissonForm(Form):
    """Open loop with exponential gaps; lengths default to those of the embedded sample."""

    rate: Rate
    requests: Count
    input: Length | None = None
    output: Length | None = None


class ClosedForm(Form):
    """Clients that send their next request when the last one ends."""

    concurrency: Count
    requests: Count
    input: Length | None = None
    output: Length | None = None
    start: Literal["steady", "cold"] = "steady"


class SessionsForm(Form):
    """Conversations whose prompts hold all that was said before."""

    rate: Rate
    sessions: Count
    turns: Length
    input: Length | None = None
    output: Length | None = None
    shared: Index = Sessions.shared
    templates: Count = Sessions.templates
    think: Time | None = None
    pace: Time | None = None
    wait: Flag = False

    @model_validator(mode="after")
    def _paced(self) -> SessionsForm:
        if self.wait and self.pace is not None:
            raise wrong("with `wait` the answer's own end counts: leave it out", "pace")
        return self


def _class(value: Any) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, str) and re.fullmatch(r"0|-?[1-9][0-9]{0,8}", value):
        value, whole = int(value), True
    if not whole or abs(value) >= 10**9:
        raise wrong(f"{value!r}: a class is a whole number, the smaller the more urgent")
    return int(value)


Class = Annotated[int, BeforeValidator(_class)]


class TrafficForm(Form):
    """Exactly one of `trace` (with window, rate_scale, limit), `poisson`, `closed`, `sessions`."""

    trace: Text | None = None
    window: tuple[Time, Time] | None = None
    rate_scale: Positive | None = None
    limit: Count | None = None
    poisson: PoissonForm | None = None
    closed: ClosedForm | None = None
    sessions: SessionsForm | None = None
    priorities: dict[Class, Share] = Field(default_factory=dict)
    """Classes of requests and their shares, the smaller number the more urgent."""
    samples: Count = 1
    """Answers to each prompt (OpenAI's `n`)."""

    @model_validator(mode="after")
    def _one(self) -> TrafficForm:
        kinds = ("trace", "poisson", "closed", "sessions")
        given = [name for name in kinds if getattr(self, name) is not None]
        if len(given) != 1:
            raise wrong(
                "exactly one of trace, poisson, closed, sessions is due, here are "
                f"{', '.join(given) or 'none'}"
            )
        if self.trace is None and any((self.window, self.rate_scale, self.limit)):
            raise wrong("window, rate_scale and limit go with a trace only")
        return self


def _trace(value: Any) -> Any:
    """A name alone is that of a trace."""
    return {"trace": value} if isinstance(value, str) else value


Traffic = Annotated[TrafficForm, BeforeValidator(_trace, json_schema_input_type=str | TrafficForm)]


class TrafficFileForm(Form):
    """A trace of the library: where its rows are, and how it was made."""

    title: Text
    trace: Text
    source: Text | None = None
    sources: dict[str, SourceForm] = Field(default_factory=dict)
    requests: Count | None = None
    seed: Index | None = None
    statistics: dict[str, Any] = Field(default_factory=dict)
    recorded: dict[str, Any] = Field(default_factory=dict)
