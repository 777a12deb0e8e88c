"""Expert loads: how many tokens the busiest rank gets where a benchmark makes up the routing.

The aiconfigurator benchmark doesn't run a router. It spreads token-expert pairs over the experts
evenly ("balanced"), at random ("uniform") or by a power law ("power_law_A"), brings the rank with
the most pairs to the place that is timed, and averages a few draws.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from sim.evidence.measured.formats import Unsupported

Floats = npt.NDArray[np.float64]
DRAWS: Final = 32
MOST_RANDOM: Final = 1 << 23
"""Random numbers drawn for one batch of uniform routing, at most."""
POWER: Final = re.compile(r"power_law_(\d*\.?\d+)")
BUSY_TOP, IDLE_BOTTOM, IDLE_TOP = 0.8, 0.01, 2.0
"""Range of an expert's weight before scaling: [1, 0.8 tokens], or [0.01, 2] where there are fewer
pairs than experts."""


@cache
def busiest_rank(
    tokens: int, experts: int, top_k: int, ranks: int, distribution: str
) -> tuple[float, float]:
    """Experts touched on the timed rank, and its token-expert pairs over those of the mean rank.

    Means over draws. Raises Unsupported for a distribution that isn't known.
    """
    if distribution == "balanced":
        loads = _balanced(tokens, experts, top_k)[None, :]
    elif distribution == "uniform":
        loads = _uniform(tokens, experts, top_k)
    elif match := POWER.fullmatch(distribution):
        loads = _power_law(tokens, experts, top_k, float(match[1]))
    else:
        raise Unsupported(f"distribution {distribution} of experts' loads")
    by_rank = loads[:, : experts // ranks * ranks].reshape(len(loads), ranks, -1)
    if distribution.startswith("power_law"):
        timed = by_rank[np.arange(len(loads)), by_rank.sum(axis=2).argmax(axis=1)]
    else:
        timed = by_rank[:, 0]
    touched = float(np.minimum(timed, 1.0).sum(axis=1).mean())
    pairs = float(timed.sum(axis=1).mean())
    return touched, pairs * ranks / (tokens * top_k)


def _balanced(tokens: int, experts: int, top_k: int) -> Floats:
    """Pairs of each expert where a token's experts lie a stride apart, tokens one after another."""
    stride = -(-experts // top_k)
    first = np.arange(tokens)
    if tokens < stride:  # few tokens: spread them over the stride
        first = first * stride // tokens
    chosen = (first[:, None] + stride * np.arange(top_k)) % experts
    return np.bincount(chosen.ravel(), minlength=experts).astype(float)


def _uniform(tokens: int, experts: int, top_k: int) -> Floats:
    """Pairs of each expert in a few batches of tokens that each pick their experts blindly."""
    random = np.random.default_rng(0)
    draws = int(np.clip(MOST_RANDOM // (tokens * experts), 1, 8))
    loads = np.empty((draws, experts))
    for draw in range(draws):
        order = np.argpartition(random.random((tokens, experts)), top_k - 1, axis=1)
        loads[draw] = np.bincount(order[:, :top_k].ravel(), minlength=experts)
    return loads


def _power_law(tokens: int, experts: int, top_k: int, exponent: float) -> Floats:
    """Pairs of each expert in draws of weights with a density of x ** -exponent."""
    pairs = tokens * top_k
    low, high = (1.0, BUSY_TOP * tokens) if pairs > experts else (IDLE_BOTTOM, IDLE_TOP)
    drawn = np.random.default_rng(0).random((DRAWS, experts))
    if exponent == 1.0:
        weight = low * (high / low) ** drawn
    else:
        power = 1.0 - exponent
        weight = (low**power + (high**power - low**power) * drawn) ** (1.0 / power)
    loads: Floats = np.rint(weight / weight.sum(axis=1, keepdims=True) * pairs)
    for row in loads:
        _settle(row, pairs)
    over = np.maximum(loads - tokens, 0.0).sum(axis=1, keepdims=True)  # a token goes there once
    loads = np.minimum(loads, tokens)
    room = tokens - loads
    total = room.sum(axis=1, keepdims=True)
    loads += over * room / np.maximum(total, 1.0)
    return loads


def _settle(row: Floats, pairs: int) -> None:
    """Make `row` sum to `pairs`.

    What rounding lost goes to the busiest; what it won is taken from the least busy that have any.
    """
    while (missing := int(pairs - row.sum())) != 0:
        if missing > 0:
            row[np.argsort(-row, kind="stable")[:missing]] += 1.0
        else:
            order = np.argsort(row, kind="stable")
            row[order[row[order] > 0.0][:-missing]] -= 1.0
