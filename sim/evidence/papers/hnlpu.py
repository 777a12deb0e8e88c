"""HNLPU (Liu et al., ASPLOS 2026, arXiv 2508.16151): its tables, recomputed from its inputs.

Inputs are in hw_configs/papers/hnlpu.yaml. Costs and carbon are closed forms of them; timing is
calibrated on two bars of Fig. 14 and the throughput, and its other bars follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final, Literal

import numpy as np

from sim.config.catalogue import load_model
from sim.config.inputs import load_inputs
from sim.economics.silicon import dies_per_wafer, murphy_yield
from sim.evidence.papers import hnlpu_chips
from sim.evidence.papers.hnlpu_model import (
    Inputs,
    Values,
    chip_total,
    grid_of,
    h100_ownership,
    hnlpu_ownership,
    nre_USD,
    pipeline_of,
    recurring_USD,
    stack_of,
)
from sim.evidence.reproduction import Reproduction, Row
from sim.graph import Graph
from sim.hardware.hardwired.pipeline import KI, direct_collective_s
from sim.mapping.hardwired import (
    collective_elements,
    router_weights,
    weights_of_model,
    weights_per_chip,
    weights_per_token,
)
from sim.workload.layers import build_graph

COST = 0.005
"""Tolerance of closed forms: what rounding of printed numbers leaves."""

ASSUMPTIONS: Final = (
    "paper rounding: 27 good dies a wafer and 0.010 MW, as printed; without it 26.7 and 0.00966",
    "6.9 kW a system already holds a factor 1.4 over the chips; the site's PUE of 1.4 comes on top",
    "software of the H100 nodes, 4,500 USD a GPU and year, is what is left of their maintenance",
    "2 bytes an element on links in the first-principles times",
)

UNROUNDED: Final = (
    "no paper rounding: 26.7 good dies a wafer and 0.00966 MW; tolerances are 1 to 4 % instead of "
    "0.5 where the paper rounds"
)


def reproduce(
    progress: Callable[[str], None], *, figures: bool = False, rounding: bool = True
) -> Reproduction:
    """All rows; with `rounding`, intermediate results are rounded where the paper does."""
    inputs = load_inputs("hnlpu")
    graph = build_graph(load_model("gpt-oss-120b"))
    progress("tables 1 to 5, figures 13 and 14")
    rows = [*_chip(inputs, graph), *_rates(inputs), *_masks(inputs), *_figure_14(inputs)]
    rows += [*_timing(inputs, graph), *_costs(inputs, rounding=rounding)]
    rows += [*_ownership(inputs, rounding=rounding), *_first_version(inputs)]
    rows += hnlpu_chips.rows(inputs, graph)
    return Reproduction(
        paper="hnlpu",
        title="Liu et al., Hardwired-Neuron Language Processing Units, ASPLOS 2026",
        rows=tuple(rows),
        assumptions=ASSUMPTIONS if rounding else (UNROUNDED, *ASSUMPTIONS[1:]),
        residuals={},
        tables={},
    )


def _row(
    id: str,
    quantity: str,
    unit: str,
    published: float,
    simulated: Values,
    *,
    source: str,
    tolerance: float | None = COST,
    kind: Literal["identity", "calibrated"] = "identity",
) -> Row:
    return Row(
        id=id, quantity=quantity, unit=unit, published=published, simulated=float(simulated),
        tolerance=tolerance, kind=kind, source=source,
    )  # fmt: skip


def _ends(
    id: str,
    quantity: str,
    unit: str,
    published: tuple[float, float],
    simulated: Values,
    *,
    source: str,
    tolerance: float = COST,
) -> Iterator[Row]:
    """Two rows: the low end and the high end."""
    for end, printed, found in zip(
        ("low", "high"), published, np.broadcast_to(simulated, 2), strict=True
    ):
        yield _row(
            f"{id}-{end}", f"{quantity}, {end}", unit, printed, float(found), source=source,
            tolerance=tolerance,
        )  # fmt: skip


def _chip(inputs: Inputs, graph: Graph) -> Iterator[Row]:
    grid = grid_of(inputs)
    area, power = chip_total(inputs, "mm2"), chip_total(inputs, "W")
    yield _row("H1-area", "chip area, its blocks", "mm2", 827.08, area, source="Table 1",
               tolerance=1e-6)  # fmt: skip
    yield _row("H1-power", "chip power, its blocks", "W", 308.39, power, source="Table 1",
               tolerance=1e-6)  # fmt: skip
    yield _row("H1-silicon", "silicon of a system", "mm2", 13232.0, grid.chips * area,
               source="Table 2")  # fmt: skip
    system_kW = grid.chips * power * inputs["system_power_factor"] / 1e3
    yield _row("H1-system", "power of a system", "kW", 6.9, system_kW, source="Table 2",
               kind="calibrated")  # fmt: skip
    buffer = inputs["buffer_banks"] * inputs["buffer_port_bytes"] * inputs["clock_GHz"] / 1e3
    yield _row("H1-sram", "bandwidth of the attention buffer", "TB/s", 80.0, buffer, source="5")
    yield _row("H2-chip", "hardwired weights of a chip", "weights", 7_275_548_160.0,
               weights_per_chip(graph, grid), source="shapes of section 3",
               tolerance=0.0)  # fmt: skip
    total = weights_of_model(graph) + (grid.chips - 1) * router_weights(graph)
    yield _row("H2-system", "hardwired weights of 16 chips, 15 more routers", "1e9", 116.41,
               total / 1e9, source="shapes of section 3", tolerance=1e-4)  # fmt: skip
    yield _row("H2-token", "weights that a token uses", "1e9", 5.131,
               weights_per_token(graph) / 1e9, source="active parameters",
               tolerance=1e-3)  # fmt: skip
    for bytes_each, tokens, per_sequence in ((1.0, 138_889, 643), (2.0, 69_444, 322)):
        kv_B = graph.kv_bytes_per_token("int8") * bytes_each
        room = grid.chips * inputs["buffer_banks"] * 16e3 / kv_B
        yield _row(f"H6-kv-{bytes_each:g}", f"tokens in all buffers, {bytes_each:g} B", "tokens",
                   float(tokens), np.floor(room + 0.5), source="buffer and KV of section 3",
                   tolerance=0.0)  # fmt: skip
        yield _row(f"H6-slot-{bytes_each:g}", f"tokens a sequence at 216, {bytes_each:g} B",
                   "tokens", float(per_sequence), np.floor(room / 216.0 + 0.5),
                   source="buffer and KV of section 3", tolerance=0.0)  # fmt: skip
    yield replace(
        _row("I-density", "power density of a chip", "W/mm2", 0.3, power / area, source="5"),
        tolerance=None,
    )


def _rates(inputs: Inputs) -> Iterator[Row]:
    chips = grid_of(inputs).chips
    rate, h100, wse = (inputs[f"{name}_tok_per_s"] for name in ("hnlpu", "h100", "wse"))
    per_kJ = {
        "hnlpu": rate / inputs["system_kW"],
        "h100": h100 / inputs["h100_kW"],
        "wse": wse / inputs["wse_kW"],
    }
    for name, printed in (("hnlpu", 36226.0), ("h100", 34.6), ("wse", 127.8)):
        yield _row(f"H7-energy-{name}", f"tokens a kJ of {name}", "tok/kJ", printed, per_kJ[name],
                   source="Table 2")  # fmt: skip
    area = {
        "hnlpu": chips * chip_total(inputs, "mm2"), "h100": inputs["h100_mm2"],
        "wse": inputs["wse_mm2"],
    }  # fmt: skip
    for name, printed, found in (
        ("hnlpu", 18.89, rate), ("h100", 0.055, h100), ("wse", 0.064, wse),
    ):  # fmt: skip
        yield _row(f"H7-area-{name}", f"tokens a second and mm2 of {name}", "tok/s/mm2", printed,
                   found / area[name], source="Table 2", tolerance=0.01)  # fmt: skip
    for id, printed, found in (
        ("speed-h100", 5555.0, rate / h100), ("speed-wse", 85.0, rate / wse),
        ("energy-gain-h100", 1047.0, per_kJ["hnlpu"] / per_kJ["h100"]),
        ("energy-gain-wse", 283.0, per_kJ["hnlpu"] / per_kJ["wse"]),
    ):  # fmt: skip
        yield _row(f"H7-{id}", f"HNLPU over {id.rsplit('-', 1)[1]}, {id.rsplit('-', 1)[0]}", "x",
                   printed, found, source="abstract, Table 2")  # fmt: skip


def _masks(inputs: Inputs) -> Iterator[Row]:
    stack, chips, price = stack_of(inputs), grid_of(inputs).chips, inputs["mask_set_USD"]
    million = 1e6
    yield from _ends("H8-shared", "shared masks", "M USD", (13.85, 27.69),
                     stack.shared_cost(price) / million, source="3.2")  # fmt: skip
    yield from _ends("H8-respin", "masks of 16 chips' own layers", "M USD", (18.46, 36.92),
                     stack.own_cost(price, chips) / million, source="3.2")  # fmt: skip
    yield from _ends("H8-initial", "all masks of 16 chips", "M USD", (32.31, 64.62),
                     stack.first_cost(price, chips) / million, source="App. B")  # fmt: skip
    whole = 1.0 * chips
    first = stack.first_cost(1.0, chips)
    yield _row("H8-saving", "mask cost saved at first", "%", 86.5, 100.0 * (1.0 - first / whole),
               source="3.2")  # fmt: skip
    own = stack.own_cost(1.0, chips)
    yield _row("H8-saving-respin", "mask cost saved by a re-spin", "%", 92.3,
               100.0 * (1.0 - own / whole), source="3.2")  # fmt: skip
    density = inputs["ce_area"] / inputs["me_area"]
    yield _row("H4-density", "density of ME over CE", "x", 15.0, density, source="Fig. 12")
    yield _row("H4-cut", "area ME saves", "%", 93.4, 100.0 * (1.0 - 1.0 / density),
               source="Fig. 12")  # fmt: skip
    yield _row("H8-112", "masks saved: density times sharing", "x", 112.0,
               density * whole / first, source="abstract, 3.2")  # fmt: skip


FIGURE_14: Final = {
    2: (82.9, 13.8, 2.76, 0.55, 0.0),
    8: (81.5, 13.6, 2.72, 2.17, 0.0),
    64: (70.8, 11.8, 2.36, 15.1, 0.0),
    128: (61.5, 10.2, 2.05, 26.2, 0.0),
    256: (48.7, 8.1, 1.62, 41.6, 0.0),
    512: (30.7, 5.1, 1.02, 52.4, 10.7),
}
"""Percent of a token's time by context in Ki tokens: communication, projection, non-linear,
attention, stall."""


def _figure_14(inputs: Inputs) -> Iterator[Row]:
    pipeline = pipeline_of(inputs, 36)
    for context, bars in FIGURE_14.items():
        parts = pipeline.parts(context * KI)
        total = sum(parts.values())
        for (name, seconds), printed in zip(parts.items(), bars, strict=True):
            fitted = context == 2 or (context == 512 and name == "stall")
            yield Row(
                id=f"F14-{context}-{name}", quantity=f"share of {name} at {context}K", unit="%",
                published=printed, simulated=100.0 * seconds / total, error_unit="points",
                tolerance=0.1, kind="calibrated" if fitted else "predicted", source="Fig. 14",
            )  # fmt: skip


def _timing(inputs: Inputs, graph: Graph) -> Iterator[Row]:
    pipeline, grid = pipeline_of(inputs, graph.layers), grid_of(inputs)
    yield Row(
        id="H6-rate", quantity="throughput of a full pipeline at 2K", unit="tok/s",
        published=249_960.0, simulated=1.0 / pipeline.slot_s(2.0 * KI), tolerance=COST,
        kind="calibrated", source="Table 2",
    )  # fmt: skip
    yield _row("H6-batch", "tokens in flight", "slots", 216.0, pipeline.slots, source="5",
               tolerance=0.0)  # fmt: skip
    seconds = sum(
        direct_collective_s(
            elements, bytes_each=2.0, B_per_s=float(inputs["link_GB_per_s"]) * 1e9,
            hop_s=float(inputs["link_ns"]) * 1e-9,
        )
        for elements in collective_elements(graph, grid).values()
    )  # fmt: skip
    gap = pipeline.parts(2.0 * KI)["communication"] / seconds
    yield Row(
        id="I-links", quantity="communication of a layer over what its links would take", unit="x",
        published=1.0, simulated=gap, tolerance=None, source="CXL figures of section 3",
    )  # fmt: skip


def _costs(inputs: Inputs, *, rounding: bool) -> Iterator[Row]:
    area, chips = chip_total(inputs, "mm2"), grid_of(inputs).chips
    gross = dies_per_wafer(area)
    share = murphy_yield(area, inputs["defects_per_cm2"])
    good = gross * np.asarray(share)
    if rounding:
        good = np.rint(good)
    yield _row("H9-gross", "dies on a wafer", "dies", 62.0, gross, source="App. B", tolerance=0.0)
    yield _row("H9-yield", "yield of a die", "%", 43.0, 100.0 * np.asarray(share), source="App. B")
    die = inputs["wafer_USD"] / good
    yield _row("H9-good", "good dies of a wafer", "dies", 27.0, good, source="App. B",
               tolerance=0.0 if rounding else 0.02)  # fmt: skip
    yield _row("H9-die", "a good die", "USD", 629.0, die, source="Table 3",
               tolerance=COST if rounding else 0.02)  # fmt: skip
    module = recurring_USD(inputs, rounding=rounding)
    tolerance = COST if rounding else 0.01
    yield from _ends("H9-module", "a module, recurring", "USD", (4560.0, 8454.0), module,
                     source="Table 3", tolerance=tolerance)  # fmt: skip
    yield from _ends("H9-nre", "NRE", "M USD", (59.18, 123.15), nre_USD(inputs) / 1e6,
                     source="sum of Table 3")  # fmt: skip
    own = stack_of(inputs).own_cost(inputs["mask_set_USD"], chips)
    for systems, build, respin in (
        (1, (59.25, 123.3), (18.53, 37.06)), (50, (62.83, 129.9), (22.11, 43.68)),
    ):  # fmt: skip
        made = systems * chips * np.asarray(module)
        yield from _ends(f"H9-build-{systems}", f"build of {systems}", "M USD", build,
                         (nre_USD(inputs) + made) / 1e6, source="Table 3")  # fmt: skip
        yield from _ends(f"H9-respin-{systems}", f"re-spin of {systems}", "M USD", respin,
                         (own + made) / 1e6, source="Table 3")  # fmt: skip


PRINTED: Final = {
    "infrastructure": ((0.2100, 0.2100), 54.93, (10.30, 10.30), 2747.0),
    "capex": ((59.46, 123.5), 134.9, (73.13, 140.2), 6747.0),
    "electricity": ((0.0250, 0.0250), 9.088, (1.206, 1.206), 454.4),
    "maintenance": ((0.0730, 0.1353), 47.24, (0.3650, 0.6765), 2362.0),
    "static": ((59.56, 123.7), 191.2, (74.70, 142.1), 9563.0),
    "dynamic": ((96.62, 197.8), 191.2, (118.9, 229.4), 9563.0),
}
"""Table 5, M USD: one HNLPU system, 2,000 H100, 50 systems, 100,000 H100."""


def _ownership(inputs: Inputs, *, rounding: bool) -> Iterator[Row]:
    one = hnlpu_ownership(inputs, 1, 1, rounding=rounding)
    fifty = hnlpu_ownership(inputs, 50, 5, rounding=rounding)
    few, many = h100_ownership(inputs, 2000), h100_ownership(inputs, 100_000)
    loose = COST if rounding else 0.04
    fitted = {"maintenance"}  # software of a GPU and year is what is left of it
    for line, (first, h_low, second, h_high) in PRINTED.items():
        yield from _ends(f"H9-{line}-1", f"{line} of one system", "M USD", first,
                         np.asarray(one[line]) / 1e6, source="Table 5",
                         tolerance=loose)  # fmt: skip
        yield _row(f"H9-{line}-h100-2000", f"{line} of 2,000 H100", "M USD", h_low,
                   np.asarray(few[line]) / 1e6, source="Table 5",
                   kind="calibrated" if line in fitted else "identity")  # fmt: skip
        yield from _ends(f"H9-{line}-50", f"{line} of 50 systems", "M USD", second,
                         np.asarray(fifty[line]) / 1e6, source="Table 5")  # fmt: skip
        yield _row(f"H9-{line}-h100-100000", f"{line} of 100,000 H100", "M USD", h_high,
                   np.asarray(many[line]) / 1e6, source="Table 5",
                   kind="calibrated" if line in fitted else "identity")  # fmt: skip
    gain = np.sort(np.asarray(many["dynamic"]) / np.asarray(fifty["dynamic"]))
    yield from _ends("H9-tco", "TCO of 100,000 H100 over 50 systems, re-spun twice", "x",
                     (41.7, 80.4), gain, source="App. B")  # fmt: skip
    for id, printed, found in (
        ("one", 102.0, one["carbon"]), ("one-respun", 106.0, one["carbon respins"]),
        ("fifty", 4924.0, fifty["carbon"]), ("fifty-respun", 5124.0, fifty["carbon respins"]),
        ("h100-2000", 36_600.0, few["carbon"]), ("h100-100000", 1.83e6, many["carbon"]),
    ):  # fmt: skip
        yield _row(f"H10-{id}", f"emissions, {id}", "tCO2e", printed, np.asarray(found) / 1e3,
                   source="App. B", tolerance=loose)  # fmt: skip
    for id, printed, key in (("static", 371.7, "carbon"), ("respun", 357.2, "carbon respins")):
        ratio = np.asarray(many["carbon"]) / np.asarray(fifty[key])
        yield _row(f"H10-ratio-{id}", f"emissions of 100,000 H100 over 50 systems, {id}", "x",
                   printed, ratio, source="App. B")  # fmt: skip
    yield from _inconsistencies(inputs, fifty)


def _inconsistencies(inputs: Inputs, fifty: Mapping[str, Values]) -> Iterator[Row]:
    """What the paper's own numbers say against each other; shown, not judged."""
    equal = float(inputs["hnlpu_tok_per_s"]) / float(inputs["h100_batched_tok_per_s"])
    yield Row(
        id="I-gpus", quantity="H100 that one system equals with Table 2's throughput", unit="GPUs",
        published=2000.0, simulated=equal, tolerance=None, source="App. B assumes 2 M tok/s",
    )  # fmt: skip
    cluster = h100_ownership(inputs, 50.0 * equal)
    gain = np.sort(np.asarray(cluster["dynamic"]) / np.asarray(fifty["dynamic"]))
    for end, printed, found in zip(("low", "high"), (41.7, 80.4), gain, strict=True):
        yield Row(
            id=f"I-tco-{end}", quantity=f"TCO gain with Table 2's throughput, {end}", unit="x",
            published=printed, simulated=float(found), tolerance=None, source="App. B, Table 2",
        )  # fmt: skip
    yield Row(
        id="I-112", quantity="masks saved by the printed 6 B USD over 64.6 M", unit="x",
        published=112.0,
        simulated=6e9 / float(np.max(stack_of(inputs).first_cost(inputs["mask_set_USD"], 16))),
        tolerance=None, source="3.2",
    )  # fmt: skip
    chips_W = grid_of(inputs).chips * chip_total(inputs, "W")
    yield Row(
        id="I-pue", quantity="tokens a kJ of the chips, without the factor 1.4", unit="tok/kJ",
        published=36_226.0, simulated=float(inputs["hnlpu_tok_per_s"]) / chips_W * 1e3,
        tolerance=None, source="6.9 kW holds 1.4, TCO multiplies by 1.4 again",
    )  # fmt: skip


def _first_version(inputs: Inputs) -> Iterator[Row]:
    """v1 (August 2025): only its abstract is known, no breakdown was published."""
    chips = grid_of(inputs).chips
    square = (300.0 / np.sqrt(2.0)) ** 2
    yield _row("V1-square", "silicon over the square in a wafer (v1)", "%", 29.0,
               100.0 * chips * chip_total(inputs, "mm2") / square, source="v1 abstract",
               tolerance=0.02)  # fmt: skip
    fifty = hnlpu_ownership(inputs, 50, 5, rounding=True)
    many = h100_ownership(inputs, 100_000)
    gain = float(np.mean(np.asarray(many["dynamic"]) / np.asarray(fifty["dynamic"])))
    for id, quantity, unit, printed, found in (
        ("nre", "NRE, a point", "M USD", 184.0, float(np.mean(nre_USD(inputs))) / 1e6),
        ("cost", "cost-effectiveness over H100, annual updates", "x", 8.57, gain),
        ("carbon", "carbon against H100, annual updates", "x", 230.0,
         float(np.asarray(many["carbon"]) / np.asarray(fifty["carbon respins"]))),
    ):  # fmt: skip
        yield Row(
            id=f"V1-{id}", quantity=f"{quantity} (v1; simulated: v2's model)", unit=unit,
            published=printed, simulated=found, tolerance=None,
            source="v1 abstract only, no breakdown published",
        )  # fmt: skip
