"""Form of speculation: what drafts, how many tokens, and how many of them are accepted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

from sim.config.document import Document
from sim.errors import ConfigError, Problem
from sim.quantities import Count, Index, Leaf, Share
from sim.values import Named, leaf_in
from sim.workload.architecture import Architecture
from sim.workload.speculation import Speculation, unfit

OWN: Final = ("mtp", "self")
"""Drafts that are part of the model."""


def _shares(value: Any) -> tuple[float, ...]:
    share = leaf_in(Share)
    assert share is not None
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise ConfigError("a share is due, or a list of them, one for each token drafted")
    return tuple(share.read(part) for part in values)


_ACCEPTANCE: Final = Leaf(
    read=_shares,
    schema={
        "anyOf": [{"type": "number"}, {"type": "string"}, {"type": "array"}],
        "examples": [0.7, [0.8, 0.6, 0.5]],
    },
)


@dataclass(frozen=True, kw_only=True)
class SpeculationForm:
    """A draft proposes tokens, the model verifies them in one pass."""

    draft: Annotated[Architecture, Named("models", OWN)]
    """What drafts: a model, `mtp` (its own module) or `self` (its own first layers)."""
    tokens: Index = 4
    """Drafted for each sequence and step; 0: no speculation."""
    acceptance: Annotated[tuple[float, ...], _ACCEPTANCE]
    """Probability that a drafted token is accepted if those before it are; a list: one each."""
    layers: Count | None = None
    """Layers of the model that draft, for `self`."""

    def __post_init__(self) -> None:
        """ConfigError for what can't go together."""
        listed = len(self.acceptance)
        if 1 < listed < self.tokens:
            message = f"{listed} probabilities for {self.tokens} tokens: one for all or one each"
            raise ConfigError([Problem(path="acceptance", message=message)])
        draft: Any = self.draft
        if draft == "self" and self.layers is None:
            message = "self drafts with the first layers of the model: say how many"
            raise ConfigError([Problem(path="layers", message=message)])

    def speculation(self, model: Architecture, document: Document) -> Speculation | None:
        """The speculation of a scenario's `document`; None for no tokens.

        ConfigError where `model` can't be drafted for like this.
        """
        if self.tokens == 0:
            return None
        acceptance = self.acceptance * (self.tokens if len(self.acceptance) == 1 else 1)
        speculation = Speculation(
            draft=self.draft,
            tokens=self.tokens,
            acceptance=acceptance[: self.tokens],
            layers=self.layers,
        )
        problems = unfit(model, speculation)
        if problems:
            raise ConfigError(
                [document.problem(("speculation", key), text) for key, text in problems.items()]
            )
        return speculation
