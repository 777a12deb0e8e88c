"""Feed-forward parts of layers: dense networks and mixtures of experts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from sim.graph import Kind, Op, Stream
from sim.workload.architecture import Experts, FeedForward
from sim.workload.layers.parts import matmul


def feed_forward(spec: FeedForward, hidden: int, stream: Stream) -> Iterator[Op]:
    """Two products with an activation between them; a gate makes the first one double."""
    yield from _mlp("ffn", hidden, spec.intermediate, stream, gated=spec.gated, bias=spec.bias)


def _mlp(
    name: str,
    hidden: int,
    inner: int,
    stream: Stream,
    *,
    gated: bool,
    bias: bool = False,
) -> Iterator[Op]:
    ways = 2 if gated else 1
    yield matmul(f"{name}_up", hidden, ways * inner, stream, "column", bias=bias)
    yield Op(
        name=f"{name}_activation",
        kind=Kind.VECTOR,
        operator_class="norm",
        stream=stream,
        flops_per_token=(4.0 + ways) * inner,
        inputs=ways * inner,
        outputs=inner,
        shard="column",
    )
    yield matmul(f"{name}_down", inner, hidden, stream, "row", bias=bias)


def expert_layer(spec: Experts, hidden: int, stream: Stream) -> Iterator[Op]:
    """Router, shared experts, and the routed experts of every token with their weighted sum."""
    ways = 2 if spec.gated else 1
    yield matmul("router", hidden, spec.count, stream, "none", bias=spec.router_bias)
    if spec.shared_intermediate:  # its partial sums are reduced together with the routed experts'
        inner = spec.shared_intermediate
        for op in _mlp("shared_expert", hidden, inner, stream, gated=spec.gated):
            yield replace(op, reduced=0.0)
        if spec.shared_gate:
            yield matmul("shared_gate", hidden, 1, stream, "none")
    yield _expert_matmul("experts_up", spec, hidden, ways * spec.intermediate, stream, "column")
    yield Op(
        name="experts_activation",
        kind=Kind.VECTOR,
        operator_class="norm",
        stream=stream,
        flops_per_token=spec.top_k * (4.0 + ways) * spec.intermediate,
        inputs=spec.top_k * ways * spec.intermediate,
        outputs=spec.top_k * spec.intermediate,
        shard="column",
        all_groups=True,
    )
    yield _expert_matmul("experts_down", spec, spec.intermediate, hidden, stream, "row")
    yield Op(  # the sum weighted by the router; every device has partial sums of full width
        name="experts_combine",
        kind=Kind.VECTOR,
        operator_class="norm",
        stream=stream,
        flops_per_token=2.0 * spec.top_k * hidden,
        inputs=spec.top_k * hidden,
        outputs=hidden,
        reduced=hidden,
    )


def _expert_matmul(
    name: str,
    spec: Experts,
    depth: int,
    width: int,
    stream: Stream,
    shard: Literal["column", "row"],
) -> Op:
    """One product of all experts; gathering their tokens is part of it."""
    return Op(
        name=name,
        kind=Kind.EXPERTS,
        operator_class="experts",
        stream=stream,
        flops_per_token=2.0 * spec.top_k * depth * width,
        weights=spec.count * (depth * width + (width if spec.bias else 0)),
        inputs=spec.top_k * depth,
        outputs=spec.top_k * width,
        depth=depth,
        width=width,
        experts=spec.count,
        top_k=spec.top_k,
        shard=shard,
        all_groups=True,
    )
