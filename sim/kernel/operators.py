"""One operator: what it asks for, what a processor takes for it, and where it runs fastest."""

from __future__ import annotations

import numpy as np

from sim.kernel import fitted, laws
from sim.kernel import records as r
from sim.kernel.arrays import Floats
from sim.kernel.compiled import njit
from sim.kernel.experts import drawn_time, loads_are_drawn
from sim.kernel.records import Demand, Duration, Pass


@njit(inline="always")
def demand(op: r.Op, features: Floats, experts: Floats) -> Demand:
    """What one layer of `op` asks of one device, which no hardware changes.

    `features` [phase, feature] and `experts` [3] are of the operator's stream.
    """
    tokens = features[op.phase, r.TOKENS]
    flops = (
        op.flops_per_token * tokens
        + op.flops_per_pair * features[op.phase, r.PAIRS]
        + op.flops_per_cached * features[op.phase, r.CACHED]
    )
    weight_B = op.weight_B + op.weight_B_per_token * tokens
    kv_B = (
        op.kv_B_per_cached * features[op.phase, r.CACHED]
        + op.kv_B_per_token * tokens
        + op.state_B_per_sequence * features[op.phase, r.SEQUENCES]
    )
    activation_B = op.activation_B_per_token * tokens
    worst_weights, worst_work = 1.0, 1.0
    if op.kind == r.EXPERTS:
        touched = experts[r.TOUCHED]
        weight_B *= touched / op.experts
        worst_weights = experts[r.WORST_TOUCHED] * op.ranks / max(touched, 1e-30)
        worst_work = experts[r.WORST_LOAD]
    rows, depth = shape(op, flops, tokens)
    return Demand(flops, weight_B, kv_B, activation_B, worst_weights, worst_work, rows, depth)


@njit(inline="always")
def shape(op: r.Op, flops: float, tokens: float) -> tuple[float, float]:
    """`rows` and `depth` of a `Demand`."""
    if op.kind == r.MATMUL:
        depth = 0.5 * (op.flops_per_token + op.flops_per_cached) / op.width
        return flops / (2.0 * depth * op.width), depth
    if op.kind == r.EXPERTS:
        return tokens * op.top_k, 0.5 * op.flops_per_token * op.ranks / (op.width * op.top_k)
    if op.kind == r.ATTENTION:
        return op.flops_per_pair / op.heads, op.kv_B_per_cached / op.kv_heads
    return 0.0, 0.0


@njit(inline="always")
def part_of_experts(whole: Demand, pairs: float, weights: float) -> Demand:
    """What a product asks for that has these shares of token-expert pairs and of weights read."""
    flops, weight_B = whole.flops * pairs, whole.weight_B * weights
    activation_B = whole.activation_B * pairs
    return Demand(flops, weight_B, whole.kv_B, activation_B, 1.0, 1.0, whole.rows, whole.depth)


@njit(inline="always")
def utilisation(op: r.Op, features: Floats, experts: Floats, unit: r.Processor) -> float:
    """Share of the unit's matrix peak that this shape can reach."""
    if op.kind == r.ATTENTION:
        return unit.attention_efficiency
    used = unit.compute_efficiency
    if op.kind == r.MATMUL:
        tokens = features[op.phase, r.TOKENS]
        used *= laws.tile_utilisation(tokens, op.width, unit.tile_m, unit.tile_n, unit.slots)
    elif op.kind == r.EXPERTS:  # one small product per expert of the busiest rank
        touched = max(experts[r.WORST_TOUCHED], 1e-30)
        pairs = features[op.phase, r.TOKENS] * op.top_k * experts[r.WORST_LOAD] / op.ranks
        m, n = pairs / touched, op.width * max(touched, 1.0)
        used *= laws.tile_utilisation(m, n, unit.tile_m, unit.tile_n, unit.slots)
    return used


@njit(inline="always")
def times(
    op: r.Op, asked: Demand, features: Floats, experts: Floats, loads: Floats, unit: r.Processor
) -> Duration:
    """Seconds of what `op` asks for (its `demand`) on `unit`; the busiest expert rank decides."""
    convert_s = 0.0
    if op.convert_per_kv_B > 0.0 and unit.converts == 1:
        convert_s = asked.kv_B * op.convert_per_kv_B / unit.flop_per_s[r.VECTOR]
    if unit.fitted == 1:
        taken = fitted_times(op, asked, features, experts, unit)
        if convert_s > 0.0:
            compute_s = taken.compute_s + convert_s
            longer_s = max(compute_s - max(taken.compute_s, taken.memory_s), 0.0)
            taken = Duration(taken.busy_s + longer_s, compute_s, taken.memory_s, taken.fixed_s)
    elif op.kind == r.EXPERTS and op.group < 0 and loads_are_drawn(loads):
        taken = drawn_time(op, features[op.phase, r.TOKENS], loads, unit)
    else:
        used = utilisation(op, features, experts, unit)
        flops, flop_per_s = asked.flops * asked.worst_work, unit.flop_per_s[op.arithmetic]
        compute_s = laws.compute_time(flops, flop_per_s, used) + convert_s
        weight_B, activation_B = asked.weight_B * asked.worst_weights, asked.activation_B
        activation_B *= asked.worst_work
        at_peak_s = laws.peak_stream_time(weight_B, asked.kv_B, activation_B, unit)
        ramp_s = unit.ramp_B / unit.activations_B_per_s
        memory_s = laws.stream_time(at_peak_s, ramp_s, unit.memory_efficiency)
        taken = Duration(max(compute_s, memory_s), compute_s, memory_s, 0.0)
    return taken


@njit(inline="always")
def fitted_times(
    op: r.Op, asked: Demand, features: Floats, experts: Floats, unit: r.Processor
) -> Duration:
    """As `times`, on a unit whose kernels' times are fitted."""
    flop_per_s = unit.flop_per_s[op.arithmetic]
    if op.kind == r.MATMUL:
        taken = fitted.matmul_time(op, asked, flop_per_s, unit)
    elif op.kind == r.EXPERTS:
        taken = fitted.experts_time(op, asked, experts[r.WORST_TOUCHED], flop_per_s, unit)
    elif op.kind == r.ATTENTION and op.phase == r.DECODE:
        taken = fitted.decode_time(op, asked, features, flop_per_s, unit)
    elif op.kind == r.ATTENTION:
        taken = fitted.prefill_time(op, asked, features[op.phase], flop_per_s, unit)
    else:
        taken = fitted.vector_time(op, asked, flop_per_s, unit)
    return taken


@njit(inline="always")
def joules(op: r.Op, asked: Demand, unit: r.Processor) -> tuple[float, float]:
    """Joules of compute and of memory of what `op` asks for on `unit`; of the mean expert rank."""
    compute_J = asked.flops * unit.J_per_flop[op.arithmetic]
    if op.convert_per_kv_B > 0.0 and unit.converts == 1:
        compute_J += asked.kv_B * op.convert_per_kv_B * unit.J_per_flop[r.VECTOR]
    memory_J = (
        asked.weight_B * unit.weights_J_per_B
        + asked.kv_B * unit.kv_J_per_B
        + asked.activation_B * unit.activations_J_per_B
    )
    return compute_J, memory_J


@njit(inline="always")
def place(run: Pass, op: r.Op, asked: Demand) -> tuple[int, float, int, float]:
    """Processor, seconds, bound and launch seconds of one layer of `op` where it runs fastest.

    Only processors that can run the operator's class are asked; a pinned operator has no choice.
    """
    best, best_s, bound, launch_s = -1, np.inf, r.OVERHEAD, 0.0
    features, experts, loads = run.features[op.stream], run.experts[op.stream], run.routing.loads
    for index in range(run.units.shape[0]):
        unit = run.units[index]
        if op.pinned >= 0 and op.pinned != index:
            continue
        if op.pinned < 0 and (unit.runs >> op.capability) & 1 == 0:
            continue
        taken = times(op, asked, features, experts, loads, unit)
        waiting = taken.fixed_s + op.launches * unit.launch_s
        total = taken.busy_s + waiting
        if total < best_s:
            best, best_s, launch_s = index, total, waiting
            bound = r.COMPUTE_BOUND if taken.compute_s > taken.memory_s else r.MEMORY_BOUND
    return best, best_s, bound, launch_s


@njit(inline="always")
def communicate(op: r.Op, tokens: float, mean_tokens: float, links: r.Links) -> tuple[float, float]:
    """Seconds and joules of one collective of `op`, by its link's algorithm.

    `tokens` are those of the busiest group, `mean_tokens` of the mean one. A link that names no
    algorithm takes the faster of ring and tree: they need no switch.
    """
    link = links[op.link]
    message_B = op.message_B_per_token * tokens
    best_s, sent = np.inf, 0.0
    if link.fitted == 1:
        sent = op.factor[r.RING]
        best_s = fitted.collective_time(op, message_B, link)
    else:
        B_per_s = link.B_per_s * link.efficiency
        for algorithm in range(r.ALGORITHMS):
            if link.algorithm >= 0 and link.algorithm != algorithm:
                continue
            if link.algorithm < 0 and algorithm == r.DIRECT:
                continue
            steps, factor = op.steps[algorithm], op.factor[algorithm]
            seconds = laws.collective_time(message_B, steps, factor, B_per_s, link.latency_s)
            if seconds < best_s:
                best_s, sent = seconds, factor
    return best_s, sent * op.message_B_per_token * mean_tokens * link.J_per_B
