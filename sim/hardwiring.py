"""Hardwire: a model as a hardwired LPU, its grid of chips, their area, and how fast tokens pass.

Constants are those of the HNLPU paper and of its calibration (hw_configs/papers/hnlpu.yaml and
hw_configs/devices/hnlpu.yaml): area a weight from Table 1's HN array, its other blocks as they are,
the times of a layer's parts from Fig. 14.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from sim.config.catalogue import load_device, load_model
from sim.config.costs import ledger_of
from sim.config.inputs import load_inputs
from sim.config.library import Given
from sim.dtypes import BITS, bytes_per_element
from sim.economics.lines import NRE, Ledger
from sim.errors import ConfigError, Infeasible
from sim.graph import Graph
from sim.hardware import Device, System
from sim.hardware.hardwired.pipeline import Pipeline
from sim.mapping.hardwired import (
    Grid,
    attention_work,
    chips_needed,
    line_of,
    router_weights,
    smallest,
    weights_of_model,
    weights_per_chip,
)
from sim.workload.architecture import Architecture
from sim.workload.layers import build_graph

PAPER: Final = "hnlpu"
"""The device and the paper whose constants are used."""
SOURCE: Final = "sim-hardwire"
"""What the library calls the source of a device made here."""
FORMATS: Final = ("fp4", *BITS)
OTHER_BLOCKS: Final = ("vex", "control", "attention_buffer", "interconnect", "hbm_phy")


def digits_of(weights: str) -> int:
    """FP4 digits that a hardwired weight of this format takes: 4 bits each, scales left out."""
    if weights not in FORMATS:
        raise ConfigError(f"weights '{weights}' are not known; known: {', '.join(FORMATS)}")
    return 1 if weights == "fp4" else int(BITS[weights]) // 4


def grid_from(text: str) -> Grid:
    """The grid written as "4x4", rows first."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text.strip().lower())
    if match is None:
        raise ConfigError(f"grid '{text}': rows and columns are due, e.g. 4x4")
    return Grid(rows=int(match[1]), columns=int(match[2]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Hardwiring:
    """A model in metal. Areas and powers are of one chip, by block; `line` is its pipeline.

    `weights` is the format, of `digits` FP4 digits; counts are of weights, not of digits.
    `device` is one module, `form` its file; `system` is all of them.
    """

    graph: Graph
    grid: Grid
    weights: str
    kv: str
    digits: int
    context: int
    area_mm2: Mapping[str, float]
    power_W: Mapping[str, float]
    reticle_mm2: float
    mm2_per_weight: float
    form: Mapping[str, Any]
    device: Device
    line: Pipeline

    @property
    def system(self) -> System:
        """All chips, in one node."""
        chips = self.grid.chips
        name = f"{self.device.name}-x{chips}"
        return System(name=name, device=self.device, count=chips, devices_per_node=chips)

    @cached_property
    def ledger(self) -> Ledger:
        """What the system costs to design, to make and to own."""
        return ledger_of(self.system)

    @property
    def chip_mm2(self) -> float:
        """Area of one chip."""
        return sum(self.area_mm2.values())

    @property
    def stage_tok_per_s(self) -> float:
        """Tokens/s of a full pipeline at the context, all keys and values at hand."""
        return 1.0 / self.line.slot_s(self.context)

    @property
    def sustained_tok_per_s(self) -> float:
        """Tokens/s when those beyond the buffers come from HBM."""
        return 1.0 / max(self.line.slot_s(self.context), self.line.fetch_s(self.context))

    @property
    def paced_by(self) -> str:
        """What makes a slot as long as it is."""
        slot_s, stages = self.line.slot_s(self.context), self.line.stages(self.context)
        slowest = max(stages, key=lambda name: stages[name])
        if stages[slowest] >= slot_s:
            return f"stage {slowest}"
        shared = self.line.stage_s(self.context) >= slot_s
        return "the attention unit that all layers share" if shared else "the busiest link"

    @property
    def links(self) -> int:
        """Links of a chip: to all others of its row and of its column."""
        return self.grid.rows + self.grid.columns - 2

    @property
    def held_B(self) -> float:
        """Bytes one chip keeps for a cached token, in all layers."""
        return sum(layer.count * layer.held_B for layer in self.line.different)

    @property
    def sequences(self) -> float:
        """Sequences of the context whose keys and values the buffers and HBM hold."""
        hbm = self.device.memory("hbm").capacity_B or 0.0
        return float((self.line.buffer_B + hbm) // (self.held_B * max(self.context, 1)))

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the numbers rest on beyond the paper."""
        chip = self.device.hardwired
        assert chip is not None
        calibrated = chip.links == "calibrated"
        return (
            f"all hardwired weights in {self.weights}, {self.digits} times the area of FP4; "
            "accuracy in that format is not looked at",
            f"{self.mm2_per_weight * 1e6:.4f} um2 an FP4 weight, calibrated on Table 1; blocks "
            "beside the HN array as in the paper, whatever the model, its layers and its links",
            "times of a product and a non-linear operation as calibrated on the paper, whatever "
            "their sizes; attention in proportion to what a chip reads and computes",
            "a collective takes what is calibrated on the paper, whatever its size"
            if calibrated
            else "a collective takes a hop and its message on one link; links are shared by all "
            "layers, and every token has its logits gathered on all chips",
            f"keys and values in {self.kv}; "
            + ("windows of layers are used" if chip.windows else "every layer attends to all"),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; keys end in their unit."""
        line, context = self.line, self.context
        return {
            "model": self.graph.name,
            "grid": {"rows": self.grid.rows, "columns": self.grid.columns},
            "chips": self.grid.chips,
            "products": self.grid.chips,
            "weights": {
                "format": self.weights,
                "digits": self.digits,
                "model": weights_of_model(self.graph),
                "chip": weights_per_chip(self.graph, self.grid),
                "replicated": router_weights(self.graph),
            },
            "chip": {
                "area_mm2": dict(self.area_mm2),
                "total_mm2": self.chip_mm2,
                "reticle_mm2": self.reticle_mm2,
                "power_W": dict(self.power_W),
                "total_W": sum(self.power_W.values()),
            },
            "system": {
                "links": self.grid.chips * self.links // 2,
                "area_mm2": self.grid.chips * self.chip_mm2,
                "power_W": self.grid.chips * (self.device.static_W or 0.0),
            },
            "pipeline": {
                "context": context,
                "slots": line.slots,
                "slot_s": line.slot_s(context),
                "paced_by": self.paced_by,
                "stages_s": dict(line.stages(context)),
                "token_s": line.token_s(context),
                "padded_token_s": line.slots * line.slot_s(context),
                "throughput_tok_per_s": self.stage_tok_per_s,
                "sustained_tok_per_s": self.sustained_tok_per_s,
            },
            "kv": {
                "format": self.kv,
                "model_B_per_token": self.graph.kv_bytes_per_token("int8")
                * bytes_per_element(self.kv),
                "chip_B_per_token": self.held_B,
                "tokens_in_buffers": round(line.buffer_B / self.held_B),
                "sequences": self.sequences,
                "tokens_a_slot": round(line.buffer_B / self.held_B / line.slots),
            },
            "cost": {
                line["name"]: {end: line[end] for end in ("low", "base", "high")}
                for line in (each.to_json() for each in self.ledger.lines)
                if line["unit"] == NRE
            }
            | self.ledger.to_json()["totals"],
            "assumptions": list(self.assumptions),
        }


def hardwire(
    model: Given | Architecture,
    *,
    grid: str | Grid | None = None,
    context: int = 2048,
    weights: str = "fp4",
    kv: str = "fp8",
    **switches: str | bool,
) -> Hardwiring:
    """`model` as a hardwired LPU on `grid`, else on the smallest grid it divides over and fits.

    A model is a name of the library, a model YAML, a config.json or an Architecture. Throughput is
    at `context` cached tokens a sequence, kept as `kv`. `switches` are those of the device: vex,
    windows, links. Infeasible, with the numbers, where the model does not divide over the grid or
    a chip would be larger than the reticle.
    """
    if context < 0:
        raise ConfigError(f"context {context}: a whole number from 0 is due")
    if kv not in BITS:
        raise ConfigError(f"kv '{kv}' is not known; known: {', '.join(BITS)}")
    digits = digits_of(weights)
    graph = build_graph(model if isinstance(model, Architecture) else load_model(model))
    inputs, paper = load_inputs(PAPER), load_device(PAPER)
    chip = paper.hardwired
    assert chip is not None
    paper_graph = build_graph(load_model(chip.model))
    paper_grid = Grid(rows=chip.rows, columns=chip.columns)
    mm2_per_weight = float(inputs["hn_array_mm2"]) / weights_per_chip(paper_graph, paper_grid)
    reticle_mm2 = float(inputs["reticle_width_mm"]) * float(inputs["reticle_height_mm"])
    others_mm2 = {block: float(inputs[f"{block}_mm2"]) for block in OTHER_BLOCKS}
    space = _Space(
        graph=graph,
        weight_mm2=digits * mm2_per_weight,
        others_mm2=sum(others_mm2.values()),
        reticle_mm2=reticle_mm2,
    )
    size = space.fitted(grid_from(grid) if isinstance(grid, str) else grid, weights)
    array_mm2 = space.array_mm2(size)
    density = float(inputs["hn_array_W"]) / float(inputs["hn_array_mm2"])
    area_mm2 = {"hn_array": array_mm2} | others_mm2
    power_W = {"hn_array": array_mm2 * density}
    power_W |= {block: float(inputs[f"{block}_W"]) for block in OTHER_BLOCKS}
    slower = _attention(graph, size, paper_graph, paper_grid)
    form = _form(
        graph.name,
        size,
        paper,
        weights,
        attention_s=chip.attention_s_per_ki_token * slower,
        power_W=sum(power_W.values()) * float(inputs["system_power_factor"]),
        area_mm2=sum(area_mm2.values()),
    )
    form["hardwired"] |= switches
    device = load_device(form)
    return Hardwiring(
        graph=graph,
        grid=size,
        weights=weights,
        kv=kv,
        digits=digits,
        context=context,
        area_mm2=area_mm2,
        power_W=power_W,
        reticle_mm2=reticle_mm2,
        mm2_per_weight=mm2_per_weight,
        form=form,
        device=device,
        line=line_of(graph, device, bytes_per_element(kv)),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Space:
    """What a model takes of a chip: `weight_mm2` a weight, `others_mm2` beside the HN array."""

    graph: Graph
    weight_mm2: float
    others_mm2: float
    reticle_mm2: float

    def array_mm2(self, grid: Grid) -> float:
        """Area of the HN array of one chip."""
        return weights_per_chip(self.graph, grid) * self.weight_mm2

    def fitted(self, grid: Grid | None, weights: str) -> Grid:
        """`grid`, or the smallest that fits. Infeasible where a chip exceeds the reticle."""
        areas = self.weight_mm2, self.others_mm2, self.reticle_mm2
        grid = grid or smallest(self.graph, *areas)
        array_mm2 = self.array_mm2(grid)
        if array_mm2 + self.others_mm2 <= self.reticle_mm2:
            return grid
        least = chips_needed(self.graph, *areas)
        raise Infeasible(
            f"{self.graph.name} in {weights} on {grid} chips: {array_mm2:.1f} mm2 of HN array and "
            f"{self.others_mm2:.1f} mm2 beside it are larger than the reticle's "
            f"{self.reticle_mm2:g} mm2; at least {least} chips are needed",
            chip_mm2=array_mm2 + self.others_mm2,
            reticle_mm2=self.reticle_mm2,
            least_chips=least,
        )


def _form(
    model: str,
    grid: Grid,
    paper: Device,
    weights: str,
    *,
    attention_s: float,
    power_W: float,
    area_mm2: float,
) -> dict[str, Any]:
    """A device file: what is different from the paper's device.

    Its NRE is spread over as many systems as the paper's, each of `grid` chips.
    """
    form: dict[str, Any] = {
        "extends": PAPER,
        "name": f"{PAPER}-{model}",
        "title": f"HNLPU module (hardwired {model}, {weights})",
        "hardwired": {
            "model": model,
            "rows": f"{grid.rows} [{SOURCE}]",
            "columns": f"{grid.columns} [{SOURCE}]",
            "attention_per_ki_token": f"{attention_s * 1e9:.12g} ns [{SOURCE}]",
        },
        "power": dict.fromkeys(("tdp", "static"), f"{power_W:.7g} W [{SOURCE}]"),
        "die": {"area": f"{area_mm2:.9g} mm2 [{SOURCE}]", "products": grid.chips},
    }
    if paper.making.units is not None:
        units = [each * grid.chips / paper.making.products for each in sorted(paper.making.units)]
        named = zip(("low", "base", "high"), units, strict=True)
        form["making"] = {"units": {name: f"{each:g} [{SOURCE}]" for name, each in named}}
    return form


def _attention(graph: Graph, grid: Grid, paper: Graph, paper_grid: Grid) -> float:
    """How many times the paper's attention takes: by bytes read or by operations, the larger.

    Its unit is balanced for the paper's model: 8 query heads read each key-value head.
    """
    read, computed = attention_work(graph, grid)
    paper_read, paper_computed = attention_work(paper, paper_grid)
    return max(read / paper_read, computed / paper_computed)
