"""The busiest of expert-parallel ranks: what it has of a batch whose tokens choose by chance."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from sim.workload.expert_slots import Slots

Floats = npt.NDArray[np.float64]

POINTS: Final = 257
"""Points of an integral over a distribution."""
_Z: Final[Floats] = np.linspace(-9.0, 9.0, 3601)
_BELOW: Final[Floats] = np.array([0.5 * math.erfc(-z / math.sqrt(2.0)) for z in _Z])


def expected_maximum(mean: Floats, variance: Floats, third: Floats) -> float:
    """Expected largest of independent variables with these first three central moments [count].

    The integral of the chance that any is larger. Each is a normal deviate z bent to its skewness,
    mean + deviation x (z + skewness (z^2 - 1) / 6), the first term of Cornish and Fisher (Revue de
    l'Institut International de Statistique 5, 1938).
    """
    deviation = np.sqrt(np.maximum(variance, 1e-30))
    bend = third / deviation**3 / 6.0
    low = float(np.max(mean - 8.0 * deviation))
    high = float(np.max(mean + deviation * (8.0 + 63.0 * np.maximum(bend, 0.0))))
    x = np.linspace(low, high, POINTS)
    at = (x[None, :] - mean[:, None]) / deviation[:, None] + bend[:, None]
    inside = np.maximum(1.0 + 4.0 * bend[:, None] * at, 0.0)
    below = np.interp(2.0 * at / (1.0 + np.sqrt(inside)), _Z, _BELOW)
    return high - float(np.trapezoid(np.prod(below, axis=0), x))


def spread(picked: Floats, shares: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, variance and third moment [ranks] of the pairs that one token sends to each rank.

    `picked` [experts] are probabilities, `shares` [ranks, experts] the part of the tokens for which
    a rank has an expert, or the copy whose turn it is. Choices are without replacement: their
    covariance is Hajek's (Ann. Math. Statist. 35(4), 1964), which is exact where all experts are
    alike. Ranks together always have `top_k` pairs a token, so what one has more another has less;
    as the expected maximum hangs on differences between ranks alone, the variances are those of
    independent ranks whose differences vary as much (least squares over all pairs of ranks).
    """
    ranks, experts = shares.shape
    alone = picked * (1.0 - picked)
    own, total = shares @ alone, alone.sum()
    factor = experts / (experts - 1.0)
    together = (np.diag(own) - np.outer(own, own) / max(total, 1e-30)) * factor
    itself = np.diag(together)
    differences = itself[:, None] + itself[None, :] - 2.0 * together
    if ranks == 2:
        variance = differences.mean(axis=1)
    else:
        row = differences.sum(axis=1)
        variance = (row - row.sum() / (2.0 * (ranks - 1))) / (ranks - 2)
    return shares @ picked, np.maximum(variance, 0.0), shares @ (alone * (1.0 - 2.0 * picked))


def busiest_pairs(
    picked: Floats, slots: Slots, tokens: Floats, clumping: Floats | None = None
) -> Floats:
    """Expected token-expert pairs of the busiest rank, shape [tokens].

    `clumping` [tokens] is how many times the variance is that of tokens who choose on their own.
    Within 4 % of drawn batches from one pair a rank on, up to 20 % above them at fewer.
    """
    mean, variance, third = spread(picked, slots.shares)
    clumps = np.ones(len(tokens)) if clumping is None else clumping
    on_one = np.minimum((slots.shares > 0.0).sum(axis=1).max(), picked.sum())
    found = np.array(
        [
            expected_maximum(n * mean, n * clump * variance, n * clump**2 * third) if n > 0 else 0.0
            for n, clump in zip(tokens, clumps, strict=True)
        ]
    )
    return np.asarray(np.clip(found, tokens * mean.max(), tokens * on_one))


def busiest_touched(used: Floats, slots: Slots) -> Floats:
    """Expected slots with tokens on the rank that has most of them, shape [tokens].

    `used` [tokens, experts] are probabilities that one copy of an expert has tokens.
    """
    on = used[:, slots.held]  # [tokens, ranks, slots]
    mean, free = on.sum(axis=2), on * (1.0 - on)
    moments = zip(mean, free.sum(axis=2), (free * (1.0 - 2.0 * on)).sum(axis=2), strict=True)
    found = np.array([expected_maximum(*each) for each in moments])
    room = slots.held.shape[1]
    return np.asarray(np.minimum(np.clip(found, mean.max(axis=1), room), mean.sum(axis=1)))
