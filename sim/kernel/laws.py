"""Every law of time and energy, compiled. Pure arithmetic on records; imports no room.

The laws come first, a few lines each; then `cost` of one operator on one processor, `place` over
the processors of a device, `evaluate` over an operator table, `sweep` over design points. The
serving loop in `sim.kernel.serving` calls the same functions, so closed form and events agree.

All functions live in files whose digest names numba's cache folder (see `compiled`), because
numba's own cache doesn't notice a change in a function imported from another file. Device numbers
are arguments, never globals: numba freezes globals.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.kernel.compiled import njit, prange
from sim.kernel.records import (
    ALGORITHMS,
    ALL,
    ATTENTION,
    BOUND,
    CACHED,
    COLLECTIVE,
    COMPUTE_BOUND,
    COMPUTE_J,
    COST_COMPUTE_J,
    COST_COMPUTE_S,
    COST_LAUNCH_S,
    COST_MEMORY_J,
    COST_MEMORY_S,
    DIRECT,
    EXPERTS,
    LAUNCH_S,
    LINK_BOUND,
    LINK_J,
    MATMUL,
    MEMORY_BOUND,
    MEMORY_J,
    OVERHEAD,
    PAIRS,
    SECONDS,
    SEQUENCES,
    TOKENS,
    TOUCHED,
    UNIT,
    WORST_LOAD,
    WORST_TOUCHED,
)

# --- laws -------------------------------------------------------------------------------------


@njit(inline="always")
def tile_utilisation(m: float, n: float, tile_m: float, tile_n: float, slots: float) -> float:
    """Share of multiply-adds that are not padding when an m x n product is cut in tiles.

    Tokens are padded to `tile_m`. A wave is `slots` tiles of `tile_n` x `tile_n`; above one wave
    the last, partly filled one costs as much as a full one. Below one wave, split-K is taken to
    fill the machine (CUTLASS stream-K). Counting waves by area, not by whole tiles, keeps the time
    from falling when m grows.
    """
    if m <= 0.0:
        return 1.0
    padded = np.ceil(m / tile_m) * tile_m
    used = m / padded
    waves = padded * n / (tile_n * tile_n * slots)
    if waves > 1.0:
        used *= waves / np.ceil(waves)
    return used


@njit(inline="always")
def compute_time(flops: float, flop_per_s: float, efficiency: float) -> float:
    """Seconds of arithmetic at a share of the peak."""
    return flops / (flop_per_s * efficiency)


@njit(inline="always")
def stream_time(seconds_at_peak: float, ramp_s: float, efficiency: float) -> float:
    """Seconds to move bytes: what the peak would take plus the start of the stream, derated."""
    if seconds_at_peak <= 0.0:
        return 0.0
    return (seconds_at_peak + ramp_s) / efficiency


@njit(inline="always")
def collective_time(
    message_B: float, steps: float, factor: float, B_per_s: float, latency_s: float
) -> float:
    """Seconds of a collective: alpha-beta, `steps` hops and `factor` messages over the link.

    Hockney's model; steps and factors per algorithm in Thakur et al., IJHPCA 19(1), 2005.
    """
    return steps * latency_s + factor * message_B / B_per_s


@njit(inline="always")
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


@njit(inline="always")
def demand(op: Any, features: Any, experts: Any) -> Any:
    """What one layer of `op` asks of one device: flops, and bytes of weights, KV and activations.

    `features` [phase, feature] and `experts` [3] are of the operator's stream. Expert operators
    also say how much more the busiest rank has: weights it reads over the mean rank's, and work.
    """
    tokens = features[op.phase, TOKENS]
    flops = (
        op.flops_per_token * tokens
        + op.flops_per_pair * features[op.phase, PAIRS]
        + op.flops_per_cached * features[op.phase, CACHED]
    )
    weight_B = op.weight_B + op.weight_B_per_token * tokens
    kv_B = (
        op.kv_B_per_cached * features[op.phase, CACHED]
        + op.kv_B_per_token * tokens
        + op.state_B_per_sequence * features[op.phase, SEQUENCES]
    )
    activation_B = op.activation_B_per_token * tokens
    worst_weights, worst_work = 1.0, 1.0
    if op.kind == EXPERTS:
        weight_B *= experts[TOUCHED] / op.experts
        worst_weights = experts[WORST_TOUCHED] * op.ranks / max(experts[TOUCHED], 1e-30)
        worst_work = experts[WORST_LOAD]
    return flops, weight_B, kv_B, activation_B, worst_weights, worst_work


@njit(inline="always")
def utilisation(op: Any, features: Any, experts: Any, unit: Any) -> float:
    """Share of the unit's matrix peak that this shape can reach."""
    if op.kind == ATTENTION:
        return unit.attention_efficiency
    used = unit.compute_efficiency
    if op.kind == MATMUL:
        tokens = features[op.phase, TOKENS]
        used *= tile_utilisation(tokens, op.width, unit.tile_m, unit.tile_n, unit.slots)
    elif op.kind == EXPERTS:  # one small product per expert of the busiest rank
        touched = max(experts[WORST_TOUCHED], 1e-30)
        pairs = features[op.phase, TOKENS] * op.top_k * experts[WORST_LOAD] / op.ranks
        m, n = pairs / touched, op.width * max(touched, 1.0)
        used *= tile_utilisation(m, n, unit.tile_m, unit.tile_n, unit.slots)
    return used


@njit(inline="always")
def cost(op: Any, asked: Any, features: Any, experts: Any, unit: Any) -> Any:
    """Seconds of compute and of memory, and joules of both, of what `op` asked for on `unit`.

    `asked` is its `demand`. The busiest expert rank decides the time; energy is of the mean rank.
    """
    flops, weight_B, kv_B, activation_B, worst_weights, worst_work = asked
    compute_s = compute_time(
        flops * worst_work,
        unit.flop_per_s[op.arithmetic],
        utilisation(op, features, experts, unit),
    )
    at_peak_s = (
        weight_B * worst_weights / unit.weights_B_per_s
        + kv_B / unit.kv_B_per_s
        + activation_B * worst_work / unit.activations_B_per_s
    )
    ramp_s = unit.ramp_B / unit.activations_B_per_s
    memory_s = stream_time(at_peak_s, ramp_s, unit.memory_efficiency)
    compute_J = flops * unit.J_per_flop[op.arithmetic]
    memory_J = (
        weight_B * unit.weights_J_per_B
        + kv_B * unit.kv_J_per_B
        + activation_B * unit.activations_J_per_B
    )
    return compute_s, memory_s, compute_J, memory_J


@njit(inline="always")
def place(op: Any, features: Any, experts: Any, units: Any) -> Any:
    """Processor, seconds, bound and joules of one layer of `op` where it runs fastest.

    Only processors that can run the operator's class are asked; a pinned operator has no choice.
    """
    best, best_s, bound, compute_J, memory_J = -1, np.inf, OVERHEAD, 0.0, 0.0
    launch_s = 0.0
    asked = demand(op, features, experts)
    for index in range(units.shape[0]):
        unit = units[index]
        if op.pinned >= 0 and op.pinned != index:
            continue
        if op.pinned < 0 and (unit.runs >> op.capability) & 1 == 0:
            continue
        compute, memory, joules_c, joules_m = cost(op, asked, features, experts, unit)
        busy = max(compute, memory)
        total = busy + op.launches * unit.launch_s
        if total < best_s:
            best, best_s, launch_s = index, total, op.launches * unit.launch_s
            compute_J, memory_J = joules_c, joules_m
            bound = COMPUTE_BOUND if compute > memory else MEMORY_BOUND
    return best, best_s, bound, launch_s, compute_J, memory_J


@njit(inline="always")
def communicate(op: Any, features: Any, links: Any) -> Any:
    """Seconds and joules of one collective of `op`, by its link's algorithm.

    A link that names none takes the faster of ring and tree: they need no switch.
    """
    link = links[op.link]
    message_B = op.message_B_per_token * features[op.phase, TOKENS]
    B_per_s = link.B_per_s * link.efficiency
    best_s, sent_B = np.inf, 0.0
    for algorithm in range(ALGORITHMS):
        if link.algorithm >= 0 and link.algorithm != algorithm:
            continue
        if link.algorithm < 0 and algorithm == DIRECT:
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
        chosen[index, UNIT], chosen[index, BOUND] = -1, OVERHEAD
        return 0.0
    if op.kind == COLLECTIVE:
        seconds, joules = communicate(op, own, links)
        rows[index, SECONDS] = seconds * op.layers
        rows[index, LINK_J] = joules * op.layers
        chosen[index, UNIT], chosen[index, BOUND] = -1, LINK_BOUND
    else:
        unit, seconds, bound, launch_s, compute_J, memory_J = place(
            op, own, experts[op.stream], units
        )
        rows[index, SECONDS] = seconds * op.layers
        rows[index, LAUNCH_S] = launch_s * op.layers
        rows[index, COMPUTE_J] = compute_J * op.layers
        rows[index, MEMORY_J] = memory_J * op.layers
        chosen[index, UNIT], chosen[index, BOUND] = unit, bound
    return rows[index, SECONDS]


@njit(inline="always")
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


@njit(inline="always")
def step_time(seconds: float, microbatches: float, machine: Any) -> float:
    """Seconds of one engine iteration around a pass of one microbatch through all stages.

    Few microbatches take what one needs to pass; as many as there are stages wait for the slowest.
    """
    pace = microbatches * machine.imbalance / machine.stages
    return seconds * max(pace, 1.0) + machine.host_step_s


@njit(inline="always")
def step_energy(joules: float, seconds: float, microbatches: float, machine: Any) -> float:
    """Joules of one iteration of a replica: what the passes use and what being on costs."""
    return joules * machine.group * microbatches + machine.static_W * machine.devices * seconds


@njit(parallel=True)
def sweep(
    ops: Any,
    features: Any,
    experts: Any,
    microbatches: Any,
    units: Any,
    links: Any,
    machines: Any,
    out: Any,
) -> None:
    """Fill `out` [points, 2] with seconds and joules of one iteration at each design point.

    `units` [points, processors], `links` [points, links], `machines` [points]; `features` and
    `experts` [batches, ...] and `microbatches` [batches] have one batch for all points or one each.
    """
    stride = 1 if features.shape[0] > 1 else 0
    for index in prange(out.shape[0]):
        point = np.int64(index)  # prange counts unsigned, which would make sums of it floats
        batch = point * stride
        seconds, joules = pass_time(
            ops, features[batch], experts[batch], units[point], links[point]
        )
        machine = machines[point]
        time = step_time(seconds, microbatches[batch], machine)
        out[point, 0] = time
        out[point, 1] = step_energy(joules, time, microbatches[batch], machine)


@njit
def candidates(ops: Any, features: Any, experts: Any, units: Any, demands: Any, costs: Any) -> None:
    """What one layer of each operator asks for, and what each processor would take for it.

    Fills `demands` [ops, 4]: flops, bytes of weights, KV and activations; and `costs`
    [ops, processors, 5]: seconds of compute, memory and launch, joules of compute and memory; NaN
    for processors that cannot run the operator. Collectives and idle operators stay NaN.
    """
    demands[:] = np.nan
    costs[:] = np.nan
    for index in range(ops.shape[0]):
        op = ops[index]
        own = features[op.stream]
        if op.kind == COLLECTIVE or own[op.phase, TOKENS] <= 0.0:
            continue
        asked = demand(op, own, experts[op.stream])
        for part in range(4):
            demands[index, part] = asked[part]
        for number in range(units.shape[0]):
            unit = units[number]
            if (unit.runs >> op.capability) & 1 == 0 and op.pinned != number:
                continue
            compute, memory, joules_c, joules_m = cost(op, asked, own, experts[op.stream], unit)
            costs[index, number, COST_COMPUTE_S] = compute
            costs[index, number, COST_MEMORY_S] = memory
            costs[index, number, COST_LAUNCH_S] = op.launches * unit.launch_s
            costs[index, number, COST_COMPUTE_J] = joules_c
            costs[index, number, COST_MEMORY_J] = joules_m
