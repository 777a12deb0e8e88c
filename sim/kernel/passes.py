"""A whole pass over an operator table, and the iteration around it."""

from __future__ import annotations

import numpy as np

from sim.kernel import laws
from sim.kernel import records as r
from sim.kernel.arrays import Floats, Ints, Records
from sim.kernel.compiled import njit
from sim.kernel.operators import communicate, demand, joules, part_of_experts, place, times
from sim.kernel.records import Cost, Demand, Ops, Pass
from sim.kernel.splitting import members_of, split_experts


@njit
def spread_over_groups(features: Floats, streams: int, groups: float) -> None:
    """Fill features of the busiest and of the mean data-parallel group from those of all groups.

    Rows [0, streams) are of all groups together, what experts see; the next `streams` of the group
    with the most sequences, dealt to groups in turn; the last of the mean group. One group alone
    has only the first rows.
    """
    if features.shape[0] == streams:
        return
    for stream in range(streams):
        for feature in range(4):
            features[streams + stream, r.ALL, feature] = 0.0
        for phase in (r.PREFILL, r.DECODE, r.LOGITS):
            count = features[stream, phase, r.SEQUENCES]
            if phase == r.LOGITS and count == 0.0:  # a token each
                count = features[stream, r.LOGITS, r.TOKENS]
            share = 1.0 / groups
            if count > 0.0:
                share = min(np.ceil(count / groups) / count, 1.0)
            for feature in range(4):
                busiest = features[stream, phase, feature] * share
                features[streams + stream, phase, feature] = busiest
                if phase != r.LOGITS:
                    features[streams + stream, r.ALL, feature] += busiest
        for phase in (r.ALL, r.PREFILL, r.DECODE, r.LOGITS):
            for feature in range(4):
                mean = features[stream, phase, feature] / groups
                features[2 * streams + stream, phase, feature] = mean


@njit(counted=True)
def overlap(run: Pass, leader: int) -> None:
    """Let the rows of a group run at the same time on their units: only the slowest unit counts.

    What decodes goes where the group is done first, which need not be where it alone is fastest.
    """
    ops, rows, chosen = run.ops, run.rows, run.chosen
    members = members_of(ops, leader)
    for index in members:
        if ops[index].phase == r.DECODE and rows[index, r.BUSY_S] > 0.0:
            place_beside(run, index, members)
    slowest, unit = -1.0, -1
    for candidate in range(run.units.shape[0]):
        total = 0.0
        for index in members:
            if chosen[index, r.UNIT] == candidate:
                total += rows[index, r.BUSY_S]
        if total > slowest:
            slowest, unit = total, candidate
    for index in members:
        if chosen[index, r.UNIT] != unit:
            rows[index, r.SECONDS] = 0.0
            rows[index, r.LAUNCH_S] = 0.0


@njit(counted=True)
def place_beside(run: Pass, index: int, members: Ints) -> None:
    """Move row `index` to the unit on which it and the other `members` are done first."""
    op, units, rows, chosen = run.ops[index], run.units, run.rows, run.chosen
    if op.pinned >= 0:
        return
    best, best_s, best_busy = -1, np.inf, np.inf
    features, experts = run.features[op.stream], run.experts[op.stream]
    asked = demand(op, features, experts)
    for number in range(units.shape[0]):
        if (units[number].runs >> op.capability) & 1 == 0:
            continue
        taken = times(op, asked, features, experts, run.routing.loads, units[number])
        busy = taken.busy_s + taken.fixed_s + op.launches * units[number].launch_s
        busy *= op.layers
        finished = 0.0
        for unit in range(units.shape[0]):
            total = busy if unit == number else 0.0
            for other in members:
                if other != index and chosen[other, r.UNIT] == unit:
                    total += rows[other, r.BUSY_S]
            finished = max(finished, total)
        if finished < best_s or (finished == best_s and busy < best_busy):
            best, best_s, best_busy = number, finished, busy
    if best >= 0 and best != chosen[index, r.UNIT]:
        ops = run.ops.copy()
        ops[index].pinned = best
        there = Pass(ops, run.features, run.experts, run.routing, units, run.links, rows, chosen)
        evaluate_row(there, index)


@njit
def evaluate(run: Pass) -> float:
    """Seconds of one pass, without host time; fills the rows and the choices of `run`."""
    ops, rows = run.ops, run.rows
    for index in range(ops.shape[0]):
        if ops[index].group < 0 or ops[index].kind != r.EXPERTS:
            evaluate_row(run, index)
    together(run.routing.masks, run)
    total = 0.0
    for index in range(ops.shape[0]):
        total += rows[index, r.SECONDS]
    return total


@njit
def together(masks: Ints | None, run: Pass) -> None:
    """Settle the rows of groups, whose members work at the same time on several units.

    Without any group `masks` is None, and numba leaves all of this out of what it compiles.
    """
    if masks is None:
        return
    for index in range(run.ops.shape[0]):
        op = run.ops[index]
        if op.group >= 0 and op.leads == 1:
            settle_group(masks, run, index)


@njit(counted=True)
def settle_group(masks: Ints, run: Pass, leader: int) -> None:
    """Settle the rows of the group that `leader` leads."""
    op = run.ops[leader]
    tokens = run.features[op.stream, op.phase, r.TOKENS]
    if op.kind != r.EXPERTS:
        overlap(run, leader)
    elif tokens > 0.0:
        split_experts(masks, run, leader, tokens)
    else:
        for index in members_of(run.ops, leader):
            evaluate_row(run, index)


@njit
def evaluate_row(run: Pass, index: int) -> float:
    """Seconds of all layers of operator `index`; fills its row and choice."""
    op, rows, chosen = run.ops[index], run.rows, run.chosen
    features, experts = run.features[op.stream], run.experts[op.stream]
    for column in range(r.ROW_COLUMNS):
        rows[index, column] = 0.0
    rows[index, r.PAIR_SHARE] = rows[index, r.WEIGHT_SHARE] = 1.0
    if features[op.phase, r.TOKENS] <= 0.0:
        chosen[index, r.UNIT], chosen[index, r.BOUND] = -1, r.OVERHEAD
        return 0.0
    asked = demand(op, features, experts)
    mean = asked
    if op.energy_stream != op.stream:
        mean = demand(op, run.features[op.energy_stream], experts)
    cost = one_layer(run, op, asked, mean)
    rows[index, r.SECONDS] = rows[index, r.BUSY_S] = cost.seconds * op.layers
    rows[index, r.LAUNCH_S] = cost.launch_s * op.layers
    spending = op.layers * op.copies
    rows[index, r.COMPUTE_J] = cost.compute_J * spending
    rows[index, r.MEMORY_J] = cost.memory_J * spending
    rows[index, r.LINK_J] = cost.link_J * spending
    chosen[index, r.UNIT], chosen[index, r.BOUND] = cost.unit, cost.bound
    return rows[index, r.SECONDS]


@njit(inline="always")
def one_layer(run: Pass, op: r.Op, asked: Demand, mean_asked: Demand) -> Cost:
    """What one layer of `op` takes where it runs.

    Time is of what the busiest data-parallel group asks for, energy of the mean one.
    """
    busiest, mean = run.features[op.stream], run.features[op.energy_stream]
    tokens = busiest[op.phase, r.TOKENS]
    unit, bound, launch_s, compute_J, memory_J, link_J = -1, r.LINK_BOUND, 0.0, 0.0, 0.0, 0.0
    if op.kind == r.COLLECTIVE:
        mean_tokens = mean[op.phase, r.TOKENS]
        if op.routed > 0:  # received of all groups, which may be more than is sent
            load = run.experts[op.routed - 1, r.WORST_LOAD]
            tokens = max(tokens, mean_tokens * op.inflow * load)
        seconds, link_J = communicate(op, tokens, mean_tokens, run.links)
    elif op.kind == r.PIPELINE:  # one row for the whole model; its power is static
        unit, bound = 0, r.COMPUTE_BOUND
        pairs, windowed = busiest[op.phase, r.PAIRS], run.features[op.windowed][op.phase, r.PAIRS]
        answers = busiest[r.LOGITS, r.TOKENS]
        seconds = laws.pipeline_time(op.pipeline, tokens, pairs, windowed, answers)
    else:
        unit, seconds, bound, launch_s = place(run, op, asked)
        compute_J, memory_J = joules(op, mean_asked, run.units[unit])
    return Cost(seconds, unit, bound, launch_s, compute_J, memory_J, link_J)


@njit(inline="always")
def host_time(sequences: float, machine: r.Machine) -> float:
    """Seconds the host spends on one iteration: some for each, more for each of its sequences.

    Data-parallel groups have a host process each.
    """
    return machine.host_step_s + machine.host_sequence_s * sequences / machine.groups


@njit
def busiest_side(ops: Ops, rows: Floats, shares: Floats, parts: int) -> float:
    """Seconds of the side that works longest in a pass of `parts` parts, each with their shares."""
    longest = 0.0
    for side in range(r.SIDES):
        total = 0.0
        for part in range(parts):
            for index in range(ops.shape[0]):
                if ops[index].side == side:
                    total += rows[part, index, r.SECONDS] * shares[part, index]
        longest = max(longest, total)
    return longest


@njit(inline="always")
def step_time(
    seconds: float, microbatches: float, host_s: float, machine: r.Machine, busiest_s: float
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
def within_limit(spent_J: float, seconds: float, microbatches: float, machine: r.Machine) -> float:
    """Share of what operators would spend that is left where the devices' power limit holds.

    A device at its limit lowers clock and voltage, so that each operation costs less; the times it
    reaches then are what efficiencies are measured with, so they stay.
    """
    asked_J = spent_J * machine.group * microbatches
    room_J = (machine.limit_W - machine.static_W) * machine.devices * seconds
    return max(room_J, 0.0) / asked_J if asked_J > room_J else 1.0


@njit(inline="always")
def step_energy(spent_J: float, seconds: float, microbatches: float, machine: r.Machine) -> float:
    """Joules of one iteration of a replica: what the passes use and what being on costs."""
    return spent_J * machine.group * microbatches + machine.static_W * machine.devices * seconds


@njit
def candidates(run: Pass, demands: Floats, costs: Floats) -> None:
    """What one layer of each operator asks for, and what each processor would take for it.

    Fills `demands` [ops, 4]: flops, bytes of weights, KV and activations; and `costs`
    [ops, processors, 5]: seconds of compute, memory and launch, joules of compute and memory; NaN
    for processors that cannot run the operator. Collectives and idle operators stay NaN. A product
    that shares its experts (see the pass's rows) asks for its part only.
    """
    demands[:] = np.nan
    costs[:] = np.nan
    for index in range(run.ops.shape[0]):
        op = run.ops[index]
        features, experts = run.features[op.stream], run.experts[op.stream]
        if op.kind == r.COLLECTIVE or op.kind == r.PIPELINE or features[op.phase, r.TOKENS] <= 0.0:
            continue
        asked = demand(op, features, experts)
        share = part_of_experts(
            asked, run.rows[index, r.PAIR_SHARE], run.rows[index, r.WEIGHT_SHARE]
        )
        for part in range(4):
            demands[index, part] = share[part]
        if op.kind == r.EXPERTS and op.group >= 0:
            asked = share
        for number in range(run.units.shape[0]):
            unit = run.units[number]
            if op.pinned >= 0 and op.group >= 0 and op.pinned != number:
                continue
            if (unit.runs >> op.capability) & 1 == 0 and op.pinned != number:
                continue
            taken = times(op, asked, features, experts, run.routing.loads, unit)
            cost = costs[index, number]
            cost[r.COST_COMPUTE_S], cost[r.COST_MEMORY_S] = taken.compute_s, taken.memory_s
            cost[r.COST_LAUNCH_S] = taken.fixed_s + op.launches * unit.launch_s
            compute_J, memory_J = joules(op, asked, unit)
            cost[r.COST_COMPUTE_J], cost[r.COST_MEMORY_J] = (
                compute_J * op.copies,
                memory_J * op.copies,
            )


@njit(counted=True)
def operators(
    ops: Ops, which: Ints, features: Floats, experts: Floats, routing: r.Routing, units: Records,
    links: Records, on: Ints, out: Floats,
) -> None:  # fmt: skip
    """Fill `out` [rows] with the seconds of one layer of one operator a row, each on its own.

    Row i runs `ops[which[i]]` on device `on[i]` of `units` and `links`, with `features[i]`
    [stream, phase, feature] and `experts[i]` [stream, 3].
    """
    rows, chosen = np.empty((1, r.ROW_COLUMNS)), np.empty((1, 2), np.int64)
    for row in range(which.shape[0]):
        op, device = ops[which[row]], on[row]
        run = Pass(
            ops, features[row], experts[row], routing, units[device], links[device], rows, chosen
        )
        asked = demand(op, run.features[op.stream], run.experts[op.stream])
        out[row] = one_layer(run, op, asked, asked).seconds
