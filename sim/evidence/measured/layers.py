"""Operators of whole layers: products, vidur's and LLMServingSim's profiles, LLMCompass's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from sim.evidence.measured.attention import attention_op, causal_pairs
from sim.evidence.measured.collectives import collective, without_shots
from sim.evidence.measured.operators import Opened, Rows, Timed, Work, known_format
from sim.evidence.measured.spellings import load_named_model
from sim.graph import CAUSAL, Kind, Op, Phase
from sim.hardware.formats import for_weights
from sim.workload.architecture import Architecture, Attention, FeedForward
from sim.workload.layers.parts import matmul

EAGER: Final = 5.0
"""Kernels of an RMS norm or a rotation run operator by operator (square, mean, root, products,
casts), as Hugging Face's modelling code does, which LLMServingSim's first profiles time."""


def vector(name: str, elements: float, launches: float = 1.0) -> Op:
    """An element-wise operator that reads and writes `elements` a token in all."""
    return Op(
        name=name,
        kind=Kind.VECTOR,
        operator_class="norm",
        flops_per_token=elements,
        inputs=elements,
        launches=launches,
    )


def product(name: str, depth: int, width: int) -> Op:
    """A matrix product of a layer."""
    return matmul(name, depth, width, CAUSAL, "none")


def products(opened: Opened) -> Iterator[Timed]:
    """Products [tokens, depth] x [depth, width], those of one format of weights together."""
    timed: dict[str, Rows] = {}
    for (dtype, width, depth), group in opened.groups("dtype", "width", "depth"):
        formats = known_format(str(dtype))
        if formats is not None:
            op = product("product", int(depth), int(width))
            timed.setdefault(formats[0], Rows()).add(
                op, group.index.to_numpy(), Work(tokens=group["tokens"]), formats=formats
            )
    for weights, own in timed.items():
        yield Timed(rows=own, on=partial(for_weights, weights=weights))


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Widths of one device's slice of a layer."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    gated: bool
    vocabulary: int


def shape_of(model: Architecture, ways: int) -> Shape:
    """Slice of one of `ways` devices of the layers of a dense model."""
    layer = model.layers[0]
    attention, dense = layer.mixer, layer.ffn
    assert isinstance(attention, Attention)
    assert isinstance(dense, FeedForward)
    return Shape(
        hidden=model.hidden,
        heads=attention.heads // ways,
        kv_heads=max(attention.kv_heads // ways, 1),
        head_dim=attention.head_dim,
        inner=dense.intermediate // ways,
        gated=dense.gated,
        vocabulary=model.vocabulary // ways,
    )


def operators_of(shape: Shape, *, eager: bool = False) -> Mapping[str, Op]:
    """Operators of a layer by the names that profiles give them; `eager` as PyTorch runs some."""
    hidden, dim = shape.hidden, shape.head_dim
    queries, keys = shape.heads * dim, shape.kv_heads * dim
    ways = 2 if shape.gated else 1
    norm, summed = vector("norm", 2.0 * hidden), vector("norm", 4.0 * hidden)
    rope = vector("rope", 2.0 * (queries + keys))
    activation = vector("activation", (ways + 1.0) * shape.inner)
    embedding = vector("embedding", 2.0 * hidden)
    qkv = product("qkv", hidden, queries + 2 * keys)
    out = product("out", queries, hidden)
    up, down = product("up", hidden, ways * shape.inner), product("down", shape.inner, hidden)
    known = {
        "emb": embedding, "embedding": embedding, "input_layernorm": norm,
        "post_attention_layernorm": norm,
        "layernorm": summed, "final_layernorm": summed,  # they add the residual too
        "attn_pre_proj": qkv, "qkv_proj": qkv, "q_proj": product("q", hidden, queries),
        "k_proj": product("k", hidden, keys), "v_proj": product("v", hidden, keys),
        "attn_rope": rope, "rotary_emb": rope, "attn_post_proj": out, "o_proj": out,
        "mlp_up_proj": up, "gate_up_proj": up, "gate_proj": product("gate", hidden, shape.inner),
        "up_proj": product("up", hidden, shape.inner), "mlp_act": activation,
        "act_fn": activation, "mlp_down_proj": down, "down_proj": down,
        "add": vector("add", 3.0 * hidden), "lm_head": product("head", hidden, shape.vocabulary),
        "sampler": vector("sampler", 4.0 * shape.vocabulary, EAGER),
    }  # fmt: skip
    if eager:
        slow = vector("norm", EAGER * 2.0 * hidden, EAGER)
        known |= {
            "input_layernorm": slow, "post_layernorm": slow, "final_layernorm": slow,
            "rope": vector("rope", 6.0 * (queries + keys), EAGER),
            "act_fn": vector("activation", 2.0 * shape.inner),
        }  # fmt: skip
    return known


def layer_operators(opened: Opened) -> Iterator[Timed]:
    """Operators by their names in column layer, of one of `ways` slices."""
    timed = Rows()
    for (name, layer, ways), group in opened.groups("model", "layer", "ways"):
        model = load_named_model(str(name), opened.folder)
        if model is None:
            continue
        shape = shape_of(model, int(str(ways)))
        known = operators_of(shape, eager="eager" in opened.frame)
        tokens, index = group["tokens"].to_numpy(float), group.index.to_numpy()
        if layer == "attn":
            op = attention_op(shape.heads, shape.kv_heads, shape.head_dim, Phase.PREFILL)
            past = group["past"].to_numpy(float)
            pairs = causal_pairs(tokens, past)
            timed.add(op, index, Work(tokens=tokens, cached=past + tokens, pairs=pairs))
        elif layer in known:
            there = group["measured"].notna().to_numpy()
            timed.add(known[layer], index[there], Work(tokens=tokens[there]))
    yield Timed(rows=timed)


def element_wise(opened: Opened) -> Iterator[Timed]:
    """LLMCompass's operators of PyTorch on [rows, length], measured in elements a second.

    Adds column measured, in seconds.
    """
    frame, timed = opened.frame, Rows()
    length = frame["length"].to_numpy(float)
    frame["measured"] = frame["tokens"] * length / (frame["rate_G_per_s"] * 1e9)
    for (layer, width), group in opened.groups("layer", "length"):
        op = vector(str(layer), 2.0 * float(width))
        timed.add(op, group.index.to_numpy(), Work(tokens=group["tokens"].to_numpy(float)))
    yield Timed(rows=timed)


def gpt3_layer(opened: Opened) -> Iterator[Timed]:
    """Operators of GPT-3's layer on several GPUs, as PyTorch runs it.

    `numbers` has the batch, the prompt tokens of each sequence, which a decoded token attends to,
    and the GPUs.
    """
    batch, sequence, ways = (opened.form.numbers[name] for name in ("batch", "sequence", "ways"))
    model = load_named_model(str(opened.form.given["model"]), opened.folder)
    assert model is not None
    shape, timed = shape_of(model, ways), Rows()
    for (phase, operator), group in opened.groups("phase", "operator"):
        new = sequence if phase == "prefill" else 1
        known = gpt3_operators(shape, batch, new, sequence, ways)
        if operator in known:
            op, tokens = known[str(operator)]
            timed.add(op, group.index.to_numpy(), Work(tokens=tokens), formats=("fp16",) * 3)
    yield Timed(rows=timed, on=without_shots)


def gpt3_operators(
    shape: Shape, batch: int, new: int, context: int, ways: int
) -> Mapping[str, tuple[Op, float]]:
    """Operators of one device's slice by the table's names, and how many rows each works on.

    Every sequence has `new` tokens. Scores are written out and read again, as PyTorch does.
    """
    tokens, products = float(batch * new), batch * shape.heads
    width = shape.heads * shape.head_dim
    norm = vector("norm", 2.0 * shape.hidden)
    summed = collective("all-reduce", ways), tokens * shape.hidden
    return {
        "Q_K_V": (product("qkv", shape.hidden, 3 * width), tokens),
        "Q_mul_K": (_batched("qk", products, shape.head_dim, context), float(products * new)),
        "A_mul_V": (_batched("av", products, context, shape.head_dim), float(products * new)),
        "Wo_proj": (product("out", width, shape.hidden), tokens),
        "W1_proj": (product("up", shape.hidden, shape.inner), tokens),
        "W2_proj": (product("down", shape.inner, shape.hidden), tokens),
        "Softmax": (vector("softmax", 2.0 * context), float(products * new)),
        "LayerNorm_MHA": (norm, tokens),
        "LayerNorm_FFN": (norm, tokens),
        "GeLU": (vector("activation", 2.0 * shape.inner), tokens),
        "AllReduce_MHA": summed,
        "AllReduce_FFN": summed,
    }


def _batched(name: str, products: int, depth: int, width: int) -> Op:
    """`products` products in one launch, each of rows and of a matrix of its own."""
    return replace(product(name, depth, width), weights=float(products * depth * width))
