"""A model in metal: what each chip of a grid holds, and what its collectives carry."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sim.errors import Infeasible
from sim.graph import Graph, Kind, Op, Phase
from sim.hardware import Device
from sim.hardware.hardwired.pipeline import KI, Pipeline


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Chips in rows and columns, each linked to all others of its row and of its column."""

    rows: int
    columns: int

    @property
    def chips(self) -> int:
        """Chips of the grid."""
        return self.rows * self.columns


def _hardwired(op: Op) -> float:
    """Weights of one layer of `op` that become wires: those of products, biases left out."""
    if op.kind == Kind.EXPERTS:
        return float(op.depth * op.width * op.experts)
    if op.kind == Kind.MATMUL:
        return op.flops_per_token / 2.0
    return 0.0


def _replicated(op: Op) -> bool:
    """Every chip has the router: it sees whole tokens."""
    return op.kind == Kind.MATMUL and op.shard == "none"


def weights_per_chip(graph: Graph, grid: Grid) -> float:
    """Hardwired weights of one chip: its slices, and a router of its own.

    The token embedding is a table in memory. Infeasible where experts do not divide over the chips.
    """
    for op in graph.ops:
        if op.experts and op.experts % grid.chips:
            raise Infeasible(
                f"{graph.name}: {op.experts} experts do not divide over {grid.chips} chips",
                experts=op.experts,
                chips=grid.chips,
            )
    return sum(
        _hardwired(op) * op.layers / (1 if _replicated(op) else grid.chips) for op in graph.ops
    )


def weights_of_model(graph: Graph) -> float:
    """Hardwired weights, each once."""
    return sum(_hardwired(op) * op.layers for op in graph.ops)


def router_weights(graph: Graph) -> float:
    """Weights that every chip repeats."""
    return sum(_hardwired(op) * op.layers for op in graph.ops if _replicated(op))


def weights_per_token(graph: Graph) -> float:
    """Hardwired weights that one token's products use: of experts, those it is sent to."""
    return sum(
        _hardwired(op) * op.layers * (op.top_k / op.experts if op.experts else 1.0)
        for op in graph.ops
    )


def collective_elements(graph: Graph, grid: Grid) -> dict[str, float]:
    """Elements of the collective phases of one layer, by name (HNLPU, section 3.1)."""
    qkv = next(op for op in graph.ops if op.name == "qkv")
    queries, keys = qkv.width / grid.columns, qkv.kv_width / grid.columns
    slice_ = graph.hidden / grid.columns
    return {
        "sum over a row": float(graph.hidden),
        "sum over a column": float(graph.hidden),
        "queries and keys": queries + keys,
        "attention output": queries,
        "output projection, row": slice_,
        "output projection, gather": slice_,
    }


def in_metal(graph: Graph, device: Device, kv_element_B: float) -> Graph:
    """`graph` as one operator: tokens that pass, one behind the other, through all its layers.

    Six stages a layer (HNLPU, Fig. 11); every chip holds a part of each position's keys and values.
    Infeasible where the device has another model in its metal.
    """
    chip = device.hardwired
    assert chip is not None
    if graph.name != chip.model:
        raise Infeasible(
            f"{device.title} has {chip.model} in its metal layers and runs nothing else, "
            f"not {graph.name}"
        )
    layers = graph.layers
    pipeline = Pipeline(
        layers=layers,
        collective_s=chip.collective_s,
        operator_s=chip.operator_s,
        non_linear_s=chip.non_linear_s,
        attention_s_per_token=chip.attention_s_per_ki_token / KI,
    )
    held = graph.kv_bytes_per_token("int8") * kv_element_B / (chip.rows * chip.columns)
    op = Op(
        name="pipeline",
        kind=Kind.PIPELINE,
        operator_class="fc",
        phase=Phase.ALL,
        pipeline={
            "latency_s": pipeline.token_s(0.0),
            "slot_s": pipeline.slot_s(0.0),
            "pair_s": pipeline.attention_s_per_token,
            "spill_s": held / chip.fetch_B_per_s,
            "on_chip_pairs": chip.buffer_B / held,
            "in_line": float(layers),
        },
    )
    return Graph(name=graph.name, ops=(op,), layers=layers, hidden=graph.hidden)


def chips_needed(graph: Graph, mm2_per_weight: float, other_mm2: float, reticle_mm2: float) -> int:
    """Chips a model needs where none is larger than the reticle; Infeasible where none fits."""
    room = reticle_mm2 - other_mm2
    if room <= 0.0:
        raise Infeasible(
            f"blocks beside the weights take {other_mm2:g} mm2, the reticle has {reticle_mm2:g}",
            other_mm2=other_mm2,
            reticle_mm2=reticle_mm2,
        )
    return math.ceil(weights_of_model(graph) * mm2_per_weight / room)
