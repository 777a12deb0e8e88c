"""Kernels: constants of operators and collectives, fitted to measured times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, NotRequired, TypedDict

from sim.errors import ConfigError, Problem
from sim.quantities import (
    Amount,
    Bandwidth,
    Factor,
    FlopEnergy,
    Rate,
    ShareOfPeak,
    SizeOrZero,
    Text,
    Time,
)
from sim.units import HIDDEN
from sim.values import As, Key, Keyed, checked

Constants = Mapping[str, float]
"""By the fields of the kernel's records: see `kernel.fitted_constants`."""


class Blocks(TypedDict):
    """What products of 8-bit weights with a scale a block have instead: their own kernels."""

    narrow_s: Time
    """More for weights of less than 16 bits."""
    narrow_passes: Amount
    """Passes over inputs that 8-bit arithmetic has made of them."""
    narrow_rate: Factor
    """What it reaches of its peak over what 16 bits reach of theirs."""


class Matmul(Blocks):
    """Matrix products: see `kernel.fitted.matmul_time`."""

    fixed_s: Time
    """What one product takes beside its work."""
    depth_s: Annotated[Time, Key("depth_time")]
    """More for each of the first `depth` terms of a sum (k)."""
    depth: Amount
    """Terms that take it."""
    memory: ShareOfPeak
    """Share of the memory's bandwidth that is reached."""
    operands: Amount
    """Share of the bytes of activations that reach memory."""
    wave: Amount
    """Share of what the last wave leaves empty that is lost."""
    split: Amount
    """Terms from which a sum is split to fill a first wave."""
    prologue: Amount
    """Terms that a tile takes to begin and to end."""
    exposed: Amount
    """Share of the shorter of compute and memory that isn't hidden."""
    small_m: Factor
    """Rows of a small tile."""
    small_n: Factor
    """Columns of a small tile."""
    small: ShareOfPeak
    """Share of the peak that small tiles reach."""
    large_m: Factor
    """Rows of a large tile."""
    large_n: Factor
    """Columns of a large tile."""
    large: ShareOfPeak
    """Share of the peak that large tiles reach."""
    vector_depth: Amount
    """Part of the depth's time that one row takes."""
    flop_J: Annotated[FlopEnergy, Key("flop")]
    """Energy of a 16-bit flop at full load and the peak's clock: what is above the rated power
    lowers the clock."""
    exponent: NotRequired[Factor]
    """Power goes as the clock to this, since voltage falls with it; 1 where it isn't given. Not
    fitted: chosen in sight of published rates under lower limits (decision 0010)."""
    boost: Amount
    """Most that clocks reach of what the peak is stated at."""


class Decode(TypedDict):
    """Attention of one new token a sequence: see `kernel.fitted.decode_time`."""

    fixed_s: Time
    """What a launch takes beside its work."""
    unit_s: Time
    """Least a unit takes, with heads of 128."""
    alone: Amount
    """Units of one query head that a slot runs at once."""
    packed: Amount
    """Units of all query heads of a key-value head that a slot runs at once."""
    packed_8: Amount
    """The same with keys and values of 8 bits."""
    per_dim: Amount
    """Share by which a unit takes longer for 128 more of head dimension."""
    per_rows: Amount
    """Share by which it takes longer for every 16 packed query heads after the first."""
    chain_s: Time
    """For each cached token that one unit walks along."""
    chain_alone: Amount
    """The walk of a unit of one query head, over that."""
    chain_8: Amount
    """The walk along keys and values of 8 bits, over that."""
    hidden_tokens: Amount
    """Cached tokens of a slot from which on walking is hidden."""
    split_tokens: Amount
    """Fewest cached tokens of a split."""
    exposed: Amount
    """Share of the shorter of compute and memory that isn't hidden."""
    memory: ShareOfPeak
    """Share of the memory's bandwidth that is reached."""
    compute: ShareOfPeak
    """Share of the peak that is reached."""
    cache_B_per_s: Bandwidth
    """What a slot gets out of the last-level cache."""
    resident: Amount
    """Share of the cache that a benchmark's loop leaves filled."""
    pack: Amount
    """Most query heads of a key-value head that one unit takes."""
    latent: ShareOfPeak
    """Share of the peak of heads that share a latent, 64 of them a unit."""
    mixed: Amount
    """1: beside prompts in one launch, where no heads are packed."""


class Prefill(TypedDict):
    """Attention of prompts: see `kernel.fitted.prefill_time`."""

    fixed_s: Time
    """What a launch takes beside its work."""
    tile: Factor
    """Query tokens of a unit."""
    fill: Amount
    """Least waves charged; below 1 keys are split over idle slots."""
    pad: Amount
    """Keys that each unit does beside those it attends to."""
    pad_8: Amount
    """The same with keys and values of 8 bits."""
    compute: ShareOfPeak
    """Share of the peak that is reached."""
    compute_8: ShareOfPeak
    """The same with keys and values of 8 bits."""
    softmax: Amount
    """Vector operations of a query-key pair that aren't hidden."""
    passes: Amount
    """Passes over queries, outputs and new keys and values."""
    token_s: Time
    """For each query token and head of a slot."""
    memory: ShareOfPeak
    """Share of the memory's bandwidth that is reached."""
    exposed: Amount
    """Share of the shorter of compute and memory that isn't hidden."""


class Experts(TypedDict):
    """Products of experts, all of a layer in one launch: see `kernel.fitted.experts_time`."""

    fixed_s: Time
    """What a launch takes beside its work."""
    pair_s: Time
    """For each token-expert pair of the whole batch."""
    expert_s: Time
    """For each expert touched."""
    memory: ShareOfPeak
    """Share of the memory's bandwidth that is reached."""
    operands: Amount
    """Share of the bandwidth that activations move with."""
    small: ShareOfPeak
    """Share of `large` in tiles of 16 rows."""
    large: ShareOfPeak
    """Share of the peak in tiles of 128 rows."""
    wave: Amount
    """Tiles of a wave that are lost at the end."""
    pad: Amount
    """Part of a tile that each expert touched adds."""
    exposed: Amount
    """Share of the shorter of compute and memory that isn't hidden."""


class Vector(TypedDict):
    """Element-wise operators, look-ups and scans: see `kernel.fitted.vector_time`."""

    fixed_s: Time
    """What a launch takes beside its work."""
    memory: ShareOfPeak
    """Share of the memory's bandwidth that is reached."""
    exposed: Amount
    """Share of the fixed time that memory doesn't hide."""
    cached: NotRequired[Factor]
    """Bandwidth reached with what is in the cache, over the memory's; `memory` where nothing
    measured tells them apart."""
    resident: NotRequired[Amount]
    """Share of the cache up to which nothing goes to memory."""


class Cores(TypedDict):
    """What an SM does a clock."""

    lanes: Factor
    """fp32 multiply-adds."""
    matrix: Factor
    """16-bit flops of matrix products."""


class Scale(TypedDict):
    """What an SM has of the device that times are of; another device's follow (`records.pace`)."""

    clock_Hz: Annotated[Rate, Key("clock")]
    """Its clock."""
    stream_B_per_s: Bandwidth
    """Its share of the memory's bandwidth."""
    flops: Factor
    """16-bit flops a clock at the stated peak."""


@checked
@dataclass(frozen=True, kw_only=True)
class Kernels:
    """Constants of a processor's kernels, of a family of devices."""

    name: Text
    """The name of its file."""
    title: Text | None = None
    """What family it is of."""
    fitted_on: Annotated[tuple[Text, ...], Key("fitted.on")] = ()
    """Tables of measured times ("dataset/table")."""
    date: Annotated[Text | None, Key("fitted.date")] = field(default=None, compare=False)
    """When they were fitted."""
    median_error: Annotated[Mapping[str, Text], Key("fitted.median_error")] = field(
        default_factory=dict, compare=False
    )
    """How far they are from each table."""
    matmul: Annotated[Constants, As(Matmul)]
    """Matrix products."""
    decode: Annotated[Constants, As(Decode)]
    """Attention of new tokens."""
    prefill: Annotated[Constants, As(Prefill)]
    """Attention of prompts."""
    experts: Annotated[Constants, As(Experts)]
    """Products of experts."""
    vector: Annotated[Constants, As(Vector)]
    """Element-wise operators."""
    blocks: Annotated[Constants, As(Blocks)] = field(default_factory=dict)
    """Goes before `matmul` where weights have a scale a block: see `formats`."""
    cores: Annotated[Constants, As(Cores)] = field(default_factory=dict)
    """What an SM does a clock, from which a device's clock follows."""
    scale: Annotated[Constants, As(Scale)] = field(default_factory=dict)
    """Where it is given, times are of a device whose SMs have this."""

    def __post_init__(self) -> None:
        """ConfigError where times are of a device whose clock isn't known."""
        if self.scale and not self.cores:
            message = "`scale` needs `cores`, from which a device's clock follows"
            raise ConfigError([Problem(path="scale", message=message)])


@checked
@dataclass(frozen=True, kw_only=True)
class Line:
    """One protocol of a collective."""

    launch_s: Time
    """Time to start."""
    hop_s: Time
    """Time of a hop."""
    share: ShareOfPeak
    """Share of the bandwidth that is reached."""


class Shot(TypedDict):
    """All-reduces in one shot."""

    few: Line
    """With few blocks of threads."""
    all: Line
    """With all of them."""
    up_to: SizeOrZero
    """Size of the longest message."""


@checked
@dataclass(frozen=True, kw_only=True)
class Protocols:
    """Constants of collectives, as `kernel.fitted.collective_time` reads them.

    Of several protocols the last is for long messages. A library turns to it where a message takes
    max(`switch_floor_s`, `switch_s` * (steps - `switch_steps`)) on the bus.
    """

    name: Text
    """The name of its file."""
    title: Text | None = None
    """What family of links they are of."""
    fitted_on: Annotated[tuple[Text, ...], Key("fitted.on")] = ()
    """Tables of measured times ("dataset/table")."""
    date: Annotated[Text | None, Key("fitted.date")] = field(default=None, compare=False)
    """When they were fitted."""
    median_error: Annotated[Mapping[str, Text], Key("fitted.median_error")] = field(
        default_factory=dict, compare=False
    )
    """How far they are from each table."""
    reductions: Annotated[tuple[Line, ...], Keyed("")]
    """Protocols of reductions and gathers."""
    all_to_all: Annotated[tuple[Line, ...], Keyed("")]
    """Protocols of all-to-all."""
    send: Annotated[tuple[Line, ...], Keyed("")]
    """Protocols of sending to one device."""
    copy: Annotated[Amount, Key("copy_share")]
    """Parts of a message (one a device) that are copied beside those sent."""
    switch_floor_s: Annotated[Time, Key("switch.floor")]
    """Least time on the bus."""
    switch_s: Annotated[Time, Key("switch.time")]
    """Time on the bus for each further step."""
    switch_steps: Annotated[Amount, Key("switch.steps")]
    """Steps that don't count."""
    shot: Annotated[tuple[Line, ...], As(Shot)] = ()
    """How messages up to `shot_B` may be reduced in one shot, by few blocks of threads or all."""
    shot_B: Annotated[float, HIDDEN] = 0.0

    def __post_init__(self) -> None:
        """The two lines of a shot apart from its size."""
        shot: Any = self.shot
        if isinstance(shot, Mapping):
            object.__setattr__(self, "shot_B", shot["up_to"])
            object.__setattr__(self, "shot", (shot["few"], shot["all"]))
