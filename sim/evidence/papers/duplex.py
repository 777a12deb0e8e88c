"""Duplex (Yun et al., MICRO 2024, arXiv 2409.01141): every number it prints, recomputed.

One set of parameters for all rows: the devices `*-micro24` of the library. DRAM shares of peak come
from timing; links, latencies and the decision table from the authors' released simulator. Only the
four constants of Fig. 8 are fitted, on that figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from sim.evidence.papers.duplex_arithmetic import (
    figure_5c,
    figure_8,
    fitted,
    models,
    organisation,
    released,
)
from sim.evidence.papers.duplex_figures import figures as drawn_figures
from sim.evidence.papers.duplex_systems import BATCHES, SETUPS, Kind, closed, saturation
from sim.evidence.reproduction import Reproduction, Row

GRID_KINDS: Final[tuple[Kind, ...]] = ("gpu", "2xgpu", "duplex", "duplex+pe", "duplex+pe+et")
BEST: Final[Kind] = "duplex+pe+et"
Cell = tuple[str, int, int]

ASSUMPTIONS: Final = (
    "sustained DRAM bandwidth from timing: host 0.885, Logic-PIM 0.674 (memories/hbm3.yaml)",
    "ring all-reduce over NVLink, 450 GB/s a direction, 0.8 us a hop; InfiniBand 50 GB/s, 0.13 us",
    "experts split as the released decision table does (75 % of bandwidth for both units)",
    "lengths Gaussian, standard deviation 0.4 x min(256, mean) as in the released simulator",
    "means are arithmetic over the 27 cells of Fig. 11, maxima over the same",
    "T4, T11, T13 and T5 are Duplex+PE+ET; T9 is plain Duplex",
)

RESIDUALS: Final = {
    "T9a": "prompts run at the full peak here; the released simulator also spills their scores to "
    "DRAM (no fused attention), which costs 3 to 8 % of this rate. The rest is not explained.",
    "T11a": "the worst cell is Mixtral, batch 64, 1,024 tokens, where the GPU of Bank-PIM runs the "
    "experts; likely the choice there is made for each matrix and expert, not for the layer.",
}


@dataclass(frozen=True, kw_only=True)
class Point:
    """A cell of Fig. 11 on one system."""

    throughput: float
    energy: float


def reproduce(
    progress: Callable[[str], None], *, figures: bool = False, rounding: bool = True
) -> Reproduction:
    """All rows, and with `figures` also tables of what is drawn and not printed.

    The paper shows no intermediate result that `rounding` could change.
    """
    grid = _grid(progress)
    progress("Fig. 8, 5 and section 12")
    rows = [*organisation(), *models(), *figure_5c(), *figure_8(), *released()]
    rows += [*_throughput(grid), *_energy(grid)]
    progress("Fig. 12")
    rows += list(_latency())
    progress("Fig. 13: saturation")
    rows += list(_saturation())
    return Reproduction(
        paper="duplex",
        title="Yun et al., Duplex, MICRO 2024 (arXiv 2409.01141)",
        rows=tuple(rows),
        assumptions=(*ASSUMPTIONS, fitted()),
        residuals={
            row.id: RESIDUALS[row.id]
            for row in rows
            if row.status == "miss" and row.id in RESIDUALS
        },
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
    metrics = closed(kind, model, batch, length, length).metrics
    return Point(throughput=metrics["throughput_tok_per_s"], energy=metrics["energy_J_per_tok"])


def _grid(progress: Callable[[str], None]) -> dict[tuple[Kind, Cell], Point]:
    found = {}
    for number, cell in enumerate(cells()):
        progress(f"Fig. 11: cell {number + 1} of {len(cells())}")
        kinds: tuple[Kind, ...] = GRID_KINDS
        if cell[0] == "mixtral":
            kinds = (*kinds, "bank-pim")
        for kind in kinds:
            found[kind, cell] = point(kind, cell)
    return found


def _gain(grid: Mapping[tuple[Kind, Cell], Point], kind: Kind, over: Kind, model: str = "") -> Any:
    """Throughput of `kind` over that of `over` in every cell, or those of one model."""
    return np.array(
        [
            grid[kind, cell].throughput / grid[over, cell].throughput
            for cell in cells()
            if model in ("", cell[0])
        ]
    )


def _throughput(grid: Mapping[tuple[Kind, Cell], Point]) -> Iterator[Row]:
    best, plain = _gain(grid, BEST, "gpu"), _gain(grid, "duplex", "gpu")
    shared = _gain(grid, "duplex+pe", "duplex")

    def row(id: str, quantity: str, published: float, simulated: float, source: str) -> Row:
        return Row(
            id=id, quantity=quantity, unit="x", published=published, simulated=float(simulated),
            source=source,
        )  # fmt: skip

    yield row("T1", "throughput of Duplex over GPU, largest", 2.51, plain.max(), "VII-A")
    yield replace(
        row("T2", "throughput of Duplex+PE over Duplex, mean", 1.04, shared.mean(), "VII-A"),
        error_unit="points",
        tolerance=5.0,
    )
    over_plain = _gain(grid, BEST, "duplex").max()
    yield row("T3a", "throughput of Duplex+PE+ET over Duplex, largest", 1.36, over_plain, "VII-A")
    yield row("T3b", "throughput of Duplex+PE+ET over GPU, largest", 2.67, best.max(), "VII-A")
    yield row("T4a", "throughput of Duplex+PE+ET over GPU, mean", 2.07, best.mean(), "X")
    bank = _gain(grid, BEST, "bank-pim", "mixtral")
    yield row("T11a", "throughput over Bank-PIM, Mixtral, largest", 1.80, bank.max(), "VII-C")
    yield row("T11b", "throughput over Bank-PIM, Mixtral, mean", 1.49, bank.mean(), "VII-C")
    means = {model: _gain(grid, BEST, "gpu", model).mean() for model in SETUPS}
    yield Row(
        id="T15",
        quantity="models that gain more than Grok1 in the mean",
        unit="models",
        published=2.0,
        simulated=float(sum(means[model] > means["grok"] for model in ("mixtral", "glam"))),
        error_unit="points",
        tolerance=0.0,
        source="VII-A",
    )
    yield Row(
        id="T16",
        quantity="cells, of 27, where Duplex+PE+ET is ahead of 2xGPU, at least",
        unit="cells",
        published=14.0,
        simulated=float((_gain(grid, BEST, "2xgpu") > 1.0).sum()),
        error_unit="points",
        tolerance=0.0,
        source="VII-A (most cases)",
        at_least=True,
    )


def _energy(grid: Mapping[tuple[Kind, Cell], Point]) -> Iterator[Row]:
    saved = {cell: 1.0 - grid[BEST, cell].energy / grid["gpu", cell].energy for cell in cells()}

    def row(id: str, quantity: str, published: float, simulated: float, source: str) -> Row:
        return Row(
            id=id, quantity=quantity, unit="share", published=published, simulated=simulated,
            source=source,
        )  # fmt: skip

    mean = float(np.mean(list(saved.values())))
    yield row("T4b", "energy a token below GPU, mean", 0.2819, mean, "X")
    for model, published in (("mixtral", 0.3328), ("glam", 0.4203), ("grok", 0.3459)):
        largest = max(value for cell, value in saved.items() if cell[0] == model)
        name = f"energy a token below GPU, {model}, largest"
        yield row(f"T13-{model}", name, published, largest, "VII-D")


def _latency() -> Iterator[Row]:
    """Fig. 12: GLaM, batch 64; four rounds of requests a client, the first already running."""
    kinds: tuple[Kind, ...] = ("gpu", "2xgpu", BEST)
    found = {
        (kind, length): closed(kind, "glam", 64, length, length, rounds=4).metrics
        for kind in kinds
        for length in SETUPS["glam"].lengths
    }
    ratios = [
        found["gpu", length]["e2e_s"]["p50"] / found[BEST, length]["e2e_s"]["p50"]
        for length in SETUPS["glam"].lengths
    ]
    yield Row(
        id="T5", quantity="p50 E2E of GPU over Duplex+PE+ET, GLaM, largest", unit="x",
        published=2.57, simulated=max(ratios), source="I",
    )  # fmt: skip
    for id, name, key, percent, published in (
        ("T7a", "p99 TBT", "tbt_s", "p99", 0.1674),
        ("T7b", "p50 T2FT", "ttft_s", "p50", 0.2617),
    ):
        ours, theirs = found[BEST, 512][key][percent], found["2xgpu", 512][key][percent]
        yield Row(
            id=id, quantity=f"{name} below 2xGPU, GLaM, batch 64, 512 tokens", unit="share",
            published=published, simulated=1.0 - ours / theirs, error_unit="points",
            tolerance=None, source="VII-B",
        )  # fmt: skip


def _saturation() -> Iterator[Row]:
    kinds: tuple[Kind, ...] = ("gpu", "duplex", "2xgpu")
    rates = {kind: saturation(kind, "mixtral", 4096, 512) for kind in kinds}
    for id, kind, published in zip(("T9a", "T9b"), kinds, (9.0, 14.0), strict=False):
        yield Row(
            id=id, quantity=f"saturation of {kind}, Mixtral (4096, 512)", unit="req/s",
            published=published, simulated=rates[kind], tolerance=0.12, source="VII-B",
        )  # fmt: skip
    yield Row(
        id="T9c", quantity="saturation of 2xgpu, Mixtral (4096, 512), about that of Duplex",
        unit="req/s", published=14.0, simulated=rates["2xgpu"], tolerance=None, source="VII-B",
    )  # fmt: skip


def _figure_11(grid: Mapping[tuple[Kind, Cell], Point]) -> list[dict[str, Any]]:
    return [
        {
            "model": cell[0],
            "batch": cell[1],
            "tokens": cell[2],
            "system": kind,
            "throughput_tok_per_s": found.throughput,
            "over_gpu": found.throughput / grid["gpu", cell].throughput,
            "energy_J_per_tok": found.energy,
            "energy_over_gpu": found.energy / grid["gpu", cell].energy,
        }
        for (kind, cell), found in grid.items()
    ]
