"""Statistics of requests: latencies, their spread, counts, and who keeps an SLO."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from sim.kernel.records import DONE, REJECTED

if TYPE_CHECKING:
    from sim.engines.serving.simulation import Served
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


def by_priority(served: Served, requests: Records, slo: Slo) -> list[dict[str, Any]]:
    """One mapping a class, the most urgent first: counts, latencies and goodput of its requests.

    Of what ended inside the measured window, as all metrics. Gaps between tokens are kept of
    all classes together: of one class `tbt_mean_s` is exact, and `worst_gap_s` has each request's
    longest gap, which is what an SLO looks at. With speculation gaps are fewer than tokens, and
    their mean is not known.
    """
    window = served.window
    drafts = any(outcome.verified for outcome in served.outcomes)
    duration = window.until_s - window.from_s
    rows = []
    for priority in np.unique(requests["priority"]):
        own = requests[requests["priority"] == priority]
        counts = request_counts(own)
        ended = own["last_s"]
        inside = (own["status"] == DONE) & (ended > window.from_s) & (ended <= window.until_s)
        counted = own[inside]
        times = latencies(counted)
        several = counted[np.isfinite(counted["first_s"]) & (counted["output"] > 1)]
        gaps = int((several["output"] - 1).sum())
        decoded_s = float((several["last_s"] - several["first_s"]).sum())
        good = _good(counted, times, slo)
        judged = len(counted) + counts["rejected"]
        rows.append(
            {
                "priority": int(priority),
                **{name: counts[name] for name in ("arrived", "completed", "rejected")},
                **{name: spread(times[name]) for name in ("ttft_s", "tpot_s", "e2e_s")},
                "tbt_mean_s": decoded_s / gaps if gaps and not drafts else None,
                "worst_gap_s": spread(several["max_gap_s"]),
                "request_rate_per_s": rate(len(counted), duration),
                "goodput_req_per_s": rate(good, duration),
                "attainment": None if good is None or not judged else good / judged,
            }
        )
    return rows


def by_request(served: Served, requests: Records, slo: Slo) -> dict[str, Any]:
    """Of requests for several answers: counts, latencies, rates and goodput of whole requests.

    A request's first token is the first of any of its answers, and it ends with the last of them;
    it is rejected where one of them is. Of what ended inside the measured window, as
    all metrics.
    """
    window = served.window
    duration = window.until_s - window.from_s
    requests = requests[np.argsort(requests["parent"], kind="stable")]
    starts = np.flatnonzero(np.diff(requests["parent"], prepend=0))
    done = np.logical_and.reduceat(requests["status"] == DONE, starts)
    refused = np.logical_or.reduceat(requests["status"] == REJECTED, starts)
    arrival = requests["arrival_s"][starts]
    first = np.fmin.reduceat(requests["first_s"], starts)
    last = np.maximum.reduceat(requests["last_s"], starts)
    gap = np.maximum.reduceat(requests["max_gap_s"], starts)
    with np.errstate(invalid="ignore"):
        inside = done & (last > window.from_s) & (last <= window.until_s)
    answers = requests["status"] == DONE
    answers &= (requests["last_s"] > window.from_s) & (requests["last_s"] <= window.until_s)
    ttft_s, e2e_s = (first - arrival)[inside], (last - arrival)[inside]
    good = within(slo, ttft_s, gap[inside])
    judged = len(ttft_s) + int(refused.sum())
    return {
        "samples_per_request": len(requests) / len(starts),
        "arrived": len(starts),
        "completed": int(done.sum()),
        "rejected": int(refused.sum()),
        "ttft_s": spread(ttft_s),
        "e2e_s": spread(e2e_s),
        "request_rate_per_s": rate(len(ttft_s), duration),
        "sample_rate_per_s": rate(int(answers.sum()), duration),
        "goodput_req_per_s": rate(good, duration),
        "attainment": None if good is None or not judged else good / judged,
    }


def _good(requests: Records, times: Mapping[str, Floats], slo: Slo) -> int | None:
    """Requests within the SLO, or None where there is no SLO."""
    return within(slo, times["ttft_s"], requests["max_gap_s"])


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
