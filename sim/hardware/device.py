"""Device and System: what is bought and plugged in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from sim.errors import ConfigError, Problem
from sim.hardware.link import Link
from sim.hardware.making import Ends, Making
from sim.hardware.memory import Memory
from sim.hardware.power import PowerLaw
from sim.hardware.processor import Processor
from sim.units import Sourced

Coprocessing = Literal["none", "pe", "pe+et"]
Floats = npt.NDArray[np.float64]
Split = Callable[[Floats, Floats, Floats], npt.NDArray[np.bool_]]
"""Called with arrays of n drawn batches: token-expert pairs [n, memory spaces, experts of a space],
seconds on the host [n, spaces] and in memory; gives booleans [n, spaces], true for what goes to the
unit in memory."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """One package: processors, memories and the link to other devices of its kind.

    `refuses` says why a device that is listed cannot be simulated yet. `sources` maps the dotted
    path of every number to where it comes from. Absent numbers are None, never 0.
    """

    name: str
    title: str
    processors: tuple[Processor, ...]
    memories: tuple[Memory, ...]
    link: Link | None = None
    tdp_W: float | None = None
    static_W: float | None = None
    """Power drawn while on, whatever runs: leakage, clocks, refresh, fans."""
    power: PowerLaw | None = None
    """What static power and energies follow from, where they aren't its own."""
    host_step_s: float = 0.0
    """Time the host spends per engine iteration before the device can start."""
    host_sequence_s: float = 0.0
    """More of it for every sequence of the iteration: sampling, detokenising, streaming."""
    die_area_mm2: float | None = None
    process: str | None = None
    dies: int = 1
    """Dies of about equal size that the area is of."""
    wafer_scale: bool = False
    making: Making = field(default_factory=Making)
    price_USD: Ends | None = None
    built: bool = True
    refuses: str | None = None
    hardwired: Hardwired | None = None
    """A model in its metal layers, which is all it runs."""
    sources: Mapping[str, Sourced] = field(default_factory=dict)

    def memory(self, name: str) -> Memory:
        """The memory called `name`."""
        return next(memory for memory in self.memories if memory.name == name)


@dataclass(frozen=True, kw_only=True)
class Hardwired:
    """What a chip of a hardwired LPU takes for the parts of a layer; its model is `model`.

    `fetch_B_per_s` is the bandwidth at which keys and values beyond `buffer_B` come to one chip.
    `vex`: attention units of each layer's own, or one a chip that all share. `windows`: whether
    layers use those that the model has. `links`: collectives take `collective_s` each, or what the
    device's link takes for elements of `link_element_B`.
    """

    model: str
    rows: int
    columns: int
    collective_s: float
    operator_s: float
    non_linear_s: float
    attention_s_per_ki_token: float
    buffer_B: float
    fetch_B_per_s: float
    vex: Literal["per-layer", "shared"] = "per-layer"
    windows: bool = False
    links: Literal["calibrated", "first-principles"] = "calibrated"
    link_element_B: float | None = None


@dataclass(frozen=True, kw_only=True)
class System:
    """`count` equal devices in nodes of `devices_per_node`, nodes joined by `network`."""

    name: str
    device: Device
    count: int = 1
    devices_per_node: int = 8
    network: Link | None = None
    coprocessing: Coprocessing = "none"
    split: str | Split = "greedy"
    """How co-processing shares experts: "greedy", "exact", or a function of one's own."""
    sources: Mapping[str, Sourced] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """ConfigError for what is no system."""
        problems = []
        device: object = self.device
        if not isinstance(device, Device):
            problems.append(Problem(path="device", message="a Device is due: sim.load_device(...)"))
        for name in ("count", "devices_per_node"):
            if getattr(self, name) < 1:
                problems.append(Problem(path=name, message="a whole number from 1 is due"))
        if problems:
            raise ConfigError(problems)
