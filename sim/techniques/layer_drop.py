"""Layer drop: deep layers run without their attention, their feed-forward network, or at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Final

from sim.errors import ConfigError, Problem
from sim.graph import Graph, Kind, Op
from sim.quantities import Count, one_of
from sim.techniques.technique import Technique
from sim.values import checked

NORMS: Final = ("norm",)
"""Operators that stand for the norms of both halves of a layer."""


@checked
@dataclass(frozen=True, kw_only=True)
class Drop:
    """What is left out, and of how many layers."""

    part: Annotated[str, one_of("attention", "feed-forward", "block")]
    """Half of a layer that is left out with its norm, or the whole layer."""
    layers: Count
    """Layers that it is left out of: the deepest ones but the last."""


def rewrite(graph: Graph, drop: Drop) -> Graph:
    """`graph` without a part of its deepest decoder layers; the last layer stays whole."""
    depth = max((index for op in graph.ops for index in op.layer_indices), default=-1) + 1
    if drop.layers >= depth:
        message = f"{drop.layers}: {graph.name} has {depth} decoder layers, and the last one stays"
        raise ConfigError([Problem(path="layers", message=message)])
    dropped = range(depth - 1 - drop.layers, depth - 1)
    return graph.rewrite(lambda op: tuple(_kept(op, drop.part, dropped)))


def _kept(op: Op, part: str, dropped: range) -> Iterator[Op]:
    """`op` in the layers that keep it, and its share in those that lose half of a layer."""
    inside = tuple(index for index in op.layer_indices if index in dropped)
    outside = tuple(index for index in op.layer_indices if index not in dropped)
    if not inside:
        yield op
        return
    if outside:
        yield replace(op, layers=len(outside), layer_indices=outside)
    share = _share(op, part)
    if share == 1.0:
        yield replace(op, layers=len(inside), layer_indices=inside)
    elif share:
        names = ("flops_per_token", "weights", "inputs", "outputs", "launches")
        less = {name: getattr(op, name) * share for name in names}
        yield replace(op, layers=len(inside), layer_indices=inside, **less)


def _share(op: Op, part: str) -> float:
    """Share of `op` that a layer without `part` still runs."""
    if part == "block":
        return 0.0
    if op.name in NORMS:
        return 0.5
    feed_forward = op.kind == Kind.EXPERTS or op.name.startswith(
        ("ffn_", "experts_", "shared_", "router")
    )
    return float(feed_forward != (part == "feed-forward"))


TECHNIQUE = Technique(
    kind="layer-drop",
    title="Leave attention, feed-forward networks or whole blocks out of deep layers",
    citation="He et al., What Matters in Transformers? Not All Attention is Needed, "
    "arXiv 2406.15786",
    quality="Llama-2-70B with half of its attention layers dropped: 2.4 % worse on average, 48.4 % "
    "faster; feed-forward networks and blocks are missed far more",
    parameters=Drop,
    rewrite=rewrite,
)
