"""Every law of time and energy, compiled. Pure arithmetic on records; imports no room.

The laws come first, a few lines each; then `cost` of one operator on one processor, `place` over
the processors of a device, `evaluate` over an operator table, `sweep` over design points. The
serving loop in `sim.kernel_serving` calls the same functions, so closed form and events agree.

All functions live in files whose digest names numba's cache folder (see `sim.compiled`), because
numba's own cache doesn't notice a change in a function imported from another file. Device numbers
are arguments, never globals: numba freezes globals.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from sim.compiled import njit, prange

ARITHMETICS: Final = 6
"""Slots of a processor's peaks: dtypes.COMPUTE, then the vector unit."""
VECTOR: Final = 5
ALGORITHMS: Final = 3
"""Collective algorithms a row knows: ring, tree, direct."""

# Kinds and phases, as in sim.graph (asserted equal in a test).
MATMUL, EXPERTS, ATTENTION, SCAN, ELEMENTWISE, GATHER, COLLECTIVE = range(7)
ALL, PREFILL, DECODE, LOGITS = range(4)
TOKENS, PAIRS, CACHED, SEQUENCES = range(4)
"""Features of a batch in one stream and phase."""
TOUCHED, WORST_TOUCHED, WORST_LOAD = range(3)
"""Experts touched; on the busiest rank: experts touched and token-expert pairs per pair routed."""
COMPUTE_BOUND, MEMORY_BOUND, LINK_BOUND, OVERHEAD = range(4)
ENERGY_COMPUTE, ENERGY_MEMORY, ENERGY_LINK = range(3)

OP: Final = np.dtype(
    [
        ("kind", "i8"),
        ("stream", "i8"),
        ("phase", "i8"),
        ("arithmetic", "i8"),
        ("capability", "i8"),  # bit of the operator class a processor must have
        ("pinned", "i8"),  # processor the user chose, or -1
        ("link", "i8"),
        ("moves", "i8"),  # 1 where cost depends on cached tokens, so changes every decode step
        ("layers", "f8"),
        ("launches", "f8"),
        ("flops_per_token", "f8"),
        ("flops_per_pair", "f8"),
        ("weight_B", "f8"),  # per pass; of all local experts for expert operators
        ("weight_B_per_token", "f8"),  # gathered rows
        ("activation_B_per_token", "f8"),
        ("kv_B_per_cached", "f8"),
        ("kv_B_per_token", "f8"),
        ("state_B_per_sequence", "f8"),
        ("width", "f8"),
        ("experts", "f8"),  # of the model; 0 for other operators
        ("ranks", "f8"),  # expert-parallel ranks
        ("top_k", "f8"),
        ("message_B_per_token", "f8"),
        ("steps", "f8", (ALGORITHMS,)),
        ("factor", "f8", (ALGORITHMS,)),  # bytes a device sends per byte of message
    ],
    align=True,
)
"""One operator on one device of the group, as the kernel reads it."""

PROCESSOR: Final = np.dtype(
    [
        ("flop_per_s", "f8", (ARITHMETICS,)),
        ("J_per_flop", "f8", (ARITHMETICS,)),
        ("weights_B_per_s", "f8"),
        ("kv_B_per_s", "f8"),
        ("activations_B_per_s", "f8"),
        ("weights_J_per_B", "f8"),
        ("kv_J_per_B", "f8"),
        ("activations_J_per_B", "f8"),
        ("compute_efficiency", "f8"),
        ("attention_efficiency", "f8"),
        ("memory_efficiency", "f8"),
        ("ramp_B", "f8"),
        ("tile_m", "f8"),
        ("tile_n", "f8"),
        ("slots", "f8"),
        ("launch_s", "f8"),
        ("runs", "i8"),  # bit set of operator classes
    ],
    align=True,
)

LINK: Final = np.dtype(
    [
        ("B_per_s", "f8"),
        ("latency_s", "f8"),
        ("efficiency", "f8"),
        ("J_per_B", "f8"),
        ("algorithm", "i8"),  # -1 takes the fastest
    ],
    align=True,
)

MACHINE: Final = np.dtype(
    [
        ("devices", "f8"),  # of one replica: tp * pp
        ("group", "f8"),  # devices that run the operator table together: tp
        ("stages", "f8"),  # pipeline stages
        ("imbalance", "f8"),  # longest stage over mean stage
        ("host_step_s", "f8"),
        ("static_W", "f8"),  # of one device
    ],
    align=True,
)


# --- laws -------------------------------------------------------------------------------------


@njit(forceinline=True)
def tile_utilisation(m: float, n: float, tile_m: float, tile_n: float, slots: float) -> float:
    """Share of multiply-adds that are not padding when an m x n product is cut in tiles.

    Tokens are padded to `tile_m`; above one wave of tiles the last, partly filled wave costs as
    much as a full one. Below one wave, split-K is taken to fill the machine (CUTLASS stream-K).
    """
    if m <= 0.0:
        return 1.0
    rows = np.ceil(m / tile_m)
    used = m / (rows * tile_m)
    tiles = np.ceil(m / tile_n) * np.ceil(n / tile_n)  # square tiles once m is large
    if tiles > slots:
        waves = tiles / slots
        used *= waves / np.ceil(waves)
    return used


@njit(forceinline=True)
def compute_time(flops: float, flop_per_s: float, efficiency: float) -> float:
    """Seconds of arithmetic at a share of the peak."""
    return flops / (flop_per_s * efficiency)


@njit(forceinline=True)
def stream_time(seconds_at_peak: float, ramp_s: float, efficiency: float) -> float:
    """Seconds to move bytes: what the peak would take plus the start of the stream, derated."""
    if seconds_at_peak <= 0.0:
        return 0.0
    return (seconds_at_peak + ramp_s) / efficiency


@njit(forceinline=True)
def collective_time(
    message_B: float, steps: float, factor: float, B_per_s: float, latency_s: float
) -> float:
    """Seconds of a collective: alpha-beta, `steps` hops and `factor` messages over the link.

    Hockney's model; steps and factors per algorithm in Thakur et al., IJHPCA 19(1), 2005.
    """
    return steps * latency_s + factor * message_B / B_per_s


@njit(forceinline=True)
def interpolate(table: Any, tokens: float, column: int) -> float:
    """Value of an expert-coverage table at `tokens`, linear between its rows.

    Rows are 0, 1, 2, ... tokens while that lasts, so the common case is one look-up.
    """
    last = table.shape[0] - 1
    if tokens >= table[last, 0]:
        return table[last, column]
    low = int(tokens)
    if low >= last or table[low, 0] != low or table[low + 1, 0] != low + 1:
        left, right = 0, last
        while right - left > 1:
            middle = (left + right) // 2
            if table[middle, 0] <= tokens:
                left = middle
            else:
                right = middle
        low = left
    share = (tokens - table[low, 0]) / (table[low + 1, 0] - table[low, 0])
    return table[low, column] + share * (table[low + 1, column] - table[low, column])


# --- one operator -----------------------------------------------------------------------------


@njit(forceinline=True)
def cost(op: Any, features: Any, experts: Any, unit: Any) -> Any:
    """Seconds of compute and memory, and joules of both, of one layer of `op` on processor `unit`.

    `features` [phase, feature] and `experts` [3] are of the operator's stream.
    """
    tokens = features[op.phase, TOKENS]
    flops = op.flops_per_token * tokens + op.flops_per_pair * features[op.phase, PAIRS]
    weight_B = op.weight_B + op.weight_B_per_token * tokens
    activation_B = op.activation_B_per_token * tokens
    kv_B = (
        op.kv_B_per_cached * features[op.phase, CACHED]
        + op.kv_B_per_token * tokens
        + op.state_B_per_sequence * features[op.phase, SEQUENCES]
    )
    peak = unit.flop_per_s[op.arithmetic]
    efficiency = unit.compute_efficiency
    worst = 1.0
    worst_weight_B = weight_B
    if op.kind == MATMUL:
        efficiency *= tile_utilisation(tokens, op.width, unit.tile_m, unit.tile_n, unit.slots)
    elif op.kind == EXPERTS:
        # the busiest rank decides the time; energy is of the mean rank
        worst = experts[WORST_LOAD]
        per_expert = weight_B * op.ranks / op.experts
        worst_weight_B = per_expert * experts[WORST_TOUCHED]
        weight_B = per_expert * experts[TOUCHED] / op.ranks
        m = tokens * op.top_k / max(experts[TOUCHED], 1e-30)
        n = op.width * max(experts[WORST_TOUCHED], 1.0)
        efficiency *= tile_utilisation(m, n, unit.tile_m, unit.tile_n, unit.slots)
    elif op.kind == ATTENTION:
        efficiency = unit.attention_efficiency
    compute_s = compute_time(flops * worst, peak, efficiency)
    at_peak_s = (
        worst_weight_B / unit.weights_B_per_s
        + kv_B / unit.kv_B_per_s
        + activation_B * worst / unit.activations_B_per_s
    )
    memory_s = stream_time(at_peak_s, unit.ramp_B / unit.activations_B_per_s, unit.memory_efficiency)
    compute_J = flops * unit.J_per_flop[op.arithmetic]
    memory_J = (
        weight_B * unit.weights_J_per_B
        + kv_B * unit.kv_J_per_B
        + activation_B * unit.activations_J_per_B
    )
    return compute_s, memory_s, compute_J, memory_J


@njit(forceinline=True)
def place(op: Any, features: Any, experts: Any, units: Any) -> Any:
    """Processor, seconds, bound and joules of one layer of `op` where it runs fastest.

    Only processors that can run the operator's class are asked; a pinned operator has no choice.
    """
    best, best_s, bound, compute_J, memory_J = -1, np.inf, OVERHEAD, 0.0, 0.0
    launch_s = 0.0
    for index in range(units.shape[0]):
        unit = units[index]
        if op.pinned >= 0 and op.pinned != index:
            continue
        if op.pinned < 0 and (unit.runs >> op.capability) & 1 == 0:
            continue
        compute, memory, joules_c, joules_m = cost(op, features, experts, unit)
        busy = max(compute, memory)
        total = busy + op.launches * unit.launch_s
        if total < best_s:
            best, best_s, launch_s = index, total, op.launches * unit.launch_s
            compute_J, memory_J = joules_c, joules_m
            bound = COMPUTE_BOUND if compute > memory else MEMORY_BOUND
    return best, best_s, bound, launch_s, compute_J, memory_J


@njit(forceinline=True)
def communicate(op: Any, features: Any, links: Any) -> Any:
    """Seconds and joules of one collective of `op`, by its link's algorithm or the fastest."""
    link = links[op.link]
    message_B = op.message_B_per_token * features[op.phase, TOKENS]
    B_per_s = link.B_per_s * link.efficiency
    best_s, sent_B = np.inf, 0.0
    for algorithm in range(ALGORITHMS):
        if link.algorithm >= 0 and link.algorithm != algorithm:
            continue
        steps, factor = op.steps[algorithm], op.factor[algorithm]
        seconds = collective_time(message_B, steps, factor, B_per_s, link.latency_s)
        if seconds < best_s:
            best_s, sent_B = seconds, factor * message_B
    return best_s, sent_B * link.J_per_B


# --- a whole pass -----------------------------------------------------------------------------


@njit
def expert_features(features: Any, coverage: Any, out: Any) -> None:
    """Fill `out` [stream, 3] with the experts touched by each stream's tokens."""
    for stream in range(features.shape[0]):
        tokens = features[stream, ALL, TOKENS]
        for column in range(3):
            out[stream, column] = interpolate(coverage, tokens, column + 1)


@njit
def evaluate(
    ops: Any, features: Any, experts: Any, units: Any, links: Any, rows: Any, chosen: Any
) -> float:
    """Seconds of one pass, without host time.

    Fills `rows` [ops, 5]: seconds (all layers), of that launch overhead, and joules of compute,
    memory and link on one device; and `chosen` [ops, 2]: processor (-1: a link) and bound.
    """
    total = 0.0
    for index in range(ops.shape[0]):
        seconds = evaluate_row(ops, index, features, experts, units, links, rows, chosen)
        total += seconds
    return total


@njit
def evaluate_row(
    ops: Any,
    index: int,
    features: Any,
    experts: Any,
    units: Any,
    links: Any,
    rows: Any,
    chosen: Any,
) -> float:
    """Seconds of all layers of operator `index`; fills its row as `evaluate` says."""
    op = ops[index]
    own = features[op.stream]
    rows[index, :] = 0.0
    if own[op.phase, TOKENS] <= 0.0:
        chosen[index, 0], chosen[index, 1] = -1, OVERHEAD
        return 0.0
    if op.kind == COLLECTIVE:
        seconds, joules = communicate(op, own, links)
        rows[index, 0] = seconds * op.layers
        rows[index, 4] = joules * op.layers
        chosen[index, 0], chosen[index, 1] = -1, LINK_BOUND
    else:
        unit, seconds, bound, launch_s, compute_J, memory_J = place(
            op, own, experts[op.stream], units
        )
        rows[index, 0] = seconds * op.layers
        rows[index, 1] = launch_s * op.layers
        rows[index, 2] = compute_J * op.layers
        rows[index, 3] = memory_J * op.layers
        chosen[index, 0], chosen[index, 1] = unit, bound
    return rows[index, 0]


@njit(forceinline=True)
def pass_time(ops: Any, features: Any, experts: Any, units: Any, links: Any) -> Any:
    """Seconds and joules (one device) of one pass, keeping no rows; for sweeps."""
    seconds, joules = 0.0, 0.0
    for index in range(ops.shape[0]):
        op = ops[index]
        own = features[op.stream]
        if own[op.phase, TOKENS] <= 0.0:
            continue
        if op.kind == COLLECTIVE:
            time, energy = communicate(op, own, links)
            seconds += time * op.layers
            joules += energy * op.layers
        else:
            _, time, _, _, compute_J, memory_J = place(op, own, experts[op.stream], units)
            seconds += time * op.layers
            joules += (compute_J + memory_J) * op.layers
    return seconds, joules


@njit(forceinline=True)
def step_time(seconds: float, machine: Any) -> float:
    """Seconds of one engine iteration around a pass: the slowest stage sets the pipeline's pace."""
    return seconds * machine.imbalance + machine.host_step_s


@njit(forceinline=True)
def step_energy(joules: float, seconds: float, microbatches: float, machine: Any) -> float:
    """Joules of one iteration of a replica: what the passes use and what being on costs."""
    return joules * machine.group * microbatches + machine.static_W * machine.devices * seconds


@njit(parallel=True)
def sweep(
    ops: Any, features: Any, experts: Any, units: Any, links: Any, machines: Any, out: Any
) -> None:
    """Fill `out` [points, 2] with seconds and joules of one iteration at each design point.

    `units` [points, processors], `links` [points, links], `machines` [points]; `features` and
    `experts` [batches, ...] have one batch for all points or one each.
    """
    stride = 1 if features.shape[0] > 1 else 0
    for index in prange(out.shape[0]):
        point = np.int64(index)  # prange counts unsigned, which would make sums of it floats
        batch = point * stride
        seconds, joules = pass_time(
            ops, features[batch], experts[batch], units[point], links[point]
        )
        machine = machines[point]
        time = step_time(seconds, machine)
        out[point, 0] = time
        out[point, 1] = step_energy(joules, time, 1.0, machine)
