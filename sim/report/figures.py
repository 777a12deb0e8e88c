"""Figures of runs, explanations and ledgers, fit for a paper: PDF, PNG or SVG by the name's end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.dtypes import COMPUTE
from sim.economics.lines import CAPITAL, DEVICE, RUNNING, Ledger, Line
from sim.errors import ConfigError
from sim.kernel.records import VECTOR
from sim.report.drawing import (
    ACCENT,
    COLOURS,
    HATCHES,
    MARKERS,
    PAGE,
    figure,
    legend_below,
    limit_line,
    scale,
)
from sim.results.explain import Explanation
from sim.results.metrics import DISTRIBUTIONS, column_of
from sim.results.quantity import digits, si
from sim.results.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = tuple[Sequence[float], Sequence[float]]
"""x and y of one line."""
SLO_COLUMNS = ("ttft_p90_s", "tbt_p99_s", "goodput_req_per_s")


def plot_roofline(step: Explanation, path: Path) -> None:
    """Every operator of one iteration under the roof of the processor that runs it.

    A point is what an operator attains: its FLOPs over the time it takes, launch included; its
    area grows with its share of the iteration. Operators without arithmetic are left out.
    """
    rows = [row for row in step.rows if row["flops"] and row["op_per_B"] and row["busy_s"] > 0]
    if not rows:
        raise ConfigError("no operator of this iteration has FLOPs and bytes: nothing to draw")
    classes = list(dict.fromkeys(row["class"] for row in rows))
    units = list(dict.fromkeys(row["unit"] for row in rows))
    with figure(path, width=4.6, height=3.2) as (canvas, (axes,)):
        _roofs(axes, step, rows, units)
        for row in rows:
            axes.plot(
                row["op_per_B"], row["flops"] / row["busy_s"], MARKERS[units.index(row["unit"])],
                color=_colour(classes, row["class"]), alpha=0.85, markeredgecolor="black",
                markeredgewidth=0.4, markersize=4 + 10 * (row["time_s"] / step.seconds) ** 0.5,
            )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="Op/B (FLOP/byte)", ylabel="FLOP/s, one device")
        handles = [axes.plot([], [], "o", color=_colour(classes, name), label=name)[0]
                   for name in classes]  # fmt: skip
        handles += [axes.plot([], [], MARKERS[index], color="0.4", label=f"runs on {name}")[0]
                    for index, name in enumerate(units)]  # fmt: skip
        axes.set_title(f"{step.prepared.scenario.name}, {step.phase}")
        names = [str(each.get_label()) for each in handles]
        legend_below(canvas, axes, handles=handles, names=names)


def _roofs(axes: Axes, step: Explanation, rows: Sequence[Any], units: Sequence[str]) -> None:
    """The roof of each processor for each arithmetic that operators on it use."""
    names = [each.name for each in step.prepared.program.system.device.processors]
    lows = [row["op_per_B"] for row in rows]
    roofs = []
    for unit, arithmetic in {(row["unit"], row["arithmetic"]): None for row in rows}:
        record = step.prepared.program.units[names.index(unit)]
        kind = VECTOR if arithmetic == "vector" else COMPUTE.index(arithmetic)
        roofs.append((float(record["flop_per_s"][kind]), float(record["weights_B_per_s"]), unit,
                      arithmetic))  # fmt: skip
    roofs.sort(reverse=True)
    last = 20 * max([*lows, *(peak / bandwidth for peak, bandwidth, *_ in roofs)])
    above = np.inf
    for peak, bandwidth, unit, arithmetic in roofs:
        ridge = peak / bandwidth
        x = np.array([min(*lows, ridge) / 2, ridge, last])
        dash = ("-", "--", ":", "-.")[units.index(unit) % 4]
        axes.plot(x, np.minimum(x * bandwidth, peak), dash, color="0.35", linewidth=1)
        axes.annotate(
            f"{unit} {arithmetic}, ridge {digits(ridge)}", (last, peak), fontsize=6, ha="right",
            va="bottom" if above > 3 * peak else "top", color="0.35",
        )  # fmt: skip
        above = peak


def _colour(classes: Sequence[str], name: str) -> str:
    return COLOURS[classes.index(name) % len(COLOURS)]


def plot_breakdown(run: Run, path: Path) -> None:
    """Busy time and energy of a run, by operator class and by processor, as shares."""
    breakdown = run.breakdown
    bars = [
        (f"time, {si(sum(_known(parts).values()), 's')}\n{by}", _known(parts))
        for by, parts in (("by class", breakdown["time_s"]["by_class"]),
                          ("by processor", breakdown["time_s"]["by_processor"]))
    ] + [
        (f"energy, {si(sum(_known(parts).values()), 'J')}\n{by}", _known(parts))
        for by, parts in (("by class", breakdown["energy_J"]["by_class"]),
                          ("by processor", breakdown["energy_J"]["by_processor"]))
    ]  # fmt: skip
    bars = [(label, parts) for label, parts in bars if sum(parts.values()) > 0]
    names = list(dict.fromkeys(name for _, parts in bars for name in parts))
    with figure(path, width=PAGE, height=3.0) as (canvas, (axes,)):
        for place, (_, parts) in enumerate(reversed(bars)):
            left, whole = 0.0, sum(parts.values())
            for name, value in parts.items():
                at = names.index(name)
                axes.barh(
                    place, value / whole, left=left, height=0.7, edgecolor="white", linewidth=0.5,
                    color=COLOURS[at % len(COLOURS)], hatch=HATCHES[at // len(COLOURS)],
                    label=name,
                )  # fmt: skip
                left += value / whole
        axes.set_yticks(range(len(bars)), [label for label, _ in reversed(bars)])
        axes.set(xlim=(0, 1), xlabel="share")
        axes.grid(axis="y", visible=False)
        axes.set_title(f"{run.scenario.name} on {run.scenario.system.name}")
        handles, labels = axes.get_legend_handles_labels()
        first = {label: handle for handle, label in zip(handles, labels, strict=True)}
        legend_below(canvas, axes, columns=5, handles=[first[name] for name in names], names=names)


def _known(parts: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in parts.items() if value is not None and value > 0}


def plot_latency(runs: Mapping[str, Run], path: Path) -> None:
    """Cumulative distributions of TTFT, TPOT and E2E of completed requests, one line a run."""
    known = next(iter(runs.values())).requests
    shown = [each.key for each in DISTRIBUTIONS.values() if each.key in known]
    with figure(path, width=PAGE, height=2.4, panels=len(shown)) as (canvas, panels):
        for axes, column in zip(panels, shown, strict=True):
            pooled: list[float] = []
            for index, (name, run) in enumerate(runs.items()):
                times = np.sort(run.requests[column].dropna().to_numpy(float))
                if len(times):
                    shares = np.arange(1, len(times) + 1) / len(times)
                    axes.step(times, shares, where="post", color=COLOURS[index % 8], label=name,
                              linestyle=("-", "--", ":", "-.")[index % 4])  # fmt: skip
                pooled += times.tolist()
            scale(axes, "x", pooled)
            for share in (0.5, 0.9, 0.99):
                axes.axhline(share, color="0.75", linewidth=0.6, zorder=0)
            limit = next(iter(runs.values())).scenario.slo.ttft_s if column == "ttft_s" else None
            if limit is not None and pooled:
                limit_line(axes, "x", limit, max(pooled), "s")
            axes.set(xlabel=column_of(column).titled, ylim=(0, 1.01))
        panels[0].set_ylabel("share of completed requests")
        legend_below(canvas, panels[-1])


def plot_slo(
    runs: Mapping[str, Mapping[float, Run]], path: Path, columns: Sequence[str] = SLO_COLUMNS
) -> None:
    """Percentiles and goodput over the rate of requests: of each name, a run at every rate."""
    curves: dict[str, dict[str, Curve]] = {column: {} for column in columns}
    for name, runs_by_rate in runs.items():
        rates = sorted(runs_by_rate)
        values = [runs_by_rate[rate].row for rate in rates]
        for column in columns:
            curves[column][name] = (rates, [each[column] for each in values])
    slo = next(iter(next(iter(runs.values())).values())).scenario.slo
    limits = {"ttft": slo.ttft_s, "tbt": slo.tbt_s}
    plot_curves(curves, "offered rate (requests/s)", path,
                {column: limits.get(column.split("_")[0]) for column in columns})  # fmt: skip


def plot_curves(
    curves: Mapping[str, Mapping[str, Curve]],
    x: str,
    path: Path,
    limits: Mapping[str, float | None] | None = None,
) -> None:
    """One panel a column, one line a name; `limits` are drawn across."""
    known = {
        column: named
        for column, named in curves.items()
        if any(np.isfinite(np.asarray(y, float)).any() for _, y in named.values())
    }
    if not known:
        raise ConfigError("no run has a value to draw")
    width = min(PAGE, 2.4 * len(known) + 0.5)
    with figure(path, width=width, height=2.6, panels=len(known)) as (canvas, panels):
        for axes, (column, named) in zip(panels, known.items(), strict=True):
            for index, (name, (rates, y)) in enumerate(named.items()):
                axes.plot(rates, y, marker=MARKERS[index % 8], color=COLOURS[index % 8],
                          linestyle=("-", "--")[index // 8 % 2], label=name)  # fmt: skip
            scale(axes, "x", [rate for rates, _ in named.values() for rate in rates])
            values = [each for _, y in named.values() for each in y if np.isfinite(each)]
            scale(axes, "y", values)
            limit, label = (limits or {}).get(column), column_of(column)
            if limit is not None and values:
                limit_line(axes, "y", limit, max(values), label.unit)
            axes.set(xlabel=x, ylabel=label.titled)
        legend_below(canvas, panels[0])


def plot_waterfall(ledger: Ledger, path: Path) -> None:
    """What one device costs to make, and what the system costs to own; whiskers low to high."""
    groups = {
        "one device": [line for line in ledger.lines if line.unit == DEVICE],
        "capital and running": [line for line in ledger.lines if line.unit in (CAPITAL, RUNNING)],
    }
    groups = {name: [each for each in lines if each.bounds[2] > 0]
              for name, lines in groups.items()}  # fmt: skip
    groups = {name: lines for name, lines in groups.items() if lines}
    if not groups:
        raise ConfigError(f"{ledger.system}: no cost is known")
    with figure(path, width=PAGE, height=3.0, panels=len(groups)) as (_, panels):
        for axes, (name, lines) in zip(panels, groups.items(), strict=True):
            _steps(axes, lines)
            axes.set(xlabel="thousand USD", title=f"{ledger.system}: {name}")


def _steps(axes: Axes, lines: Sequence[Line]) -> None:
    """Bars that begin where the last ended, and their sum."""
    labels = [line.name for line in lines]
    so_far = 0.0
    for place, line in enumerate(lines):
        low, base, high = (each / 1e3 for each in line.bounds)
        axes.barh(place, base, left=so_far, color=COLOURS[0], height=0.65)
        axes.errorbar(so_far + base, place, xerr=[[base - low], [high - base]], color="0.35",
                      capsize=2, linewidth=0.8)  # fmt: skip
        so_far += base
    ends = [sum(line.bounds[end] for line in lines) / 1e3 for end in (0, 2)]
    axes.barh(len(lines), so_far, color=ACCENT, height=0.65)
    axes.errorbar(so_far, len(lines), xerr=[[so_far - ends[0]], [ends[1] - so_far]], color="0.2",
                  capsize=2, linewidth=0.8)  # fmt: skip
    axes.set_yticks(range(len(lines) + 1), [*labels, f"sum, {digits(so_far)}"])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(left=0)
