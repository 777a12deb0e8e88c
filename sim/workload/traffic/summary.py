"""What a trace is like, in a few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sim.workload.traffic.columns import COLUMNS
from sim.workload.traffic.forms import Trace
from sim.workload.traffic.table import Integers


def summary(trace: Trace) -> dict[str, Any]:
    """Rate, burstiness and lengths of `trace`; None where it has too few requests to say.

    `rate_per_s` is one over the mean gap between arrivals, `gap_cv` the standard deviation of the
    gaps over their mean (1 for Poisson traffic).
    """
    gaps = np.diff(trace.arrival_s)
    duration = float(trace.arrival_s[-1] - trace.arrival_s[0]) if len(trace.arrival_s) else None
    paced = bool(duration)
    return {
        "name": trace.name,
        "requests": len(trace.arrival_s),
        "dropped": trace.dropped,
        "duration_s": duration,
        "rate_per_s": len(gaps) / duration if duration else None,
        "gap_cv": float(gaps.std() / gaps.mean()) if paced else None,
        "input_tokens": _spread(trace.input_tokens),
        "output_tokens": _spread(trace.output_tokens),
        "total_input_tokens": int(trace.input_tokens.sum()),
        "total_output_tokens": int(trace.output_tokens.sum()),
        **{
            column.titles: _counted(values, (trace.names or {}).get(column.name))
            for column in COLUMNS
            if (values := getattr(trace, column.name)) is not None
        },
    }


def _counted(values: Integers, names: Sequence[str] | None) -> dict[str, int]:
    """Requests of each value, the smallest or the first named first."""
    kinds, counts = np.unique(values, return_counts=True)
    return {
        str(kind) if names is None else names[kind]: int(count)
        for kind, count in zip(kinds, counts, strict=True)
    }


def _spread(tokens: Integers) -> dict[str, float | int | None]:
    if len(tokens) == 0:
        return dict.fromkeys(("mean", "p50", "p90", "p99", "max"))
    p50, p90, p99 = (float(value) for value in np.percentile(tokens, (50, 90, 99)))
    return {
        "mean": float(tokens.mean()),
        "p50": p50,
        "p90": p90,
        "p99": p99,
        "max": int(tokens.max()),
    }
