"""Mamba-2 measured alone: convolutions and scans of the aiconfigurator database."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd

from sim.evidence.measured.constants import Constants
from sim.evidence.measured.formats import Format, described, fold_of, rows
from sim.evidence.measured.named import device_in
from sim.evidence.measured.operators import Rows, built, grouped, hardware
from sim.evidence.measured.tables import Table
from sim.graph import Kind, Op, Phase
from sim.kernel.records import VECTOR

CONVOLUTION: Final = {"fixed_s": 3.9e-6, "memory": 0.76, "exposed": 0.9}
"""Constants of causal_conv1d's kernels, which stream rows of channels better than most."""
BLOCK_S: Final = 1.11e-7
"""What a slot takes for a block of threads, over the blocks that it runs at once; the convolution
makes one for each channel of each sequence."""
RAGGED: Final = 1.31
"""How much longer one takes where lengths aren't multiples of 8, so that no vectors are loaded."""
CHUNK_KERNELS: Final = 5.0
"""Kernels of a scan in chunks: sums of steps, states, their passing on, products, outputs."""
CACHED: Final = 1.8
"""How much faster a benchmark gets the same states again from the last-level cache."""


def predict_mamba(table: Table, constants: Constants) -> pd.DataFrame:
    """Kernels of one Mamba-2 layer, in microseconds."""
    name = device_in(table, r"mamba2_(.+)_[a-z]+$")
    frame = table.frame
    device, own = constants.device(name), constants.device(name)
    if own.processors[0].kernels is not None:
        kernels = replace(own.processors[0].kernels, vector=CONVOLUTION)
        own = replace(own, processors=(replace(own.processors[0], kernels=kernels),))
    convolutions = frame["kernel_source"].astype(str).str.contains("conv")
    unit = hardware(device, repeated=True)[0][0, 0]
    scans = built(table, "scans", lambda: _rows(frame[~convolutions], unit))
    others = built(table, "convolutions", lambda: _rows(frame[convolutions], unit))
    seconds = np.where(
        convolutions,
        others.seconds(own, len(frame), repeated=True),
        scans.seconds(device, len(frame), repeated=True),
    )

    def make() -> pd.DataFrame:
        source = frame["kernel_source"].astype(str)
        return rows(
            frame["latency_us"],
            seconds * 1e6,
            device=name,
            phase=source,
            dtype="bf16",
            reason=np.where(np.isfinite(seconds), "", "no operator for " + source),
            fold=fold_of(frame["d_model"].astype(str) + "|" + frame["nheads"].astype(str)),
        )

    return described(table, seconds * 1e6, make)


def _rows(frame: pd.DataFrame, unit: np.void) -> Rows:
    """Rows of a table's kernels on a processor; a block of threads is so many vector operations."""
    cache_B = float(unit["cache_B"])
    block_flops = BLOCK_S * float(unit["flop_per_s"][VECTOR]) / float(unit["slots"])
    timed = Rows()
    keys = ["kernel_source", "phase", "nheads", "head_dim", "d_state", "n_groups", "d_conv",
            "chunk_size"]  # fmt: skip
    for (source, phase, heads, dim, state, groups, conv, chunk), group in grouped(frame, keys):
        op = operator(
            str(source), str(phase) == "generation", int(heads), int(dim), int(state), int(groups),
            int(conv), max(int(chunk), 1),
        )  # fmt: skip
        if op is None:
            continue
        sequences = group["batch_size"].to_numpy(float)
        decoding = op.phase == Phase.DECODE
        tokens = sequences if decoding else group["num_tokens"].to_numpy(float)
        blocks = np.zeros(len(group))
        if op.flops_per_pair:
            blocks = block_flops * sequences * op.inputs / 2.0
            blocks *= np.where(group["num_tokens"] / sequences % 8.0 == 0.0, 1.0, RAGGED)
        elif decoding and "conv" in str(source) and cache_B > 0.0:
            moved_B = 2.0 * sequences * (op.inputs + 2.0 * op.state)
            missed = np.clip(moved_B / cache_B - 1.0, 0.0, 1.0)
            share = missed + (1.0 - missed) / CACHED
            tokens, sequences = tokens * share, sequences * share
        timed.add(op, group.index.to_numpy(), tokens=tokens, sequences=sequences, pairs=blocks)
    return timed


def operator(
    source: str, decoding: bool, heads: int, dim: int, state: int, groups: int, conv: int,
    chunk: int,
) -> Op | None:  # fmt: skip
    """The operator that a kernel of this name is; None for one that isn't known.

    A convolution reads and writes channels, and the last tokens' where a sequence goes on. A scan
    reads values, gates, steps and both projections of each token, and writes values; in chunks it
    writes and reads a state each; its products are matrix work, which memory hides.
    """
    inner, projected = heads * dim, 2 * groups * state
    channels, states = inner + projected, inner * state
    phase = Phase.DECODE if decoding else Phase.PREFILL
    if "conv" in source:
        flops = 2.0 * channels * conv
        if decoding:
            return _scan(phase, 2.0 * channels, channels * conv, flops)
        return replace(_scan(phase, 2.0 * channels, 0.0, flops), flops_per_pair=1.0)
    scanned = 2.0 * inner + projected + heads
    if decoding and ("update" in source or "scan" in source or "ssm" in source):
        return _scan(phase, scanned + inner, states, 7.0 * states)
    if "scan" in source or "ssd" in source or "chunk" in source:
        moved = scanned + inner + 4.0 * states / chunk
        return _scan(phase, moved, states, moved, CHUNK_KERNELS)
    if "norm" in source:
        return _scan(phase, 3.0 * inner, 0.0, 6.0 * inner)
    return None


def _scan(phase: Phase, moved: float, state: float, flops: float, launches: float = 1.0) -> Op:
    return Op(
        name="scan",
        kind=Kind.SCAN,
        operator_class="ssm",
        phase=phase,
        flops_per_token=flops,
        inputs=moved,
        state=state,
        launches=launches,
    )


FORMATS = (
    Format(
        family="mamba",
        pattern=r"aic_kernels/mamba2_.+",
        columns=(
            "kernel_source", "phase", "batch_size", "num_tokens", "d_model", "d_state", "d_conv",
            "nheads", "head_dim", "n_groups", "chunk_size", "latency_us",
        ),
        predict=predict_mamba,
        unit="us",
    ),
)  # fmt: skip
