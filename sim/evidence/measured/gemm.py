"""Matrix products measured alone: tables of the aiconfigurator database, and LLMCompass's."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from sim.evidence.measured.constants import Constants
from sim.evidence.measured.formats import Format, described, fold_of, rows
from sim.evidence.measured.named import device_in
from sim.evidence.measured.operators import Rows, built, grouped, known_format
from sim.evidence.measured.tables import Table
from sim.graph import CAUSAL, Phase
from sim.hardware.formats import for_weights
from sim.workload.layers.parts import matmul


def predict_gemm(table: Table, constants: Constants) -> pd.DataFrame:
    """Products of the aiconfigurator database: [m, k] x [k, n] in microseconds."""
    name = device_in(table, r"gemm_(.+)_[a-z]+$")
    frame = table.frame
    device = constants.device(name)
    seconds = np.full(len(frame), np.nan)
    for weights in sorted({_weights(str(dtype)) for dtype in frame["gemm_dtype"].unique()}):
        timed = built(table, f"gemm {weights}", partial(_gemm_rows, frame, weights))
        found = timed.seconds(for_weights(device, weights), len(frame), repeated=True)
        seconds = np.where(np.isfinite(found), found, seconds)
    return described(
        table,
        seconds * 1e6,
        lambda: rows(
            frame["latency_us"],
            seconds,
            device=name,
            phase="gemm",
            dtype=frame["gemm_dtype"],
            reason=np.where(
                np.isfinite(seconds), "", "number format " + frame["gemm_dtype"].astype(str)
            ),
            fold=fold_of(frame["n"].astype(str) + "|" + frame["k"].astype(str)),
        ),
    )


def _weights(dtype: str) -> str:
    """Format of weights that a table calls `dtype`, "" for an unknown one."""
    return (known_format(dtype) or ("",))[0]


def _gemm_rows(frame: pd.DataFrame, weights: str) -> Rows:
    """Products whose weights have one format."""
    timed = Rows()
    for (dtype, n, k), group in grouped(frame, ["gemm_dtype", "n", "k"]):
        formats = known_format(str(dtype))
        if formats is not None and formats[0] == weights:
            op = matmul("product", "fc", int(k), int(n), CAUSAL, Phase.ALL, "none")
            timed.add(op, group.index.to_numpy(), tokens=group["m"], formats=formats)
    return timed


def predict_matmul(table: Table, constants: Constants) -> pd.DataFrame:
    """LLMCompass's fp16 products, in milliseconds."""
    name = device_in(table, r"matmul_(.+)$")
    frame = table.frame
    timed = Rows()
    for (n, k), group in grouped(frame, ["n", "k"]):
        op = matmul("product", "fc", int(k), int(n), CAUSAL, Phase.ALL, "none")
        timed.add(op, group.index.to_numpy(), tokens=group["m"])
    seconds = timed.seconds(constants.device(name), len(frame), repeated=True)
    shape = frame["n"].astype(str) + "|" + frame["k"].astype(str)
    return rows(
        frame["latency_ms"], seconds * 1e3, device=name, phase="gemm", dtype="fp16",
        fold=fold_of(shape),
    )  # fmt: skip


FORMATS = (
    Format(
        family="gemm",
        pattern=r"aic_kernels/gemm_.+",
        columns=("gemm_dtype", "m", "n", "k", "latency_us"),
        predict=predict_gemm,
        unit="us",
    ),
    Format(
        family="gemm",
        pattern=r"llmcompass/matmul_.+",
        columns=("m", "n", "k", "latency_ms"),
        predict=predict_matmul,
        unit="ms",
    ),
)
