"""Constants of fitted kernels and protocols as the kernel reads them: see `fitted`.

Only numpy is needed here, so filling them doesn't load numba.
"""

from __future__ import annotations

from typing import Final

import numpy as np

BELOW: Final = 1.0 - 2.0**-53
"""Over a size, a reciprocal with which what is whole never counts as more than that."""

MATMUL_KERNEL: Final = np.dtype(
    [
        ("fixed_s", "f8"),
        ("depth_s", "f8"),  # more for each of the first `depth` terms of a sum (k)
        ("depth", "f8"),
        ("per_memory", "f8"),  # 1 / the share of bandwidth reached
        ("operands", "f8"),  # share of the bytes of activations that reach memory
        ("wave", "f8"),  # share of what the last wave leaves empty that is lost
        ("split", "f8"),  # terms from which a sum is split to fill a first wave
        ("prologue", "f8"),  # terms that a tile takes to begin and to end
        ("exposed", "f8"),  # share of the shorter of compute and memory that isn't hidden
        ("per_small_m", "f8"),  # `BELOW` / the rows of a small tile
        ("per_small_n", "f8"),
        ("small_flops", "f8"),  # of a term of a small tile, over the share of the peak reached
        ("per_large_m", "f8"),
        ("per_large_n", "f8"),
        ("large_flops", "f8"),
        ("vector_depth", "f8"),  # part of the depth's time that one row takes
        ("narrow_s", "f8"),  # more for weights of less than 16 bits
        ("narrow_passes", "f8"),  # passes over inputs that 8-bit arithmetic has made of them
        ("narrow_rate", "f8"),  # what it reaches of its peak over what 16 bits reach of theirs
    ],
    align=True,
)
"""Matrix products: see `fitted.matmul_time`."""

DECODE_KERNEL: Final = np.dtype(
    [
        ("fixed_s", "f8"),
        ("unit_s", "f8"),  # least a unit takes, with heads of 128
        ("alone", "f8"),  # units a slot runs at once: of one query head,
        ("packed", "f8"),  # of all query heads of a key-value head,
        ("packed_8", "f8"),  # and of these with keys and values of 8 bits
        ("per_dim", "f8"),  # share by which a unit takes longer for 128 more of head dimension
        ("per_rows", "f8"),  # and for every 16 packed query heads after the first
        ("chain_s", "f8"),  # for each cached token that one unit walks along
        ("chain_alone", "f8"),
        ("chain_8", "f8"),
        ("hidden_tokens", "f8"),  # cached tokens of a slot from which on walking is hidden
        ("split_tokens", "f8"),  # fewest cached tokens of a split
        ("exposed", "f8"),
        ("memory", "f8"),
        ("compute", "f8"),
        ("cache_B_per_s", "f8"),  # what a slot gets out of the last-level cache
        ("resident", "f8"),  # share of the cache that a benchmark's loop leaves filled
        ("pack", "f8"),  # most query heads of a key-value head that one unit takes
        ("latent", "f8"),  # share of the peak of heads that share a latent, 64 of them a unit
        ("mixed", "f8"),  # 1: beside prompts in one launch, where no heads are packed
    ],
    align=True,
)
"""Attention of one new token a sequence: see `fitted.decode_time`."""

PREFILL_KERNEL: Final = np.dtype(
    [
        ("fixed_s", "f8"),
        ("tile", "f8"),  # query tokens of a unit
        ("fill", "f8"),  # least waves charged; below 1 keys are split over idle slots
        ("pad", "f8"),  # keys that each unit does beside those it attends to
        ("pad_8", "f8"),
        ("compute", "f8"),
        ("compute_8", "f8"),
        ("softmax", "f8"),  # vector operations of a query-key pair that aren't hidden
        ("passes", "f8"),  # over queries, outputs and new keys and values
        ("token_s", "f8"),  # for each query token and head of a slot
        ("memory", "f8"),
        ("exposed", "f8"),
    ],
    align=True,
)
"""Attention of prompts: see `fitted.prefill_time`."""

EXPERTS_KERNEL: Final = np.dtype(
    [
        ("fixed_s", "f8"),
        ("pair_s", "f8"),  # for each token-expert pair of the whole batch
        ("expert_s", "f8"),  # for each expert touched
        ("memory", "f8"),
        ("operands", "f8"),  # share of the bandwidth that activations move with
        ("small", "f8"),  # share of `large` in tiles of 16 rows
        ("large", "f8"),  # share of the peak in tiles of 128 rows
        ("wave", "f8"),  # tiles of a wave that are lost at the end
        ("pad", "f8"),  # part of a tile that each expert touched adds
        ("exposed", "f8"),
    ],
    align=True,
)
"""Products of experts, all of a layer in one launch: see `fitted.experts_time`."""

VECTOR_KERNEL: Final = np.dtype(
    [
        ("fixed_s", "f8"),
        ("per_memory", "f8"),  # 1 / the share of bandwidth reached
        ("exposed", "f8"),  # share of the fixed time that memory doesn't hide
        ("per_cached", "f8"),  # 1 / the bandwidth reached in the cache, over the memory's
        ("per_cache_s", "f8"),  # 1 / seconds to fill the cache from memory; 0 without one
        ("resident", "f8"),  # share of the cache up to which nothing goes to memory
    ],
    align=True,
)
"""Element-wise operators, look-ups and scans: see `fitted.vector_time`."""

LINES: Final = 4
"""Protocols of a collective, the last for long messages."""
FAMILIES: Final = 3
"""Collectives with protocols of their own: reductions and gathers, all-to-all, send."""

PROTOCOLS: Final = np.dtype(
    [
        ("launch_s", "f8", (FAMILIES, LINES)),
        ("hop_s", "f8", (FAMILIES, LINES)),
        ("per_share", "f8", (FAMILIES, LINES)),  # 1 / the share of bandwidth reached
        ("copy", "f8"),  # parts of a message (one a device) that are copied beside those sent
        ("switch_floor_s", "f8"),  # when a library turns to the last protocol: see `fitted`
        ("switch_s", "f8"),
        ("switch_steps", "f8"),
        ("shot_launch_s", "f8", (2,)),
        ("shot_hop_s", "f8", (2,)),
        ("shot_per_share", "f8", (2,)),
        ("shot_B", "f8"),  # longest message that an engine reduces in one shot; 0: it never does
    ],
    align=True,
)
"""Collectives whose times are fitted: see `fitted.collective_time`."""
