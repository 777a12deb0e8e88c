"""One operator: what it asks for, what a processor takes for it, and where it runs fastest."""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.kernel import fitted, laws
from sim.kernel.compiled import njit
from sim.kernel.experts import drawn_time, loads_are_drawn
from sim.kernel.records import (
    ALGORITHMS,
    ASKED,
    ATTENTION,
    CACHED,
    COMPUTE_BOUND,
    DECODE,
    DIRECT,
    EXPERTS,
    FP16,
    MATMUL,
    MEMORY_BOUND,
    OVERHEAD,
    PAIRS,
    PREFILL,
    RING,
    SEQUENCES,
    TOKENS,
    TOUCHED,
    VECTOR,
    WORST_LOAD,
    WORST_TOUCHED,
)


@njit(inline="always")
def demand(op: Any, features: Any, experts: Any) -> Any:
    """What one layer of `op` asks of one device: flops, and bytes of weights, KV and activations.

    `features` [phase, feature] and `experts` [3] are of the operator's stream. Expert operators
    also say how much more the busiest rank has: weights it reads over the mean rank's, and work.
    Last comes the `shape` that fitted kernels go by. No hardware changes any of it.
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
    rows, depth = shape(op, flops, tokens)
    return flops, weight_B, kv_B, activation_B, worst_weights, worst_work, rows, depth


@njit(inline="always")
def shape(op: Any, flops: float, tokens: float) -> Any:
    """Rows of a product and terms of its sums; of experts, token-expert pairs and terms.

    Of attention: flops of a query-key pair of a head and bytes of a cached token of a key-value
    head.
    """
    if op.kind == MATMUL:
        depth = 0.5 * (op.flops_per_token + op.flops_per_cached) / op.width
        return flops / (2.0 * depth * op.width), depth
    if op.kind == EXPERTS:
        return tokens * op.top_k, 0.5 * op.flops_per_token * op.ranks / (op.width * op.top_k)
    if op.kind == ATTENTION:
        return op.flops_per_pair / op.heads, op.kv_B_per_cached / op.kv_heads
    return 0.0, 0.0


@njit(counted=False)
def demands(ops: Any, features: Any, experts: Any, out: Any) -> None:
    """Fill `out` [ops, 2, ASKED] with what operators of the busiest group ask for, and the mean."""
    for index in range(ops.shape[0]):
        op = ops[index]
        for view in range(2):
            own = features[op.energy_stream if view == 1 else op.stream]
            asked = demand(op, own, experts[op.stream])
            for part in range(ASKED):
                out[index, view, part] = asked[part]


@njit(inline="always")
def asked_of(row: Any) -> Any:
    """What `demand` found, from a row of what `demands` filled."""
    return row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7]


@njit(inline="always")
def utilisation(op: Any, features: Any, experts: Any, unit: Any) -> float:
    """Share of the unit's matrix peak that this shape can reach."""
    if op.kind == ATTENTION:
        return unit.attention_efficiency
    used = unit.compute_efficiency
    if op.kind == MATMUL:
        tokens = features[op.phase, TOKENS]
        used *= laws.tile_utilisation(tokens, op.width, unit.tile_m, unit.tile_n, unit.slots)
    elif op.kind == EXPERTS:  # one small product per expert of the busiest rank
        touched = max(experts[WORST_TOUCHED], 1e-30)
        pairs = features[op.phase, TOKENS] * op.top_k * experts[WORST_LOAD] / op.ranks
        m, n = pairs / touched, op.width * max(touched, 1.0)
        used *= laws.tile_utilisation(m, n, unit.tile_m, unit.tile_n, unit.slots)
    return used


@njit(inline="always")
def times(op: Any, asked: Any, features: Any, experts: Any, loads: Any, unit: Any) -> Any:
    """Seconds, and of these compute and memory, of what `op` asked for (its `demand`) on `unit`.

    The busiest expert rank decides. Last comes what is fixed, beside the busy time.
    """
    if unit.fitted == 1:
        busy_s, compute_s, memory_s, fixed_s = fitted_times(op, asked, features, experts, unit)
        if op.convert_per_kv_B > 0.0 and unit.converts == 1:
            longer_s = compute_s + asked[2] * op.convert_per_kv_B / unit.flop_per_s[VECTOR]
            busy_s += max(longer_s - max(compute_s, memory_s), 0.0)
            compute_s = longer_s
        return busy_s, compute_s, memory_s, fixed_s
    flops, weight_B, kv_B, activation_B, worst_weights, worst_work, _, _ = asked
    compute_s = laws.compute_time(
        flops * worst_work,
        unit.flop_per_s[op.arithmetic],
        utilisation(op, features, experts, unit),
    )
    if op.convert_per_kv_B > 0.0 and unit.converts == 1:
        compute_s += kv_B * op.convert_per_kv_B / unit.flop_per_s[VECTOR]
    at_peak_s = (
        weight_B * worst_weights / unit.weights_B_per_s
        + kv_B / unit.kv_B_per_s
        + activation_B * worst_work / unit.activations_B_per_s
    )
    ramp_s = unit.ramp_B / unit.activations_B_per_s
    memory_s = laws.stream_time(at_peak_s, ramp_s, unit.memory_efficiency)
    busy_s = max(compute_s, memory_s)
    if op.kind == EXPERTS and op.group < 0 and loads_are_drawn(loads):
        busy_s, compute_s, memory_s = drawn_time(op, features[op.phase, TOKENS], loads, unit)
    return busy_s, compute_s, memory_s, 0.0


@njit(inline="always")
def fitted_times(op: Any, asked: Any, features: Any, experts: Any, unit: Any) -> Any:
    """As `times`, on a unit whose kernels' times are fitted."""
    flops, weight_B, kv_B, activation_B, worst_weights, worst_work, rows, depth = asked
    flop_per_s = unit.flop_per_s[op.arithmetic]
    if op.kind == MATMUL:
        narrow = op.arithmetic > FP16
        busy_s, fixed_s, compute_s, memory_s = fitted.matmul_time(
            rows, op.width, depth, weight_B, activation_B, narrow, flop_per_s, unit
        )
    elif op.kind == EXPERTS:
        busy_s, fixed_s, compute_s, memory_s = fitted.experts_time(
            rows,
            experts[WORST_TOUCHED],
            rows * worst_work / op.ranks,
            op.width,
            depth,
            weight_B * worst_weights,
            activation_B * worst_work,
            flop_per_s,
            unit,
        )
    elif op.kind == ATTENTION and op.phase == DECODE:
        busy_s, fixed_s, compute_s, memory_s = fitted.decode_time(
            op,
            rows,
            depth,
            features[DECODE, TOKENS],
            features[DECODE, SEQUENCES],
            features[DECODE, CACHED],
            features[PREFILL, TOKENS] > 0.0,
            flop_per_s,
            unit,
        )
    elif op.kind == ATTENTION:
        busy_s, fixed_s, compute_s, memory_s = fitted.prefill_time(
            op,
            rows,
            depth,
            features[op.phase, TOKENS],
            features[op.phase, PAIRS],
            features[op.phase, CACHED],
            features[op.phase, SEQUENCES],
            activation_B,
            flop_per_s,
            unit,
        )
    else:
        at_peak_s = (
            weight_B / unit.weights_B_per_s
            + kv_B / unit.kv_B_per_s
            + activation_B / unit.activations_B_per_s
        )
        busy_s, fixed_s, compute_s, memory_s = fitted.vector_time(
            op.launches, flops, at_peak_s, flop_per_s, unit
        )
    return busy_s, compute_s, memory_s, fixed_s


@njit(inline="always")
def joules(op: Any, asked: Any, unit: Any) -> Any:
    """Joules of compute and of memory of what `op` asked for on `unit`; of the mean expert rank."""
    flops, weight_B, kv_B, activation_B = asked[0], asked[1], asked[2], asked[3]
    compute_J = flops * unit.J_per_flop[op.arithmetic]
    if op.convert_per_kv_B > 0.0 and unit.converts == 1:
        compute_J += kv_B * op.convert_per_kv_B * unit.J_per_flop[VECTOR]
    memory_J = (
        weight_B * unit.weights_J_per_B
        + kv_B * unit.kv_J_per_B
        + activation_B * unit.activations_J_per_B
    )
    return compute_J, memory_J


@njit(inline="always")
def place(op: Any, asked: Any, features: Any, experts: Any, loads: Any, units: Any) -> Any:
    """Processor, seconds, bound and launch seconds of one layer of `op` where it runs fastest.

    Only processors that can run the operator's class are asked; a pinned operator has no choice.
    """
    best, best_s, bound, launch_s = -1, np.inf, OVERHEAD, 0.0
    for index in range(units.shape[0]):
        unit = units[index]
        if op.pinned >= 0 and op.pinned != index:
            continue
        if op.pinned < 0 and (unit.runs >> op.capability) & 1 == 0:
            continue
        busy, compute, memory, fixed = times(op, asked, features, experts, loads, unit)
        waiting = fixed + op.launches * unit.launch_s
        total = busy + waiting
        if total < best_s:
            best, best_s, launch_s = index, total, waiting
            bound = COMPUTE_BOUND if compute > memory else MEMORY_BOUND
    return best, best_s, bound, launch_s


@njit(inline="always")
def communicate(op: Any, tokens: float, mean_tokens: float, links: Any) -> Any:
    """Seconds and joules of one collective of `op`, by its link's algorithm.

    `tokens` are those of the busiest group, `mean_tokens` of the mean one. A link that names no
    algorithm takes the faster of ring and tree: they need no switch.
    """
    link = links[op.link]
    message_B = op.message_B_per_token * tokens
    if link.fitted == 1:
        steps, factor = op.steps[RING], op.factor[RING]
        seconds = fitted.collective_time(op.collective, op.ranks, steps, factor, message_B, link)
        return seconds, factor * op.message_B_per_token * mean_tokens * link.J_per_B
    B_per_s = link.B_per_s * link.efficiency
    best_s, sent = np.inf, 0.0
    for algorithm in range(ALGORITHMS):
        if link.algorithm >= 0 and link.algorithm != algorithm:
            continue
        if link.algorithm < 0 and algorithm == DIRECT:
            continue
        steps, factor = op.steps[algorithm], op.factor[algorithm]
        seconds = laws.collective_time(message_B, steps, factor, B_per_s, link.latency_s)
        if seconds < best_s:
            best_s, sent = seconds, factor
    return best_s, sent * op.message_B_per_token * mean_tokens * link.J_per_B
