"""Expert routing: how many distinct experts a batch touches, and how uneven ranks are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

EXACT_TOKENS: Final = 1024
"""Token counts up to which the coverage table has a row each; beyond, rows 3 % apart."""


POOL: Final = 8192
"""Tokens of the drawn sequence that batches are cut from: 64 batches of 128 don't overlap."""


@dataclass(frozen=True, kw_only=True)
class Router:
    """How tokens choose their top-k experts.

    kind "uniform": k distinct experts at random. "zipf": popularity of the r-th expert ~ r^-skew.
    "correlated": with probability `correlation` a token repeats the experts of the one before it
    (on top of `skew`). "coverage": measured (tokens, share of experts touched) points, linear
    between them. `draw` "expected" uses expectations; "sampled" the mean over drawn batches, expert
    by expert; devices with two units for experts always do, as the choice hangs on each load.
    """

    kind: Literal["uniform", "zipf", "correlated", "coverage"] = "uniform"
    skew: float = 0.0
    correlation: float = 0.0
    coverage: tuple[tuple[float, float], ...] = ()
    draw: Literal["expected", "sampled"] = "expected"
    locality: float | None = None
    """How alike tokens of one prompt are: the shape of the gamma distribution that popularity has
    within it, smaller for fewer experts each (None: as tokens from anywhere)."""


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


def touched_share(router: Router, tokens: Floats, experts: int, top_k: int) -> Floats:
    """Probability that each expert is used by a batch, shape [tokens, experts]."""
    picked = popularity(router, experts, top_k)
    fresh = tokens
    if router.kind == "correlated":  # a token repeats its predecessor's experts now and then
        fresh = np.where(tokens > 0, 1.0 + (tokens - 1.0) * (1.0 - router.correlation), 0.0)
    if router.kind == "coverage":
        points = np.array([(0.0, 0.0), *router.coverage])
        share = np.interp(tokens, points[:, 0], points[:, 1])
        return np.repeat(share[:, None], experts, axis=1)
    return np.asarray(1.0 - (1.0 - picked)[None, :] ** fresh[:, None])


def coverage_table(router: Router, experts: int, top_k: int, ranks: int = 1) -> Floats:
    """Experts touched and their spread over ranks at token counts; shape [rows, 4].

    Columns: tokens, experts touched, and on the busiest of `ranks` ranks experts touched and
    token-expert pairs relative to the mean rank.

    Experts are dealt to ranks round-robin by popularity. The busiest rank is the mean plus the
    expected maximum of `ranks` normal deviates times the standard deviation, within its bounds.
    Models without experts get zeros and ones, which no operator reads.
    """
    tokens = table_tokens()
    table = np.zeros((len(tokens), 4))
    table[:, 0] = tokens
    table[:, 3] = 1.0
    if experts == 0:
        return table
    used = touched_share(router, tokens, experts, top_k)
    table[:, 1] = table[:, 2] = used.sum(axis=1)
    if ranks > 1:
        table[:, 2] = _worst_touched(used, ranks)
        table[:, 3] = _worst_load(router, tokens, experts, top_k, ranks)
    table[0, 2:] = (0.0, 1.0)
    return table


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


def _worst_touched(used: Floats, ranks: int) -> Floats:
    """Experts touched on the busiest rank, by the probability that each expert is used."""
    experts = used.shape[1]
    rank = np.arange(experts) % ranks
    per_rank = np.stack([used[:, rank == r].sum(axis=1) for r in range(ranks)], axis=1)
    spread = np.sqrt((used * (1.0 - used)).sum(axis=1) / ranks)
    worst = per_rank.max(axis=1) + expected_maximum(ranks) * spread
    return np.asarray(np.minimum(np.minimum(worst, experts // ranks), used.sum(axis=1)))


def _worst_load(router: Router, tokens: Floats, experts: int, top_k: int, ranks: int) -> Floats:
    """Token-expert pairs on the busiest rank over those of the mean rank."""
    picked = popularity(router, experts, top_k)
    load = np.array([picked[rank::ranks].sum() for rank in range(ranks)])
    mean = top_k / ranks
    # a token's pairs on one rank: k draws without replacement out of E
    variance = mean * (1.0 - 1.0 / ranks) * (experts - top_k) / max(experts - 1, 1)
    groups = tokens * (1.0 - router.correlation) if router.kind == "correlated" else tokens
    noise = expected_maximum(ranks) * np.sqrt(variance / np.maximum(groups, 1.0))
    busiest = np.clip((load.max() + noise) / mean, 1.0, min(top_k, experts // ranks) / mean)
    return np.asarray(busiest)


def expected_maximum(count: int) -> float:
    """Expected largest of `count` independent standard normal deviates."""
    x = np.linspace(-9.0, 9.0, 4001)
    below = np.array([0.5 * math.erfc(-value / math.sqrt(2.0)) for value in x])
    return float(np.trapezoid(np.heaviside(x, 0.5) - below**count, x))


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


def load_table(router: Router, experts: int, top_k: int, *, seed: int = 0) -> Floats:
    """Token-expert pairs of the first 0, 1, ... `POOL` tokens of a drawn sequence.

    Shape [POOL + 1, experts]; a batch of n tokens is the difference of two rows n apart.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(5)[4])
    chosen = draw_experts(router, POOL, experts, top_k, rng)
    table = np.zeros((POOL + 1, experts))
    np.add.at(table, (np.repeat(np.arange(1, POOL + 1), top_k), chosen.ravel()), 1.0)
    return np.cumsum(table, axis=0)
