"""Conclusion: which of several systems is cheapest a token, and which inputs could change that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from sim.config.costs import costs_of, usual_costing
from sim.economics.per_token import Served, owned
from sim.economics.sensitivity import inputs_of, with_only
from sim.results.run import Run

NOTHING = 1.005
"""An input that moves the ratio by less than half a percent is not named."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """What one input does to the conclusion: the ratio at its cheap and at its dear end."""

    name: str
    cheap: float
    dear: float
    ratio_cheap: float
    ratio_dear: float

    @property
    def span(self) -> float:
        """How far it moves the ratio, as a factor."""
        low, high = sorted((self.ratio_cheap, self.ratio_dear))
        return high / low


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """`winner` generates a million tokens for the least USD, `second` for `ratio` times that.

    `moves` are the inputs that move the ratio, most first; below 1 the second wins.
    """

    winner: str
    second: str
    ratio: float
    moves: tuple[Move, ...]
    bases: tuple[str, str]
    """Whose price the two have."""
    ratio_at_cost: float
    """The ratio where neither has a list price or a markup."""

    def to_json(self, most: int = 5) -> dict[str, Any]:
        """The conclusion as plain values, with the inputs that move it `most`."""
        return {
            "winner": self.winner,
            "second": self.second,
            "usd_per_Mtok_ratio": self.ratio,
            "bases": list(self.bases),
            "usd_per_Mtok_ratio_at_cost": self.ratio_at_cost,
            "inputs": [
                {
                    **asdict(move),
                    "changes_winner": min(move.ratio_cheap, move.ratio_dear) < 1.0,
                }
                for move in self.moves[:most]
            ],
        }


def conclude(runs: Sequence[Run]) -> Conclusion | None:
    """The conclusion of runs of one workload; None where fewer than two have a cost."""
    # inputs are varied of one system
    alone = [run for run in runs if run.outcomes.fleet is None and run.scenario.split is None]
    priced = [run for run in alone if run.metrics["cost_usd_per_Mtok"] is not None]
    if len(priced) < 2:
        return None
    first, second = sorted(priced, key=lambda run: float(run.metrics["cost_usd_per_Mtok"]))[:2]
    names: dict[str, tuple[float, float, float]] = {}
    for run in (first, second):
        names |= inputs_of(run.scenario.system, _costs(run))
    moves = []
    for name, ends in names.items():
        ratios = _usd(second, name) / _usd(first, name)
        moves.append(
            Move(
                name=name, cheap=ends[0], dear=ends[2],
                ratio_cheap=float(ratios[0]), ratio_dear=float(ratios[2]),
            )
        )  # fmt: skip
    return Conclusion(
        winner=first.scenario.system.name,
        second=second.scenario.system.name,
        ratio=second.metrics["cost_usd_per_Mtok"] / first.metrics["cost_usd_per_Mtok"],
        moves=tuple(
            sorted(
                (move for move in moves if move.span > NOTHING),
                key=lambda move: (-move.span, move.name),
            )
        ),
        bases=(first.cost["basis"], second.cost["basis"]),
        ratio_at_cost=float(_at_cost(second) / _at_cost(first)),
    )


def _at_cost(run: Run) -> Any:
    """USD a million tokens at cost, as expected."""
    ownership = owned(run.scenario.system, _served(run), replace(_costs(run), basis="cost"))
    return np.asarray(ownership.USD_per_Mtok)[1]


def _served(run: Run) -> Served:
    return Served(tok_per_s=run.metrics["throughput_tok_per_s"], power_W=run.metrics["power_W"])


def _costs(run: Run) -> Any:
    costing = run.scenario.cost or usual_costing()
    return costs_of(run.scenario.system, costing.site, costing.practice, costing.basis)


def _usd(run: Run, name: str) -> Any:
    """USD a million tokens with only the input `name` between its ends."""
    system, costs = with_only(run.scenario.system, _costs(run), name)
    return np.asarray(owned(system, _served(run), costs).USD_per_Mtok)
