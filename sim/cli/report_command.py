"""`sim report`."""

from __future__ import annotations

from pathlib import Path

import click

from sim.cli.output import check_writable


@click.command("report")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write an interactive page: one file, no network.",
)
@click.option(
    "--figures",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write the figures that apply to the study, fit for a paper.",
)
@click.option(
    "--format",
    "suffix",
    type=click.Choice(["pdf", "png", "svg"]),
    default="pdf",
    show_default=True,
    help="Of the figures.",
)
def command(folder: Path, html: Path | None, figures: Path | None, suffix: str) -> None:
    """The report of a finished study in FOLDER: a page, figures, or both."""
    from sim.studies.sweep.results import load_results

    if html is None and figures is None:
        raise click.UsageError("nothing to write: give --html FILE, --figures FOLDER or both")
    results = load_results(folder)
    if html is not None:
        check_writable(html)  # before the work
    if figures is not None:
        figures.mkdir(parents=True, exist_ok=True)
    if html is not None:
        from sim.report.html import write_page

        size = write_page(results, html)
        click.echo(f"wrote {html}, {size / 1e6:.1f} MB", err=True)
    if figures is not None:
        from sim.report.study_figures import study_figures

        for path in study_figures(results, figures, suffix):
            click.echo(f"wrote {path}", err=True)
