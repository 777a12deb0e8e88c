"""Memory beyond the device's: the host's, for caches swapped out, and tiers for the prefix cache.

Sizes and rates are of one device, its share of what a node's devices have in common.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Problems = list[tuple[str, str]]
"""What is wrong: a path below the scheduler's, and what is due."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """Host memory for caches swapped out, and the link to it: what a copy reaches one way.

    With `overlap` an iteration goes on while caches are copied, and takes as long as the longer of
    the two; else copies come first (vLLM's). A NaN energy makes the run's unknown.
    """

    memory_B: float
    bandwidth_B_per_s: float
    latency_s: float
    energy_J_per_B: float = math.nan
    overlap: bool = False


@dataclass(frozen=True, kw_only=True)
class Tier:
    """A memory that takes blocks of prompts which the one above has no room for."""

    name: str
    size_B: float
    bandwidth_B_per_s: float
    latency_s: float
    energy_J_per_B: float = math.nan


def wrong_host(host: Host) -> Problems:
    """What is wrong with a host."""
    return _wrong("host", host.memory_B, host.bandwidth_B_per_s, host.latency_s)


def wrong_tiers(tiers: tuple[Tier, ...], most: int) -> Problems:
    """What is wrong with tiers, of which there can be `most`."""
    problems: Problems = []
    names = [tier.name for tier in tiers]
    for index, tier in enumerate(tiers):
        path = f"kv_tiers.{index}"
        problems += _wrong(path, tier.size_B, tier.bandwidth_B_per_s, tier.latency_s)
        if names.index(tier.name) < index:
            problems.append((f"{path}.name", f"{tier.name!r} is the name of another tier too"))
    if len(tiers) > most:
        problems.append(("kv_tiers", f"{len(tiers)} tiers: {most} at most are due"))
    return problems


def _wrong(path: str, size_B: float, rate: float, latency_s: float) -> Problems:
    size = "memory" if path == "host" else "size"
    checks = ((size, size_B > 0.0), ("bandwidth", rate > 0.0), ("latency", latency_s >= 0.0))
    return [(f"{path}.{key}", "a quantity above 0 is due") for key, fine in checks if not fine]
