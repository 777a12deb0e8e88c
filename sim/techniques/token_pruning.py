"""Token pruning: later layers see only part of the prompt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

from sim.errors import ConfigError, Problem
from sim.graph import TOTALS, Graph, Op
from sim.quantities import Index, number
from sim.techniques.technique import Technique
from sim.values import checked


@checked
@dataclass(frozen=True, kw_only=True)
class Pruning:
    """From which layer on, and how much of a prompt stays."""

    layer: Index
    """First decoder layer that sees fewer tokens, counted from 0."""
    keep: Annotated[float, number(0.01, 1.0)]
    """Share of prompt tokens kept."""


def prune(graph: Graph, pruning: Pruning) -> Graph:
    """`graph` whose decoder layers from `layer` on keep the share `keep` of prompt tokens.

    Pruned tokens are computed and cached in the layers before, and nowhere after. Generated tokens
    are all kept. Choosing the tokens is taken to be free: attention scores are at hand.
    """
    depth = max((index for op in graph.ops for index in op.layer_indices), default=-1) + 1
    if pruning.layer >= depth:
        message = f"{pruning.layer}: {graph.name} has decoder layers 0 to {depth - 1}"
        raise ConfigError([Problem(path="layer", message=message)])
    if pruning.keep == 1.0:
        return graph
    return graph.rewrite(lambda op: tuple(_split(op, pruning.layer, pruning.keep)))


def _split(op: Op, layer: int, keep: float) -> Iterator[Op]:
    before = tuple(index for index in op.layer_indices if index < layer)
    after = tuple(index for index in op.layer_indices if index >= layer)
    if not after or op.stream.kind != "causal":
        yield op
        return
    if before:
        yield replace(op, layers=len(before), layer_indices=before)
    yield replace(
        op,
        layers=len(after),
        layer_indices=after,
        stream=replace(op.stream, keep=op.stream.keep * keep),
    )


TECHNIQUE = Technique(
    kind="token-pruning",
    title="Drop prompt tokens of low attention after a layer",
    citation="Chen et al., An Image is Worth 1/2 Tokens After Layer 2 (FastV), ECCV 2024, "
    "arXiv 2403.06764; Fu et al., LazyLLM, arXiv 2407.14057",
    quality="FastV: half the image tokens dropped after layer 2 of LLaVA-1.5 at no loss on "
    "average; losses grow with the share dropped",
    parameters=Pruning,
    rewrite=prune,
    conserved=tuple(TOTALS),
)
