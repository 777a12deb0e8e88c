"""Experts of a layer split between two units by memory space, and what the layer takes then."""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.kernel.compiled import njit
from sim.kernel.experts import expert_times, load_of, ramp_s
from sim.kernel.records import (
    BOUND,
    BUSY_S,
    COMPUTE_BOUND,
    COMPUTE_J,
    DRAWS,
    EXACT,
    GIVEN,
    LAUNCH_S,
    MEMORY_BOUND,
    MEMORY_J,
    OVERHEAD,
    PAIR_SHARE,
    ROW_COLUMNS,
    SECONDS,
    SPACES,
    UNIT,
    WEIGHT_SHARE,
)

FIRST, SECOND = range(2)
"""The two units of a group: that of its first product, and the other."""
WORKS, WAITED, LAUNCHES, COMPUTES = range(4)
PARTS = 4
"""Seconds of a product in one batch: its unit works, the layer waits for it, of that launches; and
of the work what is compute-bound."""


@njit
def which_unit(op: Any, head: Any) -> int:
    """FIRST or SECOND: which of the two units product `op` of the group of `head` runs on."""
    return FIRST if op.pinned == head.pinned else SECOND


@njit
def start_s(op: Any, unit: Any) -> float:
    """Seconds before the experts' first byte flows on `unit`: launches and the stream's start."""
    return ramp_s(unit) + waiting_s(op, unit)


@njit
def waiting_s(op: Any, unit: Any) -> float:
    """Seconds of launches, and of what a fitted kernel takes beside its work."""
    fixed_s = unit.experts.fixed_s if unit.fitted == 1 else 0.0
    return op.launches * unit.launch_s + fixed_s


@njit
def split_time(times: Any, starts: Any, loads: Any, spaces: int, mask: int) -> Any:
    """Seconds of the first unit and of the second, which has the spaces whose bits `mask` sets.

    `times` [2, spaces] are seconds of a space's experts on each unit, `starts` [2] what a unit
    takes to begin, `loads` [spaces] token-expert pairs.
    """
    first, second, some_first, some_second = 0.0, 0.0, False, False
    for space in range(spaces):
        if loads[space] <= 0.0:
            continue
        if (mask >> space) & 1:
            second += times[SECOND, space]
            some_second = True
        else:
            first += times[FIRST, space]
            some_first = True
    return (
        first + (starts[FIRST] if some_first else 0.0),
        second + (starts[SECOND] if some_second else 0.0),
    )


@njit
def greedy_split(times: Any, starts: Any, loads: Any, spaces: int) -> int:
    """Spaces to move to the second unit: those with the fewest tokens first, while it helps.

    Duplex (arXiv 2409.01141), section V-B; everything starts on the first unit.
    """
    mask = 0
    first, second = split_time(times, starts, loads, spaces, mask)
    best = max(first, second)
    for _ in range(spaces):
        chosen = -1
        for space in range(spaces):
            left = (mask >> space) & 1 == 0 and loads[space] > 0.0
            if left and (chosen < 0 or loads[space] < loads[chosen]):
                chosen = space
        if chosen < 0:
            break
        moved = mask | (1 << chosen)
        first, second = split_time(times, starts, loads, spaces, moved)
        if max(first, second) >= best:
            break
        best, mask = max(first, second), moved
    return mask


@njit
def exact_split(times: Any, starts: Any, loads: Any, spaces: int) -> int:
    """Spaces on the second unit in the split that takes the least time of all."""
    best_mask, best = 0, np.inf
    for mask in range(1 << spaces):
        first, second = split_time(times, starts, loads, spaces, mask)
        clearly_less = best * (1.0 - 1e-12)  # of equals the first, not what rounding says
        if max(first, second) < clearly_less:
            best_mask, best = mask, max(first, second)
    return best_mask


@njit
def nearest_row(rows: Any, tokens: float) -> int:
    """Index of the value of `rows`, which rise, that is nearest to `tokens`."""
    above = min(np.searchsorted(rows, tokens), rows.shape[0] - 1)
    if above > 0 and tokens - rows[above - 1] < rows[above] - tokens:
        return above - 1
    return above


@njit
def fill_spaces(
    ops: Any, members: Any, tokens: float, loads: Any, units: Any, draw: int, rank: int,
    times: Any, products: Any, computing: Any, pairs: Any, touched: Any,
) -> None:  # fmt: skip
    """What each memory space of one rank asks for and takes in one drawn batch.

    Fills `times` [2, spaces] with seconds on each unit; `products` [members, spaces] with those of
    each product of the group and `computing` with the compute-bound among them; `pairs` and
    `touched` [spaces] with token-expert pairs and experts that have some.
    """
    leader = ops[members[0]]
    ranks = int(leader.ranks)
    spaces = int(leader.spaces)
    for space in range(spaces):
        times[FIRST, space] = times[SECOND, space] = pairs[space] = touched[space] = 0.0
        for member in range(members.shape[0]):
            products[member, space] = computing[member, space] = 0.0
    for index in range(loads.shape[1] // ranks):
        load = load_of(loads, tokens, draw, rank + index * ranks)
        if load <= 0.0:
            continue
        space = index % spaces
        pairs[space] += load
        touched[space] += min(load, 1.0)
        for member in range(members.shape[0]):
            op = ops[members[member]]
            compute, memory = expert_times(op, load, units[op.pinned])
            which = which_unit(op, leader)
            products[member, space] += max(compute, memory)
            times[which, space] += max(compute, memory)
            if compute > memory:
                computing[member, space] += compute


@njit
def members_of(ops: Any, leader: int) -> Any:
    """Rows of the group that `leader` leads."""
    count = 0
    for index in range(leader, ops.shape[0]):
        count += ops[index].group == ops[leader].group
    members = np.empty(count, np.int64)
    count = 0
    for index in range(leader, ops.shape[0]):
        if ops[index].group == ops[leader].group:
            members[count] = index
            count += 1
    return members


@njit
def spaces_of_batches(ops: Any, leader: int, tokens: float, loads: Any, units: Any) -> Any:
    """Token-expert pairs and seconds of the memory spaces of all drawn batches.

    Shapes [draws, ranks, spaces, experts of a space] and [draws, ranks, 2, spaces].
    """
    members = members_of(ops, leader)
    ranks, spaces = int(ops[leader].ranks), int(ops[leader].spaces)
    local = loads.shape[1] // ranks
    own = np.zeros((DRAWS, ranks, spaces, (local + spaces - 1) // spaces))
    times = np.zeros((DRAWS, ranks, 2, spaces))
    products, computing = np.zeros((members.shape[0], spaces)), np.zeros((members.shape[0], spaces))
    pairs, touched = np.zeros(spaces), np.zeros(spaces)
    for draw in range(DRAWS):
        for rank in range(ranks):
            fill_spaces(
                ops, members, tokens, loads, units, draw, rank,
                times[draw, rank], products, computing, pairs, touched,
            )  # fmt: skip
            for index in range(local):
                load = load_of(loads, tokens, draw, rank + index * ranks)
                own[draw, rank, index % spaces, index // spaces] = load
    return own, times


@njit
def split_experts(
    ops: Any, leader: int, tokens: float, routing: Any, units: Any, rows: Any, chosen: Any
) -> None:
    """Fill the rows of a group of expert products that two units share.

    Each product is there once for each unit, pinned to it. The layer takes the slower unit of the
    busiest rank; that unit's products count their time, the other's are done meanwhile.
    """
    loads = routing.loads
    members = members_of(ops, leader)
    count = members.shape[0]
    if tokens <= 0.0:
        for member in range(count):
            row = rows[members[member]]
            for column in range(ROW_COLUMNS):
                row[column] = 0.0
            row[PAIR_SHARE] = row[WEIGHT_SHARE] = 1.0
            chosen[members[member], UNIT] = -1
            chosen[members[member], BOUND] = OVERHEAD
        return
    head = ops[leader]
    spaces, ranks = int(head.spaces), int(head.ranks)
    times, starts = np.zeros((2, SPACES)), np.zeros(2)
    products, computing = np.zeros((count, SPACES)), np.zeros((count, SPACES))
    pairs, touched = np.zeros(SPACES), np.zeros(SPACES)
    worst, found = np.zeros((count, PARTS)), np.zeros((count, PARTS))
    compute_s = np.zeros(count)
    for member in range(count):
        op = ops[members[member]]
        which = which_unit(op, head)
        starts[which] += start_s(op, units[op.pinned])
        for column in range(ROW_COLUMNS):
            rows[members[member], column] = 0.0
    all_touched = 0.0
    for draw in range(DRAWS):
        slowest = -1.0
        for rank in range(ranks):
            fill_spaces(
                ops, members, tokens, loads, units, draw, rank,
                times, products, computing, pairs, touched,
            )  # fmt: skip
            if head.split == GIVEN:
                mask = routing.masks[nearest_row(routing.mask_tokens, tokens), draw, rank]
            elif head.split == EXACT:
                mask = exact_split(times, starts, pairs, spaces)
            else:
                mask = greedy_split(times, starts, pairs, spaces)
            first, second = split_time(times, starts, pairs, spaces, mask)
            for member in range(count):
                op = ops[members[member]]
                which = which_unit(op, head)
                for column in range(PARTS):
                    found[member, column] = 0.0
                for space in range(spaces):
                    if (mask >> space) & 1 == which and pairs[space] > 0.0:
                        found[member, WORKS] += products[member, space]
                        found[member, COMPUTES] += computing[member, space]
                        rows[members[member], PAIR_SHARE] += pairs[space]
                        rows[members[member], WEIGHT_SHARE] += touched[space]
                if found[member, WORKS] > 0.0:
                    found[member, WORKS] += start_s(op, units[op.pinned])
                    if (which == FIRST) == (first >= second):
                        found[member, WAITED] = found[member, WORKS]
                        found[member, LAUNCHES] = waiting_s(op, units[op.pinned])
            for space in range(spaces):
                all_touched += touched[space]
            if max(first, second) > slowest:
                slowest = max(first, second)
                worst, found = found, worst
        for member in range(count):
            rows[members[member], BUSY_S] += worst[member, WORKS]
            rows[members[member], SECONDS] += worst[member, WAITED]
            rows[members[member], LAUNCH_S] += worst[member, LAUNCHES]
            compute_s[member] += worst[member, COMPUTES]
    for member in range(count):
        op = ops[members[member]]
        row = rows[members[member]]
        unit = units[op.pinned]
        mean_pairs, mean_touched = row[PAIR_SHARE] / DRAWS, row[WEIGHT_SHARE] / DRAWS
        bound = COMPUTE_BOUND if compute_s[member] > 0.5 * row[BUSY_S] else MEMORY_BOUND
        for column in (SECONDS, BUSY_S, LAUNCH_S):
            row[column] *= op.layers / DRAWS
        flops = mean_pairs * op.flops_per_token / op.top_k
        row[COMPUTE_J] = flops * unit.J_per_flop[op.arithmetic] * op.layers
        row[MEMORY_J] = op.layers * (
            mean_touched * op.weight_B / op.experts * unit.weights_J_per_B
            + mean_pairs * op.activation_B_per_token / op.top_k * unit.activations_J_per_B
        )
        row[PAIR_SHARE] = mean_pairs / (tokens * op.top_k)
        row[WEIGHT_SHARE] /= all_touched
        chosen[members[member], UNIT] = op.pinned
        chosen[members[member], BOUND] = bound
