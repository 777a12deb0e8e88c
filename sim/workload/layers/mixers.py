"""Sequence mixers: attention in its kinds, and state spaces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sim.graph import Kind, Op, Phase, Stream
from sim.workload.architecture import Attention, LatentAttention, StateSpace
from sim.workload.layers.parts import matmul

SOFTMAX_FLOPS = 5.0
CAUSAL_PHASES = (Phase.PREFILL, Phase.DECODE)


def attention(spec: Attention, hidden: int, stream: Stream) -> Iterator[Op]:
    """Projection to queries, keys and values, attention itself, and the output projection."""
    queries, keys = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    qkv = matmul("qkv", hidden, queries, stream, "heads", kv_width=2 * keys, bias=spec.bias)
    extra = (2 * spec.head_dim if spec.qk_norm else 0) + (spec.heads if spec.sinks else 0)
    yield replace(qkv, heads=spec.heads, kv_heads=spec.kv_heads, weights=qkv.weights + extra)
    yield from _attention_core(spec, stream, "attention")
    yield matmul("attention_out", queries, hidden, stream, "row", bias=spec.output_bias)


def _windowed(spec: Attention, stream: Stream) -> Stream:
    if spec.window is None:
        return stream
    return replace(stream, window=spec.window, chunked=spec.local == "chunked")


def _attention_core(spec: Attention, stream: Stream, name: str) -> Iterator[Op]:
    """Scores, softmax and values of prompts and of decoding sequences, as two operators."""
    queries, keys = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    seen = _windowed(spec, stream)
    for phase in CAUSAL_PHASES:
        suffix = "prefill" if phase == Phase.PREFILL else "decode"
        yield Op(
            name=f"{name}_{suffix}",
            kind=Kind.ATTENTION,
            operator_class=f"attention-{suffix}",
            stream=seen,
            phase=phase,
            flops_per_pair=4.0 * queries + SOFTMAX_FLOPS * spec.heads,
            inputs=queries,
            outputs=queries,
            depth=spec.head_dim,
            width=spec.head_dim,
            kv_read=2.0 * keys,
            kv_write=2.0 * keys,
            heads=spec.heads,
            kv_heads=spec.kv_heads,
            shard="heads",
        )


def cross_attention(spec: Attention, hidden: int, stream: Stream, memory: Stream) -> Iterator[Op]:
    """Queries of the decoder to keys and values that the encoder's output gives once."""
    queries, keys = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    yield replace(
        matmul("cross_q", hidden, queries, stream, "heads", bias=spec.bias),
        heads=spec.heads,
        kv_heads=spec.kv_heads,
    )
    source = Stream(kind="fixed", tokens=memory.tokens) if memory.tokens else Stream(kind="encoder")
    yield replace(
        matmul(
            "cross_kv",
            hidden,
            0,
            source,
            "heads",
            Phase.PREFILL,
            kv_width=2 * keys,
            bias=spec.bias,
        ),
        heads=spec.heads,
        kv_heads=spec.kv_heads,
        kv_write=2.0 * keys,
    )
    for op in _attention_core(spec, memory, "cross_attention"):
        yield replace(op, kv_write=0.0)
    yield matmul("cross_out", queries, hidden, stream, "row", bias=spec.output_bias)


def latent_attention(spec: LatentAttention, hidden: int, stream: Stream) -> Iterator[Op]:
    """MLA: prompts expand the latent to full heads; decoding absorbs the expansion (DeepSeek-V2).

    The absorbed form multiplies queries by W_UK and outputs by W_UV, so that attention runs on
    the latent itself, one shared key-value head of kv_rank + rope_dim.
    """
    query_dim = spec.nope_dim + spec.rope_dim
    latent = spec.kv_rank + spec.rope_dim
    queries = spec.heads * query_dim
    if spec.q_rank is None:
        yield replace(matmul("mla_q", hidden, queries, stream, "column"), heads=spec.heads)
        down = matmul("mla_down", hidden, latent, stream, "none")
        yield replace(down, weights=down.weights + spec.kv_rank)
    else:
        down = matmul("mla_down", hidden, spec.q_rank + latent, stream, "none")
        yield replace(down, weights=down.weights + spec.kv_rank + spec.q_rank)
        yield replace(
            matmul("mla_q", spec.q_rank, queries, stream, "column"),
            heads=spec.heads,
        )
    expanded = spec.heads * (spec.nope_dim + spec.v_dim)
    up = matmul("mla_up", spec.kv_rank, expanded, stream, "column", Phase.PREFILL)
    # a chunk of a prompt expands the latents of all chunks before it once more
    yield replace(
        up,
        flops_per_token=0.0,
        flops_per_cached=up.flops_per_token,
        inputs=0.0,
        outputs=0.0,
        kv_read=spec.kv_rank + expanded,
    )
    absorbed = matmul("mla_absorb", spec.kv_rank, expanded, stream, "column", Phase.DECODE)
    yield replace(
        absorbed,
        owned=False,
        inputs=queries + spec.heads * spec.kv_rank,
        outputs=spec.heads * (latent + spec.v_dim),
    )
    pair = 2.0 * spec.heads * (query_dim + spec.v_dim) + SOFTMAX_FLOPS * spec.heads
    values = spec.heads * spec.v_dim
    prefill = Op(
        name="attention_prefill",
        kind=Kind.ATTENTION,
        operator_class="attention-prefill",
        stream=stream,
        phase=Phase.PREFILL,
        flops_per_pair=pair,
        inputs=queries + spec.heads * (query_dim + spec.v_dim),
        outputs=values,
        depth=query_dim,
        width=spec.v_dim,
        kv_read=latent,
        kv_write=latent,
        heads=spec.heads,
        kv_heads=1,
        shard="heads",
    )
    yield prefill
    yield replace(
        prefill,
        name="attention_decode",
        operator_class="attention-decode",
        phase=Phase.DECODE,
        flops_per_pair=2.0 * spec.heads * (latent + spec.kv_rank) + SOFTMAX_FLOPS * spec.heads,
        inputs=spec.heads * latent,
        outputs=spec.heads * spec.kv_rank,
    )
    yield matmul("attention_out", values, hidden, stream, "row")


def state_space(spec: StateSpace, hidden: int, stream: Stream) -> Iterator[Op]:
    """Mamba-1 (arXiv 2312.00752) or Mamba-2 (2405.21060): projections, convolution and scan."""
    groups = 2 * spec.groups * spec.state
    if spec.version == 1:
        width, convolved, scan_weights = 2 * spec.inner, spec.inner, spec.inner * (spec.state + 1)
        scanned = width + spec.inner + 2 * spec.state  # step sizes, B and C come on their own
    else:
        width = scanned = 2 * spec.inner + groups + spec.heads
        convolved, scan_weights = spec.inner + groups, 3 * spec.heads + spec.inner
    bias = spec.proj_bias
    yield matmul("ssm_in", hidden, width, stream, "column", bias=bias)
    if spec.version == 1:
        projected = spec.dt_rank + 2 * spec.state
        norms = projected if spec.inner_norms else 0
        x_proj = matmul("ssm_x", spec.inner, projected, stream, "row")
        yield replace(x_proj, weights=x_proj.weights + norms)
        yield matmul("ssm_dt", spec.dt_rank, spec.inner, stream, "column", bias=True)
    for phase in CAUSAL_PHASES:
        yield Op(
            name="ssm_scan_prefill" if phase == Phase.PREFILL else "ssm_scan_decode",
            kind=Kind.SCAN,
            operator_class="ssm",
            stream=stream,
            phase=phase,
            # decay, input and output of every state element, plus the depthwise convolution
            flops_per_token=7.0 * spec.inner * spec.state + 2.0 * convolved * spec.conv,
            weights=scan_weights + convolved * (spec.conv + (1 if spec.conv_bias else 0)),
            owned=phase == Phase.PREFILL,
            inputs=scanned,
            outputs=spec.inner,
            state=spec.inner * spec.state + convolved * (spec.conv - 1),
            shard="column",
            launches=2,
        )
    yield matmul("ssm_out", spec.inner, hidden, stream, "row", bias=bias)
