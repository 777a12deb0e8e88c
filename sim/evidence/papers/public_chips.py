"""Public chips: published estimates of what they cost to make and embody, beside the ledger's.

None of these figures is an input, but for the board of an H100, which is marked so. The ledger's
ends are those of all inputs at once: a published figure should lie within.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from sim.config.catalogue import load_device, one_of
from sim.config.cost_form import ledger_of
from sim.economics.lines import CARBON, DEVICE, Floats, Ledger
from sim.evidence.reproduction import Reproduction, Row
from sim.hardware import Device

GB: Final = 1e9
Part = Literal["die", "module", "carbon", "memory", "before yield"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One published figure: of which device, what part of it, how much, and who says so."""

    id: str
    device: str
    what: str
    part: Part
    value: float
    source: str
    memory_GB: float | None = None
    """Memory of the device that the figure is of, where the library's has another."""
    kind: Literal["predicted", "calibrated"] = "predicted"


ESTIMATES: Final = (
    Estimate(id="C1-ga100", device="a100-sxm-80gb", what="GA100, wafer over dies, before yield",
             part="before yield", value=151.0, source="LLMCompass, ISCA 2024, cost table"),
    Estimate(id="C1-gh100", device="h100-sxm", what="GH100 die", part="die", value=300.0,
             source="siliconanalysts.com, cost bridge, 2026"),
    Estimate(id="C1-gh100-2023", device="h100-sxm", what="GH100 die", part="die", value=200.0,
             source="bill of materials of an H100, Chinese press, 2023"),
    Estimate(id="C1-b200", device="b200", what="both dies of a B200", part="die", value=900.0,
             source="Epoch AI, 2025: 720 to 1,200 USD"),
    Estimate(id="C1-mi300x", device="mi300x", what="dies of an MI300X", part="die", value=600.0,
             source="siliconanalysts.com, cost bridge, 2026"),
    Estimate(id="C1-hnlpu", device="hnlpu", what="HNLPU die", part="die", value=629.0,
             source="HNLPU, ASPLOS 2026, Table 3"),
    Estimate(id="C2-h100", device="h100-sxm", what="H100, packaged with memory", part="module",
             value=3320.0, source="Raymond James, 2023, as quoted"),
    Estimate(id="C2-b200", device="b200", what="B200, packaged with memory", part="module",
             value=6400.0, source="Epoch AI, 2025: 5,700 to 7,300 USD"),
    Estimate(id="C2-mi300x", device="mi300x", what="MI300X, packaged with memory", part="module",
             value=5300.0, source="siliconanalysts.com, cost bridge, 2026"),
    Estimate(id="C2-b200-memory", device="b200", what="memory of a B200", part="memory",
             value=2900.0, source="Epoch AI, 2025"),
    Estimate(id="C3-a100-pcie", device="a100-pcie-80gb", what="A100 PCIe 40 GB, the card",
             part="carbon", value=181.0, source="ADEME and Hubblo, life-cycle assessment",
             memory_GB=40.0),
    Estimate(id="C3-a100", device="a100-sxm-80gb", what="A100", part="carbon", value=150.0,
             source="Luccioni et al., BLOOM, 2022: a proxy"),
    Estimate(id="C3-h100", device="h100-sxm", what="H100 of an HGX board", part="carbon",
             value=164.0, source="NVIDIA, HGX H100 product carbon footprint: 1,312 kg a board",
             kind="calibrated"),
    Estimate(id="C3-b200", device="b200", what="B200 of an HGX board", part="carbon", value=284.0,
             source="NVIDIA, HGX B200 product carbon footprint: 2,274 kg a board"),
    Estimate(id="C3-hnlpu", device="hnlpu", what="HNLPU module", part="carbon", value=124.9,
             source="HNLPU, ASPLOS 2026, App. B"),
)  # fmt: skip
"""Several are quoted by others; none could be checked with its maker."""

NOTES: Final[Mapping[str, str]] = {
    "die": "a good die",
    "before yield": "a wafer over all its dies",
    "module": "dies, memory, package, test and loss, without the board",
    "memory": "its stacks",
    "carbon": "dies, memory, package and board",
}
UNITS: Final[Mapping[str, str]] = {"carbon": "kgCO2e"}
BOARD: Final = "board, cooling, chassis"

ASSUMPTIONS: Final = (
    "ends: all inputs at their cheap, or all at their dear end",
    "dies of units in reserve: a defect kills only where none stands in (harvest-estimate)",
    "an MI300X is twelve equal dies of 5 nm; four of its dies are of 6 nm",
    "a mm2 of interposer is from reports of H100 and B200: a fifth of C2-h100 and C2-b200 is no "
    "check",
    "the board's 37 kg are what HGX H100's footprint leaves beside chips and memory: C3-h100 is "
    "therefore calibrated",
)


RESIDUALS: Final[Mapping[str, str]] = {
    "C1-gh100-2023": "it counts 86 dies of 814 mm2 on a wafer, which holds some 60",
    "C3-a100-pcie": "a life-cycle assessment with a data base's factors, some twice those of ACT, "
    "and a card with its own cooler and shell",
}


def reproduce(
    progress: Callable[[str], None], *, figures: bool = False, rounding: bool = True
) -> Reproduction:
    """All rows: the published figure, ours, and our ends."""
    progress("ledgers")
    rows = tuple(_rows())
    return Reproduction(
        paper="public_chips",
        title="Published estimates of the cost and carbon of public chips",
        rows=rows,
        assumptions=ASSUMPTIONS,
        residuals={row.id: RESIDUALS[row.id] for row in rows if row.status == "miss"},
    )


def _rows() -> Iterator[Row]:
    for each in ESTIMATES:
        ends = _part(ledger_of(one_of(_device(each))), each.part)
        low, high = sorted((float(ends[0]), float(ends[2])))
        yield Row(
            id=each.id, quantity=f"{each.what}: {NOTES[each.part]}",
            unit=UNITS.get(each.part, "USD"), published=each.value, simulated=float(ends[1]),
            tolerance=None, bounds=(low, high), kind=each.kind, source=each.source,
        )  # fmt: skip


def _device(each: Estimate) -> Device:
    device = load_device(each.device)
    if each.memory_GB is None:
        return device
    (memory,) = device.memories
    return replace(device, memories=(replace(memory, capacity_B=each.memory_GB * GB),))


def _part(found: Ledger, part: Part) -> Floats:
    lines = {line.name: line.value for line in found.lines}
    sums = {
        unit: np.asarray(sum(line.value for line in found.lines if line.unit == unit))
        for unit in (DEVICE, CARBON)
    }
    match part:
        case "die":
            return lines["dies"]
        case "before yield":
            return lines["dies"] * lines["yield"]
        case "module":
            return sums[DEVICE] - lines[BOARD]
        case "memory":
            return lines["memory hbm"]
        case "carbon":
            return sums[CARBON]
