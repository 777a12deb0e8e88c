"""Attention kernels measured alone: prompts, new tokens, chunks, and mixed batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from sim.evidence.measured.operators import Floats, Opened, Rows, Timed, Work, known_format
from sim.graph import CAUSAL, Kind, Op, Phase
from sim.workload.layers.mixers import SOFTMAX_FLOPS

EVERYTHING: Final = 1e9
"""Window of attention without one, in tokens."""
PHASES: Final = {
    "context": "prefill", "generation": "decode", "true": "prefill", "false": "decode",
}  # fmt: skip


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


def causal_pairs(new: Floats, cached: Floats, window: Floats | float = EVERYTHING) -> Floats:
    """Query-key pairs of `new` tokens after `cached` ones, each seeing at most `window` keys."""
    inside = np.clip(window - cached, 0.0, new)
    return inside * cached + inside * (inside + 1.0) / 2.0 + (new - inside) * window


def attention(opened: Opened) -> Iterator[Timed]:
    """Attention of one layer, `batch` sequences of `new` tokens after `past` ones.

    A slice of `ways` devices where there are several. Adds column phase.
    """
    frame = opened.frame
    if "model_width" in frame:
        frame["head_dim"] = frame["model_width"] // frame["heads"]
        for heads in ("heads", "kv_heads"):
            frame[heads] = np.maximum(frame[heads] // frame["ways"], 1)
    frame["window"] = frame["window"].where(frame["window"] > 0.0, EVERYTHING)
    yield _sequences(opened, ["heads", "kv_heads", "head_dim"], attention_op)


def latent_attention(opened: Opened) -> Iterator[Timed]:
    """Latent attention likewise: expanded for prompts, absorbed for new tokens.

    `numbers` has the dimensions of latent, rope, nope and values.
    """

    def op(heads: int, phase: Phase) -> Op:
        return latent_op(heads, phase, **opened.form.numbers)

    frame = opened.frame
    decoding = frame["phase"].map(PHASES) == "decode"
    longer = np.maximum(frame["past"], frame["new"])
    frame["past"] = np.where(decoding, longer, frame["past"])
    frame["window"] = EVERYTHING
    yield _sequences(opened, ["heads"], op)


def _sequences(opened: Opened, shape: list[str], op: Callable[..., Op]) -> Timed:
    """Sequences of equal lengths, of operators that `op` makes of the columns of `shape`."""
    frame = opened.frame
    frame["phase"] = frame["phase"].astype(str).str.lower().map(PHASES)
    timed = Rows()
    for (*widths, phase, dtype, cache), group in opened.groups(*shape, "phase", "dtype", "cache"):
        operands, stored = known_format(str(dtype)), known_format(str(cache))
        if operands is None or stored is None:
            continue
        batch, new, past, window = (
            group[column].to_numpy(float) for column in ("batch", "new", "past", "window")
        )
        if phase == "decode":
            new = np.ones_like(new)
        work = Work(
            tokens=batch * new,
            pairs=batch * causal_pairs(new, past, window),
            cached=batch * np.minimum(past + new, window + new - 1.0),
            sequences=batch,
        )
        kernel = op(*map(int, widths), Phase.PREFILL if phase == "prefill" else Phase.DECODE)
        formats = operands[0], stored[0], operands[0]
        timed.add(kernel, group.index.to_numpy(), work, formats=formats)
    return Timed(rows=timed)


def mixed_attention(opened: Opened) -> Iterator[Timed]:
    """A `chunk` of a prompt after `past` tokens, and `decodes` sequences of `context` beside it.

    Adds column phase.
    """
    frame = opened.frame
    chunk, past, decodes, context = (
        frame[column].to_numpy(float) for column in ("chunk", "past", "decodes", "context")
    )
    heads, kv_heads, head_dim = (
        int(frame[column].iloc[0]) for column in ("heads", "kv_heads", "head_dim")
    )
    timed = Rows()
    has = np.flatnonzero(chunk > 0)
    pairs = causal_pairs(chunk[has], past[has])
    work = Work(tokens=chunk[has], pairs=pairs, cached=past[has] + chunk[has])
    timed.add(attention_op(heads, kv_heads, head_dim, Phase.PREFILL), has, work)
    has = np.flatnonzero(decodes > 0)
    seen = decodes[has] * np.maximum(context[has], 1.0)
    work = Work(
        tokens=decodes[has], pairs=seen, cached=seen, sequences=decodes[has],
        prompt_tokens=chunk[has],
    )  # fmt: skip
    timed.add(attention_op(heads, kv_heads, head_dim, Phase.DECODE), has, work)
    frame["phase"] = np.where(decodes == 0, "prefill", np.where(chunk == 0, "decode", "mixed"))
    yield Timed(rows=timed)


def latent_op(heads: int, phase: Phase, *, latent: int, rope: int, nope: int, values: int) -> Op:
    """MLA of `heads` heads on one device: expanded for prompts, absorbed for new tokens."""
    if phase == Phase.PREFILL:
        pair, inputs, outputs = 2.0 * (nope + rope + values), nope + rope, values
    else:
        pair, inputs, outputs = 2.0 * (2 * latent + rope), latent + rope, latent
    return replace(
        attention_op(heads, 1, latent + rope, phase),
        flops_per_pair=(pair + SOFTMAX_FLOPS) * heads,
        inputs=heads * inputs,
        outputs=heads * outputs,
        width=latent,
        kv_read=latent + rope,
        kv_write=latent + rope,
    )
