"""What went beyond the memory of devices: caches swapped to the host, and tiers of the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.engines.scheduler import Scheduler
from sim.engines.serving.engine import Outcome
from sim.kernel.records import DONE
from sim.results.statistics import finite, spread

Records = npt.NDArray[np.void]


def beyond(scheduler: Scheduler, value: float) -> dict[str, float]:
    """The entry of copies in a breakdown, where anything can go beyond the memory of devices."""
    return {"copies": value} if scheduler.preemption == "swap" or scheduler.kv_tiers else {}


def copied(outcomes: Sequence[Outcome], name: str) -> float:
    """A number of all replicas' copies."""
    return float(sum(getattr(outcome.copies, name) for outcome in outcomes))


def _share(wait_s: float, outcomes: Sequence[Outcome]) -> float | None:
    busy_s = sum(outcome.busy_s for outcome in outcomes)
    return wait_s / busy_s if busy_s > 0.0 else None


def swap_json(scheduler: Scheduler, outcomes: Sequence[Outcome]) -> dict[str, Any] | None:
    """The `swap` of a result, of all replicas; None where caches are dropped instead."""
    if scheduler.preemption != "swap" or scheduler.host is None:
        return None
    own = [outcome.copies for outcome in outcomes]
    swaps = sum(each.swaps for each in own)
    wait_s = copied(outcomes, "swap_wait_s")
    return {
        "swapped": swaps,
        "recomputed": sum(outcome.preemptions for outcome in outcomes) - swaps,
        "out_B": copied(outcomes, "out_B"),
        "in_B": copied(outcomes, "in_B"),
        "host_peak_B": max(each.host_peak_B for each in own),
        "host_B": scheduler.host.memory_B,
        "wait_s": wait_s,
        "wait_share": _share(wait_s, outcomes),
    }


def cache_json(
    scheduler: Scheduler, outcomes: Sequence[Outcome], requests: Records
) -> dict[str, Any] | None:
    """The `prefix_cache` of a result: what was found in it, and in each tier below it.

    First tokens of requests that loaded a part of their prompt are shown apart from the others'.
    None where there is no cache.
    """
    if not scheduler.prefix_cache:
        return None
    asked = sum(outcome.asked_tokens for outcome in outcomes)
    found = sum(outcome.cached_tokens for outcome in outcomes)
    share = found / asked if asked else 0.0
    whole = {"asked_tokens": asked, "cached_tokens": found, "hit_rate": share}
    if not scheduler.kv_tiers:
        return whole
    rows = []
    for index, tier in enumerate(scheduler.kv_tiers):
        uses = [each.copies.tiers[index] for each in outcomes if each.copies.tiers]
        tokens = sum(use.found_tokens for use in uses)
        found -= tokens
        rows.append(
            {
                "name": tier.name,
                "cached_tokens": tokens,
                "hit_rate": tokens / asked if asked else 0.0,
                "up_B": sum(use.up_B for use in uses),
                "down_B": sum(use.down_B for use in uses),
                "peak_B": max((use.peak_B for use in uses), default=0.0),
                "size_B": finite(tier.size_B),
            }
        )
    wait_s = copied(outcomes, "load_wait_s")
    done = requests["status"] == DONE
    ttft_s = requests["first_s"] - requests["arrival_s"]
    loaded = requests["loaded"] > 0
    return whole | {
        "memory_tokens": found,
        "tiers": rows,
        "load_s": copied(outcomes, "load_s"),
        "wait_s": wait_s,
        "wait_share": _share(wait_s, outcomes),
        "loaded_requests": int((done & loaded).sum()),
        "ttft_s": {
            "loaded": spread(ttft_s[done & loaded]),
            "others": spread(ttft_s[done & ~loaded]),
        },
    }
