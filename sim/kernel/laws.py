"""Laws of time: a few lines each. Pure arithmetic on numbers; imports no room.

`operators` costs and places one operator with them, `experts` a mixture of experts, `passes` a
whole pass and design points. The serving loop in `serving` calls the same functions, so closed form
and events agree.

All functions live in files whose digest names numba's cache folder (see `compiled`), because
numba's own cache doesn't notice a change in a function imported from another file. Device numbers
are arguments, never globals: numba freezes globals.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sim.kernel.arrays import Floats
from sim.kernel.compiled import njit
from sim.kernel.records import Pipeline, Processor


@njit(inline="always")
def tile_utilisation(m: float, n: float, tile_m: float, tile_n: float, slots: float) -> float:
    """Share of multiply-adds that are not padding when an m x n product is cut in tiles.

    Tokens are padded to `tile_m`. A wave is `slots` tiles of `tile_n` x `tile_n`; above one wave
    the last, partly filled one costs as much as a full one. Below one wave, split-K is taken to
    fill the machine (CUTLASS stream-K). Counting waves by area, not by whole tiles, keeps the time
    from falling when m grows.
    """
    if m <= 0.0:
        return 1.0
    padded = np.ceil(m / tile_m) * tile_m
    used = m / padded
    waves = padded * n / (tile_n * tile_n * slots)
    if waves > 1.0:
        used *= waves / np.ceil(waves)
    return used


@njit(inline="always")
def compute_time(flops: float, flop_per_s: float, efficiency: float) -> float:
    """Seconds of arithmetic at a share of the peak."""
    return flops / (flop_per_s * efficiency)


@njit(inline="always")
def peak_stream_time(weight_B: float, kv_B: float, activation_B: float, unit: Processor) -> float:
    """Seconds to move bytes at the peak bandwidths of `unit`."""
    return (
        weight_B / unit.weights_B_per_s
        + kv_B / unit.kv_B_per_s
        + activation_B / unit.activations_B_per_s
    )


@njit(inline="always")
def stream_time(seconds_at_peak: float, ramp_s: float, efficiency: float) -> float:
    """Seconds to move bytes: what the peak would take plus the start of the stream, derated."""
    if seconds_at_peak <= 0.0:
        return 0.0
    return (seconds_at_peak + ramp_s) / efficiency


@njit(inline="always")
def collective_time(
    message_B: float, steps: float, factor: float, B_per_s: float, latency_s: float
) -> float:
    """Seconds of a collective: alpha-beta, `steps` hops and `factor` messages over the link.

    Hockney's model; steps and factors per algorithm in Thakur et al., IJHPCA 19(1), 2005.
    """
    return steps * latency_s + factor * message_B / B_per_s


class PipelineWaits(NamedTuple):
    """Seconds that tokens in a pipeline take at least, by what they wait for.

    One token's way through it alone; a slot a token; the longest attention stage, or the attention
    unit that all layers share; the busiest link; keys and values that do not fit on chip.
    """

    alone_s: float
    slots_s: float
    attention_s: float
    links_s: float
    fetch_s: float


@njit(inline="always")
def pipeline_waits(
    line: Pipeline, tokens: float, pairs: float, windowed: float, answers: float
) -> PipelineWaits:
    """What `tokens` tokens wait for until they have left a pipeline that takes one every slot.

    Layers with windows see `windowed` pairs; `answers` tokens have their logits gathered.
    """
    line_s = line.in_line * line.pair_s * pairs + line.in_line_windowed * line.pair_s * windowed
    stage_s = max(line.stage * line.pair_s * pairs, line.stage_windowed * line.pair_s * windowed)
    cached = line.held * pairs + line.held_windowed * windowed
    return PipelineWaits(
        line.latency_s + line_s / tokens,
        tokens * line.slot_s,
        max(stage_s, line.shared * line_s),
        line.link_s * tokens + line.answer_s * answers,
        line.spill_s * max(cached - line.on_chip_pairs, 0.0),
    )


@njit(inline="always")
def pipeline_time(
    line: Pipeline, tokens: float, pairs: float, windowed: float, answers: float
) -> float:
    """Seconds until `tokens` tokens have left a pipeline: see `pipeline_waits`."""
    waits = pipeline_waits(line, tokens, pairs, windowed, answers)
    longest_s = max(waits.alone_s, waits.slots_s, waits.attention_s, waits.links_s)
    return max(longest_s, waits.fetch_s)


@njit(inline="always")
def interpolate(table: Floats, tokens: float, column: int) -> float:
    """Value of an expert-coverage table at `tokens`, linear between its rows.

    Rows are 0, 1, 2, ... tokens while that lasts, so the common case is one look-up.
    """
    last = table.shape[0] - 1
    if tokens >= table[last, 0]:
        return table[last, column]
    low = int(tokens)
    if low >= last or table[low, 0] != low or table[low + 1, 0] != low + 1:
        left, right = 0, last
        while right - left > 1:
            middle = (left + right) // 2
            if table[middle, 0] <= tokens:
                left = middle
            else:
                right = middle
        low = left
    share = (tokens - table[low, 0]) / (table[low + 1, 0] - table[low, 0])
    return table[low, column] + share * (table[low + 1, column] - table[low, column])
