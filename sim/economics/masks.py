"""Masks: sets by layer, of which products may share most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim.errors import ConfigError, Problem

Values = float | npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LayerStack:
    """Mask layers of a process: `euv` and `duv` of them, an EUV mask costing `euv_weight` DUV ones.

    `own_euv` and `own_duv` are the layers every product has for itself; the others are shared by
    all products made on the same base.
    """

    euv: int
    duv: int
    own_euv: int = 0
    own_duv: int = 0
    euv_weight: float = 6.0

    def __post_init__(self) -> None:
        """ConfigError where products would own more layers than there are."""
        problems = [
            Problem(path=f"own_{kind}", message=f"{own} of {all_} {kind.upper()} layers")
            for kind, own, all_ in (
                ("euv", self.own_euv, self.euv),
                ("duv", self.own_duv, self.duv),
            )
            if not 0 <= own <= all_
        ]
        if self.euv_weight <= 0.0:
            problems.append(
                Problem(path="euv_weight", message=f"{self.euv_weight}: above 0 is due")
            )
        if problems:
            raise ConfigError(problems)

    @property
    def layers(self) -> int:
        """Mask layers of one product."""
        return self.euv + self.duv

    @property
    def own_share(self) -> float:
        """Part of a full set's cost that each product pays for itself."""
        own = self.own_euv * self.euv_weight + self.own_duv
        return own / (self.euv * self.euv_weight + self.duv)

    def shared_cost(self, set_USD: Values) -> Values:
        """USD of the layers that all products share, of sets that cost `set_USD` whole."""
        return set_USD * (1.0 - self.own_share)

    def own_cost(self, set_USD: Values, products: Values = 1.0) -> Values:
        """USD of the layers `products` have for themselves; what a re-spin of them costs."""
        return set_USD * self.own_share * products

    def first_cost(self, set_USD: Values, products: Values) -> Values:
        """USD of all masks of `products` on one base."""
        return self.shared_cost(set_USD) + self.own_cost(set_USD, products)
