"""A model in metal, for a terminal; and the file of its device."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sim.economics.lines import NRE
from sim.hardwiring import Hardwiring
from sim.mapping.hardwired import router_weights, weights_of_model, weights_per_chip
from sim.report.tables import table
from sim.results.quantity import binary, digits, share, si

BLOCKS = {
    "hn_array": "HN array",
    "vex": "VEX",
    "control": "control unit",
    "attention_buffer": "attention buffer",
    "interconnect": "interconnect engine",
    "hbm_phy": "HBM PHY",
}


def hardwire_report(lpu: Hardwiring) -> RenderableType:
    """Everything `sim hardwire` prints."""
    chips = lpu.grid.chips
    what = f"{chips} chips, {lpu.grid} (rows x columns), each a product with metal of its own"
    heading = f"{lpu.graph.name} in metal: {what if chips > 1 else '1 chip'}"
    return Group(
        Text(heading, style="bold"),
        _chip(lpu),
        _rows("What it holds", _holds(lpu)),
        _rows(f"Tokens at a context of {lpu.context:,}", _passes(lpu)),
        _costs(lpu),
        *(Text(f"Assumed: {each}") for each in lpu.assumptions),
    )


def _chip(lpu: Hardwiring) -> Table:
    total = lpu.chip_mm2
    limit = f"{share(total / lpu.reticle_mm2)} of the reticle's {lpu.reticle_mm2:g} mm2"
    shown = table(f"One chip: {limit}", "block", "mm2", "share", "W")
    for name, area in lpu.area_mm2.items():
        shown.add_row(BLOCKS[name], f"{area:.2f}", share(area / total), digits(lpu.power_W[name]))
    shown.add_row("all", f"{total:.2f}", share(1.0), digits(sum(lpu.power_W.values())))
    return shown


def _rows(title: str, rows: Iterator[tuple[str, str, str]]) -> Table:
    shown = table(title, "quantity", "value", "note", left=3)
    for row in rows:
        shown.add_row(*row)
    return shown


def _holds(lpu: Hardwiring) -> Iterator[tuple[str, str, str]]:
    graph, grid, line = lpu.graph, lpu.grid, lpu.line
    weights, whole = weights_per_chip(graph, grid), router_weights(graph)
    yield "weights in metal", f"{weights_of_model(graph):,.0f}", "the embedding table is in HBM"
    note = f"{whole:,.0f} of them on every chip (routers)" if whole else ""
    yield "weights a chip", f"{weights:,.0f}", note
    if lpu.digits > 1:
        note = f"{lpu.digits} for a weight in {lpu.weights}"
        yield "FP4 digits a chip", f"{weights * lpu.digits:,.0f}", note
    links = f"{lpu.links} a chip, to all others of its row and column; the paper's chip has 6"
    yield "links", f"{grid.chips * lpu.links // 2:,}", links
    yield "KV a token", binary(grid.chips * lpu.held_B), f"{lpu.held_B:,.0f} B a chip"
    room = line.buffer_B / lpu.held_B
    yield "tokens in the buffers", f"{room:,.0f}", f"{room / line.slots:,.0f} a slot"
    fit = lpu.sequences
    note = "" if fit >= line.slots else f"fewer than the {line.slots:,} slots: it is never full"
    yield "sequences that HBM holds", f"{fit:,.0f}", note


def _passes(lpu: Hardwiring) -> Iterator[tuple[str, str, str]]:
    line, slot = lpu.line, lpu.line.slot_s(lpu.context)
    yield "slots", f"{line.slots:,}", "tokens in flight"
    yield "slot", si(slot, "s"), f"paced by {lpu.paced_by}"
    rate, sustained = lpu.stage_tok_per_s, lpu.sustained_tok_per_s
    yield "throughput of a full pipeline", f"{rate:,.0f} tok/s", "keys and values at hand"
    note = "fetching from HBM is hidden" if rate == sustained else "fetching from HBM paces it"
    yield "with KV beyond the buffers", f"{sustained:,.0f} tok/s", note
    alone = line.token_s(lpu.context)
    yield "latency of a token alone", si(alone, "s"), "no slot waits for another"
    note = "every slot as long as the slowest"
    yield "latency in a full pipeline", si(line.slots * slot, "s"), note


def _costs(lpu: Hardwiring) -> Table:
    shown = table("What it costs (`sim cost` of its device has every line)", "", "low", "base",
                 "high")  # fmt: skip
    lines = [each for each in lpu.ledger.lines if each.unit == NRE]
    for line in lines:
        shown.add_row(f"{line.name}, USD", *map(digits, line.bounds))
    for name, what in (("nre_usd", "all NRE, USD"), ("unit_cost_usd", "one module, USD")):
        value = lpu.ledger.totals[name]
        assert value is not None
        shown.add_row(what, *(digits(float(each)) for each in value))
    return shown


def device_file(lpu: Hardwiring, path: str) -> str:
    """The YAML of one module, with the command that runs it on the grid."""
    chips, slots = lpu.grid.chips, lpu.line.slots
    return "".join(
        [
            f"# {chips} modules of this are one system: {lpu.graph.name} on a grid of ",
            f"{lpu.grid}, in a scenario\n",
            f"# system: {{device: {path}, count: {chips}, devices_per_node: {chips}}}\n",
            f"# scheduler: {{kind: chunked-prefill, max_batch: {slots}, token_budget: {slots}}}\n",
            *_lines(lpu.form),
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
