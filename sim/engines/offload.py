"""Memory beyond the device's: the host's, for caches swapped out, and tiers for the prefix cache.

Sizes and rates are of one device, its share of what a node's devices have in common.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sim.quantities import ByteEnergy, Flag, LinkRate, Size, Text, Time
from sim.values import checked

Problems = list[tuple[str, str]]
"""What is wrong: a path below the scheduler's, and what is due."""


@checked
@dataclass(frozen=True, kw_only=True)
class Host:
    """Host memory for one device's swapped caches, and the link to it, what a copy reaches one way.

    A NaN energy makes the run's unknown.
    """

    memory_B: Size
    """Share of the host's memory that one device has."""
    bandwidth_B_per_s: LinkRate
    """Rate of a copy one way."""
    latency_s: Time
    """Time before the first byte of a copy."""
    energy_J_per_B: ByteEnergy = math.nan
    """Energy of a copy."""
    overlap: Flag = False
    """Whether iterations go on while caches are copied, instead of after that (vLLM's)."""


@checked
@dataclass(frozen=True, kw_only=True)
class Tier:
    """A memory of one device that takes blocks of prompts the one above has no room for."""

    name: Text
    """What results call it."""
    size_B: Size
    """What it holds."""
    bandwidth_B_per_s: LinkRate
    """Rate at which blocks are loaded."""
    latency_s: Time
    """Time before the first byte of a load."""
    energy_J_per_B: ByteEnergy = math.nan
    """Energy of a load; that of the default host's link if left out."""


def wrong_tiers(tiers: tuple[Tier, ...], most: int) -> Problems:
    """What is wrong with tiers, of which there can be `most`."""
    problems: Problems = []
    names = [tier.name for tier in tiers]
    for index, tier in enumerate(tiers):
        path = f"kv_tiers.{index}"
        if names.index(tier.name) < index:
            problems.append((f"{path}.name", f"{tier.name!r} is the name of another tier too"))
    if len(tiers) > most:
        problems.append(("kv_tiers", f"{len(tiers)} tiers: {most} at most are due"))
    return problems
