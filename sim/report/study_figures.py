"""Figures of a study, fit for a paper: its front, who wins where, latency over load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sim.errors import ConfigError
from sim.report.drawing import ACCENT, COLOURS, HATCHES, figure, legend_below, scale, wide
from sim.report.figures import SLO_COLUMNS, Curve, plot_curves
from sim.report.plots import MOST_BARS, error_of, levels_of
from sim.report.studies import short_names
from sim.report.thinning import MOST_POINTS, sample
from sim.results.metrics import column_of
from sim.results.quantity import digits
from sim.studies.sweep.results import Results

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MOST_DOTS: Final = 1500
"""Points up to which each is a dot; more are a density."""
MOST_LINES: Final = 8
"""Lines of one panel that a reader can tell apart."""
_RATES: Final = ("rate", "rate_scale", "concurrency")


def study_figures(results: Results, folder: Path, suffix: str = "pdf") -> Iterator[Path]:
    """Write the figures that apply to a study into `folder`; yields their paths."""
    if results.pareto().empty:
        raise ConfigError(
            "no point is feasible and keeps the constraints: there is nothing to draw"
        )
    path = folder / f"pareto.{suffix}"
    plot_pareto(results, path)
    yield path
    plane = _plane(results)
    for column in results.objectives:
        if plane is not None:
            path = folder / f"who-wins-{column}.{suffix}"
            plot_winners(results, column, *plane, path=path)
            yield path
    rate = rate_axis(results)
    if rate is not None and _curves(results, rate, SLO_COLUMNS):
        path = folder / f"slo.{suffix}"
        plot_study_slo(results, path)
        yield path
    split = split_axis(results)
    if split is not None and _curves(results, split, SLO_COLUMNS):
        path = folder / f"split.{suffix}"
        plot_study_slo(results, path, axis=split)
        yield path


def plot_pareto(results: Results, path: Path, columns: Sequence[str] = ()) -> None:
    """Good points and the front of two objectives, a third as its colour, knees as stars.

    Without `columns` the first three objectives of the study. Many points are drawn as their
    density, so that none hides another.
    """
    names = list(results.wanted(columns))[:3]
    if len(names) < 2:
        names += [each for each in results.about["columns"] if each not in names][:1]
    best, good = results.pareto(*columns), sample(results, MOST_POINTS)[0]
    labels = [column_of(name) for name in names]
    with figure(path, width=4.2, height=3.1) as (canvas, (axes,)):
        x, y = (good[name].to_numpy(float) for name in names[:2])
        for which, values in (("x", x), ("y", y)):
            scale(axes, which, values)
        _cloud(axes, x, y)
        if len(names) == 2 and not results.per:
            _front_line(axes, best, names, [results.better(name) for name in names])
        if len(best) <= MOST_BARS:
            axes.errorbar(
                best[names[0]], best[names[1]], xerr=error_of(results, best, names[0]),
                yerr=error_of(results, best, names[1]), fmt="none", ecolor="0.35",
                elinewidth=0.5, alpha=0.5, zorder=2,
            )  # fmt: skip
        shade = _shade(best[names[2]].to_numpy(float)) if len(names) > 2 else {"color": ACCENT}
        drawn = axes.scatter(best[names[0]], best[names[1]], s=18, edgecolors="black",
                             linewidths=0.5, zorder=3, label=f"front, {len(best):,}",
                             **shade)  # fmt: skip
        if len(names) > 2:
            canvas.colorbar(drawn, label=labels[2].titled)
        knees = results.knees(*columns)
        axes.plot(knees[names[0]], knees[names[1]], "*", color=ACCENT, markersize=12, zorder=4,
                  markeredgecolor="white", markeredgewidth=0.6, label="knee")  # fmt: skip
        axes.set(xlabel=labels[0].titled, ylabel=labels[1].titled)
        axes.set_title(str(results.about["title"]))
        if (note := levels_of(best)) and len(best) <= MOST_BARS:
            canvas.supxlabel(note, fontsize=5)
        axes.legend()


def _shade(values: Any) -> dict[str, Any]:
    """How points are coloured by values."""
    from matplotlib.colors import LogNorm

    return {"c": values, "cmap": "cividis"} | ({"norm": LogNorm()} if wide(values) else {})


def _cloud(axes: Axes, x: Any, y: Any) -> None:
    if len(x) <= MOST_DOTS:
        axes.plot(x, y, ".", color="0.7", markersize=2.5, zorder=1)
        return
    axes.hexbin(
        x, y, gridsize=60, bins="log", cmap="Greys", mincnt=1, linewidths=0.1, zorder=1,
        xscale="log" if wide(x) else "linear", yscale="log" if wide(y) else "linear",
    )  # fmt: skip


def _front_line(
    axes: Axes, best: pd.DataFrame, names: Sequence[str], better: Sequence[str]
) -> None:
    """The edge of what the front dominates."""
    ordered = best.sort_values(names[0], ascending=better[0] != "max")
    axes.step(ordered[names[0]], ordered[names[1]], where="post", color=ACCENT, linewidth=1,
              zorder=2)  # fmt: skip


def plot_winners(results: Results, column: str, axis: str, x: str, y: str, *, path: Path) -> None:
    """Which level of `axis` is best in `column` at each pair of levels of `x` and `y`.

    Of all other axes the best level counts. Numbers say how many times better it is than the
    second.
    """
    table = _winners(results, column, (x, y, axis))
    names = _levels(results, axis, table)
    across, up = (_levels(results, each, table) for each in (x, y))
    shortened, won = short_names(results), set()
    width, height = max(1.6 + 0.42 * len(across), 3.4), max(1.5 + 0.28 * len(up), 2.4)
    with figure(path, width=width, height=height) as (canvas, (axes,)):
        for (at_x, at_y), points in table.groupby([x, y], observed=True):
            ordered = points.sort_values(column, ascending=results.better(column) == "min")
            place = across.index(at_x), up.index(at_y)
            which = names.index(ordered[axis].iloc[0])
            won.add(which)
            axes.add_patch(_tile(place, which))
            ends = sorted(ordered[column].iloc[:2])
            if len(ends) > 1 and ends[0] > 0:
                axes.annotate(digits(ends[1] / ends[0]), place, ha="center", va="center",
                              fontsize=5.5)  # fmt: skip
        axes.set_xticks(range(len(across)), [_told(each) for each in across], rotation=45)
        axes.set_yticks(range(len(up)), [_told(each) for each in up])
        axes.set(xlim=(-0.5, len(across) - 0.5), ylim=(-0.5, len(up) - 0.5))
        axes.set(xlabel=shortened[x], ylabel=shortened[y])
        axes.set_title(f"{shortened[axis]} with the best {column_of(column).text}")
        axes.grid(visible=False)
        handles = [_tile((0, 0), index) for index in sorted(won)]
        legend_below(canvas, axes, columns=2, handles=handles,
                     names=[_told(names[index]) for index in sorted(won)])  # fmt: skip


def _tile(place: tuple[int, int], which: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(
        (place[0] - 0.5, place[1] - 0.5), 1, 1, facecolor=COLOURS[which % len(COLOURS)], alpha=0.55,
        hatch=HATCHES[which // len(COLOURS) % len(HATCHES)], edgecolor="white", linewidth=0.8,
    )  # fmt: skip


def _levels(results: Results, axis: str, table: pd.DataFrame) -> list[Any]:
    """Levels of an axis that points have: numbers by size, names as the study lists them."""
    there = list(table[axis].unique())
    if table[axis].dtype.kind in "fiu":
        return sorted(there)
    texts = next(axis_["levels"] for axis_ in results.about["axes"] if axis_["paths"][0] == axis)
    order = [level[0] for level in texts]
    return sorted(
        there, key=lambda name: (order.index(name) if name in order else len(order), name)
    )


def _told(value: Any) -> str:
    """A level, numbers to three digits unless they are whole."""
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if value == int(value) else f"{value:.3g}"


def _winners(results: Results, column: str, by: Sequence[str]) -> pd.DataFrame:
    """Best good value of a column for every combination of the axes `by`."""
    import pandas as pd

    how = results.better(column)
    bests = []
    for table in results.tables():
        good = table[results.good_of(table)][[*by, column]].dropna()
        good = good.astype({name: object for name in by if good[name].dtype == "category"})
        bests.append(good.groupby(list(by), as_index=False)[column].agg(how))
    pooled = pd.concat(bests, ignore_index=True)
    best: pd.DataFrame = pooled.groupby(list(by), as_index=False)[column].agg(how)
    return best


def _plane(results: Results) -> tuple[str, str, str] | None:
    """Axis whose winner is asked for, and two to map it over: named ones first, then given ones."""
    axes = {axis["paths"][0]: len(axis["levels"]) for axis in results.about["axes"]}
    table = next(results.tables())
    named = [name for name, count in axes.items()
             if table[name].dtype.kind == "O" or table[name].dtype == "category"
             if 1 < count <= len(COLOURS) and name not in results.per]  # fmt: skip
    if not named:
        return None
    others = [name for name, count in axes.items() if name != named[0] and count > 1]
    others.sort(key=lambda name: (name not in results.per, -axes[name]))
    x, y = sorted(others[:2], key=lambda name: -axes[name]) if len(others) > 1 else ("", "")
    return (named[0], x, y) if x else None


def rate_axis(results: Results) -> str | None:
    """The axis that says how fast requests come, of simulated points."""
    if results.about["fidelity"] == "closed-form":
        return None
    rates = (name for name in results.main_axes
             if name.startswith("traffic.") and name.split(".")[-1] in _RATES)  # fmt: skip
    return next(rates, None)


def split_axis(results: Results) -> str | None:
    """The axis of simulated points that splits a total among several paths."""
    if results.about["fidelity"] == "closed-form":
        return None
    for axis in results.about["axes"]:
        texts = [text for level in axis["levels"] for text in level]
        if len(axis["paths"]) > 1 and all(text.isdecimal() for text in texts):
            totals = {sum(map(int, level)) for level in axis["levels"]}
            if len(totals) == 1:
                return str(axis["paths"][0])
    return None


def plot_study_slo(
    results: Results, path: Path, columns: Sequence[str] = SLO_COLUMNS, axis: str | None = None
) -> None:
    """Percentiles and goodput of simulated points over an axis, a line for all else equal.

    Over the rate of requests, if nothing else is said.
    """
    rate = axis or rate_axis(results)
    if rate is None:
        raise ConfigError("no axis of this study is a rate: traffic.rate_scale, for one")
    curves = _curves(results, rate, columns)
    if not curves:
        raise ConfigError(f"no more than {MOST_LINES} lines can be told apart: fewer axes are due")
    limits = {column: float(value) for column, sign, value in
              (text.split() for text in results.about["constraints"])
              if sign in ("<=", "<")}  # fmt: skip
    plot_curves(curves, short_names(results)[rate], path, limits)


def _curves(
    results: Results, rate: str, columns: Sequence[str]
) -> Mapping[str, Mapping[str, Curve]]:
    """By column and by the levels of the other axes: rates and values. Empty where too many."""
    frame = results.frame[results.frame["status"] == "ok"]
    others = [name for name in results.main_axes if name != rate
              if frame[name].nunique(dropna=False) > 1]  # fmt: skip
    known = [name for name in columns if name in frame and frame[name].notna().any()]
    named = frame.assign(_line=[", ".join(map(_named, row)) for row in frame[others].to_numpy()]
                         if others else results.about["name"])  # fmt: skip
    if named["_line"].nunique() > MOST_LINES:
        named = _best_lines(results, named, others)
    if named["_line"].nunique() > MOST_LINES:
        return {}
    curves: dict[str, dict[str, Curve]] = {name: {} for name in known}
    for line, points in named.groupby("_line", sort=False):
        ordered = points.sort_values(rate)
        for name in known:
            curves[name][str(line)] = (ordered[rate].tolist(), ordered[name].tolist())
    return curves


def _named(value: Any) -> str:
    return "(inactive)" if value is None or value != value else _told(value)


def _best_lines(results: Results, table: pd.DataFrame, others: Sequence[str]) -> pd.DataFrame:
    """Of too many lines, those that keep the constraints at most rates, the first on a tie."""
    kept = table.assign(_kept=results.good_of(table)).groupby("_line", sort=False)["_kept"].sum()
    chosen = kept.sort_values(ascending=False, kind="stable").index[:MOST_LINES]
    return table[table["_line"].isin(chosen)]
