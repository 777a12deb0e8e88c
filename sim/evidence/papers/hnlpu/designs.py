"""HNLPU beyond its tables of cost: operators (Fig. 12, 13), links, and other models (Table 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from sim.config.catalogue import load_model
from sim.evidence.papers.hnlpu.economics import Inputs, Values, grid_of, stack_of
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

Simulated = dict[str, Values]
TABLE_4: Final = ("kimi-k2", "deepseek-v3", "qwq-32b", "llama-3-8b")


def simulated(inputs: Inputs, graph: Graph) -> Simulated:
    """Operators, what the links carry, and Table 4; `graph` is that of gpt-oss-120b."""
    operators = operators_of(inputs)
    ns = operators["ME"].cycles(*_benchmark(inputs)) / float(inputs["clock_GHz"])
    return (
        benchmark(inputs, operators)
        | links(inputs, graph)
        | table_4(inputs, graph)
        | {
            "I-leakage": leakage_nJ(inputs, graph, operators["CE"]),
            "I-operator": float(inputs["hn_operator_ns"]) / ns,
        }
    )


def operators_of(inputs: Inputs) -> dict[str, Operator]:
    """The three designs with the paper's areas and the calibrated rest."""
    weights = _benchmark(inputs)[0] * _benchmark(inputs)[1]
    sram_weights = float(inputs["sram_KB"]) * 1024.0 * 2.0  # two FP4 weights a byte
    femto = 1e-15
    array = Operator(
        design="MA",
        fixed_cycles=float(inputs["ma_overhead_cycles"]),
        area_per_weight=1.0 / sram_weights,
        J_per_MAC=float(inputs["ma_fJ_per_MAC"]) * femto,
        macs=int(inputs["ma_macs"]),
    )
    cells, metal = (
        Operator(
            design=design,
            fixed_cycles=float(inputs[f"{design.lower()}_fixed_cycles"]),
            area_per_weight=float(inputs[f"{design.lower()}_area"]) / weights,
            J_per_MAC=float(inputs[f"{design.lower()}_fJ_per_MAC"]) * femto,
        )
        for design in ("CE", "ME")
    )
    return {"MA": array, "CE": cells, "ME": metal}


def _benchmark(inputs: Inputs) -> tuple[int, int, int]:
    """Inputs, outputs and activation bits of Fig. 13."""
    size, outputs, bits = (inputs[f"operator_{name}"] for name in ("inputs", "outputs", "bits"))
    return int(size), int(outputs), int(bits)


def benchmark(inputs: Inputs, operators: Mapping[str, Operator]) -> Simulated:
    """Cycles and nJ of one product (Fig. 13), and the area over a 64 KB SRAM (Fig. 12)."""
    size, outputs, bits = _benchmark(inputs)
    cycles = {name: each.cycles(size, outputs, bits) for name, each in operators.items()}
    nJ = {name: each.energy_J(size, outputs, bits) * 1e9 for name, each in operators.items()}
    return {
        **{f"F13-cycles-{name}": count for name, count in cycles.items()},
        **{f"F13-energy-{name}": energy for name, energy in nJ.items()},
        "F13-cycles-gain": cycles["MA"] / cycles["ME"],
        "F13-energy-gain": nJ["MA"] / nJ["ME"],
        "F13-energy-gain-CE": nJ["CE"] / nJ["ME"],
        **{f"F12-area-{name}": each.area(size, outputs) for name, each in operators.items()},
    }


def leakage_nJ(inputs: Inputs, graph: Graph, ce: Operator) -> float:
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
    return leaked * 1e9


def links(inputs: Inputs, graph: Graph) -> Simulated:
    """Microseconds that one link carries of a token in all layers; the slot for it is 4."""
    grid = grid_of(inputs)
    layers, logits = link_elements(graph, grid), logits_elements(graph, grid)
    B_per_us = float(inputs["link_GB_per_s"]) * 1e3
    both = layers["column"] + logits["column"]
    return {
        **{f"I-link-{along}": layers[along] * 2.0 / B_per_us for along in layers},
        "I-link-logits": both * 2.0 / B_per_us,
        "I-link-4B": B_per_us * 1e6 / (layers["column"] * 4.0),
    }


def table_4(inputs: Inputs, graph: Graph) -> Simulated:
    """Masks alone, at the dear end, for fractional chips as full as the paper's, in M USD.

    The paper gives no rule, and nothing is tuned. Weights are those in metal, in the format they
    are published in.
    """
    held, stack = weights_per_chip(graph, grid_of(inputs)), stack_of(inputs)
    dear = float(np.max(inputs["mask_set_USD"]))
    values: Simulated = {}
    for name in TABLE_4:
        model = load_model(name)
        weights = weights_of_model(build_graph(model)) * digits_of(model.weights_dtype)
        cost = stack.own_cost(dear, 1) * weights / held + stack.shared_cost(dear)
        values[f"T4-{name}"] = float(cost) / 1e6
    return values
