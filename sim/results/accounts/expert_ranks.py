"""Expert ranks of a step: how unevenly they are loaded, what that costs, and what is exchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.engines.roofline import Step, step_of_features
from sim.kernel.experts import loads_are_drawn
from sim.kernel.records import ALL_TO_ALL, COLLECTIVE, TOKENS, TOUCHED, WORST_LOAD, WORST_TOUCHED
from sim.mapping.program import Program
from sim.results.blocks import Block
from sim.results.mean_step import mean_step
from sim.results.quantity import digits, share, si
from sim.simulation.outcomes import Outcomes
from sim.simulation.prepare import Prepared
from sim.workload.routing import popularity

Floats = npt.NDArray[np.float64]


def ranks_of_step(program: Program, step: Step) -> dict[str, Any] | None:
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
        float(step.experts[stream, column]) for column in (TOUCHED, WORST_TOUCHED, WORST_LOAD)
    )
    even = _with_even_ranks(program)
    lost_s = None
    if even is not None:
        features = step.features[: len(program.streams)]
        sequences = 0.0  # host time is the same with any
        kept = step_of_features(even, features, step.microbatches, sequences)
        lost_s = step.seconds - step.host_s - (kept.seconds - kept.host_s)
    mean_B, busiest_B = _exchanged(program, step)
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
        "time_lost_share": None if lost_s is None else lost_s / step.seconds,
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


def _exchanged(program: Program, step: Step) -> tuple[float, float]:
    """Bytes of all-to-all messages of the mean device and the busiest one, all layers."""
    mean_B, busiest_B = 0.0, 0.0
    for op in program.table.records:
        if op["kind"] != COLLECTIVE or op["collective"] != ALL_TO_ALL:
            continue
        size = float(op["message_B_per_token"] * op["layers"])
        busiest = float(step.features[op["stream"], op["phase"], TOKENS])
        mean = float(step.features[op["energy_stream"], op["phase"], TOKENS])
        load = float(step.experts[op["routed"] - 1, WORST_LOAD]) if op["routed"] else 1.0
        mean_B += size * mean
        busiest_B += size * max(busiest, mean * load)
    return mean_B * step.microbatches, busiest_B * step.microbatches


def _rank_loads(program: Program, picked: Floats) -> list[float]:
    """Pairs of every rank over the mean in the long run, the fullest first; mean over layers."""
    ranks = program.layout.ep
    loads = [np.sort(each.shares @ picked)[::-1] * ranks / picked.sum() for each in program.slots]
    return [float(value) for value in np.mean(loads, axis=0)]


def expert_ranks(prepared: Prepared, outcomes: Outcomes) -> Block | None:
    """How unevenly expert-parallel ranks were loaded, and what that cost; None without any.

    Of an iteration with the tokens that the mean one had, of pools with different devices in the
    one that stands for the scenario. `time_lost_s` and `all_to_all_B` are of all iterations, the
    latter summed over all devices.
    """
    group = outcomes.lead
    program = group.prepared.program
    step = mean_step(group) if program.layout.ep > 1 else None
    values = None if step is None else ranks_of_step(program, step)
    if values is None:
        return None
    share_lost = values["time_lost_share"]
    devices = sum(each.iterations for each in group.outcomes) * program.layout.devices
    values["time_lost_s"] = None if share_lost is None else share_lost * group.busy_s
    sent_B = values["all_to_all_B"]["mean_device"] * devices / program.layout.pp
    values["all_to_all_B"] = sent_B
    exchange = f"all-to-all {si(sent_B, 'B')} in all" if sent_B else ""
    return Block(name="expert_ranks", values=values, lines=_lines(values, exchange))


def expert_ranks_of_step(program: Program, step: Step) -> Block | None:
    """The same of one iteration."""
    values = ranks_of_step(program, step)
    if values is None:
        return None
    mean, busiest = (values["all_to_all_B"][f"{which}_device"] for which in ("mean", "busiest"))
    exchange = f"all-to-all {si(mean, 'B')} a device, {si(busiest, 'B')} the busiest"
    return Block(name="expert_ranks", values=values, lines=_lines(values, exchange if mean else ""))


def _lines(values: Mapping[str, Any], exchange: str) -> tuple[str]:
    """How uneven ranks are, what that costs and what they exchange."""
    copies = f", {values['redundant']} redundant experts" if values["redundant"] else ""
    loads = values["rank_loads"]
    sentences = [
        f"{values['ranks']} expert ranks of {values['slots_per_rank']:g} experts "
        f"({values['placement']}{copies}): the busiest has {digits(values['load_imbalance'])} "
        f"times the mean load ({digits(loads[0])} in the long run, the idlest {digits(loads[-1])})"
    ]
    if values["time_lost_s"] is not None:
        sentences.append(
            f"waiting for it costs {si(values['time_lost_s'], 's')} "
            f"({share(values['time_lost_share'])})"
        )
    return ("; ".join([*sentences, *([exchange] if exchange else [])]) + ".",)
