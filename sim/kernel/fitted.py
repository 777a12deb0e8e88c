"""Laws of kernels whose constants are fitted to measured times (`sim calibrate`).

Each is a roofline with what measured kernels add to it: a fixed time, tiles and waves, the part of
the shorter of compute and memory that the longer doesn't hide. With a fixed time of 0, tiles of 1,
shares of 1 and nothing exposed each is the roofline. Pure arithmetic, as `laws`.

Divisions are what a design point's time goes to: records have the reciprocals of constants.
"""

from __future__ import annotations

import numpy as np

from sim.kernel import laws
from sim.kernel import records as r
from sim.kernel.arrays import Floats
from sim.kernel.compiled import njit
from sim.kernel.fitted_constants import BELOW, LINES, ExpertsKernel, Protocols
from sim.kernel.records import Demand, Duration


@njit(inline="always")
def partly_hidden(a: float, b: float, exposed: float) -> float:
    """Seconds of two things at the same time, a share of the shorter one not hidden."""
    return max(a, b) + exposed * min(a, b)


@njit(inline="always")
def waves_of(tiles: float, per_slot: float, wave: float, short: float) -> float:
    """Waves that so many tiles take, with the share of what the last one leaves empty that is lost.

    That is `wave` above one wave; below one `short`, as sums are split over what is idle.
    """
    waves = tiles * per_slot
    lost = wave if waves >= 1.0 else short
    return waves + lost * (np.ceil(waves) - waves)


@njit(inline="always")
def matmul_time(op: r.Op, asked: Demand, flop_per_s: float, unit: r.Processor) -> Duration:
    """Seconds of an [m, depth] x [depth, n] product, of `rows` m.

    The faster of two tile sizes computes; sums longer than `split` terms are split where tiles
    don't fill a wave. For arithmetic of 8 bits or less a kernel of its own makes the inputs.
    """
    m, n, depth = asked.rows, op.width, asked.depth
    narrow = op.arithmetic > r.FP16
    kernel = unit.matmul
    if narrow:
        flop_per_s *= kernel.narrow_rate
    per_slot, short = BELOW / unit.slots, min(1.0, kernel.split / depth)
    small = np.ceil(m * kernel.per_small_m) * np.ceil(n * kernel.per_small_n)
    large = np.ceil(m * kernel.per_large_m) * np.ceil(n * kernel.per_large_n)
    term_s = unit.slots / flop_per_s * (depth + kernel.prologue)
    compute_s = term_s * min(
        kernel.small_flops * waves_of(small, per_slot, kernel.wave, short),
        kernel.large_flops * waves_of(large, per_slot, kernel.wave, short),
    )
    memory_s = asked.weight_B / unit.weights_B_per_s
    per_activation_B = 1.0 / unit.activations_B_per_s
    operands_s = kernel.operands * asked.activation_B * per_activation_B
    memory_s = (memory_s + operands_s) * kernel.per_memory
    along_s = kernel.depth_s * min(depth, kernel.depth)
    if m <= 1.0:
        along_s *= kernel.vector_depth
    fixed_s = kernel.fixed_s + along_s
    if asked.weight_B < 1.5 * n * depth:
        fixed_s += kernel.narrow_s
    if narrow:
        memory_s += kernel.narrow_passes * m * depth * per_activation_B
    busy_s = partly_hidden(compute_s, memory_s, kernel.exposed)
    return Duration(busy_s, compute_s, memory_s, fixed_s)


@njit(inline="always")
def decode_time(
    op: r.Op, asked: Demand, features: Floats, flop_per_s: float, unit: r.Processor
) -> Duration:
    """Seconds of attention of one new token a sequence; `features` [phase, feature].

    Work is cut in units: a sequence and a head, or the query heads that share keys and values.
    `slots` times some units run at once, each for a least time; a unit walks its keys one after
    the other, which more of them on a slot hide. All of them stream the cache. Several new tokens
    of a sequence are as many more query heads that share its keys and values.
    """
    kernel = unit.decode
    pair_flops, token_B = asked.rows, asked.depth
    tokens, sequences = features[r.DECODE, r.TOKENS], features[r.DECODE, r.SEQUENCES]
    cached = features[r.DECODE, r.CACHED]
    queries = tokens / sequences if tokens > sequences else 1.0
    if op.latent == 1 or (kernel.mixed > 0.0 and features[r.PREFILL, r.TOKENS] > 0.0):
        return unpacked_time(op, pair_flops, sequences, queries, cached, flop_per_s, unit)
    group = op.heads / op.kv_heads
    packed = group > 1.0 and group <= kernel.pack
    narrow = token_B < 0.75 * pair_flops
    rows = (group if packed else 1.0) * queries
    heads = op.kv_heads if packed else op.heads
    if packed:
        running = kernel.packed_8 if narrow else kernel.packed
        chain_s = kernel.chain_s * (kernel.chain_8 if narrow else 1.0)
        padded, read_B = np.ceil(rows / 8.0) * 8.0, token_B
    else:
        running, chain_s = kernel.alone, kernel.chain_s * kernel.chain_alone
        padded, read_B = 1.0, max(token_B, pair_flops)
        if queries > 1.0:
            padded = np.ceil(rows / 8.0) * 8.0
    wide = 1.0 + kernel.per_rows * (np.ceil(rows / 16.0) - 1.0)
    wide *= max(1.0 + kernel.per_dim * (pair_flops / 512.0 - 1.0), 0.5)
    stored_B = op.kv_B_per_cached * cached
    if unit.cache_B > 0.0:
        stored_B *= min(max(stored_B / unit.cache_B - kernel.resident, 0.0), 1.0)
    memory_s = stored_B / (unit.kv_B_per_s * kernel.memory)
    stream_s = max(memory_s, heads * cached * read_B / (kernel.cache_B_per_s * unit.slots))
    arithmetic_s = heads * cached * padded * pair_flops / (flop_per_s * kernel.compute)
    stream_s = max(stream_s, arithmetic_s)
    run_s = np.ceil(sequences * heads / (unit.slots * running)) * kernel.unit_s * wide
    walked = min(heads * cached / unit.slots, kernel.hidden_tokens)
    walked = min(cached / sequences, max(walked, kernel.split_tokens))
    busy_s = partly_hidden(run_s, stream_s, kernel.exposed) + chain_s * wide * walked
    return Duration(busy_s, max(run_s, arithmetic_s), memory_s, kernel.fixed_s)


@njit(inline="always")
def unpacked_time(
    op: r.Op,
    pair_flops: float,
    sequences: float,
    queries: float,
    cached: float,
    flop_per_s: float,
    unit: r.Processor,
) -> Duration:
    """As `decode_time`, where nothing is packed or split: each unit walks all its keys.

    In one launch with prompts the new tokens of each head fill a tile of their own. Heads that
    share a latent fill one together, 64 of them, in two halves of the values.
    """
    kernel, prompts = unit.decode, unit.prefill
    if op.latent == 1:
        units, tile = 2.0 * sequences * np.ceil(op.heads * queries / 64.0), 64.0
        pair_s = 0.5 * pair_flops / (flop_per_s * kernel.latent)
        fixed_s = kernel.fixed_s
    else:
        units, tile = sequences * op.heads, prompts.tile
        pair_s = pair_flops / (flop_per_s * prompts.compute)
        pair_s += prompts.softmax / unit.flop_per_s[r.VECTOR]
        fixed_s = 0.0
    waves = max(units / unit.slots, 1.0)
    walked = waves * (cached / sequences + prompts.pad)
    compute_s = walked * pair_s * tile * unit.slots
    memory_s = op.kv_B_per_cached * cached / (unit.kv_B_per_s * kernel.memory)
    busy_s = partly_hidden(compute_s, memory_s, prompts.exposed)
    return Duration(busy_s, compute_s, memory_s, fixed_s)


@njit(inline="always")
def prefill_time(
    op: r.Op, asked: Demand, features: Floats, flop_per_s: float, unit: r.Processor
) -> Duration:
    """Seconds of attention of prompts or chunks; `features` [feature] of their phase.

    A unit is a tile of query tokens of one head, which walks the keys it attends to; the last row
    of a causal triangle has twice the mean's. Cached tokens count the new ones too.
    """
    pair_flops, token_B = asked.rows, asked.depth
    tokens, pairs = features[r.TOKENS], features[r.PAIRS]
    cached, sequences = features[r.CACHED], features[r.SEQUENCES]
    kernel = unit.prefill
    narrow = op.latent == 0 and token_B < 0.75 * pair_flops and unit.flop_per_s[r.FP8] > 0.0
    if narrow:  # keys of 8 bits are multiplied as such
        flop_per_s = unit.flop_per_s[r.FP8]
    pad = kernel.pad_8 if narrow else kernel.pad
    share = kernel.compute_8 if narrow else kernel.compute
    pair_s = pair_flops / (flop_per_s * share)
    pair_s += kernel.softmax / unit.flop_per_s[r.VECTOR]
    waves = sequences * op.heads * np.ceil(tokens / (sequences * kernel.tile)) / unit.slots
    waves = max(kernel.fill, np.ceil(waves) if waves > 1.0 else waves)
    longest = min(cached / sequences, 2.0 * pairs / tokens) + pad
    walked = max(waves * (pairs / tokens + pad), kernel.fill * longest)
    compute_s = walked * pair_s * kernel.tile * unit.slots
    written_B = op.kv_B_per_token * tokens
    memory_s = kernel.passes * (asked.activation_B + written_B) / unit.activations_B_per_s
    memory_s += op.kv_B_per_cached * max(cached - tokens, 0.0) / unit.kv_B_per_s
    memory_s = memory_s / kernel.memory + tokens * op.heads * kernel.token_s / unit.slots
    busy_s = partly_hidden(compute_s, memory_s, kernel.exposed)
    return Duration(busy_s, compute_s, memory_s, kernel.fixed_s)


@njit(inline="always")
def rows_time(
    touched: float, pairs: float, tile: float, columns: float, tile_s: float, kernel: ExpertsKernel
) -> float:
    """Seconds of the products of `touched` experts with `pairs` rows in all, in tiles of rows.

    `columns` are tiles of one row of tiles over all that run at once.
    """
    rows = max(touched, pairs / tile + kernel.pad * touched)
    return tile_s * (max(rows * columns, 1.0) + kernel.wave)


@njit(inline="always")
def experts_time(
    op: r.Op, asked: Demand, touched: float, flop_per_s: float, unit: r.Processor
) -> Duration:
    """Seconds of one product of all experts of a layer, of which a rank touches `touched`.

    `rows` are token-expert pairs of the whole batch; experts have [depth, width] weights.
    """
    pairs = asked.rows * asked.worst_work / op.ranks
    weight_B, operand_B = asked.weight_B * asked.worst_weights, asked.activation_B
    operand_B *= asked.worst_work
    kernel = unit.experts
    term_s = 2.0 * 128.0 * unit.slots * asked.depth / (flop_per_s * kernel.large)
    columns = np.ceil(op.width / 128.0) / unit.slots
    compute_s = min(
        rows_time(touched, pairs, 128.0, columns, 128.0 * term_s, kernel),
        rows_time(touched, pairs, 16.0, columns, 16.0 * term_s / kernel.small, kernel),
    )
    memory_s = weight_B / (unit.weights_B_per_s * kernel.memory)
    moved_s = operand_B / (unit.activations_B_per_s * kernel.operands)
    fixed_s = kernel.fixed_s + kernel.pair_s * asked.rows + kernel.expert_s * touched
    busy_s = moved_s + partly_hidden(compute_s, memory_s, kernel.exposed)
    return Duration(busy_s, compute_s, memory_s + moved_s, fixed_s)


@njit(inline="always")
def vector_time(op: r.Op, asked: Demand, flop_per_s: float, unit: r.Processor) -> Duration:
    """Seconds of element-wise kernels.

    What the operator before wrote is still in the cache, unless both are larger than that.
    """
    at_peak_s = laws.peak_stream_time(asked.weight_B, asked.kv_B, asked.activation_B, unit)
    kernel = unit.vector
    beyond = min(max(at_peak_s * kernel.per_cache_s - kernel.resident, 0.0), 1.0)
    saved = (kernel.per_memory - kernel.per_cached) * (1.0 - beyond)
    compute_s, memory_s = asked.flops / flop_per_s, at_peak_s * (kernel.per_memory - saved)
    busy_s, fixed_s = max(compute_s, memory_s), op.launches * kernel.fixed_s
    hidden_s = (1.0 - kernel.exposed) * min(busy_s, fixed_s)
    return Duration(busy_s, compute_s, memory_s, fixed_s - hidden_s)


@njit(inline="always")
def line_time(family: int, line: int, steps: float, moved_s: float, protocols: Protocols) -> float:
    """Seconds of a collective by one protocol: hops one after the other, and bytes sent."""
    start_s = protocols.launch_s[family, line] + protocols.hop_s[family, line] * steps
    return start_s + moved_s * protocols.per_share[family, line]


@njit(inline="always")
def collective_time(op: r.Op, message_B: float, link: r.Link) -> float:
    """Seconds of a collective of a library, or in one shot where an engine has that.

    Below a message that takes `switch` seconds a bus, a library takes the fastest of the short
    protocols, above it the last one, even where that is slower at first.
    """
    protocols, collective = link.protocols, op.collective
    steps, factor = op.steps[r.RING], op.factor[r.RING]
    family = 1 if collective == r.ALL_TO_ALL else 2 if collective == r.SEND else 0
    copied = protocols.copy / op.ranks if family < 2 else 0.0
    message_s = message_B / link.B_per_s
    moved_s = (factor + copied) * message_s
    last_s = line_time(family, LINES - 1, steps, moved_s, protocols)
    best_s = np.inf
    for line in range(LINES - 1):
        best_s = min(best_s, line_time(family, line, steps, moved_s, protocols))
    if family > 0:
        return min(best_s, last_s)
    bus_s = protocols.switch_s * (steps - protocols.switch_steps)
    if factor * message_B > max(protocols.switch_floor_s, bus_s) * link.B_per_s:
        best_s = last_s
    best_s = min(best_s, last_s)
    if collective == r.ALL_REDUCE and message_B <= protocols.shot_B:
        peers = op.ranks - 1.0
        for line in range(2):
            shot_s = protocols.shot_launch_s[line] + protocols.shot_hop_s[line] * peers
            shot_s += peers * message_s * protocols.shot_per_share[line]
            best_s = min(best_s, shot_s)
    return best_s
