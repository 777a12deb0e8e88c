"""Constants of fitted kernels and protocols as the kernel reads them: see `fitted`.

Only numpy is needed here, so filling them doesn't load numba.
"""

from __future__ import annotations

from typing import Annotated, Final

from sim.kernel.arrays import Floats, dtype_of

BELOW: Final = 1.0 - 2.0**-53
"""Over a size, a reciprocal with which what is whole never counts as more than that."""


class MatmulKernel:
    """Matrix products: see `fitted.matmul_time`."""

    fixed_s: float
    depth_s: float  # more for each of the first `depth` terms of a sum (k)
    depth: float
    per_memory: float  # 1 / the share of bandwidth reached
    operands: float  # share of the bytes of activations that reach memory
    wave: float  # share of what the last wave leaves empty that is lost
    split: float  # terms from which a sum is split to fill a first wave
    prologue: float  # terms that a tile takes to begin and to end
    exposed: float  # share of the shorter of compute and memory that isn't hidden
    per_small_m: float  # `BELOW` / the rows of a small tile
    per_small_n: float
    small_flops: float  # of a term of a small tile, over the share of the peak reached
    per_large_m: float
    per_large_n: float
    large_flops: float
    vector_depth: float  # part of the depth's time that one row takes
    narrow_s: float  # more for weights of less than 16 bits
    narrow_passes: float  # passes over inputs that 8-bit arithmetic has made of them
    narrow_rate: float  # what it reaches of its peak over what 16 bits reach of theirs


MATMUL_KERNEL: Final = dtype_of(MatmulKernel)


class DecodeKernel:
    """Attention of one new token a sequence: see `fitted.decode_time`."""

    fixed_s: float
    unit_s: float  # least a unit takes, with heads of 128
    alone: float  # units a slot runs at once: of one query head,
    packed: float  # of all query heads of a key-value head,
    packed_8: float  # and of these with keys and values of 8 bits
    per_dim: float  # share by which a unit takes longer for 128 more of head dimension
    per_rows: float  # and for every 16 packed query heads after the first
    chain_s: float  # for each cached token that one unit walks along
    chain_alone: float
    chain_8: float
    hidden_tokens: float  # cached tokens of a slot from which on walking is hidden
    split_tokens: float  # fewest cached tokens of a split
    exposed: float
    memory: float
    compute: float
    cache_B_per_s: float  # what a slot gets out of the last-level cache
    resident: float  # share of the cache that a benchmark's loop leaves filled
    pack: float  # most query heads of a key-value head that one unit takes
    latent: float  # share of the peak of heads that share a latent, 64 of them a unit
    mixed: float  # 1: beside prompts in one launch, where no heads are packed


DECODE_KERNEL: Final = dtype_of(DecodeKernel)


class PrefillKernel:
    """Attention of prompts: see `fitted.prefill_time`."""

    fixed_s: float
    tile: float  # query tokens of a unit
    fill: float  # least waves charged; below 1 keys are split over idle slots
    pad: float  # keys that each unit does beside those it attends to
    pad_8: float
    compute: float
    compute_8: float
    softmax: float  # vector operations of a query-key pair that aren't hidden
    passes: float  # over queries, outputs and new keys and values
    token_s: float  # for each query token and head of a slot
    memory: float
    exposed: float


PREFILL_KERNEL: Final = dtype_of(PrefillKernel)


class ExpertsKernel:
    """Products of experts, all of a layer in one launch: see `fitted.experts_time`."""

    fixed_s: float
    pair_s: float  # for each token-expert pair of the whole batch
    expert_s: float  # for each expert touched
    memory: float
    operands: float  # share of the bandwidth that activations move with
    small: float  # share of `large` in tiles of 16 rows
    large: float  # share of the peak in tiles of 128 rows
    wave: float  # tiles of a wave that are lost at the end
    pad: float  # part of a tile that each expert touched adds
    exposed: float


EXPERTS_KERNEL: Final = dtype_of(ExpertsKernel)


class VectorKernel:
    """Element-wise operators, look-ups and scans: see `fitted.vector_time`."""

    fixed_s: float
    per_memory: float  # 1 / the share of bandwidth reached
    exposed: float  # share of the fixed time that memory doesn't hide
    per_cached: float  # 1 / the bandwidth reached in the cache, over the memory's
    per_cache_s: float  # 1 / seconds to fill the cache from memory; 0 without one
    resident: float  # share of the cache up to which nothing goes to memory


VECTOR_KERNEL: Final = dtype_of(VectorKernel)

LINES: Final = 4
"""Protocols of a collective, the last for long messages."""
FAMILIES: Final = 3
"""Collectives with protocols of their own: reductions and gathers, all-to-all, send."""


class Protocols:
    """Collectives whose times are fitted: see `fitted.collective_time`."""

    launch_s: Annotated[Floats, (FAMILIES, LINES)]
    hop_s: Annotated[Floats, (FAMILIES, LINES)]
    per_share: Annotated[Floats, (FAMILIES, LINES)]  # 1 / the share of bandwidth reached
    copy: float  # parts of a message (one a device) that are copied beside those sent
    switch_floor_s: float  # when a library turns to the last protocol: see `fitted`
    switch_s: float
    switch_steps: float
    shot_launch_s: Annotated[Floats, 2]
    shot_hop_s: Annotated[Floats, 2]
    shot_per_share: Annotated[Floats, 2]
    shot_B: float  # longest message that an engine reduces in one shot; 0: it never does


PROTOCOLS: Final = dtype_of(Protocols)
