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


def hardwire_report(found: Hardwiring) -> RenderableType:
    """Everything `sim hardwire` prints."""
    chips = found.grid.chips
    made = f"{chips} chips, {found.grid} (rows x columns), each a product with metal of its own"
    heading = f"{found.graph.name} in metal: {made if chips > 1 else '1 chip'}"
    return Group(
        Text(heading, style="bold"),
        _chip(found),
        _rows("What it holds", _holds(found)),
        _rows(f"Tokens at a context of {found.context:,}", _passes(found)),
        _costs(found),
        *(Text(f"Assumed: {each}") for each in found.assumptions),
    )


def _chip(found: Hardwiring) -> Table:
    total = found.chip_mm2
    limit = f"{share(total / found.reticle_mm2)} of the reticle's {found.reticle_mm2:g} mm2"
    made = table(f"One chip: {limit}", "block", "mm2", "share", "W")
    for name, area in found.area_mm2.items():
        made.add_row(BLOCKS[name], f"{area:.2f}", share(area / total), digits(found.power_W[name]))
    made.add_row("all", f"{total:.2f}", share(1.0), digits(sum(found.power_W.values())))
    return made


def _rows(title: str, rows: Iterator[tuple[str, str, str]]) -> Table:
    made = table(title, "quantity", "value", "note", left=3)
    for row in rows:
        made.add_row(*row)
    return made


def _holds(found: Hardwiring) -> Iterator[tuple[str, str, str]]:
    graph, grid, line = found.graph, found.grid, found.line
    weights, whole = weights_per_chip(graph, grid), router_weights(graph)
    yield "weights in metal", f"{weights_of_model(graph):,.0f}", "the embedding table is in HBM"
    note = f"{whole:,.0f} of them on every chip (routers)" if whole else ""
    yield "weights a chip", f"{weights:,.0f}", note
    if found.digits > 1:
        note = f"{found.digits} for a weight in {found.weights}"
        yield "FP4 digits a chip", f"{weights * found.digits:,.0f}", note
    links = f"{found.links} a chip, to all others of its row and column; the paper's chip has 6"
    yield "links", f"{grid.chips * found.links // 2:,}", links
    yield "KV a token", binary(grid.chips * found.held_B), f"{found.held_B:,.0f} B a chip"
    room = line.buffer_B / found.held_B
    yield "tokens in the buffers", f"{room:,.0f}", f"{room / line.slots:,.0f} a slot"
    fit = found.sequences
    note = "" if fit >= line.slots else f"fewer than the {line.slots:,} slots: it is never full"
    yield "sequences that HBM holds", f"{fit:,.0f}", note


def _passes(found: Hardwiring) -> Iterator[tuple[str, str, str]]:
    line, slot = found.line, found.line.slot_s(found.context)
    yield "slots", f"{line.slots:,}", "tokens in flight"
    yield "slot", si(slot, "s"), f"paced by {found.paced_by}"
    rate, sustained = found.stage_tok_per_s, found.sustained_tok_per_s
    yield "throughput of a full pipeline", f"{rate:,.0f} tok/s", "keys and values at hand"
    note = "fetching from HBM is hidden" if rate == sustained else "fetching from HBM paces it"
    yield "with KV beyond the buffers", f"{sustained:,.0f} tok/s", note
    alone = line.token_s(found.context)
    yield "latency of a token alone", si(alone, "s"), "no slot waits for another"
    note = "every slot as long as the slowest"
    yield "latency in a full pipeline", si(line.slots * slot, "s"), note


def _costs(found: Hardwiring) -> Table:
    made = table("What it costs (`sim cost` of its device has every line)", "", "low", "base",
                 "high")  # fmt: skip
    lines = [each for each in found.ledger.lines if each.unit == NRE]
    for line in lines:
        made.add_row(f"{line.name}, USD", *map(digits, line.bounds))
    for name, what in (("nre_usd", "all NRE, USD"), ("unit_cost_usd", "one module, USD")):
        value = found.ledger.totals[name]
        assert value is not None
        made.add_row(what, *(digits(float(each)) for each in value))
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
