"""Operators that every kind of layer is made of."""

from __future__ import annotations

from sim.graph import Kind, Op, Phase, Shard, Stream


def norm(name: str, hidden: int, weights: float, stream: Stream, count: int) -> Op:
    """Norms fused with the residual addition: two vectors in, two out."""
    return Op(
        name=name,
        kind=Kind.VECTOR,
        operator_class="norm",
        stream=stream,
        flops_per_token=6.0 * hidden * count,
        weights=weights,
        inputs=2.0 * hidden * count,
        outputs=2.0 * hidden * count,
        launches=count,
    )


def matmul(
    name: str,
    depth: int,
    width: int,
    stream: Stream,
    shard: Shard,
    phase: Phase = Phase.ALL,
    *,
    kv_width: int = 0,
    bias: bool = False,
) -> Op:
    """A product of [tokens, depth] with weights of width + kv_width columns, 2 flops a weight."""
    columns = width + kv_width
    return Op(
        name=name,
        kind=Kind.MATMUL,
        operator_class="fc",
        stream=stream,
        phase=phase,
        flops_per_token=2.0 * depth * columns,
        weights=depth * columns + (columns if bias else 0),
        inputs=depth,
        outputs=columns,
        depth=depth,
        width=width,
        kv_width=kv_width,
        shard=shard,
        reduced=width if shard == "row" else 0.0,
    )
