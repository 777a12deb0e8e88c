"""Token pruning: later layers see only part of the prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from sim.errors import ConfigError, Problem
from sim.graph import Graph, Op
from sim.techniques.technique import Parameter, Technique


def prune(graph: Graph, parameters: Mapping[str, float]) -> Graph:
    """`graph` whose decoder layers from `layer` on keep the share `keep` of prompt tokens.

    Pruned tokens are computed and cached in the layers before, and nowhere after. Generated tokens
    are all kept. Choosing the tokens is taken to be free: attention scores are at hand.
    """
    layer, keep = int(parameters["layer"]), float(parameters["keep"])
    depth = max((index for op in graph.ops for index in op.layer_indices), default=-1) + 1
    if layer >= depth:
        message = f"{layer}: {graph.name} has decoder layers 0 to {depth - 1}"
        raise ConfigError([Problem(path="layer", message=message)])
    if keep == 1.0:
        return graph

    def rule(op: Op) -> tuple[Op, ...]:
        return tuple(_split(op, layer, keep))

    return graph.rewrite(rule)


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


TOKEN_PRUNING = Technique(
    kind="token-pruning",
    title="Drop prompt tokens of low attention after a layer",
    citation="Chen et al., An Image is Worth 1/2 Tokens After Layer 2 (FastV), ECCV 2024, "
    "arXiv 2403.06764; Fu et al., LazyLLM, arXiv 2407.14057",
    quality="FastV: half the image tokens dropped after layer 2 of LLaVA-1.5 at no loss on "
    "average; losses grow with the share dropped",
    parameters=(
        Parameter(
            name="layer",
            description="first decoder layer that sees fewer tokens, counted from 0",
            low=0,
            high=1e6,
            whole=True,
        ),
        Parameter(name="keep", description="share of prompt tokens kept", low=0.01, high=1.0),
    ),
    rewrite=prune,
)
