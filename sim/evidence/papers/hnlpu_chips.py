"""HNLPU beyond its tables of cost: operators (Fig. 12, 13), links, and other models (Table 4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from sim.config.catalogue import load_model
from sim.evidence.papers.hnlpu_model import Inputs, grid_of, stack_of
from sim.evidence.reproduction import Row
from sim.graph import Graph
from sim.hardware.hardwired.operators import Operator, leakage_J
from sim.hardwiring import digits_of
from sim.mapping.hardwired import (
    link_elements,
    logits_elements,
    weights_of_model,
    weights_per_chip,
)
from sim.workload.layers import build_graph

READ_OFF: Final = 0.03
"""Tolerance of numbers measured on a chart, two of them with a logarithmic axis."""

FIG_13: Final = {"MA": (222.4, 246.0), "CE": (36.5, 0.660), "ME": (35.2, 0.182)}
"""Cycles and nJ of 1,024 inputs by 128 outputs, by design, measured on the drawing."""

TABLE_4: Final = {"kimi-k2": 462.0, "deepseek-v3": 353.0, "qwq-32b": 69.0, "llama-3-8b": 38.0}
"""Initial NRE of chips, M USD."""


def rows(inputs: Inputs, graph: Graph) -> Iterator[Row]:
    """Operators, what the links carry, and Table 4; `graph` is that of gpt-oss-120b."""
    made = operators_of(inputs)
    yield from _operators(inputs, made)
    yield from _leakage(inputs, graph, made["CE"])
    yield from _links(inputs, graph)
    yield from _gap(inputs, made["ME"])
    yield from _table_4(inputs, graph)


def operators_of(inputs: Inputs) -> dict[str, Operator]:
    """The three designs with the paper's areas and the calibrated rest."""
    weights = _benchmark(inputs)[0] * _benchmark(inputs)[1]
    sram_weights = float(inputs["sram_KB"]) * 1024.0 * 2.0  # two FP4 weights a byte
    femto = 1e-15
    return {
        "MA": Operator(
            design="MA", fixed_cycles=float(inputs["ma_overhead_cycles"]),
            area_per_weight=1.0 / sram_weights, J_per_MAC=float(inputs["ma_fJ_per_MAC"]) * femto,
            macs=int(inputs["ma_macs"]),
        ),
        "CE": Operator(
            design="CE", fixed_cycles=float(inputs["ce_fixed_cycles"]),
            area_per_weight=float(inputs["ce_area"]) / weights,
            J_per_MAC=float(inputs["ce_fJ_per_MAC"]) * femto,
        ),
        "ME": Operator(
            design="ME", fixed_cycles=float(inputs["me_fixed_cycles"]),
            area_per_weight=float(inputs["me_area"]) / weights,
            J_per_MAC=float(inputs["me_fJ_per_MAC"]) * femto,
        ),
    }  # fmt: skip


def _benchmark(inputs: Inputs) -> tuple[int, int, int]:
    """Inputs, outputs and activation bits of Fig. 13."""
    size, outputs, bits = (inputs[f"operator_{name}"] for name in ("inputs", "outputs", "bits"))
    return int(size), int(outputs), int(bits)


def _operators(inputs: Inputs, made: Mapping[str, Operator]) -> Iterator[Row]:
    size, outputs, bits = _benchmark(inputs)
    cycles = {name: each.cycles(size, outputs, bits) for name, each in made.items()}
    nJ = {name: each.energy_J(size, outputs, bits) * 1e9 for name, each in made.items()}
    for name, (printed_cycles, printed_nJ) in FIG_13.items():
        yield _fitted(f"F13-cycles-{name}", f"cycles of a product, {name}", "cycles",
                      printed_cycles, cycles[name])  # fmt: skip
        yield _fitted(f"F13-energy-{name}", f"energy of a product, {name}", "nJ",
                      printed_nJ, nJ[name])  # fmt: skip
    for id, quantity, printed, found in (
        ("cycles-gain", "cycles of MA over ME", 6.3, cycles["MA"] / cycles["ME"]),
        ("energy-gain", "energy of MA over ME", 1350.0, nJ["MA"] / nJ["ME"]),
        ("energy-gain-CE", "energy of CE over ME", 3.6, nJ["CE"] / nJ["ME"]),
    ):  # fmt: skip
        yield _fitted(f"F13-{id}", quantity, "x", printed, found, relative=True)
    areas = {name: each.area(size, outputs) for name, each in made.items()}
    for name, printed in (("MA", 1.0), ("CE", 14.3), ("ME", 0.95)):
        yield Row(
            id=f"F12-area-{name}", quantity=f"area over a 64 KB SRAM, {name}", unit="x",
            published=printed, simulated=areas[name], tolerance=1e-6, kind="identity",
            source="Fig. 12",
        )  # fmt: skip


def _fitted(
    id: str, quantity: str, unit: str, published: float, found: float, *, relative: bool = False
) -> Row:
    source = "quotients of Fig. 13" if relative else "Fig. 13, measured"
    return Row(
        id=id, quantity=quantity, unit=unit, published=published, simulated=found,
        tolerance=READ_OFF, kind="calibrated", source=source,
    )  # fmt: skip


def _leakage(inputs: Inputs, graph: Graph, ce: Operator) -> Iterator[Row]:
    """The paper remarks that CE's energy is leakage: so much the HN array's static density says."""
    size, outputs, bits = _benchmark(inputs)
    held = weights_per_chip(graph, grid_of(inputs))
    mm2 = float(inputs["hn_array_mm2"]) / held * size * outputs
    density = float(inputs["ce_area"]) / float(inputs["me_area"])
    leaked = leakage_J(
        mm2 * density,
        float(inputs["hn_array_W"]) / float(inputs["hn_array_mm2"]),
        ce.cycles(size, outputs, bits),
        float(inputs["clock_GHz"]) * 1e9,
    )
    yield _shown("I-leakage", "energy of CE from leakage of its area alone", "nJ",
                 FIG_13["CE"][1], leaked * 1e9, "Table 1's density, Fig. 12, Fig. 13")  # fmt: skip


def _shown(id: str, quantity: str, unit: str, published: float, found: float, source: str) -> Row:
    """A row that is not judged."""
    return Row(
        id=id, quantity=quantity, unit=unit, published=published, simulated=found, tolerance=None,
        source=source,
    )  # fmt: skip


def _links(inputs: Inputs, graph: Graph) -> Iterator[Row]:
    """What one link carries of a token in all layers, beside the slot it has for it."""
    grid = grid_of(inputs)
    layers, logits = link_elements(graph, grid), logits_elements(graph, grid)
    B_per_us = float(inputs["link_GB_per_s"]) * 1e3
    slot_us = 2.0 * float(inputs["collective_ns"]) * 1e-3
    stated = "mapping of section 3, 128 GB/s"
    for along in layers:
        yield _shown(f"I-link-{along}", f"slot against a {along} link's time, 2 B an element",
                     "us", slot_us, layers[along] * 2.0 / B_per_us, stated)  # fmt: skip
    both = layers["column"] + logits["column"]
    yield _shown("I-link-logits", "slot against a column link's time, logits of every token too",
                 "us", slot_us, both * 2.0 / B_per_us, stated)  # fmt: skip
    yield _shown("I-link-4B", "throughput a column link allows, 4 B an element", "tok/s",
                 249_960.0, B_per_us * 1e6 / (layers["column"] * 4.0), stated)  # fmt: skip


def _gap(inputs: Inputs, me: Operator) -> Iterator[Row]:
    """The pipeline's product against the operator benchmark's."""
    ns = me.cycles(*_benchmark(inputs)) / float(inputs["clock_GHz"])
    yield _shown("I-operator", "product of the pipeline over that of the benchmark", "x", 1.0,
                 float(inputs["hn_operator_ns"]) / ns, "Fig. 13, Fig. 14")  # fmt: skip


def _table_4(inputs: Inputs, graph: Graph) -> Iterator[Row]:
    """Masks alone, at the dear end, for fractional chips as full as the paper's; nothing is tuned.

    The paper gives no rule. Weights are those in metal, in the format they are published in.
    """
    held, stack = weights_per_chip(graph, grid_of(inputs)), stack_of(inputs)
    dear = float(np.max(inputs["mask_set_USD"]))
    for name, printed in TABLE_4.items():
        model = load_model(name)
        weights = weights_of_model(build_graph(model)) * digits_of(model.weights_dtype)
        found = stack.own_cost(dear, 1) * weights / held + stack.shared_cost(dear)
        quantity = f"NRE of {name}, {weights / held:.1f} chips ({model.weights_dtype})"
        yield _shown(f"T4-{name}", quantity, "M USD", printed, float(found) / 1e6,
                     "Table 4, our hypothesis")  # fmt: skip
