"""Tables of reproductions, for a terminal, as CSV and for the docs."""

from __future__ import annotations

import csv
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from sim.evidence.reproduction import Reproduction, Row
from sim.report.plots import FIGURES, plot_bars
from sim.report.tables import markdown, table

COLUMNS = ("id", "what", "published", "simulated", "error", "tolerance", "kind", "status", "source")


def _shown(row: Row) -> list[str]:
    def error(value: float) -> str:
        if row.error_unit == "relative":
            return f"{100.0 * value:+.1f} %"
        return f"{value:+.3g}"

    simulated = f"{row.simulated:.4g}"
    if row.bounds is not None:
        simulated += f" ({row.bounds[0]:.3g} to {row.bounds[1]:.3g})"
    tolerance = "-" if row.tolerance is None else error(row.tolerance).replace("+", "±", 1)
    tolerance = tolerance if row.bounds is None else "in bounds"
    unit = f" {row.unit}" if row.unit else ""
    return [
        row.id,
        row.quantity,
        f"{row.published:.4g}{unit}",
        simulated,
        error(row.error),
        tolerance,
        row.kind,
        row.status,
        row.source,
    ]


def reproduction_report(reproduction: Reproduction) -> RenderableType:
    """Everything `sim reproduce` prints."""
    shown = table(reproduction.title, *COLUMNS, left=2)
    for row in reproduction.rows:
        shown.add_row(*_shown(row))
    return Group(shown, *(Text(line) for line in _notes(reproduction)))


def _notes(reproduction: Reproduction) -> list[str]:
    summary = reproduction.summary
    lines = [f"{summary['pass']} pass, {summary['miss']} miss, {summary['info']} shown only"]
    lines += [f"Assumed: {each}" for each in reproduction.assumptions]
    lines += [f"Open, {key}: {why}" for key, why in reproduction.residuals.items()]
    return lines


def reproduction_tables(reproduction: Reproduction, folder: Path) -> list[Path]:
    """Files written: a CSV and a plot for each figure."""
    paths = []
    for name, rows in reproduction.tables.items():
        path = folder / f"{name}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        paths.append(path)
        if name in FIGURES:
            picture = path.with_suffix(".png")
            plot_bars(rows, FIGURES[name], picture)
            paths.append(picture)
    return paths


def reproduction_page(reproduction: Reproduction) -> str:
    """The reproduction as a page of the docs, in Markdown."""
    lines = [
        f"# {reproduction.title}",
        "",
        f"Written by `sim reproduce {reproduction.paper} --page FILE`.",
        "",
    ]
    lines += [*(f"{line}." for line in _notes(reproduction)[:1]), ""]
    lines += [f"- {each}" for each in reproduction.assumptions]
    lines += ["", *markdown(COLUMNS, map(_shown, reproduction.rows))]
    if reproduction.residuals:
        lines += ["", "## Open residuals", ""]
        lines += [f"- **{key}**: {why}" for key, why in reproduction.residuals.items()]
    return "\n".join(lines) + "\n"
