"""`sim validate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sim.cli.output import check_writable, print_json

if TYPE_CHECKING:
    from sim.evidence.measured.validation import Validation


@click.command("validate")
@click.argument("dataset", required=False)
@click.option("--data", help="Folder of the measured tables (else SIM_DATA).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option(
    "--page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the errors as a Markdown page, with plots beside it.",
)
@click.option(
    "--bands",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Also write the residuals that error bands rest on, as YAML files in this folder (the "
    "library's own: hw_configs/fitted/errors).",
)
@click.option("--date", help="Date to write into these files, e.g. 2026-11-28.")
def command(
    dataset: str | None,
    data: str | None,
    as_json: bool,
    page: Path | None,
    bands: Path | None,
    date: str | None,
) -> None:
    """Predict every row of measured tables and print how wrong that is.

    DATASET is a folder of tables or one table; without it, all are scored. What was fitted on a
    table is told apart from what wasn't.
    """
    from sim.evidence.measured.tables import data_folder
    from sim.evidence.measured.validation import validate
    from sim.report.tables import show
    from sim.report.validation import plot_families, validation_page, validation_report

    if bands is not None and (date is None or dataset is not None):
        raise click.UsageError("--bands is of all tables and needs --date YYYY-MM-DD")
    folder = data_folder(data)
    if page is not None:
        check_writable(page)
    live = sys.stderr.isatty()

    def progress(name: str) -> None:
        if live:
            click.echo(f"\r{name:<70}", err=True, nl=False)

    found = validate(dataset, data=folder, on_progress=progress)
    if live:
        click.echo(f"\r{'':<70}\r", err=True, nl=False)
    if page is not None:
        page.write_text(validation_page(found, plot_families(found, page.parent)), encoding="utf-8")
        click.echo(f"wrote {page}", err=True)
    if bands is not None and date is not None:
        _write_bands(found, folder, bands, date)
    for problem in found.problems:
        click.echo(f"error: {problem}", err=True)
    if as_json:
        print_json(found.to_json())
    else:
        show(validation_report(found))
    if found.problems:
        sys.exit(2)


def _write_bands(found: Validation, data: Path, folder: Path, date: str) -> None:
    from sim.evidence.measured.residuals_written import files

    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files(found.points, data, date):
        (folder / name).write_text(text, encoding="utf-8")
        click.echo(f"wrote {folder / name}", err=True)
