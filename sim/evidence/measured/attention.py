"""Attention kernels measured alone: prompts, new tokens, chunks, and mixed batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from sim.evidence.measured.constants import Constants
from sim.evidence.measured.formats import Format, described, fold_of, rows
from sim.evidence.measured.named import device_in
from sim.evidence.measured.operators import Rows, built, grouped, known_format
from sim.evidence.measured.tables import Table
from sim.graph import CAUSAL, Kind, Op, Phase
from sim.workload.layers.mixers import SOFTMAX_FLOPS

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def attention_op(heads: int, kv_heads: int, head_dim: int, phase: Phase) -> Op:
    """Attention of `heads` query heads over `kv_heads` on one device; counts are of elements."""
    queries, keys = heads * head_dim, kv_heads * head_dim
    return Op(
        name="attention",
        kind=Kind.ATTENTION,
        operator_class="attention-prefill" if phase == Phase.PREFILL else "attention-decode",
        stream=CAUSAL,
        phase=phase,
        flops_per_pair=(4.0 * head_dim + SOFTMAX_FLOPS) * heads,
        inputs=queries,
        outputs=queries,
        depth=head_dim,
        width=head_dim,
        kv_read=2.0 * keys,
        kv_write=2.0 * keys,
        heads=heads,
        kv_heads=kv_heads,
    )


def causal_pairs(new: Floats, cached: Floats, window: Floats) -> Floats:
    """Query-key pairs of `new` tokens after `cached` ones, each seeing at most `window` keys."""
    inside = np.clip(window - cached, 0.0, new)
    return inside * cached + inside * (inside + 1.0) / 2.0 + (new - inside) * window


def formats_of(attention: str, cache: str) -> tuple[str, str, str] | None:
    """Formats of weights, KV cache and activations of an attention kernel."""
    operands, stored = known_format(attention), known_format(cache)
    if operands is None or stored is None:
        return None
    return operands[0], stored[0], operands[0]


def predict_aic(table: Table, constants: Constants) -> pd.DataFrame:
    """Attention of the aiconfigurator database: one layer on one GPU, in microseconds."""
    shape = ["num_heads", "num_key_value_heads", "head_dim"]
    return _database(table, constants, "attn", "", shape, _aic_rows)


def predict_mla(table: Table, constants: Constants) -> pd.DataFrame:
    """DeepSeek's latent attention on one GPU, in microseconds: absorbed when it decodes."""
    return _database(table, constants, "mla", "mla-", ["num_heads"], _mla_rows)


def _database(
    table: Table, constants: Constants, kind: str, phase: str, shape: list[str],
    made: Callable[..., Rows],
) -> pd.DataFrame:  # fmt: skip
    """A `kind` of attention in the aiconfigurator database, `made` of rows; phases get a prefix."""
    name = device_in(table, kind + r"_(?:context|generation)_(.+)_[a-z]+$")
    prefill = "context" in table.name
    frame = table.frame
    timed = built(table, kind, lambda: made(frame, prefill=prefill))
    seconds = timed.seconds(constants.device(name), len(frame), repeated=True)

    def make() -> pd.DataFrame:
        dtypes = frame[f"{kind}_dtype"].astype(str) + "/" + frame["kv_cache_dtype"].astype(str)
        return rows(
            frame["latency_us"],
            seconds * 1e6,
            device=name,
            phase=phase + ("prefill" if prefill else "decode"),
            dtype=dtypes,
            reason=np.where(np.isfinite(seconds), "", "number format " + dtypes),
            fold=fold_of(frame[shape].astype(str).agg("|".join, axis=1)),
        )

    return described(table, seconds * 1e6, make)


def _aic_rows(frame: pd.DataFrame, *, prefill: bool) -> Rows:
    timed = Rows()
    keys = ["num_heads", "num_key_value_heads", "head_dim", "attn_dtype", "kv_cache_dtype"]
    for (heads, kv_heads, dim, dtype, cache), group in grouped(frame, keys):
        formats = formats_of(str(dtype), str(cache))
        if formats is None:
            continue
        batch = group["batch_size"].to_numpy(float)
        new, past = group["isl"].to_numpy(float), group["step"].to_numpy(float)
        window = group["window_size"].to_numpy(float)
        window = np.where(window > 0.0, window, 1e9)
        phase = Phase.PREFILL if prefill else Phase.DECODE
        op = attention_op(int(heads), int(kv_heads), int(dim), phase)
        if not prefill:
            new = np.ones_like(new)
        pairs = batch * causal_pairs(new, past, window)
        cached = batch * np.minimum(past + new, window + new - 1.0)
        timed.add(
            op, group.index.to_numpy(), tokens=batch * new, pairs=pairs, cached=cached,
            sequences=batch, formats=formats,
        )  # fmt: skip
    return timed


def predict_frontier(table: Table, constants: Constants) -> pd.DataFrame:
    """FlashInfer's kernels in Frontier's tables, in milliseconds; and what writes the cache."""
    name = device_in(table, r"attention_([a-z0-9]+)_.+$")
    return _vidur_style(
        table, constants, name, prefill="attn_prefill_ms", decode="attn_decode_ms", scale=1e3
    )


def predict_v0(table: Table, constants: Constants) -> pd.DataFrame:
    """LLMServingSim's attention table in vidur's form, in microseconds."""
    name = device_in(table, r"v0_attention_([A-Za-z0-9]+)_.+$")
    return _vidur_style(table, constants, name, prefill="time_us", decode="time_us", scale=1e6)


def _vidur_style(
    table: Table, constants: Constants, name: str, *, prefill: str, decode: str, scale: float
) -> pd.DataFrame:
    frame = table.frame
    is_prefill = frame["is_prefill"].astype(str).str.lower() == "true"
    timed = built(table, "attention", lambda: _vidur_rows(frame, is_prefill))
    seconds = timed.seconds(constants.device(name), len(frame), repeated=True)
    if "rows" in table.built:
        return described(table, seconds * scale, pd.DataFrame)
    measured = np.where(is_prefill, frame[prefill], frame[decode])
    shape = frame[["batch_size", "kv_cache_size", "prefill_chunk_size"]].astype(str)
    made = rows(
        measured,
        seconds * scale,
        device=name,
        phase=np.where(is_prefill, "prefill", "decode"),
        dtype="fp16",
        fold=fold_of(shape.agg("|".join, axis=1)),
    )
    return described(table, seconds * scale, lambda: made)


def _vidur_rows(frame: pd.DataFrame, is_prefill: pd.Series) -> Rows:
    timed = Rows()
    keys = ["n_embd", "n_q_head", "n_kv_head", "num_tensor_parallel_workers", "is_prefill"]
    for (width, heads, kv_heads, ways, _), group in grouped(frame, keys):
        dim = int(width) // int(heads)
        whole = bool(is_prefill[group.index[0]])
        phase = Phase.PREFILL if whole else Phase.DECODE
        op = attention_op(
            max(int(heads) // int(ways), 1), max(int(kv_heads) // int(ways), 1), dim, phase
        )
        batch = group["batch_size"].to_numpy(float)
        past = group["kv_cache_size"].to_numpy(float)
        new = group["prefill_chunk_size"].to_numpy(float) if whole else np.ones(len(group))
        pairs = batch * causal_pairs(new, past, np.full(len(group), 1e9))
        timed.add(
            op, group.index.to_numpy(), tokens=batch * new, pairs=pairs,
            cached=batch * (past + new), sequences=batch,
        )  # fmt: skip
    return timed


def predict_mixed(table: Table, constants: Constants) -> pd.DataFrame:
    """VLLM's attention of one chunk of a prompt beside decoding sequences, in microseconds."""
    name = device_in(table, r"attention_([A-Za-z0-9]+)_.+_tp\d+$")
    frame = table.frame
    chunk, cached = frame["prefill_chunk"].to_numpy(float), frame["kv_prefill"].to_numpy(float)
    batch, context = frame["n_decode"].to_numpy(float), frame["kv_decode"].to_numpy(float)
    timed = built(table, "mixed", lambda: _mixed_rows(chunk, cached, batch, context))
    seconds = timed.seconds(constants.device(name), len(frame), repeated=True)
    if "rows" in table.built:
        return described(table, seconds * 1e6, pd.DataFrame)
    phase = np.where(batch == 0, "prefill", np.where(chunk == 0, "decode", "mixed"))
    shape = frame[["prefill_chunk", "n_decode", "kv_decode"]].astype(str).agg("|".join, axis=1)
    made = rows(
        frame["time_us"],
        seconds * 1e6,
        device=name,
        phase=phase,
        dtype="bf16",
        fold=fold_of(shape),
    )
    return described(table, seconds * 1e6, lambda: made)  # fmt: skip


def _mixed_rows(chunk: Floats, cached: Floats, batch: Floats, context: Floats) -> Rows:
    heads, kv_heads, dim = 32, 8, 128  # Llama-3.1-8B, which these tables are of
    timed = Rows()
    has = np.flatnonzero(chunk > 0)
    every = np.full(len(has), 1e9)
    timed.add(
        attention_op(heads, kv_heads, dim, Phase.PREFILL), has, tokens=chunk[has],
        pairs=causal_pairs(chunk[has], cached[has], every), cached=cached[has] + chunk[has],
    )  # fmt: skip
    has = np.flatnonzero(batch > 0)
    seen = batch[has] * np.maximum(context[has], 1.0)
    timed.add(
        attention_op(heads, kv_heads, dim, Phase.DECODE), has, tokens=batch[has], pairs=seen,
        cached=seen, sequences=batch[has], prompt_tokens=chunk[has],
    )  # fmt: skip
    return timed


def _mla_rows(frame: pd.DataFrame, *, prefill: bool) -> Rows:
    timed = Rows()
    for (heads, dtype, cache), group in grouped(
        frame, ["num_heads", "mla_dtype", "kv_cache_dtype"]
    ):
        formats = formats_of(str(dtype), str(cache))
        if formats is None:
            continue
        batch = group["batch_size"].to_numpy(float)
        new, past = group["isl"].to_numpy(float), group["step"].to_numpy(float)
        if not prefill:
            new, past = np.ones_like(new), np.maximum(past, new)
        op = latent_op(int(heads), Phase.PREFILL if prefill else Phase.DECODE)
        pairs = batch * causal_pairs(new, past, np.full(len(group), 1e9))
        timed.add(
            op, group.index.to_numpy(), tokens=batch * new, pairs=pairs,
            cached=batch * (past + new), sequences=batch, formats=formats,
        )  # fmt: skip
    return timed


LATENT, ROPE, NOPE, VALUES = 512, 64, 128, 128
"""Dimensions of DeepSeek-V2 and V3's latent attention (arXiv 2405.04434, table of section 3)."""


def latent_op(heads: int, phase: Phase) -> Op:
    """MLA of `heads` heads on one device: expanded for prompts, absorbed for new tokens."""
    if phase == Phase.PREFILL:
        pair, inputs, outputs = 2.0 * (NOPE + ROPE + VALUES), NOPE + ROPE, VALUES
    else:
        pair, inputs, outputs = 2.0 * (2 * LATENT + ROPE), LATENT + ROPE, LATENT
    return replace(
        attention_op(heads, 1, LATENT + ROPE, phase),
        flops_per_pair=(pair + SOFTMAX_FLOPS) * heads,
        inputs=heads * inputs,
        outputs=heads * outputs,
        width=LATENT,
        kv_read=LATENT + ROPE,
        kv_write=LATENT + ROPE,
    )


_VIDUR = (
    "n_embd", "n_q_head", "n_kv_head", "num_tensor_parallel_workers", "batch_size",
    "prefill_chunk_size", "kv_cache_size", "is_prefill",
)  # fmt: skip
FORMATS = (
    Format(
        family="attention",
        pattern=r"aic_kernels/attn_(context|generation)_.+",
        columns=(
            "batch_size", "isl", "step", "num_heads", "num_key_value_heads", "head_dim",
            "window_size", "attn_dtype", "kv_cache_dtype", "latency_us",
        ),
        predict=predict_aic,
        unit="us",
    ),
    Format(
        family="attention",
        pattern=r"frontier/attention_.+",
        columns=(*_VIDUR, "attn_prefill_ms", "attn_decode_ms"),
        predict=predict_frontier,
        unit="ms",
    ),
    Format(
        family="attention",
        pattern=r"llmservingsim/v0_attention_.+",
        columns=(*_VIDUR, "time_us"),
        predict=predict_v0,
        unit="us",
    ),
    Format(
        family="attention",
        pattern=r"llmservingsim/attention_.+",
        columns=("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"),
        predict=predict_mixed,
        unit="us",
    ),
    Format(
        family="mla",
        pattern=r"aic_kernels/mla_(context|generation)_.+",
        columns=(
            "mla_dtype", "kv_cache_dtype", "num_heads", "batch_size", "isl", "step", "latency_us",
        ),
        predict=predict_mla,
        unit="us",
    ),
)  # fmt: skip
