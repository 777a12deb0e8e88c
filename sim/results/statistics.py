"""Statistics of requests: latencies, their spread, counts, and who keeps an SLO."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from sim.kernel.records import DONE, REJECTED

if TYPE_CHECKING:
    from sim.scenario import Slo

Floats = npt.NDArray[np.float64]
Records = npt.NDArray[np.void]

PERCENTILES: Final = (50, 90, 99)
STATISTICS: Final = ("mean", *(f"p{percent}" for percent in PERCENTILES), "max")
"""Names of what `spread` gives."""


def finite(value: float) -> float | None:
    """`value`, or None where it is not a number: what is unknown is null, never 0."""
    return float(value) if math.isfinite(value) else None


def spread(values: Floats, counts: npt.NDArray[np.int64] | None = None) -> dict[str, float | None]:
    """Mean, p50, p90, p99 and maximum of `values`, each taken `counts` times; None of no values.

    Percentiles interpolate linearly between order statistics, as numpy does.
    """
    if counts is None:
        counts = np.ones(len(values), np.int64)
    keep = np.isfinite(values) & (counts > 0)
    values, counts = values[keep], counts[keep]
    if len(values) == 0:
        return dict.fromkeys(STATISTICS)
    order = np.argsort(values, kind="stable")
    values, ends = values[order], np.cumsum(counts[order])
    total = int(ends[-1])
    result: dict[str, float | None] = {
        "mean": float(np.dot(values, counts[order].astype(np.float64)) / total)
    }
    for name, percent in zip(STATISTICS[1:-1], PERCENTILES, strict=True):
        place = (total - 1) * percent / 100.0
        low = values[np.searchsorted(ends, math.floor(place), side="right")]
        high = values[np.searchsorted(ends, math.ceil(place), side="right")]
        result[name] = float(low + (high - low) * (place - math.floor(place)))
    result["max"] = float(values[-1])
    return result


def latencies(requests: Records) -> dict[str, Floats]:
    """TTFT, TPOT and E2E of each request, NaN where it has none."""
    done = requests["status"] == DONE
    arrival, first, last = requests["arrival_s"], requests["first_s"], requests["last_s"]
    with np.errstate(divide="ignore", invalid="ignore"):
        per_token = (last - first) / (requests["output"] - 1)
    return {
        "ttft_s": np.where(done, first - arrival, np.nan),
        "tpot_s": np.where(done & (requests["output"] > 1), per_token, np.nan),
        # a request that was already running when the simulation began has no arrival
        "e2e_s": np.where(done & np.isfinite(first), last - arrival, np.nan),
    }


def kept(slo: Slo, ttft_s: Floats, worst_gap_s: Floats) -> dict[str, npt.NDArray[np.bool_]]:
    """Which requests keep each limit of the SLO ("ttft", "tbt"); NaN does not."""
    limits = {"ttft": (ttft_s, slo.ttft_s), "tbt": (worst_gap_s, slo.tbt_s)}
    return {name: times <= limit for name, (times, limit) in limits.items() if limit is not None}


def within(slo: Slo, ttft_s: Floats, worst_gap_s: Floats) -> int | None:
    """How many requests with such times meet the SLO; None where there is none."""
    limits = list(kept(slo, ttft_s, worst_gap_s).values())
    return int(np.logical_and.reduce(limits).sum()) if limits else None


def rate(count: float | None, seconds: float) -> float | None:
    """`count` a second; None of no time, or of a count that is not known."""
    return None if count is None or seconds <= 0.0 else count / seconds


def request_counts(requests: Records) -> dict[str, int]:
    """How many arrived, completed, were rejected, and were still running at the end."""
    arrived = len(requests)
    completed = int((requests["status"] == DONE).sum())
    rejected = int((requests["status"] == REJECTED).sum())
    return {
        "arrived": arrived,
        "completed": completed,
        "rejected": rejected,
        "unfinished": arrived - completed - rejected,
        "preemptions": int(requests["preemptions"].sum()),
    }
