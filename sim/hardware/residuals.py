"""Residuals: how far measured values were from predicted ones, by regime and by what is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

Level = Literal["calibrated", "held-out", "unmeasured", "estimated", "unbuilt"]
LEVELS: Final[tuple[Level, ...]] = (
    "calibrated", "held-out", "unmeasured", "estimated", "unbuilt",
)  # fmt: skip
"""From the best known to the least: bands never get narrower along them.

"calibrated": constants were fitted on this device. "held-out": on its generation, not on it.
"unmeasured": a generation nobody measured has another's constants. "estimated": units whose shares
of their peaks are estimates. "unbuilt": the same of a chip that doesn't exist.
"""
PRODUCT: Final = "product"
HOST: Final = "host"
KERNELS: Final = (
    PRODUCT, "attention-decode", "attention-prefill", "experts", "element-wise", "collective",
)  # fmt: skip
"""Regimes of operators, in order."""
REGIMES: Final = (
    *KERNELS, HOST, "ttft", "tpot", "edge-prefill", "edge-decode", "energy", "power",
)  # fmt: skip
"""All: operators, the host, whole servers, edge runtimes, joules a token and watts."""


@dataclass(frozen=True, kw_only=True)
class Residual:
    """Quantiles of measured over predicted time (or energy): `low` 10 %, `mid` 50 %, `high` 90 %.

    Of `rows` measured values in `tables` tables; tables count alike, however many rows they have.
    """

    low: float
    mid: float
    high: float
    rows: int = 0
    tables: int = 0

    @property
    def down(self) -> float:
        """ln(mid / low)."""
        return math.log(self.mid / self.low)

    @property
    def up(self) -> float:
        """ln(high / mid)."""
        return math.log(self.high / self.mid)

    def wider(self, factor: float) -> Residual:
        """The same with an independent error of up to `factor` either way on top of its own."""
        more = math.log(factor)
        return replace(
            self,
            low=self.mid * math.exp(-math.hypot(self.down, more)),
            high=self.mid * math.exp(math.hypot(self.up, more)),
        )

    @property
    def width(self) -> float:
        """ln(high / low)."""
        return self.down + self.up


EXACT: Final = Residual(low=1.0, mid=1.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class Generation:
    """Residuals of one generation of devices, by level and regime.

    `covers` are its devices; `measured` those of a regime that constants were fitted on.
    """

    name: str
    title: str
    covers: tuple[str, ...]
    measured: Mapping[str, tuple[str, ...]]
    residuals: Mapping[Level, Mapping[str, Residual]]
    fitted_on: tuple[str, ...] = ()
    """Tables of measured values ("dataset/table") that residuals are of."""


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Residuals of all generations, of edge runtimes, and of what none of them covers (`others`).

    `unbuilt` is the factor by which a chip that doesn't exist may be off beyond its units' errors.
    """

    generations: tuple[Generation, ...]
    edge: Generation | None
    others: Mapping[Level, Mapping[str, Residual]]
    unbuilt: float
    sources: tuple[str, ...] = ()

    def of(self, device: str) -> Generation | None:
        """The generation of a device; None of one that nobody measured."""
        return next((each for each in self.generations if device in each.covers), None)
