"""Grids of chips: which of them a model divides over, and the weights each chip then holds.

Slices are those of HNLPU, section 3.1: rows share the hidden vector, columns the query heads, all
chips the experts. Beyond the paper, for models it does not have: dense and shared feed-forward
networks are cut along their inner size over all chips; experts too few, or too many by a part, are
each cut along theirs; key-value heads fewer than columns, and the latent of MLA, are repeated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sim.errors import Infeasible
from sim.graph import Graph, Kind, Op, Phase

WHOLE: Final = ("router", "shared_gate")
"""Products that every chip has for itself: they see whole tokens."""
SEARCHED: Final = 16
"""Grids of up to so many times the chips that the weights alone need are tried."""

OTHER_PARTS: Final = {
    "encoder": "an encoder",
    "fixed": "an image or audio tower",
    "cross": "cross-attention",
}
"""Parts of models that the paper's chip has no place for, by the kind of their stream."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Chips in rows and columns, each linked to all others of its row and of its column."""

    rows: int
    columns: int

    @property
    def chips(self) -> int:
        """Chips of the grid."""
        return self.rows * self.columns

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"


def _hardwired(op: Op) -> float:
    """Weights of one layer of `op` that become wires: those of products, biases left out."""
    if op.kind == Kind.EXPERTS:
        return float(op.depth * op.width * op.experts)
    if op.kind == Kind.MATMUL:
        return op.flops_per_token / 2.0
    return 0.0


def _on_a_chip(op: Op, grid: Grid) -> float:
    """Of them, what the fullest chip has."""
    weights = _hardwired(op)
    if op.name in WHOLE or not weights:
        return weights
    if op.name == "mla_down":  # its latents are needed in every column
        return weights / grid.rows
    if op.name == "qkv":
        heads = op.width / grid.columns + op.kv_width / min(grid.columns, op.kv_heads)
        return op.depth / grid.rows * heads
    if op.name == "lm_head":
        return float(op.depth * math.ceil(op.width / grid.chips))
    return weights / grid.chips


def weights_per_chip(graph: Graph, grid: Grid) -> float:
    """Hardwired weights of the fullest chip: its slices, and a router of its own.

    The token embedding is a table in memory. Infeasible where the model does not divide.
    """
    check(graph, grid)
    return sum(_on_a_chip(op, grid) * op.layers for op in graph.ops)


def weights_of_model(graph: Graph) -> float:
    """Hardwired weights, each once."""
    return sum(_hardwired(op) * op.layers for op in graph.ops)


def router_weights(graph: Graph) -> float:
    """Weights that every chip repeats."""
    return sum(_hardwired(op) * op.layers for op in graph.ops if op.name in WHOLE)


def weights_per_token(graph: Graph) -> float:
    """Hardwired weights that one token's products use: of experts, those it is sent to."""
    return sum(
        _hardwired(op) * op.layers * (op.top_k / op.experts if op.experts else 1.0)
        for op in graph.ops
    )


def check(graph: Graph, grid: Grid) -> None:
    """Infeasible, with the numbers, where the model cannot be in metal or not on this grid."""
    refuse(graph)
    problems = list(dict.fromkeys(_misfits(graph, grid)))
    if problems:
        raise Infeasible(
            f"{graph.name} does not divide over a {grid} grid: {'; '.join(problems)}",
            rows=grid.rows,
            columns=grid.columns,
            chips=grid.chips,
        )


def refuse(graph: Graph) -> None:
    """Infeasible where no grid helps: the paper's chip has no unit or no place for a part of it."""
    odd = [part for kind, part in OTHER_PARTS.items() if kind in {s.kind for s in graph.streams}]
    if odd:
        raise Infeasible(
            f"{graph.name} is no plain decoder, it has {' and '.join(odd)}: a hardwired LPU has a "
            "place for decoder layers only"
        )
    scans = sum(op.layers for op in graph.ops if op.kind == Kind.SCAN and op.phase == Phase.DECODE)
    if scans:
        raise Infeasible(
            f"{graph.name} has {scans} state-space layers: the HNLPU paper gives its chip no unit "
            "for a recurrent scan and no time for one",
            state_space_layers=scans,
        )
    mixers = sum(op.layers for op in graph.ops if op.name == "attention_out")
    networks = sum(op.layers for op in graph.ops if op.name in ("ffn_down", "experts_down"))
    if not mixers == networks == graph.layers:
        raise Infeasible(
            f"{graph.name} has {mixers} layers with attention and {networks} with a feed-forward "
            f"network, not both in each of its {graph.layers}",
            layers=graph.layers,
        )


def _misfits(graph: Graph, grid: Grid) -> Iterator[str]:
    """What is in the way, with the numbers."""
    for op in graph.ops:
        if op.name == "experts_down":
            yield from _experts(op, grid)
    for size, what, by, ways in _divisions(graph, grid):
        if size % ways:
            yield f"{what} {size:,} leaves {size % ways} over {ways} {by}"
    for op in graph.ops:
        if op.name == "qkv" and op.kv_heads % grid.columns and grid.columns % op.kv_heads:
            yield (
                f"{op.kv_heads} key-value heads neither divide over {grid.columns} columns nor "
                "repeat evenly in them"
            )


def _experts(op: Op, grid: Grid) -> Iterator[str]:
    """Experts lie whole on chips, or in equal pieces where that makes chips equally full."""
    pieces = grid.chips // math.gcd(op.experts, grid.chips)
    if op.depth % pieces:
        yield (
            f"{op.experts} experts do not divide over {grid.chips} chips, nor does their inner "
            f"size {op.depth:,} into the {pieces} pieces that would"
        )


def _divisions(graph: Graph, grid: Grid) -> Iterator[tuple[int, str, str, int]]:
    """Sizes that must divide: the size, what it is, by rows, columns or chips, and how many."""
    yield graph.hidden, "hidden size", "rows", grid.rows
    yield graph.hidden, "hidden size", "columns", grid.columns
    for op in graph.ops:
        if op.name in ("qkv", "mla_q"):
            yield op.heads, "query heads", "columns", grid.columns
        if op.name == "mla_q":
            yield op.depth, "input of the query projection", "rows", grid.rows
        if op.name == "mla_absorb":
            yield op.depth, "latent size", "rows", grid.rows
        if op.name == "attention_prefill" and op.depth != op.width:  # MLA: values of another size
            yield op.width, "value size of a head", "rows", grid.rows
        if op.name in ("ffn_down", "shared_expert_down"):
            yield op.depth, "inner size", "chips", grid.chips


def room_for_weights(mm2_per_weight: float, other_mm2: float, reticle_mm2: float) -> float:
    """Weights a chip has room for beside its other blocks; Infeasible where there is none."""
    room = reticle_mm2 - other_mm2
    if room <= 0.0:
        raise Infeasible(
            f"blocks beside the weights take {other_mm2:g} mm2, the reticle has {reticle_mm2:g}",
            other_mm2=other_mm2,
            reticle_mm2=reticle_mm2,
        )
    return room / mm2_per_weight


def chips_needed(graph: Graph, mm2_per_weight: float, other_mm2: float, reticle_mm2: float) -> int:
    """Chips a model needs where none is larger than the reticle; Infeasible where none fits."""
    room = room_for_weights(mm2_per_weight, other_mm2, reticle_mm2)
    return math.ceil(weights_of_model(graph) / room)


def smallest(graph: Graph, mm2_per_weight: float, other_mm2: float, reticle_mm2: float) -> Grid:
    """The grid of fewest chips that the model divides over and fits; the squarest of these.

    Of two as square, the one with more columns. Infeasible where none of up to `SEARCHED` times
    the chips that the weights alone need will do.
    """
    refuse(graph)
    room = room_for_weights(mm2_per_weight, other_mm2, reticle_mm2)
    least = chips_needed(graph, mm2_per_weight, other_mm2, reticle_mm2)
    for chips in range(least, SEARCHED * least + 1):
        for grid in _shapes(chips):
            if next(_misfits(graph, grid), None) is None and weights_per_chip(graph, grid) <= room:
                return grid
    raise Infeasible(
        f"{graph.name} divides over no grid of {least:,} to {SEARCHED * least:,} chips that its "
        f"weights fit: --grid RxC tells what is in the way of one",
        hidden=graph.hidden,
        least_chips=least,
    )


def _shapes(chips: int) -> list[Grid]:
    """Grids of so many chips, the squarest first."""
    rows = [row for row in range(1, chips + 1) if chips % row == 0]
    grids = [Grid(rows=row, columns=chips // row) for row in rows]
    return sorted(grids, key=lambda grid: (abs(grid.rows - grid.columns), grid.rows))
