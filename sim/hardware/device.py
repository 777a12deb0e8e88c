"""Device and System: what is bought and plugged in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt

from sim.errors import ConfigError, Problem
from sim.hardware.link import Link
from sim.hardware.making import Making
from sim.hardware.memory import Memory
from sim.hardware.power import PowerLaw
from sim.hardware.processor import Processor
from sim.quantities import (
    Area,
    Bandwidth,
    Count,
    Cycles,
    Flag,
    Power,
    Size,
    Sum,
    Text,
    Time,
    one_of,
)
from sim.values import HERE, Bibliography, Key, Keyed, Named, Numbers, checked

Coprocessing = Literal["none", "pe", "pe+et"]
Floats = npt.NDArray[np.float64]
Split = Callable[[Floats, Floats, Floats], npt.NDArray[np.bool_]]
"""Called with arrays of n drawn batches: token-expert pairs [n, memory spaces, experts of a space],
seconds on the host [n, spaces] and in memory; gives booleans [n, spaces], true for what goes to the
unit in memory."""


@checked
@dataclass(frozen=True, kw_only=True)
class Device:
    """One package: processors, memories and the link to other devices of its kind.

    `sources` maps the dotted path of every number to where it comes from. Absent numbers are None,
    never 0.
    """

    name: Text
    """The name of its file."""
    title: Text
    """What it is."""
    aliases: tuple[Text, ...] = ()
    """Other names of it."""
    built: Flag = True
    """Whether it exists."""
    refuses: Text | None = None
    """Why a device that is listed cannot be simulated yet."""
    processors: Annotated[tuple[Processor, ...], Keyed()]
    """Its compute units, by name."""
    memories: Annotated[tuple[Memory, ...], Keyed()]
    """Its memories, by name."""
    link: Link | None = None
    """What joins it to its peers."""
    tdp_W: Annotated[Power | None, Key("power.tdp")] = None
    """Rated power."""
    static_W: Annotated[Power | None, Key("power.static")] = None
    """Power drawn while on, whatever runs: leakage, clocks, refresh, fans."""
    unused_W: Annotated[Power | None, Key("power.unused")] = None
    """Power drawn in hours without traffic, clocks and memory asleep; else the static one."""
    power: Annotated[PowerLaw | None, Key("power.law"), Named("power")] = None
    """Constants of a family from which static power and the energies of a flop and of a byte's way
    follow, where it doesn't state its own."""
    host_step_s: Time = 0.0
    """Time the host spends per engine iteration before the device can start."""
    host_sequence_s: Time = 0.0
    """More of it for every sequence of the iteration: sampling, detokenising, streaming."""
    die_area_mm2: Annotated[Area | None, Key("die.area")] = None
    """Silicon of all its dies together."""
    process: Annotated[Text | None, Key("die.process")] = None
    """A process as the library's files name it, or the path of one."""
    dies: Annotated[Cycles, Key("die.count")] = 1
    """Dies of about equal size that the area is of."""
    wafer_scale: Annotated[Flag, Key("die.wafer_scale")] = False
    """Whether one die is a whole wafer, its defects worked around."""
    making: Annotated[Making, HERE] = field(default_factory=Making)
    price_USD: Sum | None = None
    """List price of one device."""
    hardwired: Hardwired | None = None
    """A model in its metal layers, which is all it runs."""
    sources: Numbers = field(default_factory=dict)
    bibliography: Bibliography = field(default_factory=dict)
    """Sources of its own, by key."""

    def memory(self, name: str) -> Memory:
        """The memory called `name`."""
        return next(memory for memory in self.memories if memory.name == name)


@checked
@dataclass(frozen=True, kw_only=True)
class Hardwired:
    """A model in metal: a grid of chips, and times of the parts of a layer."""

    model: Text
    """The model, by name."""
    rows: Cycles
    """Rows of the grid."""
    columns: Cycles
    """Columns of the grid."""
    collective_s: Time
    """One collective; left aside with links from first principles."""
    operator_s: Time
    """One hardwired product."""
    non_linear_s: Time
    """One non-linear operation."""
    attention_s_per_ki_token: Annotated[Time, Key("attention_per_ki_token")]
    """Attention to 1,024 cached tokens."""
    buffer_B: Size
    """Keys and values that one chip keeps."""
    fetch_B_per_s: Bandwidth
    """Bandwidth at which keys and values beyond the buffer come to one chip."""
    vex: Literal["per-layer", "shared"] = "per-layer"
    """Attention units of each layer's own, or one a chip that all share."""
    windows: Flag = False
    """Whether layers use the windows that the model has."""
    links: Literal["calibrated", "first-principles"] = "calibrated"
    """Whether collectives take the time above, or what the device's link takes."""
    link_element_B: Size | None = None
    """Size of an element on the link, due with links from first principles."""


@checked
@dataclass(frozen=True, kw_only=True)
class System:
    """Equal devices in nodes, which a network joins."""

    name: Text
    """The name of its file."""
    title: Text | None = None
    """What it is."""
    device: Annotated[Device, Named("devices")]
    """The device, by name, as a path, or written inline."""
    count: Count = 1
    """How many of them."""
    devices_per_node: Count = 8
    """Devices of one node; 1 where a device has no link."""
    network: Link | None = None
    """What joins nodes."""
    coprocessing: Coprocessing = "none"
    """Whether units in memory work beside the processors: on experts (pe), and on attention and
    experts together (pe+et)."""
    split: Annotated[str | Split, one_of("greedy", "exact")] = "greedy"
    """How co-processing shares experts; in Python also a function of one's own."""
    sources: Numbers = field(default_factory=dict)
    bibliography: Bibliography = field(default_factory=dict)
    """Sources of its own, by key."""

    @property
    def unused_W(self) -> float:
        """Power of all devices in hours without traffic; NaN where not known."""
        device = self.device
        watts = device.static_W if device.unused_W is None else device.unused_W
        return math.nan if watts is None else watts * self.count

    def __post_init__(self) -> None:
        """ConfigError for what is no device."""
        device: object = self.device
        if not isinstance(device, Device):
            message = "a Device is due: sim.load_device(...)"
            raise ConfigError([Problem(path="device", message=message)])
