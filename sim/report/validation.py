"""Tables and plots of validation, for a terminal and for the docs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group as Shown
from rich.console import RenderableType
from rich.text import Text

from sim.evidence.measured.score import Group
from sim.evidence.measured.validation import Validation
from sim.report.tables import markdown, table

COLUMNS = (
    "table", "device", "phase", "dtype", "split", "n", "coverage", "median", "mean", "p90", "bias",
    "worst", "rank", "regret",
)  # fmt: skip

CHOICES = ("family", "phase", "split", "choices", "rank", "regret")


def _cells(group: Group) -> list[str]:
    def percent(value: float | None, sign: str = "") -> str:
        missing = value is None or not math.isfinite(value)
        return "-" if missing else f"{100.0 * (value or 0.0):{sign}.1f} %"

    split = group.split if not group.held_out else f"without its {group.held_out}"
    return [
        f"{group.dataset}/{group.table}",
        group.device,
        group.phase,
        group.dtype,
        split,
        f"{group.n:,}",
        f"{100.0 * group.coverage:.0f} %",
        percent(group.median_ape),
        percent(group.mape),
        percent(group.p90_ape),
        percent(group.bias, "+"),
        percent(group.worst_ape),
        "-" if group.rank is None else f"{group.rank:.2f}",
        percent(group.regret),
    ]


def validation_report(validation: Validation) -> RenderableType:
    """Everything `sim validate` prints."""
    shown = table("Predicted beside measured: absolute errors by group", *COLUMNS, left=5)
    for group in validation.groups:
        shown.add_row(*_cells(group))
    chosen = table("Choosing by predictions: which option is best for the same work", *CHOICES,
                   left=3)  # fmt: skip
    for each in choices(validation):
        chosen.add_row(*each)
    return Shown(shown, chosen, *(Text(line) for line in notes(validation)))


def choices(validation: Validation) -> list[list[str]]:
    """A row for each family in which somebody would choose: rank correlation and regret."""
    return [
        [
            str(each["family"]),
            str(each["phase"]),
            str(each["split"] if not each["held_out"] else f"without its {each['held_out']}"),
            f"{each['choices']:,}",
            "-" if each["rank"] is None else f"{each['rank']:.2f}",
            f"{100.0 * each['regret']:.1f} %",
        ]
        for each in validation.families
        if each["choices"]
    ]


def notes(validation: Validation) -> list[str]:
    """What was left out, and why."""
    lines = [
        f"Not predicted: {each['rows']} rows of {each['dataset']}/{each['table']}: {each['reason']}"
        for each in validation.unsupported
    ]
    if validation.skipped:
        lines.append(f"Unknown tables, skipped: {', '.join(validation.skipped)}")
    lines += [f"Could not be read: {problem}" for problem in validation.problems]
    return lines


def validation_page(validation: Validation, pictures: Sequence[tuple[str, str]] = ()) -> str:
    """The validation as a page of the docs, in Markdown; `pictures` are (family, path)."""
    lines = [
        "# Predicted beside measured",
        "",
        "Written by `sim validate --page FILE`. Errors are absolute and relative to the measured "
        "value, by table, device, phase and number format. *calibrated*: constants were fitted on "
        "the table. *without its shapes* and *without its devices*: predicted with constants "
        "fitted without that part of the shapes, or from other families of devices alone. "
        "*zero-shot*: nothing was fitted on the table.",
        "",
    ]
    by_family: dict[str, list[Group]] = defaultdict(list)
    families = dict(zip(validation.points["table"], validation.points["family"], strict=True))
    for group in validation.groups:
        by_family[families[group.table]].append(group)
    shown = dict(pictures)
    for family, groups in by_family.items():
        lines += [f"## {family}", ""]
        if family in shown:
            lines += [f"![Predicted against measured, {family}]({shown[family]})", ""]
        lines += [*markdown(COLUMNS, map(_cells, groups)), ""]
    if choices(validation):
        lines += [
            "## Choosing",
            "",
            "Among options for the same work (tensor-parallel degrees of a server, devices of an "
            "edge table): rank correlation of predicted and measured, and what the option "
            "predicted to be best loses.",
            "",
            *markdown(CHOICES, choices(validation)),
            "",
        ]
    if notes(validation):
        lines += ["## Left out", "", *(f"- {line}" for line in notes(validation)), ""]
    return "\n".join(lines)


def plot_families(validation: Validation, folder: Path) -> list[tuple[str, str]]:
    """A plot a family of predicted against measured values; (family, file name) of each."""
    from sim.report.plots import plot_scatter

    pictures = []
    for family, rows in validation.points[validation.points["held_out"] == ""].groupby("family"):
        path = folder / f"validation-{family}.png"
        plot_scatter(rows, f"{family}: predicted against measured", path)
        pictures.append((str(family), path.name))
    return pictures
