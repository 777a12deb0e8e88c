"""Lines on what went beyond the memory of devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim.report.quantity import binary, share, si


def swap_line(swap: Mapping[str, Any]) -> str:
    """How many caches were swapped, what moved, and what that took."""
    return (
        f"Preempted: {swap['swapped']:,} caches swapped to the host, {swap['recomputed']:,} "
        f"computed again; {si(swap['out_B'], 'B')} out, {si(swap['in_B'], 'B')} back; host memory "
        f"of one device {binary(swap['host_peak_B'])} at its peak of {binary(swap['host_B'])}; "
        f"iterations waited {si(swap['wait_s'], 's')} ({share(swap['wait_share'])} of busy time)"
    )


def tier_lines(cache: Mapping[str, Any]) -> list[str]:
    """Where prompts were found below the device's memory, and what loading them took."""
    lines = [
        f"Tier {tier['name']}: {share(tier['hit_rate'])} of prompt tokens; "
        f"{si(tier['down_B'], 'B')} down, {si(tier['up_B'], 'B')} up; of one device "
        f"{binary(tier['peak_B'])} at its peak of {binary(tier['size_B'])}"
        for tier in cache["tiers"]
    ]
    ttft = cache["ttft_s"]
    lines.append(
        f"{cache['loaded_requests']:,} requests loaded a part of their prompt: TTFT p50 "
        f"{si(ttft['loaded']['p50'], 's')}, the others' {si(ttft['others']['p50'], 's')}; loads "
        f"took {si(cache['load_s'], 's')}, for which iterations waited "
        f"{si(cache['wait_s'], 's')} ({share(cache['wait_share'])} of busy time)"
    )
    return lines
