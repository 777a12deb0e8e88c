"""`sim run`."""

from __future__ import annotations

from pathlib import Path

import click

from sim.cli.output import print_json, progress, scenario_options
from sim.simulation.result import Run
from sim.simulation.run import simulate


@click.command("run")
@scenario_options
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write result.json, requests.csv and operators.csv into this folder.",
)
def command(scenario: str, sets: tuple[str, ...], as_json: bool, output: Path | None) -> None:
    """Simulate SCENARIO, a name (`sim list scenarios`) or a YAML file."""
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)  # before the work, as it may not be allowed
    with progress(scenario) as update:
        run = simulate(scenario, sets=sets, on_progress=update)
    if output is not None:
        _write(run, output)
    if as_json:
        print_json(run.to_json())
        return
    from sim.report.tables import run_report, show
    from sim.simulation.reasons import reasons

    show(run_report(run, reasons(run)))


def _write(run: Run, folder: Path) -> None:
    import json

    text = json.dumps(run.to_json(), indent=2, allow_nan=False, ensure_ascii=False)
    (folder / "result.json").write_text(text + "\n", encoding="utf-8")
    run.requests.to_csv(folder / "requests.csv", index_label="request")
    run.ops.to_csv(folder / "operators.csv", index=False)
    click.echo(f"wrote result.json, requests.csv and operators.csv to {folder}", err=True)
