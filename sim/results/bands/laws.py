"""Laws of error: from residuals of parts to that of a whole."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from sim.hardware.residuals import EXACT, Residual


def total(parts: Iterable[tuple[float, Residual]]) -> Residual:
    """The residual of a time that is a sum of parts, given (seconds, residual) of each.

    Each part's error is one factor on all of its time (errors of a class of operators go together)
    and independent of the others'. What a part's factor alone does to the sum is exact: a share w
    that takes f times as long makes it 1 + w (f - 1) times as long. The logarithms of these effects
    add in quadrature, apart upwards and downwards. The middle is the sum of the parts' middles.
    One part alone keeps its own residual; without any, the sum is exact.
    """
    known = [(seconds, residual) for seconds, residual in parts if seconds > 0.0]
    predicted = sum(seconds for seconds, _ in known)
    if predicted <= 0.0:
        return EXACT
    middle = sum(seconds * residual.mid for seconds, residual in known)
    up = down = 0.0
    for seconds, residual in known:
        share = seconds * residual.mid / middle
        up += math.log1p(share * math.expm1(residual.up)) ** 2
        down += math.log1p(share * math.expm1(-residual.down)) ** 2
    mid = middle / predicted
    return Residual(
        low=mid * math.exp(-math.sqrt(down)), mid=mid, high=mid * math.exp(math.sqrt(up))
    )


def widened(residual: Residual, others: Sequence[Residual]) -> Residual:
    """`residual` with independent errors of `others` on top, around its own middle."""
    down = math.hypot(residual.down, *(other.down for other in others))
    up = math.hypot(residual.up, *(other.up for other in others))
    return Residual(
        low=residual.mid * math.exp(-down), mid=residual.mid, high=residual.mid * math.exp(up),
        rows=residual.rows, tables=residual.tables,
    )  # fmt: skip


def ends(residual: Residual) -> tuple[float, float]:
    """Factors on a prediction between which 80 % lie; the prediction itself is always within."""
    return min(residual.low, 1.0), max(residual.high, 1.0)
