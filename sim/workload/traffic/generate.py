"""Synthetic traces with the statistics of a recorded one, which itself is not needed any more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np

from sim.errors import ConfigError, Problem
from sim.workload.traffic.forms import Trace
from sim.workload.traffic.table import MAX_TOKENS, Integers, Numbers

QUANTILE_LEVELS = (
    0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7,
    0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999, 1.0,
)  # fmt: skip
"""Where the length distributions are recorded; closer in the tail, which fills the KV cache."""


@dataclass(frozen=True, kw_only=True)
class TraceStatistics:
    """A trace in some sixty numbers.

    Gaps between arrivals are independent and gamma distributed, with mean 1 / `rate_per_s` and
    coefficient of variation `gap_cv`: bursts from request to request are kept, drift of the load
    over minutes is not. Lengths follow their quantiles at QUANTILE_LEVELS, linear in between;
    `rank_correlation` is Spearman's between input and output length.
    """

    rate_per_s: float
    gap_cv: float
    input_quantiles: tuple[float, ...]
    output_quantiles: tuple[float, ...]
    rank_correlation: float


def fit(trace: Trace) -> TraceStatistics:
    """The statistics of `trace`, rounded to six digits so that YAML holds them exactly."""
    gaps = np.diff(trace.arrival_s)
    if len(gaps) == 0 or not gaps.sum() > 0:
        raise ConfigError(f"trace {trace.name} is too short to fit: two arrival times are due")
    return TraceStatistics(
        rate_per_s=_six_digits(1 / float(gaps.mean())),
        gap_cv=_six_digits(float(gaps.std() / gaps.mean())),
        input_quantiles=_quantiles(trace.input_tokens),
        output_quantiles=_quantiles(trace.output_tokens),
        rank_correlation=_six_digits(_spearman(trace.input_tokens, trace.output_tokens)),
    )


def generate(statistics: TraceStatistics, requests: int, seed: int) -> Trace:
    """A trace of `requests` requests with these statistics; the first arrives at 0.

    Lengths are taken at evenly spread levels of their distribution and then shuffled (together,
    by a Gaussian copula), so even a short trace has the right mean and tail. Arrivals are rounded
    to a microsecond.
    """
    _check(statistics)
    if requests < 1:
        raise ConfigError(f"{requests} requests: at least 1 is due")
    gap_stream, input_stream, output_stream = (
        np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(3)
    )
    gaps = _gaps(statistics, requests - 1, gap_stream)
    # Pearson's correlation of the normals that gives this Spearman's of any marginals.
    rho = 2 * math.sin(math.pi / 6 * statistics.rank_correlation)
    inputs = input_stream.standard_normal(requests)
    outputs = rho * inputs + math.sqrt(max(0.0, 1 - rho**2)) * output_stream.standard_normal(
        requests
    )
    arrival: Numbers = np.concatenate((np.zeros(1), np.cumsum(gaps)))
    return Trace(
        name="generated",
        arrival_s=arrival.round(6),
        input_tokens=_lengths(statistics.input_quantiles, inputs),
        output_tokens=_lengths(statistics.output_quantiles, outputs),
    )


def to_mapping(statistics: TraceStatistics) -> dict[str, Any]:
    """`statistics` as plain numbers and lists, for YAML or JSON."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(statistics).items()
    }


def from_mapping(values: Mapping[str, Any]) -> TraceStatistics:
    """The inverse of `to_mapping`; ConfigError if a value is missing, unknown or impossible."""
    known = {each.name for each in fields(TraceStatistics)}
    problems = [Problem(message="is missing", path=name) for name in sorted(known - set(values))]
    problems += [
        Problem(message=f"is not known; known are {', '.join(sorted(known))}", path=str(name))
        for name in values
        if name not in known
    ]
    plain: dict[str, Any] = {}
    for name in sorted(known & set(values)):
        value = values[name]
        several = name.endswith("_quantiles")
        try:
            plain[name] = tuple(float(each) for each in value) if several else float(value)
        except (TypeError, ValueError):
            due = "a list of numbers" if several else "a number"
            problems.append(Problem(message=f"{due} is due", path=name))
    if problems:
        raise ConfigError(problems)
    statistics = TraceStatistics(**plain)
    _check(statistics)
    return statistics


def _check(statistics: TraceStatistics) -> None:
    problems: list[Problem] = []
    if not (statistics.rate_per_s > 0 and math.isfinite(statistics.rate_per_s)):
        problems.append(Problem(message="a number above 0 is due", path="rate_per_s"))
    if not (statistics.gap_cv >= 0 and math.isfinite(statistics.gap_cv)):
        problems.append(Problem(message="a number from 0 on is due", path="gap_cv"))
    if not -1 <= statistics.rank_correlation <= 1:
        problems.append(Problem(message="a number in [-1, 1] is due", path="rank_correlation"))
    for name in ("input_quantiles", "output_quantiles"):
        values: Sequence[float] = getattr(statistics, name)
        if len(values) != len(QUANTILE_LEVELS):
            message = f"{len(QUANTILE_LEVELS)} numbers are due, here are {len(values)}"
            problems.append(Problem(message=message, path=name))
        elif not (values[0] >= 1 and values[-1] <= MAX_TOKENS):
            problems.append(Problem(message="lengths from 1 token on are due", path=name))
        elif not all(low <= high for low, high in pairwise(values)):
            problems.append(Problem(message="quantiles must not fall", path=name))
    if problems:
        raise ConfigError(problems)


def _gaps(statistics: TraceStatistics, n: int, rng: np.random.Generator) -> Numbers:
    if statistics.gap_cv == 0:
        return np.full(n, 1 / statistics.rate_per_s)
    shape = 1 / statistics.gap_cv**2
    return rng.standard_gamma(shape, size=n) / (shape * statistics.rate_per_s)


def _lengths(quantiles: Sequence[float], order: Numbers) -> Integers:
    """Lengths at evenly spread levels, the longest where `order` is highest."""
    n = len(order)
    levels = (np.argsort(np.argsort(order, kind="stable"), kind="stable") + 0.5) / n
    return np.rint(np.interp(levels, QUANTILE_LEVELS, quantiles)).astype(np.int64)


def _quantiles(tokens: Integers) -> tuple[float, ...]:
    return tuple(_six_digits(float(value)) for value in np.quantile(tokens, QUANTILE_LEVELS))


def _six_digits(value: float) -> float:
    return float(f"{value:.6g}")


def _spearman(first: Integers, second: Integers) -> float:
    """Rank correlation, ties sharing their mean rank; 0 where a column is constant."""
    ranks = _ranks(first), _ranks(second)
    spread = float(ranks[0].std() * ranks[1].std())
    if spread == 0:
        return 0.0
    centred = (ranks[0] - ranks[0].mean()) * (ranks[1] - ranks[1].mean())
    return float(centred.mean()) / spread


def _ranks(values: Integers) -> Numbers:
    _, which, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray(last - (count - 1) / 2, dtype=np.float64)[which]
