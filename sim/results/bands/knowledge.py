"""Knowledge: what was measured of the kind that a scenario runs on, and how far off that was."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sim.config.catalogue import load_device
from sim.errors import ConfigError
from sim.hardware import Device
from sim.hardware.processor import Processor
from sim.hardware.residuals import HOST, LEVELS, PRODUCT, Errors, Generation, Level, Residual
from sim.hardware.runtime import Runtime
from sim.operators import COMMUNICATION

REGIME: Final = {
    "fc": PRODUCT, "lm-head": PRODUCT, "attention-prefill": "attention-prefill",
    "attention-decode": "attention-decode", "experts": "experts", "norm": "element-wise",
    "embedding": "element-wise", "ssm": "element-wise", COMMUNICATION: "collective",
}  # fmt: skip
"""Regimes of operator classes; a model in metal is one operator, told as a product."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """A residual, how well what it is of is known, and `of`: what was measured, in words."""

    residual: Residual
    level: Level
    of: str


def least(levels: Iterable[Level]) -> Level:
    """The least known of some levels."""
    return max(levels, key=LEVELS.index, default="calibrated")


def operator(errors: Errors, device: Device, unit: Processor | None, name: str) -> Known:
    """What is known of operators of class `name` on a unit of `device` (None: its links)."""
    if unit is None:
        fitted = device.link is not None and device.link.protocols is not None
    else:
        fitted = unit.kernels is not None
    regime = REGIME.get(name, PRODUCT)
    measured = errors.of(device.name)
    kernels = None if unit is None else unit.kernels
    if kernels is not None and measured is not None and measured.name != kernels.name:
        measured = None  # another generation's kernels were put in
    return _known(errors, device, measured, regime, fitted=fitted)


def whole(errors: Errors, device: Device, runtime: Runtime | None, regime: str) -> Known | None:
    """What is known end to end: of a server ("ttft", "tpot"), or of an edge runtime likewise.

    None without a runtime that was measured on such a device: then operators tell.
    """
    if runtime is None or not device.built:
        return None
    edge = errors.edge
    if edge is not None and set(runtime.fitted_on) & set(edge.fitted_on):
        name = {"ttft": "edge-prefill", "tpot": "edge-decode"}[regime]
        if runtime.habits is None or device.name in edge.measured.get(name, ()):
            return _of(edge, device, name)
    generation = errors.of(device.name)
    if (
        generation is None
        or regime not in generation.residuals["calibrated"]
        or runtime.habits is None
    ):
        return None
    seen = bool(set(runtime.fitted_on) & set(generation.fitted_on))
    known = _of(generation, device, regime)
    return known if seen else _at(generation, "held-out", regime)


def servers(errors: Errors, device: Device, regime: str) -> Residual:
    """What servers add to operators: the residual of those of its generation, else of any."""
    generation = errors.of(device.name)
    calibrated = (
        {} if generation is None or not device.built else generation.residuals["calibrated"]
    )
    return calibrated.get(regime) or errors.others["unmeasured"][regime]


def host(errors: Errors) -> Known:
    """The host's time where no runtime is named: how far runtimes differ."""
    return Known(residual=errors.others["unmeasured"][HOST], level="calibrated", of="")


def energy(errors: Errors, device: Device, regime: str) -> Known:
    """What is known of joules a token ("energy") or of watts ("power")."""
    fitted = device.power is not None
    return _known(errors, device, errors.of(device.name), regime, fitted=fitted)


def _known(
    errors: Errors, device: Device, generation: Generation | None, regime: str, *, fitted: bool
) -> Known:
    level: Level = "unmeasured" if fitted else "estimated"
    if not device.built:
        residual = errors.others[level][regime].wider(errors.unbuilt)
        return Known(residual=residual, level="unbuilt", of="a chip that doesn't exist")
    if fitted and generation is not None and regime in generation.residuals["calibrated"]:
        return _of(generation, device, regime)
    words = "another generation's constants" if fitted else "estimated shares of peaks"
    return Known(residual=errors.others[level][regime], level=level, of=words)


def _of(generation: Generation, device: Device, regime: str) -> Known:
    seen = device.name in generation.measured.get(regime, ()) and not changed(device)
    return _at(generation, "calibrated" if seen else "held-out", regime)


def _at(generation: Generation, level: Level, regime: str) -> Known:
    return Known(residual=generation.residuals[level][regime], level=level, of=generation.title)


@cache
def _library(name: str) -> Device | None:
    try:
        return load_device(name)
    except ConfigError:
        return None


def changed(device: Device) -> bool:
    """Whether a device is no more what the library calls so: a what-if has no measurements.

    What a runtime sets (shares, launches, the host's time) doesn't count.
    """
    shipped = _library(device.name)
    return shipped is None or _facts(shipped) != _facts(device)


def _facts(device: Device) -> tuple[Any, ...]:
    units = tuple(
        (each.name, tuple(sorted(each.peak_flop_per_s.items())), each.vector_flop_per_s,
         each.bandwidth_scale, each.efficiency.slots)
        for each in device.processors
    )  # fmt: skip
    memories = tuple((each.name, each.bandwidth_B_per_s) for each in device.memories)
    link = None if device.link is None else (device.link.bandwidth_B_per_s, device.link.latency_s)
    return units, memories, link, device.tdp_W
