"""A whole pass over an operator table, and the iteration around it."""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.kernel import laws
from sim.kernel.compiled import njit
from sim.kernel.operators import communicate, demand, joules, place, times
from sim.kernel.records import (
    ALL,
    BOUND,
    BUSY_S,
    COLLECTIVE,
    COMPUTE_BOUND,
    COMPUTE_J,
    COST_COMPUTE_J,
    COST_COMPUTE_S,
    COST_LAUNCH_S,
    COST_MEMORY_J,
    COST_MEMORY_S,
    DECODE,
    EXPERTS,
    LAUNCH_S,
    LINK_BOUND,
    LINK_J,
    LOGITS,
    MEMORY_J,
    OVERHEAD,
    PAIR_SHARE,
    PAIRS,
    PIPELINE,
    PREFILL,
    ROW_COLUMNS,
    SECONDS,
    SEQUENCES,
    SIDES,
    TOKENS,
    UNIT,
    WEIGHT_SHARE,
    WORST_LOAD,
)
from sim.kernel.splitting import members_of, split_experts


@njit
def spread_over_groups(features: Any, streams: int, groups: float) -> None:
    """Fill features of the busiest and of the mean data-parallel group from those of all groups.

    Rows [0, streams) are of all groups together, what experts see; the next `streams` of the group
    with the most sequences, dealt to groups in turn; the last of the mean group. One group alone
    has only the first rows.
    """
    if features.shape[0] == streams:
        return
    for stream in range(streams):
        for feature in range(4):
            features[streams + stream, ALL, feature] = 0.0
        for phase in (PREFILL, DECODE, LOGITS):
            count = features[stream, phase, SEQUENCES]
            if phase == LOGITS and count == 0.0:  # a token each
                count = features[stream, LOGITS, TOKENS]
            share = 1.0 / groups
            if count > 0.0:
                share = min(np.ceil(count / groups) / count, 1.0)
            for feature in range(4):
                busiest = features[stream, phase, feature] * share
                features[streams + stream, phase, feature] = busiest
                if phase != LOGITS:
                    features[streams + stream, ALL, feature] += busiest
        for phase in (ALL, PREFILL, DECODE, LOGITS):
            for feature in range(4):
                mean = features[stream, phase, feature] / groups
                features[2 * streams + stream, phase, feature] = mean


@njit
def overlap(
    ops: Any, leader: int, features: Any, experts: Any, routing: Any, units: Any, links: Any,
    rows: Any, chosen: Any,
) -> None:  # fmt: skip
    """Let the rows of a group run at the same time on their units: only the slowest unit counts.

    What decodes goes where the group is done first, which need not be where it alone is fastest.
    """
    members = members_of(ops, leader)
    for index in members:
        if ops[index].phase == DECODE and rows[index, BUSY_S] > 0.0:
            place_beside(
                ops, index, members, features, experts, routing, units, links, rows, chosen
            )
    slowest, unit = -1.0, -1
    for candidate in range(units.shape[0]):
        total = 0.0
        for index in members:
            if chosen[index, UNIT] == candidate:
                total += rows[index, BUSY_S]
        if total > slowest:
            slowest, unit = total, candidate
    for index in members:
        if chosen[index, UNIT] != unit:
            rows[index, SECONDS] = 0.0
            rows[index, LAUNCH_S] = 0.0


@njit
def place_beside(
    ops: Any, index: int, members: Any, features: Any, experts: Any, routing: Any, units: Any,
    links: Any, rows: Any, chosen: Any,
) -> None:  # fmt: skip
    """Move row `index` to the unit on which it and the other `members` are done first."""
    op = ops[index]
    if op.pinned >= 0:
        return
    best, best_s, best_busy = -1, np.inf, np.inf
    asked = demand(op, features[op.stream], experts[op.stream])
    for number in range(units.shape[0]):
        if (units[number].runs >> op.capability) & 1 == 0:
            continue
        busy, _, _, fixed = times(
            op, asked, features[op.stream], experts[op.stream], routing.loads, units[number]
        )
        busy = (busy + fixed + op.launches * units[number].launch_s) * op.layers
        done = 0.0
        for unit in range(units.shape[0]):
            total = busy if unit == number else 0.0
            for other in members:
                if other != index and chosen[other, UNIT] == unit:
                    total += rows[other, BUSY_S]
            done = max(done, total)
        if done < best_s or (done == best_s and busy < best_busy):
            best, best_s, best_busy = number, done, busy
    if best >= 0 and best != chosen[index, UNIT]:
        there = ops.copy()
        there[index].pinned = best
        evaluate_row(there, index, features, experts, routing, units, links, rows, chosen)


@njit
def evaluate(
    ops: Any, features: Any, experts: Any, routing: Any, units: Any, links: Any, rows: Any,
    chosen: Any,
) -> float:  # fmt: skip
    """Seconds of one pass, without host time.

    Fills `rows` [ops, columns] as `records` names them, and `chosen` [ops, 2]: processor (-1: a
    link) and bound.
    """
    for index in range(ops.shape[0]):
        if ops[index].group < 0 or ops[index].kind != EXPERTS:
            evaluate_row(ops, index, features, experts, routing, units, links, rows, chosen)
    together(routing.masks, ops, features, experts, routing, units, links, rows, chosen)
    total = 0.0
    for index in range(ops.shape[0]):
        total += rows[index, SECONDS]
    return total


@njit
def together(
    masks: Any, ops: Any, features: Any, experts: Any, routing: Any, units: Any, links: Any,
    rows: Any, chosen: Any,
) -> None:  # fmt: skip
    """Settle the rows of groups, whose members work at the same time on several units.

    Without any group `masks` is None, and numba leaves all of this out of what it compiles.
    """
    if masks is None:
        return
    for index in range(ops.shape[0]):
        op = ops[index]
        if op.group < 0 or op.leads == 0:
            continue
        if op.kind != EXPERTS:
            overlap(ops, index, features, experts, routing, units, links, rows, chosen)
        else:
            tokens = features[op.stream, op.phase, TOKENS]
            split_experts(ops, index, tokens, routing, units, rows, chosen)


@njit(counted=False)
def evaluate_row(
    ops: Any,
    index: int,
    features: Any,
    experts: Any,
    routing: Any,
    units: Any,
    links: Any,
    rows: Any,
    chosen: Any,
) -> float:
    """Seconds of all layers of operator `index`; fills its row as `evaluate` says."""
    op = ops[index]
    own = features[op.stream]
    for column in range(ROW_COLUMNS):
        rows[index, column] = 0.0
    rows[index, PAIR_SHARE] = rows[index, WEIGHT_SHARE] = 1.0
    if own[op.phase, TOKENS] <= 0.0:
        chosen[index, UNIT], chosen[index, BOUND] = -1, OVERHEAD
        return 0.0
    asked = demand(op, own, experts[op.stream])
    mean = asked
    if op.energy_stream != op.stream:
        mean = demand(op, features[op.energy_stream], experts[op.stream])
    seconds, unit, bound, launch_s, compute_J, memory_J, link_J = one_layer(
        op, asked, mean, features, experts, routing.loads, units, links
    )
    rows[index, SECONDS] = rows[index, BUSY_S] = seconds * op.layers
    rows[index, LAUNCH_S] = launch_s * op.layers
    rows[index, COMPUTE_J] = compute_J * op.layers
    rows[index, MEMORY_J] = memory_J * op.layers
    rows[index, LINK_J] = link_J * op.layers
    chosen[index, UNIT], chosen[index, BOUND] = unit, bound
    return rows[index, SECONDS]


@njit(inline="always")
def one_layer(
    op: Any, asked: Any, mean_asked: Any, features: Any, experts: Any, loads: Any, units: Any,
    links: Any,
) -> Any:  # fmt: skip
    """Seconds, unit (-1: a link), bound, launch seconds and joules of one layer of `op`.

    Time is of what the busiest data-parallel group asks for, energy of the mean one.
    """
    own, mean = features[op.stream], features[op.energy_stream]
    unit, bound, launch_s, compute_J, memory_J, link_J = -1, LINK_BOUND, 0.0, 0.0, 0.0, 0.0
    if op.kind == COLLECTIVE:
        tokens, mean_tokens = own[op.phase, TOKENS], mean[op.phase, TOKENS]
        if op.routed > 0:  # received of all groups, which may be more than is sent
            load = experts[op.routed - 1, WORST_LOAD]
            tokens = max(tokens, mean_tokens * op.inflow * load)
        seconds, link_J = communicate(op, tokens, mean_tokens, links)
    elif op.kind == PIPELINE:  # one row for the whole model; its power is static
        unit, bound = 0, COMPUTE_BOUND
        tokens, pairs = own[op.phase, TOKENS], own[op.phase, PAIRS]
        windowed, answers = features[op.windowed][op.phase, PAIRS], own[LOGITS, TOKENS]
        seconds = laws.pipeline_time(op, tokens, pairs, windowed, answers)
    else:
        unit, seconds, bound, launch_s = place(op, asked, own, experts[op.stream], loads, units)
        compute_J, memory_J = joules(op, mean_asked, units[unit])
    return seconds, unit, bound, launch_s, compute_J, memory_J, link_J


@njit(inline="always")
def host_time(sequences: float, machine: Any) -> float:
    """Seconds the host spends on one iteration: some for each, more for each of its sequences.

    Data-parallel groups have a host process each.
    """
    return machine.host_step_s + machine.host_sequence_s * sequences / machine.groups


@njit
def busiest_side(ops: Any, rows: Any, shares: Any, parts: int) -> float:
    """Seconds of the side that works longest in a pass of `parts` parts, each with their shares."""
    longest = 0.0
    for side in range(SIDES):
        total = 0.0
        for part in range(parts):
            for index in range(ops.shape[0]):
                if ops[index].side == side:
                    total += rows[part, index, SECONDS] * shares[part, index]
        longest = max(longest, total)
    return longest


@njit(inline="always")
def step_time(
    seconds: float, microbatches: float, host_s: float, machine: Any, busiest_s: float
) -> float:
    """Seconds of one engine iteration around a pass of one microbatch through all stages.

    Few microbatches take what one needs to pass; as many as there are stages wait for the slowest.
    Where experts are apart, each round trip of all microbatches takes what one takes alone or what
    the busiest side takes for all of them, `busiest_s` in a pass of one; the last microbatch ends
    that much after the first (with a side that is always busy MegaScale-Infer's equation 5).
    """
    if machine.sides > 0.0:
        pace_s = max(seconds, microbatches * busiest_s)
        last_s = (seconds + (microbatches - 1.0) * busiest_s - pace_s) / machine.sides
        return (pace_s + last_s) * machine.slow + host_s
    pace = microbatches * machine.imbalance / machine.stages
    return seconds * machine.slow * max(pace, 1.0) + host_s


@njit(inline="always")
def within_limit(spent_J: float, seconds: float, microbatches: float, machine: Any) -> float:
    """Share of what operators would spend that is left where the devices' power limit holds.

    A device at its limit lowers clock and voltage, so that each operation costs less; the times it
    reaches then are what efficiencies are measured with, so they stay.
    """
    asked_J = spent_J * machine.group * microbatches
    room_J = (machine.limit_W - machine.static_W) * machine.devices * seconds
    return max(room_J, 0.0) / asked_J if asked_J > room_J else 1.0


@njit(inline="always")
def step_energy(spent_J: float, seconds: float, microbatches: float, machine: Any) -> float:
    """Joules of one iteration of a replica: what the passes use and what being on costs."""
    return spent_J * machine.group * microbatches + machine.static_W * machine.devices * seconds


@njit(counted=False)
def candidates(
    ops: Any, features: Any, experts: Any, routing: Any, units: Any, rows: Any, demands: Any,
    costs: Any,
) -> None:  # fmt: skip
    """What one layer of each operator asks for, and what each processor would take for it.

    Fills `demands` [ops, 4]: flops, bytes of weights, KV and activations; and `costs`
    [ops, processors, 5]: seconds of compute, memory and launch, joules of compute and memory; NaN
    for processors that cannot run the operator. Collectives and idle operators stay NaN. A product
    that shares its experts (see `rows`) asks for its part only.
    """
    demands[:] = np.nan
    costs[:] = np.nan
    for index in range(ops.shape[0]):
        op = ops[index]
        own = features[op.stream]
        if op.kind == COLLECTIVE or op.kind == PIPELINE or own[op.phase, TOKENS] <= 0.0:
            continue
        whole = demand(op, own, experts[op.stream])
        flops, weight_B, kv_B, activation_B, _, _, shape, depth = whole
        pairs, weights = rows[index, PAIR_SHARE], rows[index, WEIGHT_SHARE]
        asked = (
            flops * pairs, weight_B * weights, kv_B, activation_B * pairs, 1.0, 1.0, shape, depth,
        )  # fmt: skip
        for part in range(4):
            demands[index, part] = asked[part]
        if op.kind != EXPERTS or op.group < 0:
            asked = whole
        for number in range(units.shape[0]):
            unit = units[number]
            if op.pinned >= 0 and op.group >= 0 and op.pinned != number:
                continue
            if (unit.runs >> op.capability) & 1 == 0 and op.pinned != number:
                continue
            _, compute, memory, fixed = times(
                op, asked, own, experts[op.stream], routing.loads, unit
            )
            joules_c, joules_m = joules(op, asked, unit)
            costs[index, number, COST_COMPUTE_S] = compute
            costs[index, number, COST_MEMORY_S] = memory
            costs[index, number, COST_LAUNCH_S] = fixed + op.launches * unit.launch_s
            costs[index, number, COST_COMPUTE_J] = joules_c
            costs[index, number, COST_MEMORY_J] = joules_m


@njit(counted=False)
def operators(
    ops: Any, which: Any, features: Any, experts: Any, loads: Any, units: Any, links: Any, on: Any,
    out: Any,
) -> None:  # fmt: skip
    """Fill `out` [rows] with the seconds of one layer of one operator a row, each on its own.

    Row i runs `ops[which[i]]` on device `on[i]` of `units` and `links`, with `features[i]`
    [stream, phase, feature] and `experts[i]` [stream, 3].
    """
    for row in range(which.shape[0]):
        op = ops[which[row]]
        asked = demand(op, features[row, op.stream], experts[row, op.stream])
        found = one_layer(
            op, asked, asked, features[row], experts[row], loads, units[on[row]], links[on[row]]
        )
        out[row] = found[0]
