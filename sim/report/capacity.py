"""The report of a rate search: what was tried, the answer, and goodput over the rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sim.report.drawing import ACCENT, COLOURS, MARKERS, PAGE, figure, legend_below
from sim.report.tables import table
from sim.results.metrics import HEADED
from sim.results.quantity import digits, quantity, share, si
from sim.studies.capacity.capacity import Capacity
from sim.studies.capacity.trial import Trial


def capacity_report(
    capacities: Sequence[Capacity], refused: Mapping[str, str] | None = None
) -> RenderableType:
    """Everything `sim capacity` prints: the trials of each system, then the answers.

    `refused` says of systems that keep the SLO under no load how far they came.
    """
    notes = [Text(each.answer + ".", style="bold") for each in capacities]
    notes += [
        Text(f"Caution: {each.system}: {caution}.", style="yellow")
        for each in capacities
        for caution in each.cautions
    ]
    notes += [Text(f"{name}: infeasible. {reason}") for name, reason in (refused or {}).items()]
    side = [_side_by_side(capacities)] if len(capacities) > 1 else []
    return Group(*(_trials(each) for each in capacities), *side, *notes)


def _trials(capacity: Capacity) -> Table:
    shown = table(
        f"{capacity.scenario} on {capacity.system}: {capacity.objective}",
        capacity.unit,
        "within SLO",
        "worst gap p99",
        *(heading for _, heading in HEADED),
        "bound", "", left=0,
    )  # fmt: skip
    shown.columns[-1].no_wrap = True
    for trial in capacity.trials:
        shown.add_row(
            f"{trial.level:,.0f}" if capacity.clients else digits(trial.level),
            share(trial.attainment),
            si(trial.worst_gap_s["p99"], "s"),
            *_values(trial),
            trial.main_bound or "-",
            _verdict(capacity, trial),
            style="bold" if trial is capacity.best else "",
        )
    return shown


def _values(trial: Trial) -> list[str]:
    """Values under `HEADED`: with a prefix and a unit, or digits where the heading has the unit."""
    return [
        quantity(trial.row[column.name], column.unit)
        if column.unit in ("s", "W")
        else digits(trial.row[column.name])
        for column, _ in HEADED
    ]


def _verdict(capacity: Capacity, trial: Trial) -> str:
    if trial is capacity.best:
        return "answer"
    if trial.overloaded:
        return "overloaded"
    return "" if trial.meets else "misses"


def _side_by_side(capacities: Sequence[Capacity]) -> Table:
    """The answers of several systems, ratios to the first in brackets."""
    first = capacities[0]
    shown = table("At the answer", "system", first.unit, "limited by", "worst gap p99",
                  *(heading for _, heading in HEADED))  # fmt: skip
    for capacity in capacities:
        level = capacity.best.level
        text = f"{level:,.0f}" if capacity.clients else digits(level)
        shown.add_row(
            capacity.system,
            text if capacity is first else f"{text} ({level / first.best.level:.2f}x)",
            capacity.limited_by,
            si(capacity.best.worst_gap_s["p99"], "s"),
            *_values(capacity.best),
        )
    return shown


def plot_goodput(capacities: Sequence[Capacity], path: Path) -> None:
    """Write goodput and attainment over the offered load, a line a system, answers dotted.

    Filled marks keep up, open ones are overloaded. Without an SLO of each request, requests
    completed a second stand for goodput.
    """
    first = capacities[0]
    good = bool(first.objective.each)
    rate = "goodput_req_per_s" if good else "request_rate_per_s"
    with figure(path, width=PAGE, height=3.0, panels=2) as (canvas, panels):
        for index, each in enumerate(capacities):
            colour, levels = COLOURS[index % len(COLOURS)], [one.level for one in each.trials]
            shares = [one.attainment if good else one.keeps_up for one in each.trials]
            series = [
                [one.row[rate] for one in each.trials],
                [math.nan if kept is None else kept for kept in shares],
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
        legend_below(canvas, panels[0])
