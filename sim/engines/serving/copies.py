"""Copies: what a replica moved between its devices and memory beyond them, and how it begins."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim.engines.scheduler import Scheduler
from sim.errors import Infeasible
from sim.kernel.records import LOADS
from sim.kernel.state import Replica

Records = npt.NDArray[np.void]


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


def fill_offload(record: Records, scheduler: Scheduler) -> None:
    """Write what goes beyond the device's memory into a `POLICY` record."""
    host = scheduler.host
    if scheduler.preemption == "swap" and host is not None:
        record["swap"], record["hides_copies"] = 1, int(host.overlap)
        record["host_B"], record["host_B_per_s"] = host.memory_B, host.bandwidth_B_per_s
        record["host_latency_s"] = host.latency_s
    if scheduler.prefix_cache:
        record["tiers"] = len(scheduler.kv_tiers)
        if scheduler.kv_tiers:
            record["loads"] = LOADS.index(scheduler.kv_loads)
        for index, tier in enumerate(scheduler.kv_tiers):
            record["tier_B"][0, index] = tier.size_B
            record["tier_B_per_s"][0, index] = tier.bandwidth_B_per_s
            record["tier_latency_s"][0, index] = tier.latency_s


def check_tiers(scheduler: Scheduler, block_B: float) -> None:
    """Infeasible where a tier hasn't room for one block."""
    for tier in scheduler.kv_tiers:
        if tier.size_B < block_B:
            raise Infeasible(
                f"tier {tier.name} of {tier.size_B:.6g} B a device has no room for a block of the "
                f"prefix cache, which takes {block_B:.6g} B",
                size_B=tier.size_B,
                block_B=block_B,
            )


def check_host(scheduler: Scheduler, block_B: float) -> None:
    """Infeasible where the host's memory hasn't room for one block of a swapped cache."""
    host = scheduler.host
    if scheduler.preemption == "swap" and host is not None and host.memory_B < block_B:
        raise Infeasible(
            f"the host's memory of {host.memory_B:.6g} B a device has no room for a block of a "
            f"swapped cache, which takes {block_B:.6g} B: write a larger scheduler.host.memory, or "
            "preemption: recompute",
            memory_B=host.memory_B,
            block_B=block_B,
        )


def forget_blocks(states: Records) -> None:
    """No block is anywhere."""
    for name in ("oldest", "newest", "tier_oldest", "tier_newest"):
        states[name] = -1
    for name in ("idle_blocks", "cached_blocks", "tier_blocks"):
        states[name] = 0


def forget(states: Records) -> None:
    """Replicas that died have lost what lay beyond their devices too."""
    forget_blocks(states)
    for name in ("swapped", "host_used_B", "copy_s", "load_s", "load_end_s"):
        states[name] = 0


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
