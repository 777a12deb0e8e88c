"""The table of `sim explain`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from sim.report.bands import LEVELS, within
from sim.report.tables import block_lines, provenance_line, table
from sim.results.explain import Explanation
from sim.results.provenance import provenance
from sim.results.quantity import binary, digits, share, si


def explanation_report(explanation: Explanation) -> RenderableType:
    """Heading, units with their ridge points, one row an operator, and the sum."""
    scenario = explanation.prepared.scenario
    return Group(
        Text(_heading(explanation), style="bold"),
        _units(explanation),
        _operators(explanation),
        Text(_sum(explanation)),
        *block_lines(explanation.blocks),
        Text(_band(explanation), style="dim"),
        provenance_line(provenance(scenario)),
    )


def _heading(explanation: Explanation) -> str:
    scenario, batch = explanation.prepared.scenario, explanation.batch
    layout, system = explanation.prepared.program.layout, explanation.prepared.program.system
    count = "1 sequence" if batch["sequences"] == 1 else f"{batch['sequences']:,} sequences"
    what = (
        f"{count} with {batch['context']:,} cached tokens each"
        if explanation.phase == "decode"
        else f"{count}, {batch['prompt_tokens']:,} prompt tokens each"
    )
    return (
        f"{scenario.name}: one {explanation.phase} iteration of {scenario.model.title} on "
        f"{system.name} (tp {layout.tp}, pp {layout.pp}, ep {layout.ep}), {what}"
    )


def _units(explanation: Explanation) -> RenderableType:
    """Peaks and ridge points of each unit; the numbers to check the table by hand."""
    shown = table("Units of one device", "unit", "arithmetic", "peak", "weights bandwidth",
                 "ridge Op/B", "compute eff.", "memory eff.", "ramp", "launch", left=2)  # fmt: skip
    device = explanation.prepared.program.system.device
    records = explanation.prepared.program.units
    for processor, record in zip(device.processors, records, strict=True):
        for arithmetic, peak in processor.peak_flop_per_s.items():
            bandwidth = float(record["weights_B_per_s"])
            shown.add_row(
                processor.name,
                arithmetic,
                si(peak, "FLOPS"),
                si(bandwidth, "B/s"),
                digits(peak / bandwidth),
                digits(processor.efficiency.compute),
                digits(processor.efficiency.memory),
                si(processor.efficiency.ramp_B, "B"),
                si(processor.launch_s, "s"),
            )
    return shown


def _operators(explanation: Explanation) -> RenderableType:
    shown = table(
        "Operators of one device, all layers", "operator", "unit", "bound", "layers", "tokens",
        "FLOPs", "bytes", "Op/B", "time", "share", "energy", "why", left=3,
    )  # fmt: skip
    shown.columns[-1].justify = "left"
    for row in explanation.rows:
        shown.add_row(
            row["operator"],
            row["unit"],
            row["bound"],
            f"{row['layers']:,}",
            digits(row["tokens"]),
            si(row["flops"], ""),
            si(_bytes(row), "B"),
            digits(row["op_per_B"]),
            si(row["time_s"], "s"),
            share(row["time_s"] / explanation.seconds),
            si(row["energy_J"], "J"),
            row["why"],
        )
    return shown


def _bytes(row: Mapping[str, Any]) -> float | None:
    """Bytes an operator moves: through memory, or over links; None of a model in metal."""
    if row["flops"] is None:
        return None if row["message_B"] is None else float(row["message_B"])
    return float(row["weight_B"] + row["kv_B"] + row["activation_B"])


def _band(explanation: Explanation) -> str:
    bands = explanation.bands
    seconds = bands["iteration_s"]
    energy = bands.get("energy_J")
    joules = "" if energy is None else f", {within(energy, 'J')}"
    return (
        f"10 to 90 % of what measurements were beside predictions: {within(seconds, 's')}{joules}; "
        f"{LEVELS[seconds.level]} [{seconds.basis}]."
    )


def _sum(explanation: Explanation) -> str:
    passed = sum(row["time_s"] for row in explanation.rows)
    parts = f"operators {si(passed, 's')}"
    pace = (explanation.seconds - explanation.host_s) / passed
    if pace > 1.0 + 1e-9:
        split = explanation.prepared.program.split
        why = "the longest pipeline stage" if split is None else "all microbatches"
        parts += f" x {pace:.3f} for {why}"
    budget = explanation.prepared.budget
    apart = explanation.prepared.program.split is not None
    device = "one device of each side" if apart else "one device"
    return (
        f"Iteration: {parts} + host {si(explanation.host_s, 's')} = "
        f"{si(explanation.seconds, 's')}, {si(explanation.joules, 'J')} in all "
        f"{_devices(explanation)} devices, static power included.\n"
        f"Memory of {device}: weights {binary(budget.weights_B)}, KV cache up to "
        f"{binary(budget.kv_B)} of {binary(budget.usable_B)}."
    )


def _devices(explanation: Explanation) -> int:
    """Devices of a replica, those of an expert side included."""
    layout = explanation.prepared.program.layout
    return layout.devices + layout.expert_devices
