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

from sim.config.catalogue import load_device, load_model, load_system
from sim.config.memory_form import memory_kind
from sim.config.scenarios import load_scenario
from sim.evidence.papers import duplex_figure_8 as figure_8
from sim.evidence.papers.duplex_figures import figures as drawn
from sim.evidence.papers.duplex_systems import (
    BATCHES,
    SETUPS,
    Kind,
    closed,
    lengths,
    released_split,
    saturation,
    sequence_bytes,
)
from sim.evidence.reproduction import Reproduction, Row
from sim.hardware import Link, System
from sim.hardware.device import Coprocessing
from sim.mapping.layout import Parallel
from sim.simulation.explain import explain
from sim.simulation.prepare import prepare
from sim.workload.layers import build_graph

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
    rows = [*_organisation(), *_models(), *_figure_5c(), *_figure_8(), *_released()]
    rows += [*_throughput(grid), *_energy(grid)]
    progress("Fig. 12")
    rows += list(_latency())
    progress("Fig. 13: saturation")
    rows += list(_saturation())
    return Reproduction(
        paper="duplex",
        title="Yun et al., Duplex, MICRO 2024 (arXiv 2409.01141)",
        rows=tuple(rows),
        assumptions=(*ASSUMPTIONS, _fitted()),
        residuals={
            row.id: RESIDUALS[row.id]
            for row in rows
            if row.status == "miss" and row.id in RESIDUALS
        },
        tables={"figure-11": _figure_11(grid), **(drawn(progress) if figures else {})},
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


# --- arithmetic -------------------------------------------------------------------------------


def _organisation() -> Iterator[Row]:
    technology = memory_kind("hbm3").technology
    assert technology is not None
    peak = technology.peak_B_per_s(technology.levels["logic-pim"])
    for id, quantity, unit, published, simulated, tolerance in (
        ("S1-bandwidth", "bandwidth of Logic-PIM a stack", "TB/s", 2.66, peak / 1e12, 0.002),
        (
            "S1-compute",
            "peak of Logic-PIM a stack at 8 Op/B",
            "TFLOPS",
            21.3,
            8 * peak / 1e12,
            0.002,
        ),
        ("S1-area", "area of Logic-PIM a stack", "mm2", 17.80, *_area()),
        ("S1-share", "its share of the logic die", "%", 14.71, _die_share(), 0.001),
    ):
        yield Row(
            id=id, quantity=quantity, unit=unit, published=published, simulated=simulated,
            tolerance=tolerance, kind="identity", source="IV, VI, VII-E",
        )  # fmt: skip


def _area() -> tuple[float, float]:
    """Sum of the parts, and the tolerance."""
    return sum(load_device("duplex").processors[1].area_mm2.values()), 0.001


def _die_share() -> float:
    unit = load_device("duplex").processors[1]
    assert unit.host_die_mm2 is not None
    return 100.0 * sum(unit.area_mm2.values()) / unit.host_die_mm2


def _models() -> Iterator[Row]:
    """Table I with the dimensions it leaves out; it counts embeddings apart, hence 1 %."""
    for name, billions, kv_KiB in (
        ("mixtral-8x7b", 46.7, 128.0), ("glam-143b", 143.8, 512.0), ("grok-1", 316.5, 256.0),
        ("llama-3-70b", 70.6, 320.0), ("opt-66b", 66.2, 2304.0),
    ):  # fmt: skip
        graph = build_graph(load_model(name))
        yield Row(
            id=f"M-parameters-{name}", quantity=f"parameters of {name}", unit="1e9",
            published=billions, simulated=graph.parameters / 1e9, tolerance=0.01,
            kind="identity", source="Table I with the released model_config.h",
        )  # fmt: skip
        yield Row(
            id=f"M-kv-{name}", quantity=f"KV cache of {name} a token", unit="KiB",
            published=kv_KiB, simulated=graph.kv_bytes_per_token("fp16") / 1024.0, tolerance=0.0,
            kind="identity", source="Table I with the released model_config.h",
        )  # fmt: skip


def _figure_5c() -> Iterator[Row]:
    """Requests of which two GPUs and two Logic-PIM devices hold the whole KV cache."""
    system = load_system({"device": "hetero-micro24", "count": 2, "source": "duplex-paper"})
    for inputs, outputs, published in ((2048, 4096, 101), (4096, 4096, 75), (8192, 4096, 50)):
        scenario = load_scenario(
            {
                "model": SETUPS["mixtral"].model,
                "system": system,
                "dtype": {"weights": "fp16", "kv": "fp16", "activations": "fp16"},
                "traffic": {"closed": {"concurrency": 1, "requests": 1, "input": inputs,
                                       "output": outputs}},
                "scheduler": {"max_batch": 128, "max_prefill_tokens": inputs,
                              "memory_utilization": 1.0, "kv_reserve": "full"},
            }
        )  # fmt: skip
        prepared = prepare(scenario)
        held = sequence_bytes(prepared, inputs, outputs)
        yield Row(
            id=f"F5c-{inputs}-{outputs}", quantity=f"batch of hetero at {inputs}, {outputs}",
            unit="requests", published=float(published),
            simulated=float(min(128, int(prepared.budget.kv_B / held))), error_unit="points",
            tolerance=0.0, source="Fig. 5(c)",
        )  # fmt: skip


def _figure_8() -> Iterator[Row]:
    constants = figure_8.fit()
    yield Row(
        id="F8", quantity="RMS error of the 18 cells", unit="%", published=0.0,
        simulated=100.0 * figure_8.rms(constants), error_unit="points", tolerance=8.0,
        kind="calibrated", source="Fig. 8",
    )  # fmt: skip
    yield Row(
        id="F8-order", quantity="columns whose units come in the printed order", unit="columns",
        published=6.0, simulated=float(figure_8.same_order(constants)), error_unit="points",
        tolerance=0.0, kind="calibrated", source="Fig. 8",
    )  # fmt: skip
    table = figure_8.cells(constants)
    for row, unit in enumerate(figure_8.UNITS):
        for column, intensity in enumerate(figure_8.OP_PER_B):
            yield Row(
                id=f"F8-{unit}-{intensity:g}", quantity=f"EDAP of {unit} at {intensity:g} Op/B",
                unit="of the worst", published=float(figure_8.PRINTED[row, column]),
                simulated=float(table[row, column]), tolerance=None, kind="calibrated",
                source="Fig. 8",
            )  # fmt: skip


def _fitted() -> str:
    constants = zip(figure_8.CONSTANTS, figure_8.fit(), strict=True)
    return "fitted on Fig. 8: " + ", ".join(f"{name} {value:.3g}" for name, value in constants)


def _released() -> Iterator[Row]:
    """A run of the released simulator by others: Mixtral, batch 32, context 2,144, ideal DRAM."""
    link = Link(name="nvlink", bandwidth_B_per_s=900e9, latency_s=0.8e-6, collective="ring")
    printed: tuple[tuple[str, Coprocessing, int, dict[str, float]], ...] = (
        ("h100", "none", 4, {"experts": 6.76, "attention-decode": 0.69, "communication": 0.33}),
        ("duplex", "none", 4, {"experts": 2.14, "communication": 0.33}),
        ("duplex", "pe+et", 1, {"experts": 1.71, "communication": 0.50}),
    )
    for name, mode, ranks, parts in printed:
        device = load_device(f"{name}-micro24")
        ideal = tuple(
            replace(each, efficiency=replace(each.efficiency, memory=1.0))
            for each in device.processors
        )
        device = replace(device, processors=ideal, link=link)
        system = System(
            name=name,
            device=device,
            count=4,
            coprocessing=mode,
            split=released_split,
        )
        explained = explain(
            {
                "model": SETUPS["mixtral"].model,
                "system": system,
                "traffic": {"closed": {"concurrency": 32, "requests": 32, **lengths(2048, 256)}},
                "router": {"kind": "uniform", "draw": "sampled"},
                "dtype": {"weights": "fp16", "kv": "fp16", "activations": "fp16"},
            },
            parallel=Parallel(tp=4, ep=ranks),
            sequences=32,
            context=2144,
        )
        found: dict[str, float] = {}
        for row in explained.rows:
            if not row["operator"].startswith(("embedding", "lm_head")):  # free in the release
                found[row["class"]] = found.get(row["class"], 0.0) + row["time_s"] * 1e3
        for part, published in parts.items():
            yield Row(
                id=f"S12-{name}-{mode}-{part}", quantity=f"{part} of a step, {name}, {mode}",
                unit="ms", published=published, simulated=found[part], tolerance=0.04,
                source="independent run of the release",
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
