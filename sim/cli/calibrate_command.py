"""`sim calibrate`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("calibrate")
@click.option("--data", help="Folder of the measured tables (else SIM_DATA).")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the files into this folder rather than over the library's own.",
)
@click.option("--date", required=True, help="Date to write into the files, e.g. 2026-11-24.")
def command(data: str | None, output: Path | None, date: str) -> None:
    """Fit the constants of kernels to measured times again, and write their YAML files.

    The section `held_out` of each file has what differs in constants fitted without a part of the
    shapes, or from other families' devices alone: `sim validate` predicts with them what they
    haven't seen.
    """
    from sim.config import library
    from sim.evidence.calibration.run import calibrated
    from sim.evidence.measured.tables import data_folder

    into = output or library.folder("kernels").parent
    for name, text in calibrated(data_folder(data), date):
        path = into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        click.echo(f"wrote {path}", err=True)
