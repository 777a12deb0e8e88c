"""Experts of a layer split between two units by memory space, and what the layer takes then."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sim.kernel import records as r
from sim.kernel.arrays import Floats, Ints
from sim.kernel.compiled import njit
from sim.kernel.experts import expert_times, load_of, ramp_s
from sim.kernel.operators import joules
from sim.kernel.records import Demand, Pass

FIRST, SECOND = range(2)
"""The two units of a group: that of its first product, and the other."""
WORKS, WAITED, LAUNCHES, COMPUTES = range(4)
PARTS = 4
"""Seconds of a product in one batch: its unit works, the layer waits for it, of that launches; and
of the work what is compute-bound."""


class Group(NamedTuple):
    """Expert products `members`, rows of `ops`, that `units` share, with `tokens` tokens."""

    ops: r.Ops
    members: Ints
    units: r.Units
    loads: Floats
    tokens: float


class Spaces(NamedTuple):
    """What each memory space of one rank asks for and takes in one drawn batch.

    `times` [2, spaces] are seconds on each unit; `products` [members, spaces] those of each product
    of the group, and `computing` the compute-bound among them; `pairs` and `touched` [spaces] are
    token-expert pairs and experts that have some.
    """

    times: Floats
    products: Floats
    computing: Floats
    pairs: Floats
    touched: Floats


@njit
def which_unit(op: r.Op, head: r.Op) -> int:
    """FIRST or SECOND: which of the two units product `op` of the group of `head` runs on."""
    return FIRST if op.pinned == head.pinned else SECOND


@njit
def start_s(op: r.Op, unit: r.Processor) -> float:
    """Seconds before the experts' first byte flows on `unit`: launches and the stream's start."""
    return ramp_s(unit) + waiting_s(op, unit)


@njit
def waiting_s(op: r.Op, unit: r.Processor) -> float:
    """Seconds of launches, and of what a fitted kernel takes beside its work."""
    fixed_s = unit.experts.fixed_s if unit.fitted == 1 else 0.0
    return op.launches * unit.launch_s + fixed_s


@njit
def split_time(
    times: Floats, starts: Floats, loads: Floats, spaces: int, mask: int
) -> tuple[float, float]:
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
def greedy_split(times: Floats, starts: Floats, loads: Floats, spaces: int) -> int:
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
def exact_split(times: Floats, starts: Floats, loads: Floats, spaces: int) -> int:
    """Spaces on the second unit in the split that takes the least time of all."""
    best_mask, best = 0, np.inf
    for mask in range(1 << spaces):
        first, second = split_time(times, starts, loads, spaces, mask)
        clearly_less = best * (1.0 - 1e-12)  # of equals the first, not what rounding says
        if max(first, second) < clearly_less:
            best_mask, best = mask, max(first, second)
    return best_mask


@njit
def nearest_row(rows: Floats, tokens: float) -> int:
    """Index of the value of `rows`, which rise, that is nearest to `tokens`."""
    above = min(np.searchsorted(rows, tokens), rows.shape[0] - 1)
    if above > 0 and tokens - rows[above - 1] < rows[above] - tokens:
        return above - 1
    return above


@njit
def fill_spaces(group: Group, draw: int, rank: int, room: Spaces) -> None:
    """Fill `room` with what the memory spaces of a rank ask for and take in one drawn batch."""
    ops, members, units, loads, tokens = group
    times, products, computing, pairs, touched = room
    leader = ops[members[0]]
    ranks, spaces = int(leader.ranks), int(leader.spaces)
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


@njit(counted=True)
def members_of(ops: r.Ops, leader: int) -> Ints:
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


@njit(counted=True)
def spaces_of_batches(
    ops: r.Ops, leader: int, tokens: float, loads: Floats, units: r.Units
) -> tuple[Floats, Floats]:
    """Token-expert pairs and seconds of the memory spaces of all drawn batches.

    Shapes [draws, ranks, spaces, experts of a space] and [draws, ranks, 2, spaces].
    """
    members = members_of(ops, leader)
    ranks, spaces = int(ops[leader].ranks), int(ops[leader].spaces)
    local = loads.shape[1] // ranks
    batches = np.zeros((r.DRAWS, ranks, spaces, (local + spaces - 1) // spaces))
    times = np.zeros((r.DRAWS, ranks, 2, spaces))
    group, room = Group(ops, members, units, loads, tokens), empty_spaces(members.shape[0])
    for draw in range(r.DRAWS):
        for rank in range(ranks):
            fill_spaces(group, draw, rank, room)
            times[draw, rank] = room.times[:, :spaces]
            for index in range(local):
                load = load_of(loads, tokens, draw, rank + index * ranks)
                batches[draw, rank, index % spaces, index // spaces] = load
    return batches, times


@njit(counted=True)
def empty_spaces(members: int) -> Spaces:
    """Room for what memory spaces ask for and take, of a group with so many products."""
    return Spaces(
        np.zeros((2, r.SPACES)),
        np.zeros((members, r.SPACES)),
        np.zeros((members, r.SPACES)),
        np.zeros(r.SPACES),
        np.zeros(r.SPACES),
    )


@njit
def choose_split(
    masks: Ints, head: r.Op, nearest: int, draw: int, rank: int, starts: Floats, room: Spaces
) -> int:
    """Spaces of a rank that the second unit has in a drawn batch, as the group of `head` splits.

    A user's policy says it in row `nearest` of `masks`.
    """
    if head.split == r.GIVEN:
        return masks[nearest, draw, rank]
    if head.split == r.EXACT:
        return exact_split(room.times, starts, room.pairs, int(head.spaces))
    return greedy_split(room.times, starts, room.pairs, int(head.spaces))


@njit
def split_rank(
    run: Pass, members: Ints, mask: int, starts: Floats, room: Spaces, seconds: Floats
) -> float:
    """Seconds of the slower unit of one rank in one drawn batch, split as `mask` says.

    Fills `seconds` [members, parts] and adds to the products' pairs and touched experts.
    """
    head = run.ops[members[0]]
    spaces = int(head.spaces)
    first, second = split_time(room.times, starts, room.pairs, spaces, mask)
    for member in range(members.shape[0]):
        op, row = run.ops[members[member]], run.rows[members[member]]
        which = which_unit(op, head)
        for part in range(PARTS):
            seconds[member, part] = 0.0
        for space in range(spaces):
            if (mask >> space) & 1 == which and room.pairs[space] > 0.0:
                seconds[member, WORKS] += room.products[member, space]
                seconds[member, COMPUTES] += room.computing[member, space]
                row[r.PAIR_SHARE] += room.pairs[space]
                row[r.WEIGHT_SHARE] += room.touched[space]
        if seconds[member, WORKS] > 0.0:
            seconds[member, WORKS] += start_s(op, run.units[op.pinned])
            if (which == FIRST) == (first >= second):
                seconds[member, WAITED] = seconds[member, WORKS]
                seconds[member, LAUNCHES] = waiting_s(op, run.units[op.pinned])
    return max(first, second)


@njit(counted=True)
def split_experts(masks: Ints, run: Pass, leader: int, tokens: float) -> None:
    """Fill the rows of a group of expert products that two units share.

    Each product is there once for each unit, pinned to it. The layer takes the slower unit of the
    busiest rank; that unit's products count their time, the other's are done meanwhile.
    """
    members = members_of(run.ops, leader)
    head, count = run.ops[leader], members.shape[0]
    room, starts, compute_s = empty_spaces(count), np.zeros(2), np.zeros(count)
    worst, seconds = np.zeros((count, PARTS)), np.zeros((count, PARTS))
    for index in members:
        op = run.ops[index]
        starts[which_unit(op, head)] += start_s(op, run.units[op.pinned])
        for column in range(r.ROW_COLUMNS):
            run.rows[index, column] = 0.0
    group = Group(run.ops, members, run.units, run.routing.loads, tokens)
    nearest = nearest_row(run.routing.mask_tokens, tokens) if head.split == r.GIVEN else 0
    all_touched = 0.0
    for draw in range(r.DRAWS):
        slowest_s = -1.0
        for rank in range(int(head.ranks)):
            fill_spaces(group, draw, rank, room)
            mask = choose_split(masks, head, nearest, draw, rank, starts, room)
            rank_s = split_rank(run, members, mask, starts, room, seconds)
            for space in range(int(head.spaces)):
                all_touched += room.touched[space]
            if rank_s > slowest_s:
                slowest_s = rank_s
                worst, seconds = seconds, worst
        for member in range(count):
            row = run.rows[members[member]]
            row[r.BUSY_S] += worst[member, WORKS]
            row[r.SECONDS] += worst[member, WAITED]
            row[r.LAUNCH_S] += worst[member, LAUNCHES]
            compute_s[member] += worst[member, COMPUTES]
    for member in range(count):
        settle_row(run, members[member], tokens, compute_s[member], all_touched)


@njit
def settle_row(run: Pass, index: int, tokens: float, compute_s: float, all_touched: float) -> None:
    """Turn the sums over drawn batches in row `index` of a split product into means and joules.

    `compute_s` of its seconds are compute-bound; `all_touched` experts are touched by all ranks.
    """
    op, row = run.ops[index], run.rows[index]
    pairs, touched = row[r.PAIR_SHARE] / r.DRAWS, row[r.WEIGHT_SHARE] / r.DRAWS
    run.chosen[index, r.UNIT] = op.pinned
    compute_bound = compute_s > 0.5 * row[r.BUSY_S]
    run.chosen[index, r.BOUND] = r.COMPUTE_BOUND if compute_bound else r.MEMORY_BOUND
    for column in (r.SECONDS, r.BUSY_S, r.LAUNCH_S):
        row[column] *= op.layers / r.DRAWS
    flops, weight_B = pairs * op.flops_per_token / op.top_k, touched * op.weight_B / op.experts
    activation_B = pairs * op.activation_B_per_token / op.top_k
    asked = Demand(flops, weight_B, 0.0, activation_B, 1.0, 1.0, pairs, 0.0)
    compute_J, memory_J = joules(op, asked, run.units[op.pinned])
    row[r.COMPUTE_J], row[r.MEMORY_J] = compute_J * op.layers, memory_J * op.layers
    row[r.PAIR_SHARE] = pairs / (tokens * op.top_k)
    row[r.WEIGHT_SHARE] /= all_touched
