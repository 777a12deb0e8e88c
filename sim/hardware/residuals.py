"""Residuals: how far measured values were from predicted ones, by regime and by what is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Final, Literal, get_args

from sim.errors import ConfigError
from sim.quantities import Factor, Text, number
from sim.values import As, Key, checked

Rows = Annotated[int, number(1, whole=True)]
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
Regime = Literal[
    "product", "attention-decode", "attention-prefill", "experts", "element-wise", "collective",
    "host", "ttft", "tpot", "edge-prefill", "edge-decode", "energy", "power",
]  # fmt: skip
REGIMES: Final = get_args(Regime)
"""All: operators, the host, whole servers, edge runtimes, joules a token and watts."""


@checked
@dataclass(frozen=True, kw_only=True)
class Residual:
    """Quantiles of measured over predicted time (or energy).

    Tables of measured values count alike, however many rows they have.
    """

    low: Annotated[Factor, Key("p10")]
    """Of 10 % it is below this."""
    mid: Annotated[Factor, Key("p50")]
    """Its median."""
    high: Annotated[Factor, Key("p90")]
    """Of 90 % it is below this."""
    rows: Rows = 0
    """Measured values that it is of."""
    tables: Rows = 0
    """Tables that they are in."""

    def __post_init__(self) -> None:
        """ConfigError for quantiles that fall."""
        if not self.low <= self.mid <= self.high:
            raise ConfigError("p10, p50 and p90 are due in this order")

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


@checked
@dataclass(frozen=True, kw_only=True)
class Generation:
    """Residuals of one generation of devices, by level and regime."""

    name: Text
    """The name of its file."""
    title: Text
    """What devices these are."""
    source: Text | None = None
    """Key of the source of all its numbers."""
    fitted_on: Annotated[tuple[Text, ...], Key("fitted.on")] = ()
    """Tables of measured values ("dataset/table") that residuals are of."""
    date: Annotated[Text | None, Key("fitted.date")] = None
    """When they were measured against predictions."""
    covers: tuple[Text, ...] = ()
    """Its devices."""
    measured: Mapping[str, tuple[Text, ...]] = field(default_factory=dict)
    """Those of a regime that constants were fitted on."""
    wider: Factor = 1.0
    """By how much an unbuilt chip's band is wider than that of an estimated unit."""
    residuals: Annotated[
        Mapping[Level, Mapping[str, Residual]],
        Key("levels"),
        As(Mapping[Level, Mapping[Regime, Residual]]),
    ]
    """How far predictions were off."""


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
