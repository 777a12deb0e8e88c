"""`sim reproduce`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from sim.cli.output import check_writable, print_json


@click.command("reproduce")
@click.argument("paper", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write what the paper draws as tables (CSV) and plots (PNG) into this folder.",
)
@click.option(
    "--page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the rows as a Markdown page.",
)
@click.option(
    "--paper-rounding/--no-paper-rounding",
    "rounding",
    default=True,
    help="Round intermediate results where the paper does (the default).",
)
def command(
    paper: str | None, as_json: bool, output: Path | None, page: Path | None, rounding: bool
) -> None:
    """Recompute every printed result of PAPER; without PAPER, list the papers."""
    from sim.evidence.papers import PAPERS, reproduce
    from sim.report.evidence import (
        reproduction_page,
        reproduction_report,
        reproduction_tables,
    )
    from sim.report.tables import show

    if paper is None:
        if as_json:
            print_json({"papers": [{"name": key, "title": text} for key, text in PAPERS.items()]})
            return
        for key, text in PAPERS.items():
            click.echo(f"{key}  {text}")
        return
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)  # before the work, as it may not be allowed
    if page is not None:
        check_writable(page)
    live = sys.stderr.isatty()

    def progress(text: str) -> None:
        if live:
            click.echo(f"\r{text:<40}", err=True, nl=False)

    found = reproduce(paper, figures=output is not None, rounding=rounding, on_progress=progress)
    if live:
        click.echo("", err=True)
    if output is not None:
        if not found.tables:
            click.echo(f"{paper} draws nothing that its rows do not have", err=True)
        for path in reproduction_tables(found, output):
            click.echo(f"wrote {path}", err=True)
    if page is not None:
        page.write_text(reproduction_page(found), encoding="utf-8")
        click.echo(f"wrote {page}", err=True)
    if as_json:
        print_json(found.to_json())
        return
    show(reproduction_report(found))
