"""Operators of whole layers: vidur's and LLMServingSim's profiles, and LLMCompass's operators."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from sim.evidence.measured.attention import attention_op, causal_pairs
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.formats import Format, described, fold_of, rows
from sim.evidence.measured.named import device_in, load_named_model
from sim.evidence.measured.operators import Rows, built, grouped
from sim.evidence.measured.tables import Table
from sim.graph import CAUSAL, Kind, Op, Phase
from sim.workload.architecture import Architecture, Attention, FeedForward
from sim.workload.layers.parts import matmul

EAGER = 5.0
"""Kernels of an RMS norm or a rotation run operator by operator (square, mean, root, products,
casts), as Hugging Face's modelling code does, which LLMServingSim's first profiles time."""


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
    return matmul(name, "fc", depth, width, CAUSAL, Phase.ALL, "none")


def operators_of(shape: Shape) -> Mapping[str, Op]:
    """Operators of a layer by the names that profiles give them."""
    hidden, dim = shape.hidden, shape.head_dim
    queries, keys = shape.heads * dim, shape.kv_heads * dim
    ways = 2 if shape.gated else 1
    norm = vector("norm", 2.0 * hidden)
    eager_norm = vector("norm", EAGER * 2.0 * hidden, EAGER)
    rope = 2.0 * (queries + keys)
    return {
        "emb": vector("embedding", 2.0 * hidden),
        "embedding": vector("embedding", 2.0 * hidden),
        "input_layernorm": norm,
        "post_attention_layernorm": norm,
        "layernorm": vector("norm", 4.0 * hidden),  # adds the residual too
        "final_layernorm": vector("norm", 4.0 * hidden),
        "attn_pre_proj": product("qkv", hidden, queries + 2 * keys),
        "qkv_proj": product("qkv", hidden, queries + 2 * keys),
        "q_proj": product("q", hidden, queries),
        "k_proj": product("k", hidden, keys),
        "v_proj": product("v", hidden, keys),
        "attn_rope": vector("rope", rope),
        "rotary_emb": vector("rope", rope),
        "attn_post_proj": product("out", queries, hidden),
        "o_proj": product("out", queries, hidden),
        "mlp_up_proj": product("up", hidden, ways * shape.inner),
        "gate_up_proj": product("up", hidden, ways * shape.inner),
        "gate_proj": product("gate", hidden, shape.inner),
        "up_proj": product("up", hidden, shape.inner),
        "mlp_act": vector("activation", (ways + 1.0) * shape.inner),
        "act_fn": vector("activation", (ways + 1.0) * shape.inner),
        "mlp_down_proj": product("down", shape.inner, hidden),
        "down_proj": product("down", shape.inner, hidden),
        "add": vector("add", 3.0 * hidden),
        "lm_head": product("head", hidden, shape.vocabulary),
        "sampler": vector("sampler", 4.0 * shape.vocabulary, EAGER),
        "eager input_layernorm": eager_norm,
        "eager post_layernorm": eager_norm,
        "eager final_layernorm": eager_norm,
        "eager rope": vector("rope", 3.0 * rope, EAGER),
        "eager act_fn": vector("activation", 2.0 * shape.inner),
    }


def predict_vidur(table: Table, constants: Constants) -> pd.DataFrame:
    """Sums of a row's operators, in milliseconds, and each operator on its own."""
    name = device_in(table, r"mlp_(.+)$")
    frame = table.frame
    parts = [column.removesuffix("_ms") for column in frame.columns if column.endswith("_ms")]
    device = constants.device(name)
    alone = {
        part: built(table, part, partial(_part_rows, table, part, f"{part}_ms")) for part in parts
    }
    each = {part: alone[part].seconds(device, len(frame), repeated=True) * 1e3 for part in parts}
    total = np.nansum(np.stack(list(each.values())), axis=0)
    total[np.isnan(np.stack(list(each.values()))).all(axis=0)] = np.nan
    shape = frame["model"].astype(str) + "|" + frame["tp"].astype(str)
    reason = np.where(np.isfinite(total), "", "no model " + frame["model"].astype(str))
    measured = frame[[f"{part}_ms" for part in parts]].sum(axis=1)
    found = [
        rows(
            measured, total, device=name, phase="layer", dtype="fp16", reason=reason,
            fold=fold_of(shape),
        )
    ]  # fmt: skip
    for part in parts:
        has = frame[f"{part}_ms"].to_numpy(float) > 0.0
        found.append(
            rows(
                frame[f"{part}_ms"][has], each[part][has], device=name, phase=part, dtype="fp16",
                reason=reason[has], fold=fold_of(shape)[has],
            )
        )  # fmt: skip
    return pd.concat(found, ignore_index=True)


def _part_rows(table: Table, part: str, column: str) -> Rows:
    timed = Rows()
    for (model, ways), group in grouped(table.frame, ["model", "tp"]):
        known = load_named_model(str(model), table.folder)
        if known is not None:
            there = group[column].notna().to_numpy()
            op = operators_of(shape_of(known, int(ways)))[part]
            tokens = group["num_tokens"].to_numpy(float)
            timed.add(op, group.index.to_numpy()[there], tokens=tokens[there])
    return timed


def predict_ops(table: Table, constants: Constants) -> pd.DataFrame:
    """LLMServingSim's profile of vLLM's layers, in microseconds."""
    frame = table.frame.rename(columns={"n": "input", "layer": "layer_name"})
    return _layers(table, frame.assign(tp_size=_ways(table)), constants, r"ops_([A-Za-z0-9]+)_")


def predict_v0(table: Table, constants: Constants) -> pd.DataFrame:
    """LLMServingSim's first profiles, operator by operator, in microseconds."""
    frame = table.frame.copy()
    eager = frame["layer_name"].isin(
        ["input_layernorm", "post_layernorm", "final_layernorm", "rope", "act_fn"]
    )
    frame["layer_name"] = np.where(eager, "eager " + frame["layer_name"], frame["layer_name"])
    return _layers(table, frame, constants, r"v0_layers_([A-Za-z0-9]+)_")


def _ways(table: Table) -> int:
    match = re.search(r"_tp(\d+)$", table.name)
    return int(match[1]) if match else 1


def _layers(table: Table, frame: pd.DataFrame, constants: Constants, pattern: str) -> pd.DataFrame:
    name = device_in(table, pattern)
    match = re.search(r"_((?:Llama|Qwen|Mistral|Mixtral|Phi|Gemma|DeepSeek)[^_]*)", table.name)
    model = load_named_model(match[1] if match else table.name, table.folder)
    timed = built(table, "layers", lambda: _layer_rows(frame, model))
    seconds = timed.seconds(constants.device(name), len(frame), repeated=True)
    if "rows" in table.built:
        return described(table, seconds * 1e6, pd.DataFrame)
    layers = frame["layer_name"].astype(str).str.removeprefix("eager ")
    made = rows(
        frame["time_us"],
        seconds * 1e6,
        device=name,
        phase=layers,
        dtype="bf16",
        reason=np.where(np.isfinite(seconds), "", "operator or model unknown: " + layers),
        fold=fold_of(frame["input"]),
    )
    return described(table, seconds * 1e6, lambda: made)


def _layer_rows(frame: pd.DataFrame, model: Architecture | None) -> Rows:
    timed = Rows()
    if model is not None:
        for key, group in grouped(frame, ["layer_name", "tp_size"]):
            layer, ways = str(key[0]), int(str(key[1]))
            shape = shape_of(model, ways)
            tokens = group["input"].to_numpy(float)
            if layer == "attn":
                op = attention_op(shape.heads, shape.kv_heads, shape.head_dim, Phase.PREFILL)
                cached = group["kv_cache"].to_numpy(float)
                timed.add(
                    op, group.index.to_numpy(), tokens=tokens, cached=cached + tokens,
                    pairs=causal_pairs(tokens, cached, np.full(len(group), 1e9)),
                )  # fmt: skip
            elif layer in operators_of(shape):
                op = operators_of(shape)[layer]
                timed.add(op, group.index.to_numpy(), tokens=tokens)
    return timed


def predict_rate(table: Table, constants: Constants) -> pd.DataFrame:
    """LLMCompass's element-wise operators of PyTorch, in seconds from elements a second."""
    kind, device = re.findall(r"(softmax|layernorm|gelu)_(.+)$", table.name)[0]
    name = device_in(table, rf"{kind}_({re.escape(device)})$")
    frame = table.frame
    length = frame["N"].to_numpy(float) if "N" in frame else np.ones(len(frame))
    timed = Rows()
    for position, width in enumerate(length):
        op = vector(kind, 2.0 * width)
        timed.add(op, np.array([position]), tokens=frame["M"].to_numpy(float)[[position]])
    seconds = timed.seconds(constants.device(name), len(frame), repeated=True)
    elements = frame["M"].to_numpy(float) * length
    return rows(
        elements / (frame["gelements_per_s"].to_numpy(float) * 1e9),
        seconds, device=name, phase=kind, dtype="fp16",
    )  # fmt: skip


FORMATS = (
    Format(
        family="layer",
        pattern=r"vidur/mlp_.+",
        columns=("model", "num_tokens", "tp"),
        predict=predict_vidur,
        unit="ms",
    ),
    Format(
        family="layer",
        pattern=r"llmservingsim/ops_.+",
        columns=("kind", "layer", "n", "time_us"),
        predict=predict_ops,
        unit="us",
    ),
    Format(
        family="layer",
        pattern=r"llmservingsim/v0_layers_.+",
        columns=("layer_name", "input", "kv_cache", "tp_size", "time_us"),
        predict=predict_v0,
        unit="us",
    ),
    Format(
        family="vector",
        pattern=r"llmcompass/(softmax|layernorm|gelu)_.+",
        columns=("M", "gelements_per_s"),
        predict=predict_rate,
        unit="s",
    ),
)
