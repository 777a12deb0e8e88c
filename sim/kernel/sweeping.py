"""Design points: a pass over one operator table at many of them.

What operators ask for follows from the batch alone, so it is worked out once for points with the
same batch. A block of points is one function without reference counts (see `compiled.njit`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.kernel.compiled import njit, prange
from sim.kernel.operators import asked_of, demands
from sim.kernel.passes import (
    evaluate,
    host_time,
    one_layer,
    step_energy,
    step_time,
    within_limit,
)
from sim.kernel.prefetch import prefetch
from sim.kernel.records import ASKED, COMPUTE_J, LINK_J, MEMORY_J, ROW_COLUMNS, TOKENS

BLOCK = 256
"""Design points that a thread does in a row."""
AHEAD = 4
"""Points between the one that is worked out and the one whose records are fetched."""


@njit(inline="always")
def pass_time(
    ops: Any, asked: Any, features: Any, experts: Any, routing: Any, units: Any, links: Any
) -> Any:
    """Seconds and joules (one device) of one pass of a table without groups, keeping no rows.

    `asked` [ops, 2, ASKED] as `demands` fills it.
    """
    seconds, spent_J = 0.0, 0.0
    for index in range(ops.shape[0]):
        op = ops[index]
        if features[op.stream, op.phase, TOKENS] <= 0.0:
            continue
        time, _, _, _, compute_J, memory_J, link_J = one_layer(
            op,
            asked_of(asked[index, 0]),
            asked_of(asked[index, 1]),
            features,
            experts,
            routing.loads,
            units,
            links,
        )
        seconds += time * op.layers
        spent_J += (compute_J + memory_J + link_J) * op.layers
    return seconds, spent_J


@njit
def grouped_pass(
    ops: Any, features: Any, experts: Any, routing: Any, units: Any, links: Any
) -> Any:
    """As `pass_time`, of a table with groups."""
    rows = np.empty((ops.shape[0], ROW_COLUMNS))
    chosen = np.empty((ops.shape[0], 2), np.int64)
    seconds = evaluate(ops, features, experts, routing, units, links, rows, chosen)
    spent_J = 0.0
    for index in range(ops.shape[0]):
        spent_J += rows[index, COMPUTE_J] + rows[index, MEMORY_J] + rows[index, LINK_J]
    return seconds, spent_J


@njit(counted=False)
def design_points(
    ops: Any, asked: Any, features: Any, experts: Any, routing: Any, microbatches: Any,
    sequences: Any, units: Any, links: Any, machines: Any, begin: int, end: int, out: Any,
) -> None:  # fmt: skip
    """As `sweep`, of points [begin, end), whose batches' operators ask for `asked`.

    Experts are with attention: sides apart have no sweeps.
    """
    stride = 1 if features.shape[0] > 1 else 0
    grouped = False
    for index in range(ops.shape[0]):
        grouped = grouped or ops[index].group >= 0
    for point in range(begin, end):
        batch = point * stride
        ahead = min(point + AHEAD, end - 1)
        prefetch(units[ahead])
        prefetch(links[ahead])
        if grouped:
            seconds, spent_J = grouped_pass(
                ops, features[batch], experts[batch], routing, units[point], links[point]
            )
        else:
            seconds, spent_J = pass_time(
                ops, asked[batch - begin * stride], features[batch], experts[batch], routing,
                units[point], links[point],
            )  # fmt: skip
        machine = machines[point]
        host_s = host_time(sequences[batch], machine)
        time = step_time(seconds, microbatches[batch], host_s, machine, 0.0)
        out[point, 0] = time
        spent_J *= within_limit(spent_J, time, microbatches[batch], machine)
        out[point, 1] = step_energy(spent_J, time, microbatches[batch], machine)


@njit(parallel=True)
def sweep(
    ops: Any,
    features: Any,
    experts: Any,
    routing: Any,
    microbatches: Any,
    sequences: Any,
    units: Any,
    links: Any,
    machines: Any,
    out: Any,
) -> None:
    """Fill `out` [points, 2] with seconds and joules of one iteration at each design point.

    `units` [points, processors], `links` [points, links], `machines` [points]; `features`,
    `experts` [batches, ...], `microbatches` and `sequences` [batches] have one batch for all points
    or one each.
    """
    stride = 1 if features.shape[0] > 1 else 0
    points = out.shape[0]
    for number in prange((points + BLOCK - 1) // BLOCK):
        begin = np.int64(number) * BLOCK  # prange counts unsigned, which would make sums floats
        end = min(begin + BLOCK, points)
        batch, batches = begin * stride, (end - begin - 1) * stride + 1
        asked = np.empty((batches, ops.shape[0], 2, ASKED))
        for own in range(batches):
            demands(ops, features[batch + own], experts[batch + own], asked[own])
        design_points(
            ops, asked, features, experts, routing, microbatches, sequences, units, links,
            machines, begin, end, out,
        )  # fmt: skip
