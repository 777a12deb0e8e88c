"""A model in the metal of a device: its pipeline, and the one operator the kernel sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sim.dtypes import Precision, bytes_per_element
from sim.errors import Infeasible
from sim.graph import CAUSAL, Graph, Kind, Op, Phase, Stream, lower
from sim.hardware import Device, System
from sim.hardware.device import Hardwired
from sim.hardware.hardwired.pipeline import KI, Layer, Pipeline
from sim.hardware.records import fill_machine, link_records
from sim.kernel.records import MACHINE, PROCESSOR, Routing
from sim.mapping.hardwired.grid import Grid, check
from sim.mapping.hardwired.layers import (
    Block,
    blocks,
    kept_elements,
    link_elements,
    logits_elements,
    steps,
)
from sim.mapping.layout import Layout
from sim.mapping.program import Assembly, Choices, Program, stream_records
from sim.workload.routing import Router, coverage_table, locality_table


def line_of(graph: Graph, device: Device, kv_element_B: float) -> Pipeline:
    """The pipeline of `graph` on the chips of `device`, as its switches say.

    Infeasible where the device has another model in its metal, or its grid none of this one.
    """
    chip = device.hardwired
    assert chip is not None
    if graph.name != chip.model:
        raise Infeasible(
            f"{device.title} has {chip.model} in its metal layers and runs nothing else, "
            f"not {graph.name}"
        )
    grid = Grid(rows=chip.rows, columns=chip.columns)
    check(graph, grid)
    line = Pipeline(
        layers=graph.layers,
        collective_s=chip.collective_s,
        operator_s=chip.operator_s,
        non_linear_s=chip.non_linear_s,
        attention_s_per_token=chip.attention_s_per_ki_token / KI,
        shared=chip.vex == "shared",
        kinds=_kinds(graph, grid, chip, kv_element_B),
        buffer_B=chip.buffer_B,
        fetch_B_per_s=chip.fetch_B_per_s,
    )
    return line if chip.links == "calibrated" else _on_links(line, graph, grid, device)


def _kinds(graph: Graph, grid: Grid, chip: Hardwired, kv_element_B: float) -> tuple[Layer, ...]:
    """Layers by kind, equal ones counted together; windows only where the chip uses them."""
    found = list(blocks(graph))
    most = max(kept_elements(block, grid) for block in found)
    counts: dict[Layer, int] = {}
    for block in found:
        kept = kept_elements(block, grid)
        window, chunked = _window(block) if chip.windows else (None, False)
        layer = Layer(
            count=1,
            stages=tuple(step.stage for step in steps(block, graph.hidden, grid)),
            window=window,
            chunked=chunked,
            attention=kept / most,
            held_B=kept * kv_element_B,
        )
        counts[layer] = counts.get(layer, 0) + block["attention_decode"].layers
    return tuple(replace(layer, count=count) for layer, count in counts.items())


def _window(block: Block) -> tuple[int | None, bool]:
    stream = block["attention_decode"].stream
    return stream.window, stream.chunked


def _on_links(line: Pipeline, graph: Graph, grid: Grid, device: Device) -> Pipeline:
    """`line` with collectives of one hop and one message each, over links that all layers share."""
    chip, link = device.hardwired, device.link
    assert chip is not None
    if link is None or chip.link_element_B is None:
        raise Infeasible(
            f"{device.title}: links: first-principles needs the device's `link` and "
            "`hardwired.link_element`, e.g. '2 B'"
        )
    element_s = chip.link_element_B / (link.bandwidth_B_per_s * link.efficiency)
    layers, logits = link_elements(graph, grid), logits_elements(graph, grid)
    busiest = max(layers, key=lambda along: layers[along] + logits[along])
    return replace(
        line,
        collective_s=link.latency_s,
        element_s=element_s,
        link_s=layers[busiest] * element_s,
        answer_s=logits[busiest] * element_s,
    )


def held_by_stream(line: Pipeline) -> dict[Stream, float]:
    """Bytes a chip keeps for a cached token, by the stream that its layers see of a sequence.

    The one that sees most comes first. Infeasible with more than two: the kernel follows two.
    """
    found: dict[Stream, float] = {}
    for layer in sorted(line.different, key=lambda each: -(each.window or float("inf"))):
        stream = replace(CAUSAL, window=layer.window, chunked=layer.chunked)
        found[stream] = found.get(stream, 0.0) + layer.count * layer.held_B
    if len(found) > 2:
        raise Infeasible(
            "layers of a hardwired model have more than two kinds of window "
            f"({', '.join(str(stream.window) for stream in found)}): write windows: false",
            windows=len(found),
        )
    return found


def _shares(line: Pipeline, stream: Stream, held: float) -> dict[str, float]:
    """What layers that see `stream` are of the attention of a line and of its slowest stage."""
    own = [
        each
        for each in line.different
        if (each.window, each.chunked) == (stream.window, stream.chunked)
    ]
    return {
        "in_line": sum(each.count * each.attention for each in own),
        "stage": max(each.attention for each in own),
        "held": held,
    }


def in_metal(graph: Graph, device: Device, kv_element_B: float) -> Graph:
    """`graph` as one operator: tokens that pass, one behind the other, through all its layers.

    Six stages a layer (HNLPU, Fig. 11); every chip holds a part of each position's keys and values.
    """
    line = line_of(graph, device, kv_element_B)
    held = held_by_stream(line)
    wide, *local = held
    every = sum(held.values())
    op = Op(
        name="pipeline",
        kind=Kind.PIPELINE,
        operator_class="fc",
        phase=Phase.ALL,
        stream=wide,
        windowed=local[0] if local else None,
        pipeline={
            "latency_s": line.token_s(0.0),
            "slot_s": max(line.stages(0.0).values()),
            "pair_s": line.attention_s_per_token,
            "spill_s": every / line.fetch_B_per_s,
            "on_chip_pairs": line.buffer_B / every,
            "link_s": line.link_s,
            "answer_s": line.answer_s,
            "shared": float(line.shared),
            **_shares(line, wide, held[wide] / every),
            **{
                f"{name}_windowed": share
                for stream in local
                for name, share in _shares(line, stream, held[stream] / every).items()
            },
        },
    )
    return Graph(name=graph.name, ops=(op,), layers=graph.layers, hidden=graph.hidden)


def _program(
    graph: Graph, system: System, layout: Layout, precision: Precision, choices: Choices
) -> Program:
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
        layout=layout,
        precision=precision,
        router=Router(),
        table=lower(line, replace(precision, experts=None)),
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


IN_METAL = Assembly(
    name="in metal",
    applies=lambda system, choices: system.device.hardwired is not None,
    stages=lambda graph, system, wanted, choices: (wanted.pp or 1,),
    plan=lambda graph, system, wanted, choices: Layout(tp=system.count, pp=1, ep=1, dp=1),
    assemble=_program,
)
