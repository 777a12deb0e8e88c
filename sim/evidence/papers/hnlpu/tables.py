"""Tables 1 to 3 and 5 and Fig. 14 of the HNLPU paper: what its inputs come to, by printed id."""

from __future__ import annotations

from typing import Final

import numpy as np

from sim.economics.silicon import dies_per_wafer, murphy_yield
from sim.evidence.papers.hnlpu.economics import (
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
from sim.graph import Graph
from sim.hardware.hardwired.pipeline import KI, direct_collective_s
from sim.mapping.hardwired import (
    collective_elements,
    router_weights,
    weights_of_model,
    weights_per_chip,
    weights_per_token,
)

Simulated = dict[str, Values]
MILLION: Final = 1e6
CONTEXTS: Final = (2, 8, 64, 128, 256, 512)
"""Contexts of Fig. 14, in Ki tokens."""
PRINTED_SAVING_USD: Final = 6e9
WAFER_MM: Final = 300.0


def simulated(inputs: Inputs, graph: Graph, *, rounding: bool) -> Simulated:
    """Everything printed of chips, rates, masks, timing, cost and ownership."""
    return (
        chip(inputs, graph)
        | rates(inputs)
        | masks(inputs)
        | figure_14(inputs)
        | timing(inputs, graph)
        | costs(inputs, rounding=rounding)
        | ownership(inputs, rounding=rounding)
        | inconsistencies(inputs, rounding=rounding)
        | first_version(inputs)
    )


def ends(id: str, values: Values) -> Simulated:
    """The low and the high end of `values`."""
    low, high = np.broadcast_to(values, 2)
    return {f"{id}-low": float(low), f"{id}-high": float(high)}


def chip(inputs: Inputs, graph: Graph) -> Simulated:
    """Area, power, weights and buffer of a chip and of a system."""
    grid = grid_of(inputs)
    area, power = chip_total(inputs, "mm2"), chip_total(inputs, "W")
    total = weights_of_model(graph) + (grid.chips - 1) * router_weights(graph)
    values: Simulated = {
        "H1-area": area,
        "H1-power": power,
        "H1-silicon": grid.chips * area,
        "H1-system": grid.chips * power * inputs["system_power_factor"] / 1e3,
        "H1-sram": inputs["buffer_banks"] * inputs["buffer_port_bytes"] * inputs["clock_GHz"] / 1e3,
        "H2-chip": weights_per_chip(graph, grid),
        "H2-system": total / 1e9,
        "H2-token": weights_per_token(graph) / 1e9,
        "I-density": power / area,
    }
    for bytes_each in (1.0, 2.0):
        kv_B = graph.kv_bytes_per_token("int8") * bytes_each
        room = grid.chips * inputs["buffer_banks"] * 16e3 / kv_B
        values[f"H6-kv-{bytes_each:g}"] = np.floor(room + 0.5)
        values[f"H6-slot-{bytes_each:g}"] = np.floor(room / 216.0 + 0.5)
    return values


def rates(inputs: Inputs) -> Simulated:
    """Tokens a kJ and a mm2 of HNLPU, H100 and WSE, and how far HNLPU is ahead."""
    rate = {name: inputs[f"{name}_tok_per_s"] for name in ("hnlpu", "h100", "wse")}
    power = {"hnlpu": inputs["system_kW"], "h100": inputs["h100_kW"], "wse": inputs["wse_kW"]}
    silicon = grid_of(inputs).chips * chip_total(inputs, "mm2")
    area = {"hnlpu": silicon, "h100": inputs["h100_mm2"], "wse": inputs["wse_mm2"]}
    per_kJ = {name: rate[name] / power[name] for name in rate}
    values: Simulated = {f"H7-energy-{name}": per_kJ[name] for name in rate}
    values |= {f"H7-area-{name}": rate[name] / area[name] for name in rate}
    for name in ("h100", "wse"):
        values[f"H7-speed-{name}"] = rate["hnlpu"] / rate[name]
        values[f"H7-energy-gain-{name}"] = per_kJ["hnlpu"] / per_kJ[name]
    return values


def masks(inputs: Inputs) -> Simulated:
    """Cost of masks at first and again, and what metal embedding and sharing save of it."""
    stack, chips, price = stack_of(inputs), grid_of(inputs).chips, inputs["mask_set_USD"]
    whole, first, own = 1.0 * chips, stack.first_cost(1.0, chips), stack.own_cost(1.0, chips)
    density = inputs["ce_area"] / inputs["me_area"]
    return {
        **ends("H8-shared", stack.shared_cost(price) / MILLION),
        **ends("H8-respin", stack.own_cost(price, chips) / MILLION),
        **ends("H8-initial", stack.first_cost(price, chips) / MILLION),
        "H8-saving": 100.0 * (1.0 - first / whole),
        "H8-saving-respin": 100.0 * (1.0 - own / whole),
        "H4-density": density,
        "H4-cut": 100.0 * (1.0 - 1.0 / density),
        "H8-112": density * whole / first,
    }


def figure_14(inputs: Inputs) -> Simulated:
    """Percent of a token's time by part of the pipeline, at each context."""
    pipeline = pipeline_of(inputs, 36)
    values: Simulated = {}
    for context in CONTEXTS:
        parts = pipeline.parts(context * KI)
        total = sum(parts.values())
        values |= {f"F14-{context}-{name}": 100.0 * part / total for name, part in parts.items()}
    return values


def timing(inputs: Inputs, graph: Graph) -> Simulated:
    """Throughput and slots of the pipeline, and its communication over what links would take."""
    pipeline, grid = pipeline_of(inputs, graph.layers), grid_of(inputs)
    seconds = sum(
        direct_collective_s(
            elements,
            bytes_each=2.0,
            B_per_s=float(inputs["link_GB_per_s"]) * 1e9,
            hop_s=float(inputs["link_ns"]) * 1e-9,
        )
        for elements in collective_elements(graph, grid).values()
    )
    return {
        "H6-rate": 1.0 / pipeline.slot_s(2.0 * KI),
        "H6-batch": pipeline.slots,
        "I-links": pipeline.parts(2.0 * KI)["communication"] / seconds,
    }


def costs(inputs: Inputs, *, rounding: bool) -> Simulated:
    """A die, a module, and NRE, build and re-spin of one system and of fifty."""
    area, chips = chip_total(inputs, "mm2"), grid_of(inputs).chips
    gross, share = dies_per_wafer(area), murphy_yield(area, inputs["defects_per_cm2"])
    good = gross * np.asarray(share)
    good = np.rint(good) if rounding else good
    module, nre = recurring_USD(inputs, rounding=rounding), nre_USD(inputs)
    own = stack_of(inputs).own_cost(inputs["mask_set_USD"], chips)
    values: Simulated = {
        "H9-gross": gross,
        "H9-yield": 100.0 * np.asarray(share),
        "H9-good": good,
        "H9-die": inputs["wafer_USD"] / good,
        **ends("H9-module", module),
        **ends("H9-nre", nre / MILLION),
    }
    for systems in (1, 50):
        built = systems * chips * np.asarray(module)
        values |= ends(f"H9-build-{systems}", (nre + built) / MILLION)
        values |= ends(f"H9-respin-{systems}", (own + built) / MILLION)
    return values


def ownership(inputs: Inputs, *, rounding: bool) -> Simulated:
    """Table 5: three years of 1 and 50 systems beside 2,000 and 100,000 H100, and the carbon."""
    one = hnlpu_ownership(inputs, 1, 1, rounding=rounding)
    fifty = hnlpu_ownership(inputs, 50, 5, rounding=rounding)
    few, many = h100_ownership(inputs, 2000), h100_ownership(inputs, 100_000)
    values: Simulated = {}
    for line in ("infrastructure", "capex", "electricity", "maintenance", "static", "dynamic"):
        values |= ends(f"H9-{line}-1", np.asarray(one[line]) / MILLION)
        values[f"H9-{line}-h100-2000"] = np.asarray(few[line]) / MILLION
        values |= ends(f"H9-{line}-50", np.asarray(fifty[line]) / MILLION)
        values[f"H9-{line}-h100-100000"] = np.asarray(many[line]) / MILLION
    values |= ends("H9-tco", _gain(many, fifty))
    kg = {
        "one": one["carbon"],
        "one-respun": one["carbon respins"],
        "fifty": fifty["carbon"],
        "fifty-respun": fifty["carbon respins"],
        "h100-2000": few["carbon"],
        "h100-100000": many["carbon"],
    }
    values |= {f"H10-{name}": np.asarray(emitted) / 1e3 for name, emitted in kg.items()}
    values["H10-ratio-static"] = np.asarray(many["carbon"]) / np.asarray(fifty["carbon"])
    values["H10-ratio-respun"] = np.asarray(many["carbon"]) / np.asarray(fifty["carbon respins"])
    return values


def _gain(gpus: Simulated, systems: Simulated) -> Values:
    """Cost of H100 over that of re-spun systems, the low end first."""
    return np.sort(np.asarray(gpus["dynamic"]) / np.asarray(systems["dynamic"]))


def inconsistencies(inputs: Inputs, *, rounding: bool) -> Simulated:
    """What the paper's own numbers say against each other; shown, not judged."""
    fifty = hnlpu_ownership(inputs, 50, 5, rounding=rounding)
    equal = float(inputs["hnlpu_tok_per_s"]) / float(inputs["h100_batched_tok_per_s"])
    first_USD = stack_of(inputs).first_cost(inputs["mask_set_USD"], 16)
    chips_W = grid_of(inputs).chips * chip_total(inputs, "W")
    return {
        "I-gpus": equal,
        **ends("I-tco", _gain(h100_ownership(inputs, 50.0 * equal), fifty)),
        "I-112": PRINTED_SAVING_USD / float(np.max(first_USD)),
        "I-pue": float(inputs["hnlpu_tok_per_s"]) / chips_W * 1e3,
    }


def first_version(inputs: Inputs) -> Simulated:
    """v1 (August 2025): only its abstract is known, no breakdown was published."""
    silicon = grid_of(inputs).chips * chip_total(inputs, "mm2")
    fifty = hnlpu_ownership(inputs, 50, 5, rounding=True)
    many = h100_ownership(inputs, 100_000)
    return {
        "V1-square": 100.0 * silicon / (WAFER_MM / np.sqrt(2.0)) ** 2,
        "V1-nre": np.mean(nre_USD(inputs)) / MILLION,
        "V1-cost": np.mean(np.asarray(many["dynamic"]) / np.asarray(fifty["dynamic"])),
        "V1-carbon": np.asarray(many["carbon"]) / np.asarray(fifty["carbon respins"]),
    }
