"""Sides: attention on one system, routed experts on another, joined by a link.

MegaScale-Infer (arXiv 2504.02263) and Step-3 (arXiv 2507.19427): microbatches go back and forth, so
that both sides work all the time. To everything but the mapping, the two are one system of devices
that have processors of both sides: a device of the attention side with its part of the other.
"""

from __future__ import annotations

import math
from dataclasses import replace

from sim.dtypes import COMPUTE, Precision
from sim.errors import ConfigError, Infeasible, Problem
from sim.graph import Graph, Kind, Side
from sim.hardware import Device, Processor, System
from sim.hardware.formats import for_weights
from sim.hardware.records import link_records, processor_records, sustained_clock
from sim.mapping.layout import Layout, Parallel, Split
from sim.mapping.parallelism import misplaced, plan
from sim.mapping.program import Assembly, Choices, Program
from sim.mapping.sharded import sharded_program
from sim.operators import OPERATOR_CLASSES

EXPERTS = "experts"
"""The class of operators that the expert side runs."""


def both(attention: System, split: Split, weights: str) -> System:
    """`attention` with a part of the expert side in each device, for `weights` of that format.

    Static power is that of as many devices of the expert side as there are for one of the
    attention side.
    """
    ratio = split.system.count / attention.count
    own, other = for_weights(attention.device, weights), for_weights(split.system.device, weights)
    names = {each.name for each in own.processors}
    device = replace(
        own,
        title=f"{own.title} and {other.title}",
        processors=(
            *(_without_experts(each, own) for each in own.processors),
            *(
                _for_experts(each, other, names)
                for each in other.processors
                if not each.operators or EXPERTS in each.operators
            ),
        ),
        memories=(
            *own.memories,
            *(replace(each, name=f"experts-{each.name}") for each in other.memories),
        ),
        static_W=_sum(own.static_W, other.static_W, ratio),
        tdp_W=_sum(own.tdp_W, other.tdp_W, ratio),
        power=own.power if other.power is not None else None,
    )
    return replace(attention, name=f"{attention.name} + {split.system.name}", device=device)


def _sum(own: float | None, other: float | None, ratio: float) -> float | None:
    return None if own is None or other is None else own + ratio * other


def _clocked(processor: Processor, device: Device) -> Processor:
    """`processor` with the clock that its own device's power limit leaves it."""
    kernels = processor.kernels
    if kernels is None or processor.sustained is not None:
        return processor
    number = device.processors.index(processor)
    peak = float(processor_records(device)[number]["flop_per_s"][COMPUTE.index("fp16")])
    return replace(processor, sustained=sustained_clock(kernels, peak, device.tdp_W))


def _without_experts(processor: Processor, device: Device) -> Processor:
    able = processor.operators or OPERATOR_CLASSES
    rest = tuple(name for name in able if name != EXPERTS)
    return replace(_clocked(processor, device), operators=rest)


def _for_experts(processor: Processor, device: Device, taken: set[str]) -> Processor:
    """`processor` as it runs experts beside those whose names are `taken`."""
    name = processor.name if processor.name not in taken else f"experts-{processor.name}"
    return replace(
        _clocked(processor, device),
        name=name,
        operators=(EXPERTS,),
        weights_memory=f"experts-{processor.weights_memory}",
        kv_memory=f"experts-{processor.kv_memory}",
        activations_memory=f"experts-{processor.activations_memory}",
    )


def lay_out(graph: Graph, attention: System, split: Split, wanted: Parallel) -> Layout:
    """Attention laid out on its own system, experts over all devices of the other.

    Raises ConfigError for what can't be, Infeasible for devices that can't be a side.
    """
    for key, system in (("system", attention), ("split.experts", split.system)):
        if system.device.hardwired is not None:
            raise Infeasible(
                f"{key}: {system.name} has a whole model in its metal and can't be one side of a "
                "split: name a system whose devices have memory for weights, or leave split out"
            )
        if system.coprocessing != "none":
            raise Infeasible(
                f"{key}: processors of {system.name} share experts (coprocessing "
                f"{system.coprocessing}), and on a side of a split they work one after the other: "
                "write coprocessing: none, or leave split out"
            )
    ranks = split.system.count
    experts = max((op.experts for op in graph.ops), default=0)
    copies = 0 if wanted.experts is None else wanted.experts.redundant
    problems: list[Problem] = []
    if not experts:
        message = f"{graph.name} has no routed experts: leave it out"
        problems.append(Problem(path="split", message=message))
    elif copies:
        devices = f"the {ranks} devices of {split.system.name}"
        problems += misplaced(copies, experts, ranks, devices)
    elif experts % ranks:
        even = max(count for count in range(1, ranks) if experts % count == 0)
        message = (
            f"{experts} experts do not go evenly on the {ranks} devices of {split.system.name}: "
            f"take {even} of them, or fill up with copies, parallel.experts: "
            f"{{redundant: {-experts % ranks}}}"
        )
        problems.append(Problem(path="split.experts.count", message=message))
    if wanted.ep not in (1, ranks):
        message = f"experts are over all {ranks} devices of their side: leave ep out"
        problems.append(Problem(path="parallel.ep", message=message))
    for name in ("pp", "dp"):
        if (getattr(wanted, name) or 1) > 1:
            message = "microbatches go between two sides of one replica: leave it out"
            problems.append(Problem(path=f"parallel.{name}", message=message))
    if problems:
        raise ConfigError(problems)
    own = plan(graph, attention, replace(wanted, pp=1, dp=1, ep=1, experts=None))
    if own.stage_devices != attention.count:
        message = (
            f"tp {own.tp} x attention_dp {own.attention_dp} is not the {attention.count} devices "
            f"of {attention.name}, which are all the attention side: write tp and attention_dp "
            f"that make {attention.count}, or a system of {own.stage_devices}"
        )
        raise ConfigError([Problem(path="parallel", message=message)])
    return replace(own, ep=ranks, experts=wanted.experts, expert_devices=ranks)


def needed(link_s: float, side_s: float) -> float:
    """Microbatches that hide the link: 2 (1 + Tc / max(Ta, Te)), MegaScale-Infer, equation 3."""
    return 2.0 * (1.0 + link_s / side_s) if side_s > 0.0 else math.inf


def _program(
    graph: Graph, attention: System, layout: Layout, precision: Precision, choices: Choices
) -> Program:
    """The program of both sides, as one system whose devices have processors of either."""
    assert choices.split is not None
    system = both(attention, choices.split, precision.weights)
    program = sharded_program(graph, system, layout, precision, choices)
    program.machine["stages"] = choices.split.microbatches
    program.machine["sides"] = _round_trips(graph)
    records = program.table.records
    apart = records["side"] == Side.EXPERTS
    records["copies"][apart] = choices.split.system.count / attention.count
    links = link_records(system.device.link, system.network, choices.split.link)
    return replace(program, links=links, split=choices.split)


def _round_trips(graph: Graph) -> int:
    """Layers whose tokens go to the expert side and come back."""
    return sum(op.layers for op in graph.ops if op.kind == Kind.EXPERTS and op.shard == "column")


def _plan(graph: Graph, system: System, wanted: Parallel, choices: Choices) -> Layout:
    assert choices.split is not None
    return lay_out(graph, system, choices.split, wanted)


EXPERTS_APART = Assembly(
    name="experts apart",
    applies=lambda system, choices: choices.split is not None,
    stages=lambda graph, system, wanted, choices: (wanted.pp or 1,),
    plan=_plan,
    assemble=_program,
)
