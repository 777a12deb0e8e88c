"""Duplex (Yun et al., MICRO 2024, arXiv 2409.01141): every number it prints, recomputed.

One set of parameters for all rows: the devices `*-micro24` of the library. DRAM shares of peak come
from timing; links, latencies and the decision table from the authors' released simulator. Only the
four constants of Fig. 8 are fitted, on that figure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from sim.evidence.papers.duplex import figure_8
from sim.evidence.papers.duplex.drawn_figures import figures as drawn_figures
from sim.evidence.papers.duplex.steps import figure_5c, models, organisation, released
from sim.evidence.papers.duplex.systems import (
    BATCHES,
    SETUPS,
    Floats,
    Kind,
    closed,
    saturation,
)
from sim.evidence.papers.published import reproduction
from sim.evidence.reproduction import Reproduction

GRID_KINDS: Final[tuple[Kind, ...]] = ("gpu", "2xgpu", "duplex", "duplex+pe", "duplex+pe+et")
BEST: Final[Kind] = "duplex+pe+et"
Cell = tuple[str, int, int]
"""Model, batch and length."""

ASSUMPTIONS: Final = (
    "sustained DRAM bandwidth from timing: host 0.885, Logic-PIM 0.674 (memories/hbm3.yaml)",
    "ring all-reduce over NVLink, 450 GB/s a direction, 0.8 us a hop; InfiniBand 50 GB/s, 0.13 us",
    "experts split as the released decision table does (75 % of bandwidth for both units)",
    "lengths Gaussian, standard deviation 0.4 x min(256, mean) as in the released simulator",
    "means are arithmetic over the 27 cells of Fig. 11, maxima over the same",
    "T4, T11, T13 and T5 are Duplex+PE+ET; T9 is plain Duplex",
)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A cell of Fig. 11 on one system."""

    throughput: float
    energy: float


Grid = dict[tuple[Kind, Cell], Point]


def reproduce(
    progress: Callable[[str], None], *, figures: bool = False, rounding: bool = True
) -> Reproduction:
    """All rows, and with `figures` also tables of what is drawn and not printed.

    The paper shows no intermediate result that `rounding` could change.
    """
    grid = _grid(progress)
    progress("Fig. 8, 5 and section 12")
    simulated = organisation() | models() | figure_5c() | figure_8.simulated() | released()
    simulated |= throughput(grid) | energy(grid)
    progress("Fig. 12")
    simulated |= latency()
    progress("Fig. 13: saturation")
    simulated |= saturated()
    return reproduction(
        "duplex",
        "Yun et al., Duplex, MICRO 2024 (arXiv 2409.01141)",
        simulated,
        assumptions=(*ASSUMPTIONS, figure_8.constants_in_words()),
        tables={"figure-11": _figure_11(grid), **(drawn_figures(progress) if figures else {})},
    )


def cells() -> list[Cell]:
    """Model, batch and length of the cells of Fig. 11."""
    return [
        (model, batch, length)
        for model, setup in SETUPS.items()
        for batch in BATCHES
        for length in setup.lengths
    ]


def point(kind: Kind, cell: Cell) -> Point:
    """One run of the grid."""
    model, batch, length = cell
    metrics = closed(kind, model, batch, (length, length)).metrics
    return Point(throughput=metrics["throughput_tok_per_s"], energy=metrics["energy_J_per_tok"])


def _grid(progress: Callable[[str], None]) -> Grid:
    grid: Grid = {}
    for number, cell in enumerate(cells()):
        progress(f"Fig. 11: cell {number + 1} of {len(cells())}")
        kinds: tuple[Kind, ...] = GRID_KINDS
        if cell[0] == "mixtral":
            kinds = (*kinds, "bank-pim")
        for kind in kinds:
            grid[kind, cell] = point(kind, cell)
    return grid


def gain(grid: Grid, kind: Kind, over: Kind, model: str = "") -> Floats:
    """Throughput of `kind` over that of `over` in every cell, or those of one model."""
    return np.array(
        [
            grid[kind, cell].throughput / grid[over, cell].throughput
            for cell in cells()
            if model in ("", cell[0])
        ]
    )


def throughput(grid: Grid) -> dict[str, float]:
    """Gains of throughput over the cells of Fig. 11, and where they are largest."""
    best, plain = gain(grid, BEST, "gpu"), gain(grid, "duplex", "gpu")
    bank = gain(grid, BEST, "bank-pim", "mixtral")
    means = {model: gain(grid, BEST, "gpu", model).mean() for model in SETUPS}
    return {
        "T1": plain.max(),
        "T2": gain(grid, "duplex+pe", "duplex").mean(),
        "T3a": gain(grid, BEST, "duplex").max(),
        "T3b": best.max(),
        "T4a": best.mean(),
        "T11a": bank.max(),
        "T11b": bank.mean(),
        "T15": float(sum(means[model] > means["grok"] for model in ("mixtral", "glam"))),
        "T16": float((gain(grid, BEST, "2xgpu") > 1.0).sum()),
    }


def energy(grid: Grid) -> dict[str, float]:
    """Energy a token saved against GPU: the mean, and by model the largest."""
    saved = {cell: 1.0 - grid[BEST, cell].energy / grid["gpu", cell].energy for cell in cells()}
    largest = {
        f"T13-{model}": max(share for cell, share in saved.items() if cell[0] == model)
        for model in SETUPS
    }
    return {"T4b": float(np.mean(list(saved.values())))} | largest


def latency() -> dict[str, float]:
    """Fig. 12: GLaM, batch 64; four rounds of requests a client, the first already running."""
    kinds: tuple[Kind, ...] = ("gpu", "2xgpu", BEST)
    metrics = {
        (kind, length): closed(kind, "glam", 64, (length, length), rounds=4).metrics
        for kind in kinds
        for length in SETUPS["glam"].lengths
    }
    best, twice = metrics[BEST, 512], metrics["2xgpu", 512]
    return {
        "T5": max(
            metrics["gpu", length]["e2e_s"]["p50"] / metrics[BEST, length]["e2e_s"]["p50"]
            for length in SETUPS["glam"].lengths
        ),
        "T7a": 1.0 - best["tbt_s"]["p99"] / twice["tbt_s"]["p99"],
        "T7b": 1.0 - best["ttft_s"]["p50"] / twice["ttft_s"]["p50"],
    }


def saturated() -> dict[str, float]:
    """Saturation of Mixtral with 4,096 tokens in and 512 out, requests a second."""
    kinds: tuple[tuple[str, Kind], ...] = (("T9a", "gpu"), ("T9b", "duplex"), ("T9c", "2xgpu"))
    return {id: saturation(kind, "mixtral", 4096, 512) for id, kind in kinds}


def _figure_11(grid: Grid) -> list[dict[str, Any]]:
    return [
        {
            "model": cell[0],
            "batch": cell[1],
            "tokens": cell[2],
            "system": kind,
            "throughput_tok_per_s": here.throughput,
            "over_gpu": here.throughput / grid["gpu", cell].throughput,
            "energy_J_per_tok": here.energy,
            "energy_over_gpu": here.energy / grid["gpu", cell].energy,
        }
        for (kind, cell), here in grid.items()
    ]
