"""Processor: a unit that runs operators on data in a memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sim.hardware.kernels import Kernels


@dataclass(frozen=True, kw_only=True)
class Efficiency:
    """What share of the peaks well-written code reaches, and what small work costs.

    The defaults are the ideal that nothing reaches; they serve as a lower bound of time.

    `compute` and `attention` multiply the matrix peak (dense products; prefill attention),
    `memory` multiplies the bandwidth of a long stream. `ramp_B` is the traffic that would have
    flowed while a stream starts: an operator of b bytes takes (b + ramp_B) / (memory * bandwidth).
    A matrix product is cut in tiles of `tile_m` x `tile_n`; `slots` tiles run at once.
    """

    compute: float = 1.0
    attention: float = 1.0
    memory: float = 1.0
    ramp_B: float = 0.0
    tile_m: int = 1
    tile_n: int = 1
    slots: int = 1


@dataclass(frozen=True, kw_only=True)
class Processor:
    """One kind of compute unit of a device and the memories it works on.

    `peak_flop_per_s` maps matrix arithmetic (see `dtypes.COMPUTE`) to dense flop/s;
    `vector_flop_per_s` is for norms, activations and scans. `operators` lists what the unit can
    run; an empty tuple means everything. Multiply-accumulate counts as two flops.
    """

    name: str
    kind: str
    peak_flop_per_s: Mapping[str, float]
    vector_flop_per_s: float | None = None
    weights_memory: str
    kv_memory: str
    activations_memory: str
    operators: tuple[str, ...] = ()
    efficiency: Efficiency
    kernels: Kernels | None = None
    """Constants fitted to measured times; where there are some they decide, not `efficiency`."""
    launch_s: float = 0.0
    cache_B: float = 0.0
    """Last-level cache, which benchmarks that repeat one call read from."""
    energy_J_per_flop: Mapping[str, float] = field(default_factory=dict)
    bandwidth_scale: float = 1.0
    sustained: float | None = None
    """Clock that matrix products hold over that of the peak; None: by energy and power limit."""
    """Bandwidth this unit sees as a multiple of its memory's (4 for Logic-PIM)."""
    bundles: int = 1
    """Bank bundles its reads divide the memory into: with two or more, another unit may read one
    while this one reads the next."""
    memory_energy_J_per_B: float | None = None
    """Energy per byte this unit pays, where it differs from the memory's own."""
    path_J_per_B: float = 0.0
    """More for a byte's way between memory and unit: caches, wires, interfaces, regulators."""
    kv_path_J_per_B: float = 0.0
    """The same for keys and values."""
    area_mm2: Mapping[str, float] = field(default_factory=dict)
    """Silicon its parts add to one memory stack, by part."""
    host_die_mm2: float | None = None
    """The die of the stack that they are on."""
