"""Sharded: a model spread over equal devices, each operator on the unit where it is fastest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sim.dtypes import COMPUTE, Precision, bytes_per_element
from sim.errors import ConfigError, Infeasible, Problem
from sim.graph import TOTALS, Graph, Op, OpTable, Phase, lower, verify, verify_pass
from sim.hardware import System
from sim.hardware.formats import converts, for_weights
from sim.hardware.records import fill_machine, link_records, processor_records
from sim.kernel.records import COLLECTIVE, MACHINE, Routing
from sim.mapping.coprocessing import runs
from sim.mapping.layout import Layout, Parallel
from sim.mapping.parallelism import plan, shard, stage_imbalance
from sim.mapping.program import Assembly, Choices, Program, Records, stream_records
from sim.operators import OPERATOR_CLASSES
from sim.workload.expert_slots import Slots, slots_of
from sim.workload.routing import (
    Router,
    coverage_table,
    default_router,
    load_table,
    locality_table,
    popularity,
)


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """How two units of a device share its operators: a rewrite, a policy, and memory spaces."""

    rewrite: Callable[[Graph], Graph] = lambda graph: graph
    policy: int = 0
    spaces: int = 1


def sharded_program(
    graph: Graph,
    system: System,
    layout: Layout,
    precision: Precision,
    choices: Choices,
    sharing: Sharing | None = None,
) -> Program:
    """The program of `graph` on one replica of `layout` in `system`.

    Raises Infeasible where the device cannot run, ConfigError for a placement that names no
    processor of the device or no operator class.
    """
    sharing = sharing or Sharing()
    units = processor_records(for_weights(system.device, precision.weights))
    processors = system.device.processors
    units["converts"] = [converts(processor, precision.kv) for processor in processors]
    sharded = sharing.rewrite(_sharded(graph, system, layout, choices.draft))
    table = lower(
        sharded,
        precision,
        expert_ranks=layout.ep,
        pinned=_pins(choices.placement, system),
        processors=[processor.name for processor in processors],
        groups=layout.attention_dp,
        split=sharing.policy,
        spaces=sharing.spaces,
    )
    _check_coverage(table, units, system)
    experts = max((op.experts for op in graph.ops), default=0)
    top_k = max((op.top_k for op in graph.ops), default=0)
    router = choices.router or default_router(experts)
    slots: tuple[Slots, ...] = ()
    if experts and layout.ep > 1:
        shares = popularity(router, experts, top_k)
        slots = slots_of(layout.experts, shares, layout.ep, choices.seed)
    loads = np.zeros((1, 0))
    if experts and _draws(router, system):
        placed = slots[0] if slots and layout.experts is not None else None
        loads = load_table(router, experts, top_k, slots=placed, seed=choices.seed)
    # a group holds its own sequences only
    group_share = stage_imbalance(graph, layout) / layout.pp / layout.attention_dp
    states = (op.state * op.layers for op in sharded.ops if op.phase == Phase.DECODE)
    grouped = bool((table.records["group"] >= 0).any())
    return Program(
        graph=graph,
        system=system,
        layout=layout,
        precision=precision,
        router=router,
        table=table,
        streams=stream_records(sharded, bytes_per_element(precision.kv) * group_share),
        units=units,
        links=link_records(system.device.link, system.network),
        machine=_machine(graph, system, layout),
        routing=Routing(
            coverage=coverage_table(
                router, experts, top_k, layout.ep, placement=layout.experts, seed=choices.seed
            ),
            local=locality_table(router, experts, top_k),
            loads=loads,
            masks=np.zeros((0, 0, 0), np.int64) if grouped else None,
            mask_tokens=np.zeros(0),
        ),
        state_B=bytes_per_element(precision.activations) * group_share * sum(states),
        slots=slots,
        speculation=choices.speculation,
        seed=choices.seed,
    )


def _sharded(graph: Graph, system: System, layout: Layout, draft: Graph | None) -> Graph:
    """What one device runs of `graph`, and of the `draft` behind it."""
    whole = replace(graph, ops=(*graph.ops, *(() if draft is None else draft.ops)))
    sharded = shard(whole, layout, system).rewrite(_draft_named)
    verify(sharded, "sharding", expert_ranks=layout.ep)
    devices = max(layout.stage_devices, layout.expert_group)
    return verify_pass(whole, sharded, "sharding", conserved=tuple(TOTALS), devices=devices)


def _machine(graph: Graph, system: System, layout: Layout) -> Records:
    machine = np.zeros(1, MACHINE)
    machine["devices"], machine["group"] = layout.devices, layout.stage_devices
    machine["groups"] = layout.attention_dp
    machine["stages"], machine["imbalance"] = layout.pp, stage_imbalance(graph, layout)
    fill_machine(machine, system.device)
    return machine


def _draft_named(op: Op) -> tuple[Op, ...]:
    """`op`; one of the draft under a name that says so, collectives between devices too."""
    if not op.stream.draft or op.name.startswith("draft."):
        return (op,)
    return (replace(op, name=f"draft.{op.name}"),)


def _draws(router: Router, system: System) -> bool:
    """Whether the loads of experts are drawn one by one rather than taken as expectations."""
    if router.kind == "coverage":
        if system.coprocessing != "none":
            message = (
                "co-processing needs the load of each expert, which a coverage table doesn't have: "
                "write kind uniform, zipf or correlated"
            )
            raise ConfigError([Problem(path="router.kind", message=message)])
        return False
    able = [each for each in system.device.processors if runs(each, "experts")]
    return router.draw == "sampled" or len(able) > 1


def _pins(placement: Mapping[str, str], system: System) -> dict[str, int]:
    names = [processor.name for processor in system.device.processors]
    problems = [
        Problem(
            path=f"placement.{name}", message=f"unknown class; known: {', '.join(OPERATOR_CLASSES)}"
        )
        for name in placement
        if name not in OPERATOR_CLASSES
    ]
    problems += [
        Problem(
            path=f"placement.{name}",
            message=f"{system.device.title} has no processor {target}; it has {', '.join(names)}",
        )
        for name, target in placement.items()
        if target not in names
    ]
    for name, target in placement.items():
        able = [each.name for each in system.device.processors if runs(each, name)]
        if name in OPERATOR_CLASSES and target in names and target not in able:
            message = f"{target} doesn't run {name} here; {' and '.join(able) or 'nothing'} does"
            problems.append(Problem(path=f"placement.{name}", message=message))
    if "experts" in placement and system.coprocessing != "none":
        message = f"coprocessing {system.coprocessing} decides where experts run: leave it out"
        problems.append(Problem(path="placement.experts", message=message))
    if problems:
        raise ConfigError(problems)
    return {name: names.index(target) for name, target in placement.items()}


def _check_coverage(table: OpTable, units: Records, system: System) -> None:
    """ConfigError where no processor of the device runs a class of operator of the model.

    Infeasible where those that do have no peak for its arithmetic: its time would not be a number.
    """
    for op, record in zip(table.graph.ops, table.records, strict=True):
        if record["kind"] == COLLECTIVE:
            continue
        able = [
            unit
            for index, unit in enumerate(units)
            if (record["pinned"] < 0 and (int(unit["runs"]) >> int(record["capability"])) & 1)
            or record["pinned"] == index
        ]
        if not able:
            message = f"no processor of {system.device.title} runs {op.operator_class}"
            raise ConfigError([Problem(path="system", message=message)])
        arithmetic = int(record["arithmetic"])
        if all(np.isnan(unit["flop_per_s"][arithmetic]) for unit in able):
            raise Infeasible(
                f"{system.device.title}: no processor that runs {op.operator_class} computes in "
                f"{(*COMPUTE, 'vector')[arithmetic]}, which these number formats need"
            )


def _stages(graph: Graph, system: System, wanted: Parallel, choices: Choices) -> Sequence[int]:
    """Numbers of pipeline stages to try: the one asked for, or 1, 2, 4 ... where it is open."""
    if wanted.pp is not None or choices.draft is not None:
        return (wanted.pp or 1,)
    most = min(system.count, graph.layers)
    return [2**power for power in range(most.bit_length()) if 2**power <= most]


SHARDED = Assembly(
    name="sharded",
    applies=lambda system, choices: True,
    stages=_stages,
    plan=lambda graph, system, wanted, choices: plan(graph, system, wanted),
    assemble=sharded_program,
)
