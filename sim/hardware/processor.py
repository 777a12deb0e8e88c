"""Processor: a unit that runs operators on data in a memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from sim.hardware.kernels import Kernels
from sim.operators import OPERATOR_CLASSES
from sim.quantities import (
    Area,
    ByteEnergy,
    ComputeRate,
    Cycles,
    Factor,
    FlopEnergy,
    ShareOfPeak,
    Size,
    SizeOrZero,
    Text,
    Tile,
    Time,
    one_of,
)
from sim.units import HIDDEN
from sim.values import As, Key, Named, checked

Arithmetic = Literal["fp32", "fp16", "fp8", "int8", "fp4"]
Operator = Annotated[str, one_of(*OPERATOR_CLASSES)]


@checked
@dataclass(frozen=True, kw_only=True)
class Efficiency:
    """What share of the peaks well-written code reaches, and what small work costs.

    The defaults are the ideal that nothing reaches; they serve as a lower bound of time.
    """

    compute: ShareOfPeak = 1.0
    """Share of the matrix peak that large dense products reach."""
    attention: ShareOfPeak = 1.0
    """Share of the matrix peak that attention of prompts reaches."""
    memory: ShareOfPeak = 1.0
    """Share of the bandwidth that a long stream reaches."""
    ramp_B: SizeOrZero = 0.0
    """Traffic that would have flowed while a stream starts: an operator of b bytes takes
    (b + ramp) / (memory * bandwidth)."""
    tile_m: Tile = 1
    """Rows of the tiles that a matrix product is cut in."""
    tile_n: Tile = 1
    """Columns of these tiles."""
    slots: Tile = 1
    """Tiles that run at once."""


@checked
@dataclass(frozen=True, kw_only=True)
class Processor:
    """One kind of compute unit of a device and the memories it works on.

    Multiply-accumulate counts as two flops.
    """

    name: Annotated[str, HIDDEN]
    kind: Literal["gpu", "cpu", "npu", "tpu", "pim", "lpu"]
    """What kind of unit it is."""
    weights_memory: Annotated[Text, Key("memory.weights", alone=True)]
    """The memory that weights are in."""
    kv_memory: Annotated[Text, Key("memory.kv", alone=True)]
    """The memory that keys and values are in."""
    activations_memory: Annotated[Text, Key("memory.activations", alone=True)]
    """The memory that activations are in."""
    peak_flop_per_s: Annotated[Mapping[str, float], As(Mapping[Arithmetic, ComputeRate])]
    """Dense peaks of matrix arithmetic: see `dtypes.COMPUTE`."""
    vector_flop_per_s: Annotated[ComputeRate | None, Key("vector")] = None
    """Peak of norms, activations and scans."""
    operators: tuple[Operator, ...] = ()
    """What it can run; everything where it is empty."""
    level: Text | None = None
    """Where in its memory it reads: gives bandwidth scale, bundles, memory efficiency and energy
    where left out."""
    efficiency: Efficiency = Efficiency()
    """Shares of the peaks that good code reaches."""
    kernels: Annotated[Kernels | None, Named("kernels")] = None
    """Constants fitted to measured times; where there are some they decide, not `efficiency`."""
    launch_s: Time = 0.0
    """Time an operator takes to start."""
    cache_B: Size = 0.0
    """Last-level cache, which benchmarks that repeat one call read from."""
    energy_J_per_flop: Annotated[Mapping[str, float], As(Mapping[Arithmetic, FlopEnergy])] = field(
        default_factory=dict
    )
    """Energy of one operation by arithmetic."""
    bandwidth_scale: Factor = 1.0
    """Bandwidth this unit sees as a multiple of its memory's (4 for Logic-PIM)."""
    sustained: ShareOfPeak | None = None
    """Clock that matrix products hold over that of the peak; else by energy and power limit."""
    bundles: Cycles = 1
    """Bank bundles its reads divide the memory into: with two or more, another unit may read one
    while this one reads the next."""
    memory_energy_J_per_B: ByteEnergy | None = None
    """Energy per byte this unit pays, where it differs from the memory's own."""
    path_J_per_B: Annotated[ByteEnergy, Key("path_energy")] = 0.0
    """More for a byte's way between memory and unit: caches, wires, interfaces, regulators."""
    kv_path_J_per_B: Annotated[ByteEnergy, Key("kv_path_energy")] = 0.0
    """The same for keys and values."""
    area_mm2: Mapping[str, Area] = field(default_factory=dict)
    """Silicon its parts add to one memory stack, by part, on a die that stays as it is."""
    host_die_mm2: Area | None = None
    """The die of the stack that they are on."""
