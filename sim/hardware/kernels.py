"""Kernels: constants of operators and collectives, fitted to measured times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Numbers = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """Constants of a processor's kernels by the fields of the kernel's records.

    `blocks` go before those of `matmul` where weights have a scale a block: see `formats`.
    `cores` says what an SM does a clock: `lanes` fp32 multiply-adds and `matrix` 16-bit flops.
    Where `scale` is given, times are of a device whose SMs have its `clock_Hz`, `stream_B_per_s`
    and `flops`, and another device's follow: see `records.pace`.
    `fitted_on` names the tables of measured times ("dataset/table") they were fitted on.
    """

    name: str
    matmul: Numbers
    decode: Numbers
    prefill: Numbers
    experts: Numbers
    vector: Numbers
    blocks: Numbers = field(default_factory=dict)
    cores: Numbers = field(default_factory=dict)
    scale: Numbers = field(default_factory=dict)
    fitted_on: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Line:
    """One protocol of a collective: seconds to start, seconds a hop, share of the bandwidth."""

    launch_s: float
    hop_s: float
    share: float


@dataclass(frozen=True, kw_only=True)
class Protocols:
    """Constants of collectives, as `kernel.fitted.collective_time` reads them.

    `reductions` (and gathers), `all_to_all` and `send` have protocols, the last for long messages;
    `copy` messages are copied beside those sent. A library turns to the last one where a message
    takes max(`switch_floor_s`, `switch_s` * (steps - `switch_steps`)) on the bus. Messages up to
    `shot_B` may be reduced in one shot by either line of `shot`.
    """

    name: str
    reductions: tuple[Line, ...]
    all_to_all: tuple[Line, ...]
    send: tuple[Line, ...]
    copy: float
    switch_floor_s: float
    switch_s: float
    switch_steps: float
    shot: tuple[Line, ...] = ()
    shot_B: float = 0.0
    fitted_on: tuple[str, ...] = ()
