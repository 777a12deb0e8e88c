"""Public chips: published estimates of what they cost to make and embody, beside the ledger's.

None of these figures is an input, but for the board of an H100, which is marked so. Several are
quoted by others; none could be checked with its maker. The ledger's ends are those of all inputs at
once: a published figure should lie within.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from sim.config.catalogue import load_device, one_of
from sim.config.costs import ledger_of
from sim.economics.lines import CARBON, DEVICE, Floats, Ledger
from sim.evidence.papers.published import published, reproduction
from sim.evidence.reproduction import Reproduction
from sim.hardware import Device

PAPER: Final = "public_chips"
GB: Final = 1e9
BOARD: Final = "board, cooling, chassis"

ASSUMPTIONS: Final = (
    "ends: all inputs at their cheap, or all at their dear end",
    "dies of units in reserve: a defect kills only where none stands in (harvest-estimate)",
    "an MI300X is twelve equal dies of 5 nm; four of its dies are of 6 nm",
    "a mm2 of interposer is from reports of H100 and B200: a fifth of C2-h100 and C2-b200 is no "
    "check",
    "the board's 37 kg are what HGX H100's footprint leaves beside chips and memory: C3-h100 is "
    "therefore calibrated",
)


def reproduce(
    progress: Callable[[str], None], *, figures: bool = False, rounding: bool = True
) -> Reproduction:
    """All rows: the published figure, ours, and our ends."""
    progress("ledgers")
    title = "Published estimates of the cost and carbon of public chips"
    return reproduction(PAPER, title, estimates(), assumptions=ASSUMPTIONS)


def estimates() -> dict[str, tuple[float, float, float]]:
    """Low, base and high of the part of a device's ledger that each published figure is of."""
    values = {}
    for id, line in published(PAPER).items():
        low, base, high = _part(ledger_of(one_of(_device(line))), line["part"])
        values[id] = (min(low, high), base, max(low, high))
    return values


def _device(line: Mapping[str, str]) -> Device:
    """The device, with the memory that the figure is of where the library's has another."""
    device = load_device(line["device"])
    if not line["memory_GB"]:
        return device
    (memory,) = device.memories
    return replace(device, memories=(replace(memory, capacity_B=float(line["memory_GB"]) * GB),))


def _part(ledger: Ledger, part: str) -> Floats:
    lines = {line.name: line.value for line in ledger.lines}
    sums = {
        unit: np.asarray(sum(line.value for line in ledger.lines if line.unit == unit))
        for unit in (DEVICE, CARBON)
    }
    parts = {
        "die": lines["dies"],
        "before yield": lines["dies"] * lines["yield"],
        "module": sums[DEVICE] - lines[BOARD],
        "memory": lines.get("memory hbm"),
        "carbon": sums[CARBON],
    }
    value = parts[part]
    assert value is not None
    return value
