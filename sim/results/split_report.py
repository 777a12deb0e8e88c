"""Sides of a step: what attention, experts apart from it and the link take, and which one waits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sim.engines.roofline import Step
from sim.graph import Side
from sim.hardware import System
from sim.kernel.records import SECONDS
from sim.mapping.capacity import weight_bytes_by_memory
from sim.mapping.expert_disaggregation import EXPERTS, needed
from sim.mapping.layout import Split
from sim.mapping.program import Program

Floats = npt.NDArray[np.float64]

NAMES = tuple(side.name.lower() for side in Side)


def sides_of(program: Program, attention: System, done: Step) -> dict[str, Any] | None:
    """What sides have of one iteration, as `sim explain --json` gives it; None without a split.

    `layer_s` is of one microbatch and one round trip, all else of an attention side's layer with
    it; `busy_share` how much of the iteration each works.
    """
    split = program.split
    if split is None:
        return None
    trips = float(program.machine["sides"][0])
    side = program.table.records["side"]
    took = [float(done.rows[side == number, SECONDS].sum()) / trips for number in Side]
    slower = max(took[Side.ATTENTION], took[Side.EXPERTS])
    link = max(took[Side.LINK_THERE], took[Side.LINK_BACK])
    passed_s = done.seconds - done.host_s
    return {
        "microbatches": done.microbatches,
        "layer_s": dict(zip(NAMES, took, strict=True)),
        "round_trip_s": sum(took),
        "busiest": NAMES[int(np.argmax(took))],
        "microbatches_needed": needed(link, slower),
        "busy_share": {
            name: each * trips * done.microbatches / passed_s
            for name, each in zip(NAMES, took, strict=True)
        },
        "attention": _held(program, attention, apart=False),
        "experts": _held(program, split.system, apart=True),
    }


def _held(program: Program, system: System, *, apart: bool) -> dict[str, Any]:
    """A side's devices, and the weights in each of them."""
    weights = weight_bytes_by_memory(program)
    own = sum(size for name, size in weights.items() if name.startswith(f"{EXPERTS}-") == apart)
    return {"system": system.name, "devices": system.count, "weights_B": own}


def joules_by_side(joules: Floats, system: System, split: Split) -> tuple[float, float]:
    """What operators used on the attention side, links included, and on the other.

    `joules` [op, unit, part] by processors of `system`, which has those of both sides.
    """
    units, others = system.device.processors, split.system.device.processors
    first = len(units) - sum(not each.operators or EXPERTS in each.operators for each in others)
    experts = float(joules[:, first : len(units)].sum())
    return float(joules.sum()) - experts, experts


def op_copies(program: Program, index: int) -> float:
    """Devices that run operator `index` over those of the attention side."""
    if program.split is None or program.table.records["side"][index] != Side.EXPERTS:
        return 1.0
    return program.split.system.count / program.layout.stage_devices
