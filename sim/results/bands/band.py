"""Band: the values between which 80 % of measurements of a metric would lie."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from sim.hardware.residuals import Level


@dataclass(frozen=True, kw_only=True)
class Band:
    """`low` and `high` of a metric in its own unit, how well it is known, and on what it rests."""

    low: float
    high: float
    level: Level
    basis: str

    def to_json(self) -> dict[str, Any]:
        """The band as plain values."""
        return asdict(self)


def alike(one: Band | None, value: float, other: Band | None, first: float) -> bool:
    """Whether two values lie within their bands of each other, errors taken as independent.

    Of like devices errors have much in common, so more is told apart than this says.
    """
    if one is None or other is None or not value or not first or value == first:
        return False
    low, high = (one, value), (other, first)
    if value > first:
        low, high = high, low
    up = math.log(low[0].high / low[1])
    down = math.log(high[1] / high[0].low)
    return math.log(high[1] / low[1]) <= math.hypot(up, down)
