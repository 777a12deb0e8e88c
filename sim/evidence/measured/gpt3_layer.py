"""GPT-3's layer on four A100s, operator by operator as PyTorch runs it (LLMCompass)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd

from sim.evidence.measured.collectives import collective, without_shots
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.formats import Format, rows
from sim.evidence.measured.layers import Shape, product, shape_of, vector
from sim.evidence.measured.named import device_in, load_named_model
from sim.evidence.measured.operators import Rows
from sim.evidence.measured.tables import Table
from sim.graph import Op

MODEL: Final = "gpt3-175b"
BATCH: Final = 8
SEQUENCE: Final = 2048
"""Prompt tokens of a sequence; the token decoded attends to as many."""
WAYS: Final = 4
READ_AND_WRITTEN: Final = 2.0


def predict(table: Table, constants: Constants) -> pd.DataFrame:
    """Seconds of each operator for all prompts of the batch, and for one more token of each."""
    name = device_in(table, r"gpt3_layer_([A-Za-z0-9]+)x\d+$")
    model = load_named_model(MODEL, table.folder)
    assert model is not None
    device = without_shots(constants.device(name))
    found = []
    for phase, new in (("prefill", SEQUENCE), ("decode", 1)):
        known = operators_of(shape_of(model, WAYS), new)
        timed = Rows()
        for position, operator in enumerate(table.frame["operator"].astype(str)):
            if operator in known:
                op, tokens = known[operator]
                timed.add(op, np.array([position]), tokens=tokens, formats=("fp16",) * 3)
        seconds = timed.seconds(device, len(table.frame), repeated=True)
        unknown = "unknown operator " + table.frame["operator"].astype(str)
        found.append(
            rows(
                table.frame[f"{phase}_s"], seconds, device=name, phase=f"gpt3-{phase}",
                dtype="fp16", reason=np.where(np.isfinite(seconds), "", unknown),
            )
        )  # fmt: skip
    return pd.concat(found, ignore_index=True)


def operators_of(shape: Shape, new: int) -> Mapping[str, tuple[Op, float]]:
    """Operators of one device's slice by the table's names, and how many rows each works on.

    Every sequence has `new` tokens. Scores are written out and read again, as PyTorch does.
    """
    tokens = float(BATCH * new)
    products = BATCH * shape.heads
    scores = vector("softmax", READ_AND_WRITTEN * SEQUENCE)
    norm = vector("norm", READ_AND_WRITTEN * shape.hidden)
    summed = collective("all-reduce", WAYS), tokens * shape.hidden
    return {
        "Q_K_V": (product("qkv", shape.hidden, 3 * shape.heads * shape.head_dim), tokens),
        "Q_mul_K": (_batched("qk", products, shape.head_dim, SEQUENCE), float(products * new)),
        "A_mul_V": (_batched("av", products, SEQUENCE, shape.head_dim), float(products * new)),
        "Wo_proj": (product("out", shape.heads * shape.head_dim, shape.hidden), tokens),
        "W1_proj": (product("up", shape.hidden, shape.inner), tokens),
        "W2_proj": (product("down", shape.inner, shape.hidden), tokens),
        "Softmax": (scores, float(products * new)),
        "LayerNorm_MHA": (norm, tokens),
        "LayerNorm_FFN": (norm, tokens),
        "GeLU": (vector("activation", READ_AND_WRITTEN * shape.inner), tokens),
        "AllReduce_MHA": summed,
        "AllReduce_FFN": summed,
    }


def _batched(name: str, products: int, depth: int, width: int) -> Op:
    """`products` products in one launch, each of rows and of a matrix of its own."""
    return replace(product(name, depth, width), weights=float(products * depth * width))


FORMATS: Final = (
    Format(
        family="layer-alone",
        pattern=r"llmcompass/gpt3_layer_.+",
        columns=("operator", "prefill_s", "decode_s"),
        predict=predict,
        unit="s",
    ),
)
