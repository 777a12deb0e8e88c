"""Priorities: counts, latencies and goodput of requests by class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sim.results.blocks import Block, Table
from sim.results.measurement import Measurement
from sim.results.quantity import UNKNOWN, digits, share, si
from sim.results.statistics import rate, request_counts, spread
from sim.simulation.outcomes import Outcomes
from sim.simulation.prepare import Prepared

Records = npt.NDArray[np.void]


def priorities(prepared: Prepared, outcomes: Outcomes) -> Block | None:
    """Counts, latencies and goodput by class; None where requests have no priorities."""
    if prepared.requests.priority is None:
        return None
    requests = outcomes.requests
    rows = []
    for priority in np.unique(requests["priority"]):
        own = requests[requests["priority"] == priority]
        measurement = Measurement(outcomes=outcomes, requests=own, slo=prepared.scenario.slo)
        rows.append({"priority": int(priority), **of_class(measurement)})
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


def of_class(measurement: Measurement) -> dict[str, Any]:
    """Counts, latencies and goodput of the requests of a class.

    Of what ended inside the measured window, as all metrics. Gaps between tokens are kept of
    all classes together: of one class `tbt_mean_s` is exact, and `worst_gap_s` has each request's
    longest gap, which is what an SLO looks at. With speculation gaps are fewer than tokens, and
    their mean is not known.
    """
    counts, counted = request_counts(measurement.requests), measurement.counted
    several = counted[np.isfinite(counted["first_s"]) & (counted["output"] > 1)]
    gaps = int((several["output"] - 1).sum())
    if any(replica.verified for replica in measurement.outcomes.replicas):
        gaps = 0
    decoded_s = float((several["last_s"] - several["first_s"]).sum())
    return {
        **{name: counts[name] for name in ("arrived", "completed", "rejected")},
        **{name: spread(times) for name, times in measurement.times.items()},
        "tbt_mean_s": decoded_s / gaps if gaps else None,
        "worst_gap_s": spread(several["max_gap_s"]),
        "request_rate_per_s": rate(len(counted), measurement.duration_s),
        "goodput_req_per_s": rate(measurement.good, measurement.duration_s),
        "attainment": measurement.attainment,
    }
