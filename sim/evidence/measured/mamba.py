"""Mamba-2 measured alone: convolutions and scans of the aiconfigurator database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from sim.evidence.measured.operators import Opened, Rows, Timed, Work, grouped, hardware
from sim.graph import Kind, Op, Phase
from sim.hardware import Device
from sim.kernel.records import VECTOR


def mamba(opened: Opened) -> Iterator[Timed]:
    """Kernels of one Mamba-2 layer; convolutions stream better than other vector kernels."""
    frame, numbers = opened.frame, opened.form.numbers
    convolutions = frame["phase"].astype(str).str.contains("conv")
    unit = hardware(opened.device, repeated=True)[0][0, 0]

    def streaming(device: Device) -> Device:
        kernels = device.processors[0].kernels
        if kernels is None:
            return device
        kernels = replace(kernels, vector=numbers["convolution"])
        return replace(device, processors=(replace(device.processors[0], kernels=kernels),))

    yield Timed(rows=_rows(frame[~convolutions], numbers, unit))
    yield Timed(rows=_rows(frame[convolutions], numbers, unit), on=streaming)


def _rows(frame: pd.DataFrame, numbers: Mapping[str, float], unit: np.void) -> Rows:
    """Rows of a table's kernels on a processor; a block of threads is so many vector operations."""
    cache_B = float(unit["cache_B"])
    block_flops = numbers["block_s"] * float(unit["flop_per_s"][VECTOR]) / float(unit["slots"])
    timed = Rows()
    keys = ["phase", "stage", "heads", "head_dim", "state", "groups", "width", "chunk"]
    for (source, stage, *sizes), group in grouped(frame, keys):
        decoding = str(stage) == "generation"
        op = operator(str(source), decoding, list(map(int, sizes)), numbers["chunk_kernels"])
        if op is None:
            continue
        sequences = group["sequences"].to_numpy(float)
        tokens = sequences if decoding else group["tokens"].to_numpy(float)
        blocks = np.zeros(len(group))
        if op.flops_per_pair:
            blocks = block_flops * sequences * op.inputs / 2.0
            even = group["tokens"] / sequences % 8.0 == 0.0
            blocks *= np.where(even, 1.0, numbers["ragged"])
        elif decoding and "conv" in str(source) and cache_B > 0.0:
            moved_B = 2.0 * sequences * (op.inputs + 2.0 * op.state)
            missed = np.clip(moved_B / cache_B - 1.0, 0.0, 1.0)
            share = missed + (1.0 - missed) / numbers["cached"]
            tokens, sequences = tokens * share, sequences * share
        work = Work(tokens=tokens, sequences=sequences, pairs=blocks)
        timed.add(op, group.index.to_numpy(), work)
    return timed


def operator(source: str, decoding: bool, sizes: list[int], chunk_kernels: float) -> Op | None:
    """The operator that a kernel of this name is; None for one that isn't known.

    `sizes` are heads, their width, states, groups, width of the convolution, tokens of a chunk.
    A convolution reads and writes channels, and the last tokens' where a sequence goes on. A scan
    reads values, gates, steps and both projections of each token, and writes values; in chunks, as
    `chunk_kernels`, it writes and reads a state each; its products are matrix work, which memory
    hides.
    """
    heads, dim, state, groups, width, chunk = sizes
    inner, projected = heads * dim, 2 * groups * state
    channels, states = inner + projected, inner * state
    phase = Phase.DECODE if decoding else Phase.PREFILL
    if "conv" in source:
        flops = 2.0 * channels * width
        if decoding:
            return _scan(phase, 2.0 * channels, channels * width, flops)
        return replace(_scan(phase, 2.0 * channels, 0.0, flops), flops_per_pair=1.0)
    scanned = 2.0 * inner + projected + heads
    if decoding and ("update" in source or "scan" in source or "ssm" in source):
        return _scan(phase, scanned + inner, states, 7.0 * states)
    if "scan" in source or "ssd" in source or "chunk" in source:
        moved = scanned + inner + 4.0 * states / max(chunk, 1)
        return _scan(phase, moved, states, moved, chunk_kernels)
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
