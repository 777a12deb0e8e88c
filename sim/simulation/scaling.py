"""Scaling: what autoscaling came to over the measured time, as values."""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.engines.fleet import Autoscale
from sim.engines.serving.autoscaling import Scaling
from sim.engines.serving.simulation import Window


def on_share(scaling: Scaling, window: Window) -> float:
    """Share of the time and of all replicas that replicas were on; 1 of no time at all."""
    on_s = scaling.on_s(window.from_s, window.until_s)
    span_s = window.until_s - window.from_s
    return float(on_s.sum()) / (len(on_s) * span_s) if span_s > 0.0 else 1.0


def scaling_json(rule: Autoscale, scaling: Scaling, window: Window) -> dict[str, Any]:
    """The `fleet.autoscale` of a result, from the first arrival to the last completion.

    `series` has how many replicas are on, and how many of these take requests, from `at_s` on.
    """
    changes = scaling.changes[scaling.changes[:, 0] <= window.until_s]
    starts = changes[:, 0].clip(window.from_s)
    spans = np.append(starts[1:], window.until_s) - starts
    span_s = window.until_s - window.from_s
    on_s = float(scaling.on_s(window.from_s, window.until_s).sum())
    return {
        "min": rule.least,
        "max": rule.most,
        "target": rule.target,
        "start_up_s": rule.start_up_s,
        "starts": scaling.starts,
        "stops": scaling.stops,
        "end_s": window.until_s,
        "replica_hours": on_s / 3600.0,
        "replicas_mean": on_s / span_s if span_s > 0.0 else None,
        "replicas_max": int(changes[:, 1].max()),
        "serving_mean": float(changes[:, 2] @ spans) / span_s if span_s > 0.0 else None,
        "series": [
            {"at_s": at, "on": int(on), "serving": int(up)} for at, on, up in changes.tolist()
        ],
    }
