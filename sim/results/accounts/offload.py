"""Offload: what went beyond the memory of devices, swapped to the host or in tiers of the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sim.engines.scheduler import Scheduler
from sim.engines.serving.outcome import Outcome
from sim.kernel.records import DONE
from sim.results.blocks import Block
from sim.results.quantity import binary, share, si
from sim.results.statistics import finite, spread
from sim.simulation.outcomes import Outcomes
from sim.simulation.prepare import Prepared


def beyond(scheduler: Scheduler, value: float) -> dict[str, float]:
    """The entry of copies in a breakdown, where anything can go beyond the memory of devices."""
    return {"copies": value} if scheduler.preemption == "swap" or scheduler.kv_tiers else {}


def copied(replicas: Sequence[Outcome], name: str) -> float:
    """A number of all replicas' copies."""
    return float(sum(getattr(replica.copies, name) for replica in replicas))


def _share(wait_s: float, outcomes: Outcomes) -> float | None:
    """Of the busy time of all replicas."""
    return wait_s / outcomes.busy_s if outcomes.busy_s > 0.0 else None


def swap(prepared: Prepared, outcomes: Outcomes) -> Block | None:
    """Caches swapped to the host and back; None where preempted ones are dropped."""
    scheduler, replicas = prepared.scenario.scheduler, outcomes.replicas
    if scheduler.preemption != "swap" or scheduler.host is None:
        return None
    copies = [replica.copies for replica in replicas]
    swaps = sum(each.swaps for each in copies)
    wait_s = copied(replicas, "swap_wait_s")
    values = {
        "swapped": swaps,
        "recomputed": sum(replica.preemptions for replica in replicas) - swaps,
        "out_B": copied(replicas, "out_B"),
        "in_B": copied(replicas, "in_B"),
        "host_peak_B": max(each.host_peak_B for each in copies),
        "host_B": scheduler.host.memory_B,
        "wait_s": wait_s,
        "wait_share": _share(wait_s, outcomes),
    }
    line = (
        f"Preempted: {values['swapped']:,} caches swapped to the host, {values['recomputed']:,} "
        f"computed again; {si(values['out_B'], 'B')} out, {si(values['in_B'], 'B')} back; host "
        f"memory of one device {binary(values['host_peak_B'])} at its peak of "
        f"{binary(values['host_B'])}; iterations waited {si(wait_s, 's')} "
        f"({share(values['wait_share'])} of busy time)"
    )
    return Block(name="swap", values=values, lines=(line,))


def prefix_cache(prepared: Prepared, outcomes: Outcomes) -> Block:
    """What was found of prompts in the prefix cache and in each tier below it; null without one.

    First tokens of requests that loaded a part of their prompt are shown apart from the others'.
    """
    scheduler, replicas = prepared.scenario.scheduler, outcomes.replicas
    if not scheduler.prefix_cache:
        return Block(name="prefix_cache", values=None)
    asked = sum(replica.asked_tokens for replica in replicas)
    cached = sum(replica.cached_tokens for replica in replicas)
    hit_rate = cached / asked if asked else 0.0
    values: dict[str, Any] = {
        "asked_tokens": asked, "cached_tokens": cached, "hit_rate": hit_rate,
    }  # fmt: skip
    lines = [f"Prefix cache: {share(hit_rate)} of prompt tokens"]
    if scheduler.kv_tiers:
        tiers = [_tier(prepared, outcomes, index) for index in range(len(scheduler.kv_tiers))]
        values["memory_tokens"] = cached - sum(tier["cached_tokens"] for tier in tiers)
        values["tiers"] = tiers
        values |= _loads(outcomes)
        lines += _tier_lines(values)
    return Block(name="prefix_cache", values=values, lines=tuple(lines))


def _tier(prepared: Prepared, outcomes: Outcomes, index: int) -> dict[str, Any]:
    """What was found in one tier, and what moved to and from it."""
    tier = prepared.scenario.scheduler.kv_tiers[index]
    uses = [each.copies.tiers[index] for each in outcomes.replicas if each.copies.tiers]
    asked = sum(replica.asked_tokens for replica in outcomes.replicas)
    tokens = sum(use.found_tokens for use in uses)
    return {
        "name": tier.name,
        "cached_tokens": tokens,
        "hit_rate": tokens / asked if asked else 0.0,
        "up_B": sum(use.up_B for use in uses),
        "down_B": sum(use.down_B for use in uses),
        "peak_B": max((use.peak_B for use in uses), default=0.0),
        "size_B": finite(tier.size_B),
    }


def _loads(outcomes: Outcomes) -> dict[str, Any]:
    """What loading from tiers took, and first tokens of requests that did and that didn't."""
    requests = outcomes.requests
    done, loaded = requests["status"] == DONE, requests["loaded"] > 0
    ttft_s = requests["first_s"] - requests["arrival_s"]
    wait_s = copied(outcomes.replicas, "load_wait_s")
    return {
        "load_s": copied(outcomes.replicas, "load_s"),
        "wait_s": wait_s,
        "wait_share": _share(wait_s, outcomes),
        "loaded_requests": int((done & loaded).sum()),
        "ttft_s": {
            "loaded": spread(ttft_s[done & loaded]),
            "others": spread(ttft_s[done & ~loaded]),
        },
    }


def _tier_lines(values: Mapping[str, Any]) -> list[str]:
    """Where prompts were found below the device's memory, and what loading them took."""
    lines = [
        f"Tier {tier['name']}: {share(tier['hit_rate'])} of prompt tokens; "
        f"{si(tier['down_B'], 'B')} down, {si(tier['up_B'], 'B')} up; of one device "
        f"{binary(tier['peak_B'])} at its peak of {binary(tier['size_B'])}"
        for tier in values["tiers"]
    ]
    ttft = values["ttft_s"]
    lines.append(
        f"{values['loaded_requests']:,} requests loaded a part of their prompt: TTFT p50 "
        f"{si(ttft['loaded']['p50'], 's')}, the others' {si(ttft['others']['p50'], 's')}; loads "
        f"took {si(values['load_s'], 's')}, for which iterations waited "
        f"{si(values['wait_s'], 's')} ({share(values['wait_share'])} of busy time)"
    )
    return lines
