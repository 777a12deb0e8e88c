"""Drawing: one style for every figure, and files that are the same bytes for the same data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sim.errors import ConfigError, Problem

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN: Final = 3.4
"""Width of one column of a two-column paper, inches."""
PAGE: Final = 7.0
"""Width of both."""
COLOURS: Final = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A800", "#7A7A7A",
)  # fmt: skip
"""Okabe and Ito's, which colour-blind readers tell apart."""
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
HATCHES: Final = ("", "///", "...", "\\\\\\", "xxx", "ooo", "---", "+++")
ACCENT: Final = "#D55E00"
_STYLE: Final[dict[Any, Any]] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "hatch.linewidth": 0.4,
    "pdf.fonttype": 42,  # text stays text, as publishers ask
    "svg.hashsalt": "opb",  # else identifiers are random
}
_METADATA: Final[dict[str, dict[str, Any]]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    ".svg": {"Date": None, "Creator": None},
}


def check_drawable(path: Path) -> None:
    """ConfigError for a name of a figure that ends in neither .pdf, .png nor .svg."""
    if path.suffix not in _METADATA:
        message = f"a name that ends in {', '.join(_METADATA)} is due"
        raise ConfigError([Problem(file=str(path), message=message)])


@contextmanager
def figure(
    path: Path, *, width: float = COLUMN, height: float = 2.6, panels: int = 1
) -> Iterator[tuple[Figure, Sequence[Axes]]]:
    """A figure with `panels` beside each other, written to `path` at the end.

    ConfigError for a name that ends in neither .pdf, .png nor .svg.
    """
    check_drawable(path)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.use("agg")
    with mpl.rc_context(_STYLE):
        canvas = Figure(figsize=(width, height), layout="constrained")
        yield canvas, canvas.subplots(1, panels, squeeze=False)[0]
        canvas.savefig(path, dpi=300, metadata=_METADATA[path.suffix])


def scale(axes: Axes, which: str, values: Any) -> None:
    """A log axis where values are above 0 and span more than a factor of 30."""
    if not wide(values):
        return
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    decades = math.log10(max(values) / min(values))
    steps = (1.0,) if decades > 4 else (1.0, 3.0) if decades > 2 else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())  # else numbers between decades lie on each other


def wide(values: Any) -> bool:
    """Whether values are above 0 and span more than a factor of 30."""
    return bool(len(values) and min(values) > 0 and max(values) / min(values) > 30)


def limit_line(axes: Axes, which: str, limit: float, most: float, unit: str) -> None:
    """A limit across the plot; told in words where it is far beyond the values, up to `most`."""
    if limit <= 2 * most:
        draw = axes.axvline if which == "x" else axes.axhline
        draw(limit, color=ACCENT, linewidth=0.9, linestyle=":")
    words = f"limit {limit:g} {unit}" + ("" if limit <= 2 * most else ", beyond")
    axes.annotate(words, (0.98, 0.03), xycoords="axes fraction", fontsize=6, color=ACCENT,
                  ha="right")  # fmt: skip


def legend_below(canvas: Figure, axes: Axes, *, columns: int = 3, **labels: Any) -> None:
    """The legend of `axes` under all panels, where it hides nothing."""
    handles, names = axes.get_legend_handles_labels()
    handles, names = labels.get("handles", handles), labels.get("names", names)
    if handles:
        canvas.legend(handles, names, loc="outside lower center", ncols=columns)
