"""Program: a model on a system, as the arrays that both engines hand to the kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sim.dtypes import COMPUTE, Precision, bytes_per_element
from sim.errors import ConfigError, Infeasible, Problem
from sim.graph import (
    STORED,
    TOTALS,
    Graph,
    Kind,
    Op,
    OpTable,
    Phase,
    Stream,
    lower,
    verify,
    verify_pass,
)
from sim.hardware import System
from sim.hardware.formats import converts, for_weights
from sim.hardware.records import fill_machine, link_records, processor_records
from sim.kernel.records import COLLECTIVE, DRAFT_CACHES, MACHINE, PROCESSOR, STREAM, Routing
from sim.mapping.coprocessing import coprocess, given_masks, memory_spaces, policy_of, runs
from sim.mapping.expert_disaggregation import Split
from sim.mapping.hardwired import held_by_stream, in_metal, line_of
from sim.mapping.layout import Layout
from sim.mapping.parallelism import shard, stage_imbalance
from sim.operators import OPERATOR_CLASSES
from sim.workload.placement import Slots, slots_of
from sim.workload.routing import (
    Router,
    coverage_table,
    default_router,
    load_table,
    locality_table,
    popularity,
)
from sim.workload.speculation import Speculation

Records = npt.NDArray[np.void]

STREAM_KINDS = {"causal": 0, "encoder": 1, "fixed": 2, "generated": 3, "cross": 4}


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """What one replica runs. `graph` is the whole model, `table` what one of its devices does.

    `units` has the device's processors; `links` the node's and the network's; `machine` one
    record. `routing` tells where the model's router sends tokens. `state_B` is what a sequence
    keeps on one device whatever its length. With `speculation` the table has the draft's operators
    too, behind those of the model; `seed` begins the draws of what is accepted.
    """

    graph: Graph
    system: System
    layout: Layout
    precision: Precision
    router: Router
    table: OpTable
    streams: Records
    units: Records
    links: Records
    machine: Records
    routing: Routing
    state_B: float
    slots: tuple[Slots, ...] = ()
    """What expert-parallel ranks hold, of one layer or several."""
    split: Split | None = None
    """Where experts are apart from attention: `system` then has processors of both sides."""
    speculation: Speculation | None = None
    seed: int = 0

    @property
    def ahead(self) -> int:
        """Tokens drafted for a sequence each step; 0 without speculation."""
        return 0 if self.speculation is None else self.speculation.tokens

    @property
    def tokens_per_step(self) -> float:
        """Tokens that a sequence gets a step, on average."""
        return 1.0 if self.speculation is None else self.speculation.tokens_per_step

    @property
    def drafts(self) -> npt.NDArray[np.bool_]:
        """Which operators are the draft's; shape [ops]."""
        return np.array([bool(op.stream.draft) for op in self.table.graph.ops], bool)

    @property
    def feature_rows(self) -> int:
        """Rows of features an iteration has: of all groups; with several, of two more views."""
        return len(self.streams) * (3 if self.layout.attention_dp > 1 else 1)


def assemble(
    graph: Graph,
    system: System,
    layout: Layout,
    precision: Precision,
    *,
    router: Router | None = None,
    placement: Mapping[str, str] | None = None,
    split: Split | None = None,
    seed: int = 0,
    speculation: Speculation | None = None,
    draft: Graph | None = None,
) -> Program:
    """The program of `graph` on one replica of `layout` in `system`; `seed` draws sampled experts.

    Of a `split` the system is of `sides.both`.
    With `speculation` the devices run its `draft` (`workload.speculation.draft_graph`) too.
    Raises Infeasible where the device cannot run, ConfigError for a placement that names no
    processor of the device or no operator class.
    """
    if system.device.hardwired is not None:
        return _in_metal(graph, system, precision)
    units = processor_records(for_weights(system.device, precision.weights))
    units["converts"] = [converts(each, precision.kv) for each in system.device.processors]
    drafted = () if draft is None else draft.ops
    whole = replace(graph, ops=(*graph.ops, *drafted))
    sharded = shard(whole, layout, system).rewrite(_draft_named)
    verify(sharded, "sharding", expert_ranks=layout.ep)
    devices = max(layout.stage_devices, layout.expert_group)
    verify_pass(whole, sharded, "sharding", conserved=tuple(TOTALS), devices=devices)
    shares = system.coprocessing != "none"
    if shares:
        shared = coprocess(sharded, layout, system)
        verify(shared, "co-processing", expert_ranks=layout.ep)
        sharded = verify_pass(sharded, shared, "co-processing", conserved=STORED)
    table = lower(
        sharded,
        weights=precision.weights,
        kv=precision.kv,
        activations=precision.activations,
        experts=precision.experts,
        expert_ranks=layout.ep,
        pinned=_pins(placement or {}, system),
        processors=[processor.name for processor in system.device.processors],
        groups=layout.attention_dp,
        split=policy_of(system) if shares else 0,
        spaces=memory_spaces(system) if shares else 1,
    )
    _check_coverage(table, units, system)
    experts = max((op.experts for op in graph.ops), default=0)
    top_k = max((op.top_k for op in graph.ops), default=0)
    router = router or default_router(experts)
    stage_share = stage_imbalance(graph, layout) / layout.pp
    machine = np.zeros(1, MACHINE)
    machine["devices"], machine["group"] = layout.devices, layout.stage_devices
    machine["groups"] = layout.attention_dp
    machine["stages"], machine["imbalance"] = layout.pp, stage_imbalance(graph, layout)
    if split is not None:
        machine["stages"], machine["sides"] = split.microbatches, _round_trips(graph)
    fill_machine(machine, system.device)
    kv_B = bytes_per_element(precision.kv)
    group_share = stage_share / layout.attention_dp  # a group holds its own sequences only
    loads = np.zeros((1, 0))
    grouped = bool((table.records["group"] >= 0).any())
    masks, mask_tokens = np.zeros((0, 0, 0), np.int64), np.zeros(0)
    slots: tuple[Slots, ...] = ()
    if experts and layout.ep > 1:
        slots = slots_of(layout.experts, popularity(router, experts, top_k), layout.ep, seed)
    if experts and _draws(router, system):
        held = slots[0] if slots and layout.experts is not None else None
        loads = load_table(router, experts, top_k, slots=held, seed=seed)
        if shares and callable(system.split):
            masks, mask_tokens = given_masks(table, loads, units, system)
    return Program(
        graph=graph,
        system=system,
        layout=layout,
        precision=precision,
        router=router,
        table=table,
        streams=stream_records(sharded, kv_B * group_share),
        units=units,
        links=link_records(
            system.device.link, system.network, *([] if split is None else [split.link])
        ),
        machine=machine,
        routing=Routing(
            coverage=coverage_table(
                router, experts, top_k, layout.ep, placement=layout.experts, seed=seed
            ),
            local=locality_table(router, experts, top_k),
            loads=loads,
            masks=masks if grouped else None,
            mask_tokens=mask_tokens,
        ),
        state_B=bytes_per_element(precision.activations)
        * group_share
        * sum(op.state * op.layers for op in sharded.ops if op.phase == Phase.DECODE),
        slots=slots,
        split=split,
        speculation=speculation,
        seed=seed,
    )


def _round_trips(graph: Graph) -> int:
    """Layers whose tokens go to the expert side and come back."""
    return sum(op.layers for op in graph.ops if op.kind == Kind.EXPERTS and op.shard == "column")


def _draft_named(op: Op) -> tuple[Op, ...]:
    """`op`; one of the draft under a name that says so, collectives between devices too."""
    if not op.stream.draft or op.name.startswith("draft."):
        return (op,)
    return (replace(op, name=f"draft.{op.name}"),)


def _in_metal(graph: Graph, system: System, precision: Precision) -> Program:
    """The program of a model hardwired on all chips of `system`."""
    chip = system.device.hardwired
    assert chip is not None
    chips = chip.rows * chip.columns
    if system.count != chips:
        raise Infeasible(
            f"{system.name}: the model is on a grid of {chip.rows} x {chip.columns} chips, not on "
            f"{system.count}",
            chips=chips,
        )
    kv_B = bytes_per_element(precision.kv)
    line = in_metal(graph, system.device, kv_B)
    streams = stream_records(line, 0.0)
    held = held_by_stream(line_of(graph, system.device, kv_B))
    streams["kv_B"] = [held[stream] for stream in line.streams]
    machine = np.zeros(1, MACHINE)
    machine["devices"] = machine["group"] = chips
    machine["stages"] = machine["groups"] = machine["imbalance"] = 1.0
    fill_machine(machine, system.device)
    return Program(
        graph=graph,
        system=system,
        layout=Layout(tp=chips, pp=1, ep=1, dp=1),
        precision=precision,
        router=Router(),
        table=lower(
            line, weights=precision.weights, kv=precision.kv, activations=precision.activations
        ),
        streams=streams,
        units=np.zeros(1, PROCESSOR),
        links=link_records(system.device.link, system.network),
        machine=machine,
        routing=Routing(
            coverage=coverage_table(Router(), 0, 0),
            local=locality_table(Router(), 0, 0),
            loads=np.zeros((1, 0)),
            masks=None,
            mask_tokens=np.zeros(0),
        ),
        state_B=0.0,
    )


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


def stream_records(sharded: Graph, kv_B: float) -> Records:
    """Streams with the bytes one device caches per token of a sequence in each."""
    records = np.zeros(len(sharded.streams), STREAM)
    for record, stream in zip(records, sharded.streams, strict=True):
        record["kind"] = STREAM_KINDS[stream.kind]
        record["window"] = stream.window or 0
        record["chunked"] = int(stream.chunked)
        record["tokens"], record["keep"] = stream.tokens, stream.keep
        record["draft"] = DRAFT_CACHES.index(stream.draft)
        if stream.draft != "shared":
            record["kv_B"] = kv_B * _cached_elements(sharded, stream)
    return records


def _cached_elements(sharded: Graph, stream: Stream) -> float:
    """Elements kept per cached token: a decode operator reads all of what was stored."""
    return sum(
        op.kv_read * op.layers
        for op in sharded.ops
        if op.stream == stream and op.phase == Phase.DECODE
    )
