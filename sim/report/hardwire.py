"""A model in metal, for a terminal; and the file of its device."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sim.mapping.hardwired import router_weights, weights_of_model, weights_per_chip
from sim.report.quantity import binary, digits, share, si
from sim.report.tables import table
from sim.simulation.hardwire import Hardwiring

BLOCKS = {
    "hn_array": "HN array",
    "vex": "VEX",
    "control": "control unit",
    "attention_buffer": "attention buffer",
    "interconnect": "interconnect engine",
    "hbm_phy": "HBM PHY",
}


def hardwire_report(found: Hardwiring) -> RenderableType:
    """Everything `sim hardwire` prints."""
    chips = found.grid.chips
    heading = (
        f"{found.graph.name} in metal: {chips} chips, {found.grid} (rows x columns), "
        f"each a product with metal of its own"
    )
    return Group(
        Text(heading, style="bold"),
        _chip(found),
        _holds(found),
        _passes(found),
        *(Text(f"Assumed: {each}") for each in found.assumptions),
    )


def _chip(found: Hardwiring) -> Table:
    made = table("One chip", "block", "mm2", "of the chip", "W")
    total = found.chip_mm2
    for name, area in found.area_mm2.items():
        made.add_row(BLOCKS[name], f"{area:.2f}", share(area / total), digits(found.power_W[name]))
    made.add_row("all", f"{total:.2f}", share(1.0), digits(sum(found.power_W.values())))
    made.add_row("reticle", f"{found.reticle_mm2:g}", share(found.reticle_mm2 / total), "")
    return made


def _holds(found: Hardwiring) -> Table:
    made = table("What it holds", "", "", "")
    line, chips = found.line, found.grid.chips
    weights = weights_per_chip(found.graph, found.grid)
    for name, value, note in (
        ("weights of the model in metal", f"{weights_of_model(found.graph):,.0f}",
         "its embedding table is in HBM"),
        ("weights a chip", f"{weights:,.0f}",
         f"of these, on every chip: {router_weights(found.graph):,.0f}"),
        ("FP4 digits a chip", f"{weights * found.digits:,.0f}", f"weights in {found.weights}"),
        ("KV a token", binary(chips * found.held_B), f"all chips; {found.held_B:,.0f} B each"),
        ("tokens in the buffers", f"{round(line.buffer_B / found.held_B):,}",
         f"{round(line.buffer_B / found.held_B / line.slots):,} a slot"),
    ):  # fmt: skip
        made.add_row(name, value, note)
    return made


def _passes(found: Hardwiring) -> Table:
    line, context = found.line, found.context
    made = table(f"Tokens at a context of {context:,}", "", "", "")
    stages = line.stages(context)
    slowest = max(stages, key=lambda name: stages[name])
    paced = f"stage {slowest}" if stages[slowest] >= line.slot_s(context) else "what all share"
    sustained = found.sustained_tok_per_s
    fetches = "" if sustained == found.stage_tok_per_s else "fetching keys and values paces it"
    for name, value, note in (
        ("slots", f"{line.slots:,}", "tokens in flight"),
        ("slot", si(line.slot_s(context), "s"), f"paced by {paced}"),
        ("throughput of a full pipeline", f"{found.stage_tok_per_s:,.0f} tok/s",
         "keys and values at hand"),
        ("with what is beyond the buffers", f"{sustained:,.0f} tok/s",
         fetches or "fetching is hidden"),
        ("latency of a token alone", si(line.token_s(context), "s"), ""),
        ("latency in a full pipeline", si(line.slots * line.slot_s(context), "s"),
         "every slot as long as the slowest"),
    ):  # fmt: skip
        made.add_row(name, value, note)
    return made


def device_file(found: Hardwiring, path: str) -> str:
    """The YAML of one module, with the command that runs it on the grid."""
    chips, slots = found.grid.chips, found.line.slots
    return "".join(
        [
            f"# {chips} modules of this are one system: {found.graph.name} on a grid of ",
            f"{found.grid}, in a scenario\n",
            f"# system: {{device: {path}, count: {chips}, devices_per_node: {chips}}}\n",
            f"# scheduler: {{kind: chunked-prefill, max_batch: {slots}, token_budget: {slots}}}\n",
            *_lines(found.form),
        ]
    )


def _lines(form: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Nested mappings as YAML; words in quotes where they might be read as something else."""
    for key, item in form.items():
        if isinstance(item, Mapping):
            yield f"{indent}{key}:\n"
            yield from _lines(item, indent + "  ")
        else:
            yield f"{indent}{key}: {json.dumps(item, ensure_ascii=False)}\n"
