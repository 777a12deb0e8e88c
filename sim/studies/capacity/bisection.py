"""Bisection: the highest level, of a rate or a number of clients, that still passes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

HALVINGS: Final = 3
"""Halvings of a start that fails, before the least level is asked."""
DOUBLINGS: Final = 24
"""Doublings of a start that passes, before the search gives up on a level that fails."""


def highest(
    passes: Callable[[float], bool],
    start: float,
    *,
    least: Callable[[], float],
    tolerance: float,
    whole: bool = False,
) -> tuple[float | None, float | None]:
    """The highest level found to pass, and the lowest one above it found to fail.

    Levels are doubled or halved from `start` until one passes and one fails, then bisected in their
    logarithm until the two are within a relative `tolerance`, or are neighbours where only `whole`
    levels are. None passes where not even `least()` does; none fails where doubling has no end.
    `passes` may be asked for a level twice.
    """
    low, high = _bracket(passes, start, least, whole)
    if low is None or high is None:
        return low, high
    while high / low > 1.0 + tolerance and not (whole and high - low <= 1.0):
        middle = math.sqrt(low * high)
        if whole:
            middle = float(min(max(round(middle), low + 1.0), high - 1.0))
        if passes(middle):
            low = middle
        else:
            high = middle
    return low, high


def _bracket(
    passes: Callable[[float], bool], start: float, least: Callable[[], float], whole: bool
) -> tuple[float | None, float | None]:
    """A level that passes and a higher one that fails, as far as there are such."""
    if passes(start):
        low = start
        for _ in range(DOUBLINGS):
            if not passes(2.0 * low):
                return low, 2.0 * low
            low *= 2.0
        return low, None
    high, bottom = start, least()
    for _ in range(HALVINGS):
        low = high / 2.0
        if whole:
            low = float(math.floor(low))
        if low <= bottom:
            break
        if passes(low):
            return low, high
        high = low
    if bottom < high and passes(bottom):
        return bottom, high
    return None, min(bottom, high)
