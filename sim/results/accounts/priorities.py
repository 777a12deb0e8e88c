"""Priorities: counts, latencies and goodput of requests by class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sim.engines.serving.simulation import Served
from sim.kernel.records import DONE
from sim.results.blocks import Block, Table
from sim.results.quantity import UNKNOWN, digits, share, si
from sim.results.statistics import latencies, rate, request_counts, spread, within
from sim.scenario import Slo
from sim.simulation.outcomes import Outcomes
from sim.simulation.prepare import Prepared

Records = npt.NDArray[np.void]


def priorities(prepared: Prepared, outcomes: Outcomes) -> Block | None:
    """Counts, latencies and goodput by class; None where requests have no priorities."""
    if prepared.requests.priority is None:
        return None
    rows = by_priority(outcomes.served, outcomes.requests, prepared.scenario.slo)
    table = Table(
        title="By priority, the most urgent first",
        columns=(
            "", "arrived", "completed", "rejected", "TTFT p50", "TTFT p99", "TBT mean",
            "worst gap p99", "goodput", "in SLO",
        ),
        rows=tuple(_cells(row) for row in rows),
    )  # fmt: skip
    return Block(name="priorities", values=rows, lines=(table,))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    good = row["goodput_req_per_s"]
    return (
        f"{row['priority']}",
        *(f"{row[name]:,}" for name in ("arrived", "completed", "rejected")),
        si(row["ttft_s"]["p50"], "s"),
        si(row["ttft_s"]["p99"], "s"),
        si(row["tbt_mean_s"], "s"),
        si(row["worst_gap_s"]["p99"], "s"),
        UNKNOWN if good is None else f"{digits(good)}/s",
        share(row["attainment"]),
    )


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
        good = within(slo, times["ttft_s"], counted["max_gap_s"])
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
