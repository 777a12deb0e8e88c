"""Design points: a pass over one operator table at many of them.

What operators ask for follows from the batch alone, so it is worked out once for points with the
same batch. A block of points is one function without reference counts (see `compiled.njit`).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from sim.kernel import passes
from sim.kernel import records as r
from sim.kernel.arrays import Floats, Ints, Records, Table
from sim.kernel.compiled import njit, prange
from sim.kernel.operators import demand
from sim.kernel.prefetch import prefetch
from sim.kernel.records import Demand, Ops, Pass, Routing

BLOCK = 256
"""Design points that a thread does in a row."""
AHEAD = 4
"""Points between the one that is worked out and the one whose records are fetched."""
ASKED: Final = len(Demand._fields)


class Space(NamedTuple):
    """Design points and the batches that run on them: see `sweep`."""

    ops: Ops
    features: Floats
    experts: Floats
    routing: Routing
    microbatches: Floats
    sequences: Floats
    units: Records
    links: Records
    machines: Table[r.Machine]


class Room(NamedTuple):
    """Room to work in: what operators ask for [batches, ops, 2, ASKED], and of one point the rest.

    `rows` [ops, columns] and `chosen` [ops, 2] as a `Pass` has them.
    """

    asked: Floats
    rows: Floats
    chosen: Ints


@njit
def demands(ops: Ops, features: Floats, experts: Floats, out: Floats) -> None:
    """Fill `out` [ops, 2, ASKED] with what operators of the busiest group ask for, and the mean."""
    for index in range(ops.shape[0]):
        op = ops[index]
        for view in range(2):
            stream = op.energy_stream if view == 1 else op.stream
            asked = demand(op, features[stream], experts[op.stream])
            for part in range(ASKED):
                out[index, view, part] = asked[part]


@njit(inline="always")
def demand_of(row: Floats) -> Demand:
    """A demand from a row of those that `demands` filled in."""
    return Demand(row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7])


@njit(inline="always")
def pass_time(run: Pass, asked: Floats) -> tuple[float, float]:
    """Seconds and joules (one device) of one pass of a table without groups, keeping no rows.

    `asked` [ops, 2, ASKED] as `demands` fills it.
    """
    seconds, spent_J = 0.0, 0.0
    for index in range(run.ops.shape[0]):
        op = run.ops[index]
        if run.features[op.stream, op.phase, r.TOKENS] <= 0.0:
            continue
        busiest, mean = demand_of(asked[index, 0]), demand_of(asked[index, 1])
        cost = passes.one_layer(run, op, busiest, mean)
        seconds += cost.seconds * op.layers
        spent_J += (cost.compute_J + cost.memory_J + cost.link_J) * op.layers
    return seconds, spent_J


@njit
def grouped_pass(run: Pass) -> tuple[float, float]:
    """As `pass_time`, of a table with groups."""
    seconds, spent_J = passes.evaluate(run), 0.0
    for index in range(run.ops.shape[0]):
        spent_J += run.rows[index, r.COMPUTE_J] + run.rows[index, r.MEMORY_J]
        spent_J += run.rows[index, r.LINK_J]
    return seconds, spent_J


@njit
def design_points(space: Space, room: Room, begin: int, end: int, out: Floats) -> None:
    """As `sweep`, of points [begin, end); experts are with attention, as sides have no sweeps."""
    ops, features, experts, routing = space.ops, space.features, space.experts, space.routing
    asked, rows, chosen = room
    stride = 1 if features.shape[0] > 1 else 0
    grouped = False
    for index in range(ops.shape[0]):
        grouped = grouped or ops[index].group >= 0
    for point in range(begin, end):
        batch = point * stride
        units, links = space.units[point], space.links[point]
        ahead = min(point + AHEAD, end - 1)
        prefetch(space.units[ahead])
        prefetch(space.links[ahead])
        run = Pass(ops, features[batch], experts[batch], routing, units, links, rows, chosen)
        if grouped:
            seconds, spent_J = grouped_pass(run)
        else:
            seconds, spent_J = pass_time(run, asked[batch - begin * stride])
        machine, microbatches = space.machines[point], space.microbatches[batch]
        host_s = passes.host_time(space.sequences[batch], machine)
        time = passes.step_time(seconds, microbatches, host_s, machine, 0.0)
        out[point, 0] = time
        spent_J *= passes.within_limit(spent_J, time, microbatches, machine)
        out[point, 1] = passes.step_energy(spent_J, time, microbatches, machine)


@njit(parallel=True, counted=True)
def sweep(
    ops: Ops, features: Floats, experts: Floats, routing: Routing, microbatches: Floats,
    sequences: Floats, units: Records, links: Records, machines: Table[r.Machine], out: Floats,
) -> None:  # fmt: skip
    """Fill `out` [points, 2] with seconds and joules of one iteration at each design point.

    `units` [points, processors], `links` [points, links], `machines` [points]; `features`,
    `experts` [batches, ...], `microbatches` and `sequences` [batches] have one batch for all points
    or one each.
    """
    stride = 1 if features.shape[0] > 1 else 0
    points, operators = out.shape[0], ops.shape[0]
    for number in prange((points + BLOCK - 1) // BLOCK):
        # prange counts unsigned, which would make sums floats
        begin: int = np.int64(number) * BLOCK  # type: ignore[assignment]
        end = min(begin + BLOCK, points)
        batch, batches = begin * stride, (end - begin - 1) * stride + 1
        asked = np.empty((batches, operators, 2, ASKED))
        for row in range(batches):
            demands(ops, features[batch + row], experts[batch + row], asked[row])
        room = Room(asked, np.empty((operators, r.ROW_COLUMNS)), np.empty((operators, 2), np.int64))
        space = Space(
            ops, features, experts, routing, microbatches, sequences, units, links, machines
        )
        design_points(space, room, begin, end, out)
