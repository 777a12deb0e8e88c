"""Plots of tables, as PNG files fit to lay beside a paper's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sim.report.bands import LEVELS
from sim.studies.sweep.study import LEVEL

if TYPE_CHECKING:
    import pandas as pd

    from sim.studies.sweep.results import Results

Rows = Sequence[Mapping[str, Any]]
MOST_BARS: Final = 60
"""Points of a front up to which each has its error bars."""


@dataclass(frozen=True, kw_only=True)
class Bars:
    """How a table becomes bars: a panel for each value of `panel`, bars grouped along `along`.

    One bar a value of `series`, of height `value`; or, with several columns in `stacked`, these on
    top of each other.
    """

    panel: str
    along: tuple[str, ...]
    series: str
    value: str = ""
    stacked: tuple[str, ...] = ()
    label: str = ""


PARTS = ("fc", "attention", "moe")
FIGURES = {
    "figure-4": Bars(
        panel="model", along=("output_tokens", "batch"), series="stage",
        stacked=(*(f"{part}_share" for part in PARTS), "communication_share"),
        label="share of a stage",
    ),
    "figure-11": Bars(
        panel="model", along=("batch", "tokens"), series="system", value="over_gpu",
        label="throughput over GPU",
    ),
    "figure-12": Bars(
        panel="", along=("tokens",), series="system", value="tbt_p99_ms", label="p99 TBT, ms"
    ),
    "figure-13": Bars(
        panel="", along=("rate_per_s",), series="system", value="tbt_p50_ms", label="p50 TBT, ms"
    ),
    "figure-14": Bars(
        panel="model", along=("batch", "tokens"), series="system", value="throughput_tok_per_s",
        label="tokens/s",
    ),
    "figure-15": Bars(
        panel="model", along=("batch", "tokens"), series="system",
        stacked=tuple(f"{part}_{kind}_J" for part in PARTS for kind in ("dram", "compute")),
        label="J a token",
    ),
    "figure-16": Bars(
        panel="", along=("tokens",), series="system", value="throughput_tok_per_s",
        label="tokens/s",
    ),
}  # fmt: skip
"""Tables of reproductions that have a plot."""


def plot_bars(rows: Rows, how: Bars, path: Path) -> None:
    """Write the plot of `rows` to `path`."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys(row[how.panel] for row in rows)) if how.panel else [None]
    figure = Figure(figsize=(4.0 + 3.2 * len(panels), 3.6), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, panel in zip(axes, panels, strict=True):
        panel_rows = [row for row in rows if panel is None or row[how.panel] == panel]
        _panel(axis, panel_rows, how)
        axis.set_title("" if panel is None else str(panel))
    axes[0].set_ylabel(how.label)
    axes[0].legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=150, metadata={"Software": None})


def _panel(axis: Any, rows: Rows, how: Bars) -> None:
    places = list(dict.fromkeys(tuple(row[key] for key in how.along) for row in rows))
    series = list(dict.fromkeys(row[how.series] for row in rows))
    width = 0.8 / len(series)
    for number, name in enumerate(series):
        bars = {
            tuple(row[key] for key in how.along): row for row in rows if row[how.series] == name
        }
        at = [index + (number - (len(series) - 1) / 2.0) * width for index in range(len(places))]
        if not how.stacked:
            axis.bar(at, [bars[place][how.value] for place in places], width, label=name)
            continue
        bottom = [0.0] * len(places)
        for part, column in enumerate(how.stacked):
            heights = [bars[place][column] for place in places]
            label = column.rsplit("_", 1)[0] if number == 0 else None
            axis.bar(
                at, heights, width, bottom=bottom, color=f"C{part}", label=label, edgecolor="white",
                linewidth=0.3,
            )  # fmt: skip
            bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    axis.set_xticks(range(len(places)))
    axis.set_xticklabels(["\n".join(map(str, place)) for place in places], fontsize=6)
    by = f"; bars: {', '.join(map(str, series))}" if how.stacked else ""
    axis.set_xlabel(" / ".join(how.along) + by, fontsize=7)


def error_of(results: Results, rows: pd.DataFrame, column: str) -> Any:
    """Lengths [2, rows] of the error bars of a column, down and up; None where it has none."""
    ends = [f"{column}_low", f"{column}_high"]
    if column not in results.about.get("banded", ()) or not set(ends) <= set(rows):
        return None
    low, high = (rows[end].to_numpy(float) for end in ends)
    value = rows[column].to_numpy(float)
    return [value - low, high - value]


def levels_of(rows: pd.DataFrame) -> str:
    """What bars are, and how well the points they are of are known; "" of an older study."""
    if LEVEL not in rows:
        return ""
    counts = rows[LEVEL].astype(object).value_counts()
    levels = ", ".join(f"{counts[level]:,} {level}" for level in LEVELS if level in counts)
    return f"Bars: 10 to 90 % of measurements beside predictions ({levels})"


def plot_scatter(rows: pd.DataFrame, title: str, path: Path) -> None:
    """Write a PNG of predicted against measured values, one colour a device, log scales."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 5.0), layout="constrained")
    axis = figure.add_subplot()
    for device, points in rows.groupby("device"):
        axis.plot(points["measured"], points["predicted"], ".", markersize=2.0, label=str(device))
    low, high = float(rows["measured"].min()), float(rows["measured"].max())
    axis.plot([low, high], [low, high], color="black", linewidth=0.8)
    axis.set(xscale="log", yscale="log", xlabel="measured", ylabel="predicted", title=title)
    axis.legend(markerscale=5.0, fontsize="small")
    figure.savefig(path, dpi=110, metadata={"Software": None})
