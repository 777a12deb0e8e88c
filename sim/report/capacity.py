"""The report of a rate search: what was tried, the answer, and goodput over the rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sim.report.drawing import ACCENT, COLOURS, MARKERS, PAGE, figure, legend_below
from sim.report.quantity import digits, share, si
from sim.report.tables import table
from sim.studies.capacity import Capacity
from sim.studies.trial import Trial


def capacity_report(
    found: Sequence[Capacity], refused: Mapping[str, str] | None = None
) -> RenderableType:
    """Everything `sim capacity` prints: the trials of each system, then the answers.

    `refused` says of systems that keep the SLO under no load how far they came.
    """
    notes = [Text(each.answer + ".", style="bold") for each in found]
    notes += [
        Text(f"Caution: {each.system}: {caution}.", style="yellow")
        for each in found
        for caution in each.cautions
    ]
    notes += [Text(f"{name}: infeasible. {reason}") for name, reason in (refused or {}).items()]
    side = [_side_by_side(found)] if len(found) > 1 else []
    return Group(*(_trials(each) for each in found), *side, *notes)


def _trials(capacity: Capacity) -> Table:
    made = table(
        f"{capacity.scenario} on {capacity.system}: {capacity.objective}",
        capacity.unit,
        "TTFT p50", "p90", "p99", "worst gap p99", "within SLO", "goodput/s", "tok/s", "power",
        "J/tok", "USD/Mtok", "bound", "", left=0,
    )  # fmt: skip
    made.columns[-1].no_wrap = True
    for trial in capacity.trials:
        metrics = trial.metrics
        made.add_row(
            f"{trial.level:,.0f}" if capacity.clients else digits(trial.level),
            *(si(metrics["ttft_s"][tail], "s") for tail in ("p50", "p90", "p99")),
            si(trial.worst_gap_s["p99"], "s"),
            share(trial.attainment),
            digits(metrics["goodput_req_per_s"]),
            digits(metrics["throughput_tok_per_s"]),
            si(metrics["power_W"], "W"),
            digits(metrics["energy_J_per_tok"]),
            digits(metrics["cost_usd_per_Mtok"]),
            trial.main_bound or "-",
            _verdict(capacity, trial),
            style="bold" if trial is capacity.best else "",
        )
    return made


def _verdict(capacity: Capacity, trial: Trial) -> str:
    if trial is capacity.best:
        return "answer"
    if trial.overloaded:
        return "overloaded"
    return "" if trial.meets else "misses"


def _side_by_side(found: Sequence[Capacity]) -> Table:
    """The answers of several systems, ratios to the first in brackets."""
    made = table("At the answer", "system", found[0].unit, "limited by", "goodput/s", "TTFT p90",
                 "worst gap p99", "power", "J/tok", "USD/Mtok")  # fmt: skip
    first = found[0].best.level
    for each in found:
        metrics = each.best.metrics
        level = f"{each.best.level:,.0f}" if each.clients else digits(each.best.level)
        made.add_row(
            each.system,
            level if each is found[0] else f"{level} ({each.best.level / first:.2f}x)",
            each.limited_by,
            digits(metrics["goodput_req_per_s"]),
            si(metrics["ttft_s"]["p90"], "s"),
            si(each.best.worst_gap_s["p99"], "s"),
            si(metrics["power_W"], "W"),
            digits(metrics["energy_J_per_tok"]),
            digits(metrics["cost_usd_per_Mtok"]),
        )
    return made


def _or_gap(value: float | None) -> float:
    return math.nan if value is None else value


def plot_goodput(found: Sequence[Capacity], path: Path) -> None:
    """Write goodput and attainment over the offered load, a line a system, answers dotted.

    Filled marks keep up, open ones are overloaded. Without an SLO of each request, requests
    completed a second stand for goodput.
    """
    first = found[0]
    good = bool(first.objective.each)
    rate = "goodput_req_per_s" if good else "request_rate_per_s"
    with figure(path, width=PAGE, height=3.0, panels=2) as (made, panels):
        for index, each in enumerate(found):
            colour, levels = COLOURS[index % len(COLOURS)], [one.level for one in each.trials]
            series = [
                [_or_gap(one.metrics[rate]) for one in each.trials],
                [_or_gap(one.attainment if good else one.keeps_up) for one in each.trials],
            ]
            for axes, values in zip(panels, series, strict=True):
                axes.plot(levels, values, color=colour, label=each.system)
                for one, value in zip(each.trials, values, strict=True):
                    axes.plot(one.level, value, MARKERS[index % len(MARKERS)], color=colour,
                              fillstyle="none" if one.overloaded else "full")  # fmt: skip
                axes.axvline(each.best.level, color=colour, linewidth=0.8, linestyle=":")
        unit = first.unit if first.clients else f"offered {first.unit}"
        panels[0].set(xlabel=unit, ylabel=f"{'goodput' if good else 'completed'}, requests/s")
        panels[1].set(xlabel=unit, ylabel="share within the SLO" if good else "keeps up")
        if good:
            panels[1].axhline(first.objective.attain, color=ACCENT, linewidth=0.8, linestyle="--")
        for axes in panels:
            axes.set_xlim(left=0.0)
            axes.set_ylim(bottom=0.0)
        panels[0].set_title(first.scenario)
        panels[1].set_title(str(first.objective), fontsize=6)
        legend_below(made, panels[0])
