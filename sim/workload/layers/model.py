"""The layer graph of a whole model: embedding, towers, layers and head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

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
from sim.workload.layers.feed_forward import expert_layer, feed_forward
from sim.workload.layers.mixers import attention, cross_attention, latent_attention, state_space
from sim.workload.layers.parts import matmul, norm


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
        ops.append(norm("final_norm", model.hidden, width * (1 + model.extra_norms), decoder, 1))
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
        yield matmul("encoder.patch", encoder.patch_inputs, hidden, stream, "none", Phase.PREFILL)
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
            shaped=False,
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
    head = matmul("lm_head", model.hidden, outputs, stream, "vocabulary", Phase.LOGITS)
    bias = outputs if model.head_bias else 0
    weights = head.weights + (0 if tied else bias)
    yield replace(head, operator_class="lm-head", owned=not tied, weights=weights)


def _block(block: Block, hidden: int, stream: Stream, memory: Stream) -> Iterator[Op]:
    """Operators of one layer; `memory` is what its cross-attention attends to."""
    if block.norms:
        vectors = hidden * (2 if block.norm_bias else 1)
        yield norm("norm", hidden, vectors * block.norms, stream, block.norms)
    match block.mixer:
        case Attention():
            yield from attention(block.mixer, hidden, stream)
        case LatentAttention():
            yield from latent_attention(block.mixer, hidden, stream)
        case StateSpace():
            yield from state_space(block.mixer, hidden, stream)
    if block.cross_attention is not None:
        yield from cross_attention(block.cross_attention, hidden, stream, memory)
    match block.ffn:
        case FeedForward():
            yield from feed_forward(block.ffn, hidden, stream)
        case Experts():
            yield from expert_layer(block.ffn, hidden, stream)
