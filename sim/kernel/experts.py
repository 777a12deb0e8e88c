"""A mixture of experts, expert by expert, from loads drawn of a router.

`loads` [pool + 1, experts] counts the token-expert pairs of the first tokens of a drawn sequence;
a batch of any size is a difference of two rows. A layer takes the mean over `DRAWS` batches of the
time of its busiest expert rank; experts are dealt in turn to ranks, and there to memory spaces.
"""

from __future__ import annotations

import numpy as np

from sim.kernel import laws
from sim.kernel import records as r
from sim.kernel.arrays import Floats
from sim.kernel.compiled import njit


@njit(inline="always")
def loads_are_drawn(loads: Floats) -> bool:
    """Whether `loads` are those of drawn batches; else a table of expectations is asked."""
    return loads.shape[0] > 1


@njit(inline="always")
def window_start(pool: int, whole: int, draw: int) -> int:
    """Where in the pool the batch of `whole` tokens number `draw` begins."""
    return (draw * (pool // r.DRAWS)) % (pool - whole)


@njit(inline="always")
def load_of(loads: Floats, tokens: float, draw: int, expert: int) -> float:
    """Token-expert pairs that a batch of `tokens` tokens sends to `expert`."""
    pool = loads.shape[0] - 1
    if tokens >= pool:  # chance has evened out
        return loads[pool, expert] * tokens / pool
    whole = int(tokens)
    start = window_start(pool, whole, draw)
    end = start + whole
    part = tokens - whole
    load = loads[end, expert] - loads[start, expert]
    if part > 0.0:
        load += part * (loads[end + 1, expert] - loads[end, expert])
    return load


@njit
def drawn_features(op: r.Op, tokens: float, loads: Floats, out: Floats) -> None:
    """Fill `out` [3]: experts touched; on the busiest rank, experts touched and relative load."""
    ranks = int(op.ranks)
    local = loads.shape[1] // ranks
    touched, worst_touched, worst_load = 0.0, 0.0, 0.0
    for draw in range(r.DRAWS):
        most_touched, most_load = 0.0, 0.0
        for rank in range(ranks):
            here, pairs = 0.0, 0.0
            for index in range(local):
                load = load_of(loads, tokens, draw, rank + index * ranks)
                if load > 0.0:
                    here += min(load, 1.0)
                    pairs += load
            touched += here
            most_touched = max(most_touched, here)
            most_load = max(most_load, pairs)
        worst_touched += most_touched
        worst_load += most_load
    out[r.TOUCHED] = touched / r.DRAWS
    out[r.WORST_TOUCHED] = worst_touched / r.DRAWS
    out[r.WORST_LOAD] = worst_load / r.DRAWS / max(tokens * op.top_k / op.ranks, 1e-30)


@njit(inline="always")
def expert_times(op: r.Op, load: float, unit: r.Processor) -> tuple[float, float]:
    """Seconds of compute and of memory of one expert's product with `load` tokens on `unit`.

    Below one token (a part of one), it is there that part of the time.
    """
    there = min(load, 1.0)
    padded = np.ceil(load / unit.tile_m) * unit.tile_m
    flops = padded * op.flops_per_token * op.ranks / op.top_k
    compute_s = laws.compute_time(
        flops * there, unit.flop_per_s[op.arithmetic], unit.compute_efficiency
    )
    weight_B = there * op.weight_B * op.ranks / op.experts
    activation_B = load * op.activation_B_per_token * op.ranks / op.top_k
    at_peak_s = laws.peak_stream_time(weight_B, 0.0, activation_B, unit)
    return compute_s, at_peak_s / unit.memory_efficiency


@njit(inline="always")
def ramp_s(unit: r.Processor) -> float:
    """Seconds that the start of a stream costs on `unit`."""
    return unit.ramp_B / unit.activations_B_per_s / unit.memory_efficiency


@njit
def drawn_time(op: r.Op, tokens: float, loads: Floats, unit: r.Processor) -> r.Duration:
    """Seconds of all experts of the busiest rank on one unit.

    One expert after the other: what one waits for memory another's compute doesn't fill.
    """
    ranks = int(op.ranks)
    local = loads.shape[1] // ranks
    busy_s, compute_s, memory_s = 0.0, 0.0, 0.0
    for draw in range(r.DRAWS):
        worst, worst_compute, worst_memory = 0.0, 0.0, 0.0
        for rank in range(ranks):
            total, total_compute, total_memory = 0.0, 0.0, 0.0
            for index in range(local):
                load = load_of(loads, tokens, draw, rank + index * ranks)
                if load > 0.0:
                    compute, memory = expert_times(op, load, unit)
                    total += max(compute, memory)
                    total_compute += compute
                    total_memory += memory
            if total > worst:
                worst, worst_compute, worst_memory = total, total_compute, total_memory
        busy_s += worst
        compute_s += worst_compute
        memory_s += worst_memory
    start = ramp_s(unit)
    busy_s = busy_s / r.DRAWS + start
    return r.Duration(busy_s, compute_s / r.DRAWS, memory_s / r.DRAWS + start, 0.0)


@njit
def expert_features(ops: r.Ops, features: Floats, routing: r.Routing, out: Floats) -> None:
    """Fill `out` [stream, 3] with the experts touched by the tokens of streams that have some."""
    filled = -1
    for index in range(ops.shape[0]):
        op = ops[index]
        if op.experts <= 0.0 or op.stream == filled:
            continue
        filled = op.stream
        tokens = features[op.stream, op.phase, r.TOKENS]
        if loads_are_drawn(routing.loads):
            drawn_features(op, tokens, routing.loads, out[op.stream])
        else:
            if routing.local.shape[0] > 0:
                tokens = unlike_tokens(features[op.stream], tokens, routing.local)
            for column in range(3):
                out[op.stream, column] = laws.interpolate(routing.coverage, tokens, column + 1)


@njit
def unlike_tokens(features: Floats, tokens: float, local: Floats) -> float:
    """As how many tokens from anywhere an iteration's tokens count: those of a prompt are alike.

    So are those that a sequence has drafted and verified at once.
    """
    sequences, new = features[r.DECODE, r.SEQUENCES], features[r.DECODE, r.TOKENS]
    if new > sequences:
        alike = sequences * laws.interpolate(local, new / sequences, 1)
        tokens = max(tokens - new, 0.0) + alike
    prompts, theirs = features[r.PREFILL, r.SEQUENCES], features[r.PREFILL, r.TOKENS]
    if prompts <= 0.0 or theirs <= 0.0:
        return tokens
    alike = prompts * laws.interpolate(local, theirs / prompts, 1)
    return max(tokens - theirs, 0.0) + alike
