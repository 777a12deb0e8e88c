"""Lowering: a graph as an operator table, the arrays that the kernel reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim.dtypes import COMPUTE, Grouped, Precision, arithmetic, bytes_per_element, conversions
from sim.graph.graph import Graph
from sim.graph.operator import COLLECTIVES, Kind, Op, Phase, Side, Stream, weight_dtype
from sim.kernel.records import OP, VECTOR
from sim.operators import OPERATOR_CLASSES


@dataclass(frozen=True, kw_only=True, eq=False)
class OpTable:
    """A graph as arrays: row i of `records` (`OP`) is `graph.ops[i]`."""

    graph: Graph
    records: npt.NDArray[np.void]

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Streams in the order the records number them."""
        return self.graph.streams


def lower(
    graph: Graph,
    precision: Precision,
    *,
    expert_ranks: int = 1,
    pinned: Mapping[str, int] | None = None,
    processors: Sequence[str] = (),
    groups: int = 1,
    split: int = 0,
    spaces: int = 1,
) -> OpTable:
    """The operator table of `graph` in the number formats of `precision`.

    `pinned` maps operator classes to the index of the processor that must run them; `processors`
    are the names that operators may ask for. `groups` data-parallel groups share the experts;
    `split` is how two processors share those of a device, which lie in `spaces` memory spaces.
    """
    records = np.zeros(len(graph.ops), OP)
    streams = {stream: index for index, stream in enumerate(graph.streams)}
    concurrent = list(dict.fromkeys(op.concurrent for op in graph.ops if op.concurrent))
    leaders: set[str] = set()
    kv, activations = precision.kv, precision.activations
    activation_B = bytes_per_element(activations)
    kv_B = bytes_per_element(kv)
    for record, op in zip(records, graph.ops, strict=True):
        dtype = weight_dtype(op, precision.weights, precision.experts)
        record["kind"], record["phase"] = op.kind, op.phase
        record["stream"] = record["energy_stream"] = streams[op.stream]
        if groups > 1 and not op.all_groups:
            record["stream"] += len(streams)
            record["energy_stream"] += 2 * len(streams)
        record["group"] = concurrent.index(op.concurrent) if op.concurrent else -1
        record["leads"] = int(op.concurrent not in leaders)
        record["drafts"] = int(op.stream.draft != "")
        leaders |= {op.concurrent} - {""}
        record["split"], record["spaces"] = split, spaces
        record["side"] = op.side
        record["arithmetic"] = _arithmetic(op, dtype, kv, activations)
        record["layers"], record["launches"], record["copies"] = op.layers, op.launches, 1.0
        record["pinned"] = (pinned or {}).get(op.operator_class, -1)
        if op.processor:
            record["pinned"] = processors.index(op.processor)
        if op.kind == Kind.PIPELINE:
            record["moves"] = 1
            record["windowed"] = streams[op.windowed or op.stream]
            for name, value in (op.pipeline or {}).items():
                record["pipeline"][name] = value
            continue
        if op.kind == Kind.COLLECTIVE:
            record["link"] = 1 if op.across_nodes else 2 if op.side != Side.ATTENTION else 0
            record["message_B_per_token"] = op.message * activation_B
            record["steps"], record["factor"] = collective_terms(op.collective, op.group)
            record["collective"], record["ranks"] = COLLECTIVES.index(op.collective), op.group
            record["routed"] = 1 + streams[op.stream] if op.routed else 0
            record["inflow"] = op.inflow
            continue
        record["capability"] = OPERATOR_CLASSES.index(op.operator_class)
        record["flops_per_token"] = op.flops_per_token
        record["flops_per_pair"] = op.flops_per_pair
        record["flops_per_cached"] = op.flops_per_cached
        weight_B = op.weights * bytes_per_element(dtype)
        if op.kind == Kind.GATHER:
            record["weight_B_per_token"] = op.inputs * bytes_per_element(dtype)
        else:
            record["weight_B"] = weight_B
        traffic = op.outputs if op.kind == Kind.GATHER else op.inputs + op.outputs
        record["activation_B_per_token"] = traffic * activation_B
        record["kv_B_per_cached"] = op.kv_read * kv_B
        record["kv_B_per_token"] = op.kv_write * kv_B
        if op.kind == Kind.ATTENTION:
            record["convert_per_kv_B"] = conversions(kv) / kv_B
        record["state_B_per_sequence"] = 2.0 * op.state * activation_B  # read and written back
        record["heads"], record["kv_heads"] = op.heads, op.kv_heads
        record["latent"] = int(op.kind == Kind.ATTENTION and op.depth != op.width)
        record["width"] = op.width + op.kv_width
        record["experts"], record["top_k"] = op.experts, op.top_k
        record["ranks"] = expert_ranks
        record["moves"] = int(
            op.phase == Phase.DECODE and (op.kv_read > 0 or op.flops_per_pair > 0)
        )
    return OpTable(graph=graph, records=records)


def _arithmetic(op: Op, weights: str, kv: str | Grouped, activations: str) -> int:
    if op.kind in (Kind.VECTOR, Kind.SCAN, Kind.GATHER, Kind.COLLECTIVE, Kind.PIPELINE):
        return VECTOR
    operand = kv if op.kind == Kind.ATTENTION else weights
    return COMPUTE.index(arithmetic(operand, activations))


def collective_terms(collective: str, group: int) -> tuple[list[float], list[float]]:
    """Hops and bytes sent per byte of message, by ring, tree and direct exchange.

    Thakur, Rabenseifner, Gropp, "Optimization of Collective Communication Operations in MPICH",
    IJHPCA 19(1), 2005. The tree pipelines chunks, so it sends the message up and down once each;
    the direct all-reduce is a reduce-scatter and an all-gather among devices that all see each
    other (a switch), two hops whatever their number.
    """
    others = group - 1
    share = others / group
    levels = math.ceil(math.log2(group))
    terms = {
        "all-reduce": ([2.0 * others, 2.0 * levels, 2.0], [2.0 * share, 2.0, 2.0 * share]),
        "all-gather": ([others, levels, 1.0], [share, share, share]),
        "all-to-all": ([others, levels, 1.0], [share, levels / 2.0, share]),
        "send": ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0]),
    }
    return terms[collective]
