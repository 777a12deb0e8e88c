"""What the HNLPU paper's inputs come to: chips, masks, pipeline, and three years of ownership."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from sim.economics.carbon import operational
from sim.economics.masks import LayerStack
from sim.economics.ownership import Site, electricity_cost, energy_kWh, facility_cost, facility_W
from sim.economics.silicon import die_cost, dies_per_wafer, murphy_yield
from sim.hardware.hardwired.pipeline import KI, Pipeline
from sim.mapping.hardwired import Grid

Values = float | npt.NDArray[np.float64]
Inputs = Mapping[str, Values]
BLOCKS: Final = ("hn_array", "vex", "control", "attention_buffer", "interconnect", "hbm_phy")


def chip_total(inputs: Inputs, unit: str) -> float:
    """Area (mm2) or power (W) of one chip: its blocks added up."""
    return float(sum(inputs[f"{block}_{unit}"] for block in BLOCKS))


def grid_of(inputs: Inputs) -> Grid:
    """The paper's grid."""
    return Grid(rows=int(inputs["grid_rows"]), columns=int(inputs["grid_columns"]))


def stack_of(inputs: Inputs) -> LayerStack:
    """The paper's mask layers."""
    return LayerStack(
        euv=int(inputs["euv_layers"]),
        duv=int(inputs["duv_layers"]),
        own_duv=int(inputs["own_duv_layers"]),
        euv_weight=float(inputs["euv_weight"]),
    )


def pipeline_of(inputs: Inputs, layers: int) -> Pipeline:
    """The calibrated pipeline."""
    nano = 1e-9
    return Pipeline(
        layers=layers,
        collective_s=float(inputs["collective_ns"]) * nano,
        operator_s=float(inputs["hn_operator_ns"]) * nano,
        non_linear_s=float(inputs["non_linear_ns"]) * nano,
        attention_s_per_token=float(inputs["attention_ns_per_ki_token"]) * nano / KI,
        stall_s=float(inputs["stall_ns_at_512ki"]) * nano,
    )


def recurring_USD(inputs: Inputs, *, rounding: bool) -> Values:
    """Die, package and test, memory and integration of one module."""
    area = chip_total(inputs, "mm2")
    gross, share = dies_per_wafer(area), murphy_yield(area, inputs["defects_per_cm2"])
    good = gross * share
    if rounding:
        gross, share = np.rint(good), 1.0
    die = die_cost(inputs["wafer_USD"], gross, share)
    package = inputs["package_and_test_USD_per_wafer"] / (gross * np.asarray(share))
    memory = inputs["hbm_GB"] * np.asarray(inputs["hbm_USD_per_GB"])
    return np.asarray(die + package + memory + inputs["integration_USD"])


def nre_USD(inputs: Inputs) -> Values:
    """Masks of 16 chips, design, verification and licences."""
    masks = stack_of(inputs).first_cost(inputs["mask_set_USD"], grid_of(inputs).chips)
    parts = ("architecture", "verification", "physical", "ip")
    return np.asarray(masks + sum(np.asarray(inputs[f"{part}_USD"]) for part in parts))


def site_of(inputs: Inputs) -> Site:
    """Where the paper's systems stand."""
    return Site(
        pue=inputs["pue"],
        facility_USD_per_W=inputs["facility_USD_per_MW"] / 1e6,
        electricity_USD_per_kWh=inputs["electricity_USD_per_kWh"],
        carbon_kg_per_kWh=inputs["grid_kg_per_kWh"],
    )


def hnlpu_ownership(
    inputs: Inputs, systems: float, spares: float, *, rounding: bool
) -> dict[str, Values]:
    """USD of three years of `systems`, with `spares` systems kept in stock; W drawn; kgCO2e."""
    site, chips = site_of(inputs), grid_of(inputs).chips
    drawn = facility_W(systems * float(inputs["system_kW"]) * 1e3, site)
    if rounding and systems == 1:
        drawn = 10_000.0
    module = np.asarray(recurring_USD(inputs, rounding=rounding))
    infrastructure = facility_cost(drawn, site, nodes=2.0 * systems, node_USD=inputs["node_USD"])
    build = nre_USD(inputs) + systems * chips * module
    electricity = electricity_cost(drawn, inputs["years"], site)
    respin = stack_of(inputs).own_cost(inputs["mask_set_USD"], chips) + systems * chips * module
    static = build + infrastructure + electricity + spares * chips * module
    return _with_carbon(
        inputs,
        drawn,
        systems * chips,
        {
            "infrastructure": infrastructure,
            "capex": build + infrastructure,
            "electricity": electricity,
            "maintenance": spares * chips * module,
            "static": static,
            "dynamic": static + 2.0 * respin,
        },
    )


def h100_ownership(inputs: Inputs, gpus: float) -> dict[str, Values]:
    """USD of three years of `gpus` H100 in nodes of eight; W drawn; kgCO2e."""
    site, years = site_of(inputs), float(inputs["years"])
    drawn = facility_W(gpus * float(inputs["h100_kW"]) * 1e3, site)
    nodes = gpus / 8.0
    infrastructure = facility_cost(drawn, site, nodes=nodes, node_USD=inputs["node_USD"])
    capex = nodes * inputs["h100_node_USD"] + infrastructure
    electricity = electricity_cost(drawn, years, site)
    maintenance = years * (
        inputs["h100_maintenance_share"] * capex + gpus * inputs["h100_software_USD_per_year"]
    )
    total = capex + electricity + maintenance
    return _with_carbon(
        inputs,
        drawn,
        gpus,
        {
            "infrastructure": infrastructure,
            "capex": capex,
            "electricity": electricity,
            "maintenance": maintenance,
            "static": total,
            "dynamic": total,
        },
    )


def _with_carbon(
    inputs: Inputs, drawn_W: Values, modules: float, costs: dict[str, Values]
) -> dict[str, Values]:
    embodied = modules * inputs["module_kgCO2e"]
    used = operational(energy_kWh(drawn_W, inputs["years"]), inputs["grid_kg_per_kWh"])
    return costs | {"carbon": embodied + used, "carbon respins": 3.0 * embodied + used}
