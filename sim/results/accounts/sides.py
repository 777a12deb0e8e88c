"""Sides: what attention, experts apart from it and the link take, and which one waits."""

from __future__ import annotations

from collections.abc import Mapping
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
from sim.results.blocks import Block
from sim.results.mean_step import mean_step
from sim.results.quantity import binary, digits, share, si
from sim.simulation.outcomes import Outcomes
from sim.simulation.prepare import Prepared

Floats = npt.NDArray[np.float64]

NAMES = tuple(side.name.lower() for side in Side)


def sides(prepared: Prepared, outcomes: Outcomes) -> Block | None:
    """What attention, experts apart from it and the link take in a mean iteration; or None."""
    step = None if prepared.scenario.split is None else mean_step(outcomes.lead)
    return None if step is None else sides_of_step(prepared, step)


def sides_of_step(prepared: Prepared, step: Step) -> Block | None:
    """What sides have of one iteration; None without a split.

    `layer_s` is of one microbatch and one round trip, all else of an attention side's layer with
    it; `busy_share` how much of the iteration each works.
    """
    program, attention = prepared.program, prepared.scenario.pools[0].system
    split = program.split
    if split is None:
        return None
    trips = float(program.machine["sides"][0])
    side = program.table.records["side"]
    seconds = [float(step.rows[side == number, SECONDS].sum()) / trips for number in Side]
    slower = max(seconds[Side.ATTENTION], seconds[Side.EXPERTS])
    link = max(seconds[Side.LINK_THERE], seconds[Side.LINK_BACK])
    passed_s = step.seconds - step.host_s
    values = {
        "microbatches": step.microbatches,
        "layer_s": dict(zip(NAMES, seconds, strict=True)),
        "round_trip_s": sum(seconds),
        "busiest": NAMES[int(np.argmax(seconds))],
        "microbatches_needed": needed(link, slower),
        "busy_share": {
            name: each * trips * step.microbatches / passed_s
            for name, each in zip(NAMES, seconds, strict=True)
        },
        "attention": _weights(program, attention, apart=False),
        "experts": _weights(program, split.system, apart=True),
    }
    return Block(name="sides", values=values, lines=_lines(values))


def _weights(program: Program, system: System, *, apart: bool) -> dict[str, Any]:
    """A side's devices, and the weights in each of them."""
    sizes_B = weight_bytes_by_memory(program)
    weights_B = sum(
        size for name, size in sizes_B.items() if name.startswith(f"{EXPERTS}-") == apart
    )
    return {"system": system.name, "devices": system.count, "weights_B": weights_B}


def _lines(values: Mapping[str, Any]) -> tuple[str, ...]:
    """What each side takes of a layer, who waits, and what is held where."""
    busy = values["busy_share"]
    times = ", ".join(
        f"{name.replace('_', ' ')} {si(seconds, 's')} (busy {share(busy[name])})"
        for name, seconds in values["layer_s"].items()
    )
    weights = ", ".join(
        f"{side} on {values[side]['system']}, {binary(values[side]['weights_B'])} of weights a "
        "device"
        for side in ("attention", "experts")
    )
    return (
        f"A layer of one of {values['microbatches']:g} microbatches: {times}. "
        f"{digits(values['microbatches_needed'])} microbatches keep the busier side at work.",
        f"Sides: {weights}.",
    )


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
