"""Copies: what a replica moved between its devices and memory beyond them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sim.engines.scheduler import Scheduler
from sim.kernel.state import Replica


@dataclass(frozen=True, kw_only=True)
class TierUse:
    """What went through a tier: bytes of all devices of the replica, `peak_B` of one."""

    name: str
    found_tokens: int
    up_B: float
    down_B: float
    peak_B: float


@dataclass(frozen=True, kw_only=True)
class Copies:
    """What a replica swapped and loaded; bytes of all its devices, `host_peak_B` of one.

    `swap_wait_s` and `load_wait_s`: by which its iterations were longer for that; `load_s`: what
    all loads took.
    """

    swaps: int = 0
    out_B: float = 0.0
    in_B: float = 0.0
    host_peak_B: float = 0.0
    swap_wait_s: float = 0.0
    load_wait_s: float = 0.0
    load_s: float = 0.0
    tiers: tuple[TierUse, ...] = ()
    joules: float = 0.0

    @property
    def wait_s(self) -> float:
        """Seconds of iterations in which devices waited for copies."""
        return self.swap_wait_s + self.load_wait_s


def copies_of(replica: Replica, scheduler: Scheduler, state: np.void) -> Copies:
    """What the replica with this `state` has copied so far."""
    if scheduler.preemption != "swap" and not scheduler.kv_tiers:
        return Copies()
    devices = float(replica.machine["devices"])
    block_B = float(state["block_B"]) * devices
    tiers = tuple(
        TierUse(
            name=tier.name,
            found_tokens=int(state["tier_found"][index] * state["block_tokens"]),
            up_B=float(state["tier_found"][index]) * block_B,
            down_B=float(state["tier_in"][index]) * block_B,
            peak_B=float(state["tier_peak"][index] * state["block_B"]),
        )
        for index, tier in enumerate(scheduler.kv_tiers)
    )
    swapped_B = float(state["swapped_B"]) * devices
    returned_B = float(state["returned_B"]) * devices
    moved = [(scheduler.kv_tiers[i].energy_J_per_B, t.up_B + t.down_B) for i, t in enumerate(tiers)]
    if scheduler.host is not None:
        moved.append((scheduler.host.energy_J_per_B, swapped_B + returned_B))
    return Copies(
        swaps=int(state["swaps"]),
        out_B=swapped_B,
        in_B=returned_B,
        host_peak_B=float(state["host_peak_B"]),
        swap_wait_s=float(state["swap_wait_s"]),
        load_wait_s=float(state["load_wait_s"]),
        load_s=float(state["loaded_s"]),
        tiers=tiers,
        joules=math.fsum(rate * size for rate, size in moved if size > 0.0),
    )
