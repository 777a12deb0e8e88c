"""`sim sweep`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from sim.cli.output import print_json, status_line


@click.command("sweep")
@click.argument("study")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the results; the same command resumes there. Default: results/STUDY.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes. Default: one for closed forms, whose kernel uses all cores; else one a core.",
)
@click.option("--dask", metavar="ADDRESS", help="Hand the work to this Dask scheduler instead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    study: str, output: Path | None, workers: int | None, dask: str | None, as_json: bool
) -> None:
    """Run STUDY, a name (`sim list studies`) or a YAML file; interrupted, it resumes."""
    from sim.report.studies import study_report, study_summary
    from sim.report.tables import show
    from sim.studies.sweep.jobs import sweep
    from sim.studies.sweep.search import SEARCH, search_line, search_summary
    from sim.studies.sweep.study import load_study

    found = load_study(study)
    folder = output or Path("results") / found.name
    with status_line(_told(found.name)) as update:
        results = sweep(
            found, output=folder, workers=workers, dask=dask, on_progress=update,
            warn=lambda text: click.echo(f"warning: {text}", err=True),
        )  # fmt: skip
    click.echo(f"results in {folder}", err=True)
    if as_json:
        print_json(study_summary(results) | {SEARCH: search_summary(results)})
        return
    show(study_report(results))
    if line := search_line(results):
        click.echo(line)


def _told(label: str) -> Callable[[int, int, float], str]:
    """Points done, their rate and the time left."""

    def told(done: int, total: int, seconds: float) -> str:
        rate = done / max(seconds, 1e-9)
        left = (total - done) / rate
        return f"{label}: {done:,} of {total:,} points, {rate:,.0f}/s, {left:,.0f} s left"

    return told
