"""`sim pareto`."""

from __future__ import annotations

from pathlib import Path

import click

from sim.cli.output import print_json


@click.command("pareto")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--x", "x", metavar="COL", help="First objective. Default: those of the study.")
@click.option("--y", "y", metavar="COL", help="Second objective.")
@click.option("--z", "z", metavar="COL", help="Third objective.")
@click.option(
    "--png",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also draw the first two objectives of all points and of the front.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    folder: Path, x: str | None, y: str | None, z: str | None, png: Path | None, as_json: bool
) -> None:
    """The points of a finished study in FOLDER that none other beats in every objective."""
    from sim.report.studies import front_report, front_summary
    from sim.report.tables import show
    from sim.studies.sweep.results import load_results

    columns = [column for column in (x, y, z) if column is not None]
    if (y or z) and not x:
        raise click.UsageError("give --x first, then --y, then --z")
    results = load_results(folder)
    if png is not None:
        from sim.report.study_figures import plot_pareto

        plot_pareto(results, png, columns)
        click.echo(f"wrote {png}", err=True)
    if as_json:
        print_json(front_summary(results, columns))
        return
    show(front_report(results, columns))
