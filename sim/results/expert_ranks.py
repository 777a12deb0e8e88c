"""Expert ranks of a step: how unevenly they are loaded, what that costs, and what is exchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sim.engines.roofline import Step, step_of_features
from sim.kernel.experts import loads_are_drawn
from sim.kernel.records import ALL_TO_ALL, COLLECTIVE, TOKENS, TOUCHED, WORST_LOAD, WORST_TOUCHED
from sim.mapping.program import Program
from sim.results.mean_step import mean_step
from sim.workload.routing import popularity

if TYPE_CHECKING:
    from sim.simulation.replica_groups import Part

Floats = npt.NDArray[np.float64]


def expert_ranks(program: Program, done: Step) -> dict[str, Any] | None:
    """What expert-parallel ranks have of one iteration, as `sim explain --json` gives it.

    None without such ranks. `load_imbalance` is the busiest rank's token-expert pairs over the mean
    rank's at this many tokens, `rank_loads` every rank's in the long run, the fullest first.
    `time_lost_s` is what the iteration would save with all ranks alike, None where loads are drawn
    expert by expert. `all_to_all_B` is what one device has in an exchange, all layers.
    """
    layout = program.layout
    index = next((n for n, op in enumerate(program.table.graph.ops) if op.experts), None)
    if layout.ep == 1 or index is None:
        return None
    op, stream = program.table.graph.ops[index], int(program.table.records["stream"][index])
    touched, most_touched, imbalance = (
        float(done.experts[stream, column]) for column in (TOUCHED, WORST_TOUCHED, WORST_LOAD)
    )
    even = _with_even_ranks(program)
    lost_s = None
    if even is not None:
        features = done.features[: len(program.streams)]
        sequences = 0.0  # host time is the same with any
        kept = step_of_features(even, features, done.microbatches, sequences)
        lost_s = done.seconds - done.host_s - (kept.seconds - kept.host_s)
    mean_B, busiest_B = _exchanged(program, done)
    return {
        "ranks": layout.ep,
        "placement": "dealt" if layout.experts is None else layout.experts.placement,
        "redundant": layout.redundant,
        "slots_per_rank": (op.experts + layout.redundant) / layout.ep,
        "load_imbalance": imbalance,
        "rank_loads": _rank_loads(program, popularity(program.router, op.experts, op.top_k)),
        "experts_touched": touched,
        "experts_touched_on_busiest_rank": most_touched,
        "time_lost_s": lost_s,
        "time_lost_share": None if lost_s is None else lost_s / done.seconds,
        "all_to_all_B": {"mean_device": mean_B, "busiest_device": busiest_B},
    }


def _with_even_ranks(program: Program) -> Program | None:
    """`program` with every rank the mean one; None where loads are drawn."""
    routing = program.routing
    if loads_are_drawn(routing.loads):
        return None
    coverage = routing.coverage.copy()
    coverage[:, 1 + WORST_TOUCHED] = coverage[:, 1 + TOUCHED] / program.layout.ep
    coverage[:, 1 + WORST_LOAD] = 1.0
    return replace(program, routing=routing._replace(coverage=coverage))


def _exchanged(program: Program, done: Step) -> tuple[float, float]:
    """Bytes of all-to-all messages of the mean device and the busiest one, all layers."""
    mean_B, busiest_B = 0.0, 0.0
    for op in program.table.records:
        if op["kind"] != COLLECTIVE or op["collective"] != ALL_TO_ALL:
            continue
        size = float(op["message_B_per_token"] * op["layers"])
        own = float(done.features[op["stream"], op["phase"], TOKENS])
        mean = float(done.features[op["energy_stream"], op["phase"], TOKENS])
        load = float(done.experts[op["routed"] - 1, WORST_LOAD]) if op["routed"] else 1.0
        mean_B += size * mean
        busiest_B += size * max(own, mean * load)
    return mean_B * done.microbatches, busiest_B * done.microbatches


def _rank_loads(program: Program, picked: Floats) -> list[float]:
    """Pairs of every rank over the mean in the long run, the fullest first; mean over layers."""
    ranks = program.layout.ep
    loads = [np.sort(each.shares @ picked)[::-1] * ranks / picked.sum() for each in program.slots]
    return [float(value) for value in np.mean(loads, axis=0)]


def mean_ranks(part: Part) -> Mapping[str, Any] | None:
    """As `expert_ranks`, of a run: of an iteration with the tokens that its mean one had.

    `time_lost_s` and `all_to_all_B` are of all iterations, the latter summed over all devices.
    """
    program = part.prepared.program
    done = mean_step(part) if program.layout.ep > 1 else None
    if done is None:
        return None
    found = expert_ranks(program, done)
    if found is None:
        return None
    share = found["time_lost_share"]
    devices = sum(each.iterations for each in part.outcomes) * program.layout.devices
    return found | {
        "time_lost_s": None if share is None else share * part.busy_s,
        "all_to_all_B": found["all_to_all_B"]["mean_device"] * devices / program.layout.pp,
    }
