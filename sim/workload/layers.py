"""From a model architecture to its layer graph.

Matrix products count 2 flops per weight and token. Attention counts 2 flops per query head,
dimension and query-key pair for the scores and as many for the values, plus softmax (scale, max,
subtract, exponential, sum, divide: 5 flops a score). Prefill attention is fused: scores never
reach memory (FlashAttention, arXiv 2205.14135).

Not counted, each far below 1 % of a layer: rotary positions, norms of queries and keys (taken as
fused into the projection), the router's softmax. Scans of state spaces run on vector units, prompts
too, where Mamba-2 could use matrix units. What one token keeps of Whisper's first convolution
counts once, though that runs at twice the token rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from sim.graph import CAUSAL, Graph, Kind, Op, Phase, Stream
from sim.workload.architecture import (
    Architecture,
    Attention,
    Block,
    Encoder,
    Experts,
    FeedForward,
    LatentAttention,
    StateSpace,
)

SOFTMAX_FLOPS = 5.0
CAUSAL_PHASES = (Phase.PREFILL, Phase.DECODE)


def build_graph(model: Architecture) -> Graph:
    """The operators one pass of `model` runs, identical layers folded into one."""
    ops: list[Op] = []
    if model.encoder is not None:
        ops += _encoder(model, model.encoder)
    decoder = Stream(kind="generated") if _cross(model) else CAUSAL
    if model.layers:
        ops.append(_embedding(model, decoder))
        for block, indices in _distinct(model.layers):
            for op in _block(block, model.hidden, decoder, _memory_stream(model)):
                ops.append(replace(op, layers=len(indices), layer_indices=indices))
        width = model.hidden * (2 if model.final_norm_bias else 1)
        ops.append(_norm("final_norm", model.hidden, width * (1 + model.extra_norms), decoder, 1))
    ops += _head(model, decoder)
    layers = len(model.layers) + (len(model.encoder.layers) if model.encoder else 0)
    hidden = model.hidden if model.layers or model.encoder is None else model.encoder.hidden
    return Graph(name=model.name, ops=tuple(ops), layers=layers, hidden=hidden)


def _cross(model: Architecture) -> bool:
    return any(block.cross_attention is not None for block in model.layers)


def _memory_stream(model: Architecture) -> Stream:
    """What cross-attention attends to: the encoder's output."""
    fixed = model.encoder.tokens if model.encoder and model.encoder.tokens else 0
    return Stream(kind="cross", tokens=fixed)


def _encoder_stream(encoder: Encoder) -> Stream:
    if encoder.tokens is None:
        return Stream(kind="encoder")
    return Stream(kind="fixed", tokens=encoder.tokens)


def _distinct(layers: tuple[Block, ...]) -> list[tuple[Block, tuple[int, ...]]]:
    """Each distinct block with the indices of the layers it stands for."""
    groups: dict[Block, list[int]] = {}
    for index, block in enumerate(layers):
        groups.setdefault(block, []).append(index)
    return [(block, tuple(indices)) for block, indices in groups.items()]


def _encoder(model: Architecture, encoder: Encoder) -> Iterator[Op]:
    stream = _encoder_stream(encoder)
    hidden = encoder.hidden
    if encoder.patch_inputs:
        yield _matmul(
            "encoder.patch", "fc", encoder.patch_inputs, hidden, stream, Phase.PREFILL, "none"
        )
    else:  # text; a decoder shares its vocabulary table
        table = _embedding(model, stream)
        owned = not model.layers
        name = "embedding" if owned else "encoder.embedding"
        yield replace(table, name=name, phase=Phase.PREFILL, owned=owned)
    if encoder.other_parameters:
        yield Op(
            name="encoder.other",
            kind=Kind.GATHER,
            operator_class="embedding",
            stream=stream,
            phase=Phase.PREFILL,
            weights=encoder.other_parameters,
            inputs=hidden,
            outputs=hidden,
        )
    for block, indices in _distinct(encoder.layers):
        for op in _block(block, hidden, stream, stream):
            if op.phase in (Phase.ALL, Phase.PREFILL):
                yield replace(
                    op, name=f"encoder.{op.name}", layers=len(indices), phase=Phase.PREFILL
                )
    if encoder.projector_parameters:
        weights = encoder.projector_parameters
        share = encoder.output_tokens / encoder.tokens if encoder.tokens else 1.0
        yield Op(
            name="encoder.projector",
            kind=Kind.MATMUL,
            operator_class="fc",
            stream=stream,
            phase=Phase.PREFILL,
            flops_per_token=2.0 * weights * share,
            weights=weights,
            inputs=hidden * share,
            outputs=model.hidden * share,
            depth=hidden,
            width=model.hidden,
        )


def _embedding(model: Architecture, stream: Stream) -> Op:
    return Op(
        name="embedding",
        kind=Kind.GATHER,
        operator_class="embedding",
        stream=stream,
        weights=model.vocabulary * model.hidden + model.position_parameters,
        inputs=model.hidden,
        outputs=model.hidden,
        shard="vocabulary",
    )


def _head(model: Architecture, stream: Stream) -> Iterator[Op]:
    outputs = model.vocabulary if model.head_outputs is None else model.head_outputs
    if not outputs:
        return
    tied = model.tied_embeddings and outputs == model.vocabulary
    if not model.layers and model.encoder is not None:
        stream = _encoder_stream(model.encoder)
    head = _matmul("lm_head", "lm-head", model.hidden, outputs, stream, Phase.LOGITS, "vocabulary")
    bias = outputs if model.head_bias else 0
    yield replace(head, owned=not tied, weights=head.weights + (0 if tied else bias))


def _block(block: Block, hidden: int, stream: Stream, memory: Stream) -> Iterator[Op]:
    """Operators of one layer; `memory` is what its cross-attention attends to."""
    if block.norms:
        vectors = hidden * (2 if block.norm_bias else 1)
        yield _norm("norm", hidden, vectors * block.norms, stream, block.norms)
    match block.mixer:
        case Attention():
            yield from _attention(block.mixer, hidden, stream)
        case LatentAttention():
            yield from _latent_attention(block.mixer, hidden, stream)
        case StateSpace():
            yield from _state_space(block.mixer, hidden, stream)
    if block.cross_attention is not None:
        yield from _cross_attention(block.cross_attention, hidden, stream, memory)
    match block.ffn:
        case FeedForward():
            yield from _feed_forward(block.ffn, hidden, stream)
        case Experts():
            yield from _experts(block.ffn, hidden, stream)


def _norm(name: str, hidden: int, weights: float, stream: Stream, count: int) -> Op:
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


def _matmul(
    name: str,
    operator_class: str,
    depth: int,
    width: int,
    stream: Stream,
    phase: Phase,
    shard: str,
    *,
    kv_width: int = 0,
    bias: bool = False,
    summed: bool = True,
) -> Op:
    columns = width + kv_width
    return Op(
        name=name,
        kind=Kind.MATMUL,
        operator_class=operator_class,
        stream=stream,
        phase=phase,
        flops_per_token=2.0 * depth * columns,
        weights=depth * columns + (columns if bias else 0),
        inputs=depth,
        outputs=columns,
        depth=depth,
        width=width,
        kv_width=kv_width,
        shard=shard,  # type: ignore[arg-type]
        reduced=width if shard == "row" and summed else 0.0,
    )


def _attention(spec: Attention, hidden: int, stream: Stream) -> Iterator[Op]:
    queries, keys = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    qkv = _matmul(
        "qkv", "fc", hidden, queries, stream, Phase.ALL, "heads", kv_width=2 * keys, bias=spec.bias
    )
    extra = (2 * spec.head_dim if spec.qk_norm else 0) + (spec.heads if spec.sinks else 0)
    yield replace(qkv, heads=spec.heads, kv_heads=spec.kv_heads, weights=qkv.weights + extra)
    yield from _attention_core(spec, stream, "attention")
    yield _matmul(
        "attention_out", "fc", queries, hidden, stream, Phase.ALL, "row", bias=spec.output_bias
    )


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


def _cross_attention(spec: Attention, hidden: int, stream: Stream, memory: Stream) -> Iterator[Op]:
    queries, keys = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    yield replace(
        _matmul("cross_q", "fc", hidden, queries, stream, Phase.ALL, "heads", bias=spec.bias),
        heads=spec.heads,
        kv_heads=spec.kv_heads,
    )
    source = Stream(kind="fixed", tokens=memory.tokens) if memory.tokens else Stream(kind="encoder")
    yield replace(
        _matmul(
            "cross_kv",
            "fc",
            hidden,
            0,
            source,
            Phase.PREFILL,
            "heads",
            kv_width=2 * keys,
            bias=spec.bias,
        ),
        heads=spec.heads,
        kv_heads=spec.kv_heads,
        kv_write=2.0 * keys,
    )
    for op in _attention_core(spec, memory, "cross_attention"):
        yield replace(op, kv_write=0.0)
    yield _matmul(
        "cross_out", "fc", queries, hidden, stream, Phase.ALL, "row", bias=spec.output_bias
    )


def _latent_attention(spec: LatentAttention, hidden: int, stream: Stream) -> Iterator[Op]:
    """MLA: prompts expand the latent to full heads; decoding absorbs the expansion (DeepSeek-V2).

    The absorbed form multiplies queries by W_UK and outputs by W_UV, so that attention runs on
    the latent itself, one shared key-value head of kv_rank + rope_dim.
    """
    query_dim = spec.nope_dim + spec.rope_dim
    latent = spec.kv_rank + spec.rope_dim
    queries = spec.heads * query_dim
    if spec.q_rank is None:
        yield replace(
            _matmul("mla_q", "fc", hidden, queries, stream, Phase.ALL, "column"), heads=spec.heads
        )
        down = _matmul("mla_down", "fc", hidden, latent, stream, Phase.ALL, "none")
        yield replace(down, weights=down.weights + spec.kv_rank)
    else:
        down = _matmul("mla_down", "fc", hidden, spec.q_rank + latent, stream, Phase.ALL, "none")
        yield replace(down, weights=down.weights + spec.kv_rank + spec.q_rank)
        yield replace(
            _matmul("mla_q", "fc", spec.q_rank, queries, stream, Phase.ALL, "column"),
            heads=spec.heads,
        )
    expanded = spec.heads * (spec.nope_dim + spec.v_dim)
    up = _matmul("mla_up", "fc", spec.kv_rank, expanded, stream, Phase.PREFILL, "column")
    # a chunk of a prompt expands the latents of all chunks before it once more
    yield replace(
        up,
        flops_per_token=0.0,
        flops_per_cached=up.flops_per_token,
        inputs=0.0,
        outputs=0.0,
        kv_read=spec.kv_rank + expanded,
    )
    absorbed = _matmul("mla_absorb", "fc", spec.kv_rank, expanded, stream, Phase.DECODE, "column")
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
    yield _matmul("attention_out", "fc", values, hidden, stream, Phase.ALL, "row")


def _state_space(spec: StateSpace, hidden: int, stream: Stream) -> Iterator[Op]:
    """Mamba-1 (arXiv 2312.00752) or Mamba-2 (2405.21060): projections, convolution and scan."""
    groups = 2 * spec.groups * spec.state
    if spec.version == 1:
        width, convolved, scan_weights = 2 * spec.inner, spec.inner, spec.inner * (spec.state + 1)
        scanned = width + spec.inner + 2 * spec.state  # step sizes, B and C come on their own
    else:
        width = scanned = 2 * spec.inner + groups + spec.heads
        convolved, scan_weights = spec.inner + groups, 3 * spec.heads + spec.inner
    bias = spec.proj_bias
    yield _matmul("ssm_in", "fc", hidden, width, stream, Phase.ALL, "column", bias=bias)
    if spec.version == 1:
        projected = spec.dt_rank + 2 * spec.state
        norms = projected if spec.inner_norms else 0
        x_proj = _matmul("ssm_x", "fc", spec.inner, projected, stream, Phase.ALL, "row")
        yield replace(x_proj, weights=x_proj.weights + norms)
        yield _matmul(
            "ssm_dt", "fc", spec.dt_rank, spec.inner, stream, Phase.ALL, "column", bias=True
        )
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
    yield _matmul("ssm_out", "fc", spec.inner, hidden, stream, Phase.ALL, "row", bias=bias)


def _feed_forward(spec: FeedForward, hidden: int, stream: Stream) -> Iterator[Op]:
    yield from _mlp("ffn", hidden, spec.intermediate, stream, gated=spec.gated, bias=spec.bias)


def _mlp(
    name: str,
    hidden: int,
    inner: int,
    stream: Stream,
    *,
    gated: bool,
    bias: bool = False,
    summed: bool = True,
) -> Iterator[Op]:
    ways = 2 if gated else 1
    yield _matmul(f"{name}_up", "fc", hidden, ways * inner, stream, Phase.ALL, "column", bias=bias)
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
    yield _matmul(
        f"{name}_down", "fc", inner, hidden, stream, Phase.ALL, "row", bias=bias, summed=summed
    )


def _experts(spec: Experts, hidden: int, stream: Stream) -> Iterator[Op]:
    ways = 2 if spec.gated else 1
    yield _matmul(
        "router", "fc", hidden, spec.count, stream, Phase.ALL, "none", bias=spec.router_bias
    )
    if spec.shared_intermediate:  # its partial sums are reduced together with the routed experts'
        yield from _mlp(
            "shared_expert",
            hidden,
            spec.shared_intermediate,
            stream,
            gated=spec.gated,
            summed=False,
        )
        if spec.shared_gate:
            yield _matmul("shared_gate", "fc", hidden, 1, stream, Phase.ALL, "none")
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
    )
