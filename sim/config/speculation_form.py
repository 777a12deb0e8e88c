"""Form of speculation: what drafts, how many tokens, and how many of them are accepted."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from sim.config.document import Document
from sim.config.fields import Count, Form, Index, share, wrong
from sim.errors import ConfigError
from sim.workload.architecture import Architecture
from sim.workload.speculation import Speculation, unfit

OWN = ("mtp", "self")
"""Drafts that are part of the model."""


def _shares(value: Any) -> tuple[float, ...]:
    if isinstance(value, list | tuple):
        if not value:
            raise wrong("a share is due, or a list of them, one for each token drafted")
        return tuple(share(each) for each in value)
    return (share(value),)


def _draft(value: Any) -> Any:
    if not isinstance(value, str | dict):
        raise wrong("mtp, self, or a model is due: a name, a path, or itself written inline")
    return value


class SpeculationForm(Form):
    """A draft proposes tokens, the model verifies them in one pass."""

    draft: Annotated[Any, BeforeValidator(_draft, json_schema_input_type=str | dict[str, Any])]
    tokens: Index = 4
    """Drafted for each sequence and step; 0: no speculation."""
    acceptance: Annotated[
        tuple[float, ...], BeforeValidator(_shares, json_schema_input_type=float | list[float])
    ]
    """Probability that a drafted token is accepted if those before it are; a list: one each."""
    layers: Count | None = None

    @model_validator(mode="after")
    def _each(self) -> SpeculationForm:
        given = len(self.acceptance)
        if 1 < given < self.tokens:
            message = f"{given} probabilities for {self.tokens} tokens: one for all or one each"
            raise wrong(message, "acceptance")
        if self.draft == "self" and self.layers is None:
            raise wrong("self drafts with the first layers of the model: say how many", "layers")
        return self


def speculation_of(
    form: SpeculationForm, model: Architecture, draft: Architecture | None, document: Document
) -> Speculation:
    """The speculation of a scenario's `document`; `draft` is a model, None where it is `model`'s.

    Raises ConfigError where the model can't be drafted for like this.
    """
    acceptance = form.acceptance
    if len(acceptance) == 1:
        acceptance *= form.tokens
    made = Speculation(
        draft=form.draft if draft is None else draft,
        tokens=form.tokens,
        acceptance=acceptance[: form.tokens],
        layers=form.layers,
    )
    wrongs = unfit(model, made)
    if wrongs:
        raise ConfigError(
            [document.problem(("speculation", key), message) for key, message in wrongs.items()]
        )
    return made
