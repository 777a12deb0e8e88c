"""Expert routing: how many distinct experts a batch touches, and how uneven ranks are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from sim.errors import ConfigError, Problem
from sim.quantities import Amount, Positive, Share
from sim.values import checked
from sim.workload.busiest import busiest_pairs, busiest_touched
from sim.workload.expert_slots import Ints, Placement, Slots, slots_of

Floats = npt.NDArray[np.float64]

EXACT_TOKENS: Final = 1024
"""Token counts up to which the coverage table has a row each; beyond, rows 3 % apart."""


BUSIEST_TOKENS: Final[Floats] = np.unique(
    np.concatenate([np.arange(17.0), np.round(16.0 * 1.25 ** np.arange(1, 54))])
)
"""Token counts at which the busiest rank is worked out: what it has is linear between them."""

POOL: Final = 8192
"""Tokens of the drawn sequence that batches are cut from: 64 batches of 128 don't overlap."""


@checked
@dataclass(frozen=True, kw_only=True)
class Router:
    """How tokens choose their top-k experts."""

    kind: Literal["uniform", "zipf", "correlated", "coverage"] = "uniform"
    """Distinct experts at random; popularity falling with the rank; that, and tokens that repeat
    the experts of the one before; or what was measured."""
    skew: Amount = 0.0
    """Exponent of popularity: that of the r-th expert goes as r^-skew."""
    correlation: Share = 0.0
    """Probability that a token repeats the experts of the one before it."""
    coverage: tuple[tuple[Positive, Share], ...] = ()
    """Measured points [tokens, share of experts touched], linear between them."""
    draw: Literal["expected", "sampled"] = "expected"
    """Expectations, or the mean over drawn batches, expert by expert; devices with two units for
    experts always draw, as the choice hangs on each load."""
    locality: Positive | None = None
    """How alike tokens of one prompt are: the shape of the gamma distribution that popularity has
    within it, smaller for fewer experts each; as tokens from anywhere if left out."""

    def __post_init__(self) -> None:
        """ConfigError for what can't go together."""
        message = ""
        rising = list(zip(self.coverage, self.coverage[1:], strict=False))
        if (self.kind == "coverage") != bool(self.coverage):
            message = "kind coverage and `coverage: [[tokens, share], ...]` go together"
        elif self.kind == "coverage" and self.draw == "sampled":
            message = "a coverage table says what is expected: leave `draw` out"
        elif self.locality is not None and self.draw == "sampled":
            message = "locality is of expectations: leave `locality` or `draw` out"
        elif any(right[0] <= left[0] or right[1] < left[1] for left, right in rising):
            message = "coverage points must rise in tokens and not fall in share"
        if message:
            raise ConfigError([Problem(message=message)])


MANY_EXPERTS: Final = 32
DEFAULT_SKEW: Final = 1.2
"""Zipf exponent at which 128 experts, top-8, are covered 40 / 57 / 75 / 90 % by 16 / 32 / 64 / 128
decoding sequences. Calibrated on these shares, measured on Qwen3-30B-A3B with ShareGPT: below 50,
about 55, below 70, 86.3 % (Layered Prefill, arXiv 2510.08055, table 1). A uniform router would
cover 64 / 87 / 98 / 100 %."""
DEFAULT_LOCALITY: Final = 0.395
"""Shape at which 512 tokens of one prompt touch 82.4 % of 128 experts, top-8. Calibrated on this
share, measured on Qwen3-30B-A3B (the same paper's release); 1,024 to 8,192 tokens then touch 86.6,
89.8, 92.3 and 94.1 %, where 87.6, 92.0, 94.9 and 98.5 % were measured."""


def default_router(experts: int) -> Router:
    """Router taken where a scenario names none: skewed from 32 experts on, uniform below.

    Few large experts are balanced by training (Mixtral, arXiv 2401.04088, section 5).
    """
    if experts >= MANY_EXPERTS:
        return Router(kind="zipf", skew=DEFAULT_SKEW, locality=DEFAULT_LOCALITY)
    return Router(kind="uniform")


def popularity(router: Router, experts: int, top_k: int) -> Floats:
    """Probability that one token picks each expert, shape [experts], sum `top_k`.

    For skewed popularity, k experts drawn one after the other without replacement are the first k
    of exponential clocks with rates w: an expert is among them with probability about
    1 - exp(-c w), where c makes the sum k.
    """
    if router.kind == "uniform" or (router.skew == 0.0 and router.kind != "coverage"):
        return np.full(experts, top_k / experts)
    if top_k >= experts:
        return np.ones(experts)
    weights = np.arange(1, experts + 1, dtype=np.float64) ** -router.skew
    low, high = 0.0, 1.0
    while np.sum(-np.expm1(-high * weights)) < top_k:
        high *= 2.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if np.sum(-np.expm1(-middle * weights)) < top_k:
            low = middle
        else:
            high = middle
    return np.asarray(-np.expm1(-high * weights))


def table_tokens(most: float = 2.0e6) -> Floats:
    """Token counts of the coverage table's rows."""
    steps = math.ceil(math.log(most / EXACT_TOKENS) / math.log(1.03))
    sparse = np.unique(np.round(EXACT_TOKENS * 1.03 ** np.arange(1, steps + 1)))
    return np.concatenate([np.arange(EXACT_TOKENS + 1, dtype=np.float64), sparse])


def touched_share(
    router: Router, tokens: Floats, experts: int, top_k: int, copies: Ints | None = None
) -> Floats:
    """Probability that each expert is used by a batch, shape [tokens, experts].

    Where experts have `copies` [experts], of one copy: they take turns token by token.
    """
    picked = popularity(router, experts, top_k)
    ways = np.ones(experts) if copies is None else copies
    fresh = tokens
    if router.kind == "correlated":  # a token repeats its predecessor's experts now and then
        fresh = np.where(tokens > 0, 1.0 + (tokens - 1.0) * (1.0 - router.correlation), 0.0)
    if router.kind == "coverage":
        points = np.array([(0.0, 0.0), *router.coverage])
        share = np.interp(tokens, points[:, 0], points[:, 1])
        return np.asarray(1.0 - (1.0 - share[:, None]) ** (1.0 / ways))
    turns = fresh[:, None] / ways
    missed = np.asarray((1.0 - picked)[None, :] ** turns)
    if (ways > 1).any():  # some copies have had their turn once more than others
        whole = np.floor(turns)
        more, fewer = (1.0 - picked) ** (whole + 1.0), (1.0 - picked) ** whole
        missed = np.where(ways > 1, fewer + (turns - whole) * (more - fewer), missed)
    return np.asarray(1.0 - missed)


def clumping(router: Router, tokens: Floats) -> Floats:
    """Times the variance of loads that tokens who choose on their own would give, shape [tokens].

    A run of equal choices has geometric length; this is the sum of its autocorrelations.
    """
    again = router.correlation if router.kind == "correlated" else 0.0
    if again >= 1.0:
        return np.maximum(tokens, 1.0)
    left = np.maximum(tokens, 1.0) * (1.0 - again)
    return np.asarray((1.0 + again - 2.0 * again * (1.0 - again**tokens) / left) / (1.0 - again))


def coverage_table(
    router: Router,
    experts: int,
    top_k: int,
    ranks: int = 1,
    *,
    placement: Placement | None = None,
    seed: int = 0,
) -> Floats:
    """Experts touched and their spread over ranks at token counts; shape [rows, 4].

    Columns: tokens, experts touched (each copy for itself), and on the busiest of `ranks` ranks
    experts touched and token-expert pairs relative to the mean rank. Of a contiguous placement the
    mean over layers, whose popularity `seed` orders.
    Models without experts get zeros and ones, which no operator reads.
    """
    return _coverage_table(router, experts, top_k, ranks, placement, seed).copy()


@lru_cache(maxsize=64)
def _coverage_table(
    router: Router, experts: int, top_k: int, ranks: int, placement: Placement | None, seed: int
) -> Floats:
    tokens = table_tokens()
    table = np.zeros((len(tokens), 4))
    table[:, 0] = tokens
    table[:, 3] = 1.0
    if experts == 0:
        return table
    if ranks == 1:
        table[:, 1] = table[:, 2] = touched_share(router, tokens, experts, top_k).sum(axis=1)
        return table
    layers = slots_of(placement, popularity(router, experts, top_k), ranks, seed)
    touched = [
        (touched_share(router, tokens, experts, top_k, each.copies) * each.copies).sum(axis=1)
        for each in layers
    ]
    table[:, 1] = np.mean(touched, axis=0)
    most_touched, most_pairs = _busiest(router, experts, top_k, layers)
    most_touched = np.minimum(most_touched, most_pairs)
    table[:, 2] = np.interp(tokens, BUSIEST_TOKENS, most_touched)
    table[:, 2] = np.clip(table[:, 2], table[:, 1] / ranks, table[:, 1])
    mean = top_k / ranks
    table[1:, 3] = np.interp(tokens[1:], BUSIEST_TOKENS, most_pairs) / (tokens[1:] * mean)
    table[:, 3] = np.maximum(table[:, 3], 1.0)
    return table


def _busiest(
    router: Router, experts: int, top_k: int, layers: tuple[Slots, ...]
) -> tuple[Floats, Floats]:
    """Experts touched and pairs of the busiest rank, each [`BUSIEST_TOKENS`]; mean over layers."""
    picked, tokens = popularity(router, experts, top_k), BUSIEST_TOKENS
    clumps = clumping(router, tokens)
    touched = [
        busiest_touched(touched_share(router, tokens, experts, top_k, each.copies), each)
        for each in layers
    ]
    pairs = [busiest_pairs(picked, each, tokens, clumps) for each in layers]
    return np.mean(touched, axis=0), np.mean(pairs, axis=0)


def locality_table(router: Router, experts: int, top_k: int) -> Floats:
    """Tokens of one prompt, and as how many tokens from anywhere they count; shape [rows, 2].

    Within a prompt popularity is gamma distributed about its mean k / E with shape a, so that
    n tokens leave (1 + n k / (E a))^-a of the experts untouched, a power law; they count as the
    tokens from anywhere that touch as many. No rows where the router has no locality.
    """
    if router.locality is None or experts == 0 or router.draw == "sampled":
        return np.zeros((0, 2))
    tokens = table_tokens()
    anywhere = touched_share(router, tokens, experts, top_k).mean(axis=1)
    shape = router.locality
    touched = 1.0 - (1.0 + tokens * top_k / (experts * shape)) ** -shape
    alike = np.interp(touched, anywhere, tokens)
    return np.stack([tokens, np.clip(alike, np.minimum(tokens, 1.0), tokens)], axis=1)


def draw_experts(
    router: Router, tokens: int, experts: int, top_k: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Experts that each of `tokens` tokens in a row chooses, shape [tokens, top_k].

    The first `top_k` of exponential clocks at rates of the popularity are draws without
    replacement (Efraimidis and Spirakis, Inf. Process. Lett. 97(5), 2006).
    """
    skew = 0.0 if router.kind == "uniform" else router.skew
    weights = np.arange(1, experts + 1, dtype=np.float64) ** -skew
    clocks = rng.exponential(size=(tokens, experts)) / weights
    chosen: npt.NDArray[np.int64] = np.argpartition(clocks, top_k - 1, axis=1)[:, :top_k]
    if router.kind == "correlated":
        repeats = rng.random(tokens) < router.correlation
        for token in range(1, tokens):
            if repeats[token]:
                chosen[token] = chosen[token - 1]
    return chosen.astype(np.int64)


def load_table(
    router: Router, experts: int, top_k: int, *, slots: Slots | None = None, seed: int = 0
) -> Floats:
    """Token-expert pairs of the first 0, 1, ... `POOL` tokens of a drawn sequence.

    Shape [POOL + 1, experts]; a batch of n tokens is the difference of two rows n apart. With
    `slots` [POOL + 1, slots], ranks taking columns in turn: copies of an expert take turns token by
    token, as in SGLang's "round_robin" dispatch.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(5)[4])
    chosen = draw_experts(router, POOL, experts, top_k, rng)
    columns = experts
    if slots is not None:
        columns = len(slots.columns)
        order = np.argsort(slots.columns, kind="stable")  # columns of each expert, one after other
        first = np.cumsum(slots.copies) - slots.copies
        turn = np.arange(POOL)[:, None] % slots.copies[chosen]
        chosen = order[first[chosen] + turn]
    table = np.zeros((POOL + 1, columns))
    np.add.at(table, (np.repeat(np.arange(1, POOL + 1), top_k), chosen.ravel()), 1.0)
    return np.cumsum(table, axis=0)
