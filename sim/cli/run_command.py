"""`sim run`."""

from __future__ import annotations

from pathlib import Path

import click

from sim.cli.output import check_writable, print_json, progress, scenario_options
from sim.config.scenarios import load_scenario
from sim.results.run import Run
from sim.results.simulate import run_prepared
from sim.scenario import Scenario
from sim.simulation.prepare import prepare


@click.command("run")
@scenario_options
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write result.json, requests.csv and operators.csv into this folder.",
)
@click.option(
    "--timeline",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write a Chrome / Perfetto trace (JSON; .gz compresses).",
)
@click.option(
    "--timeline-window",
    "window",
    nargs=2,
    type=float,
    metavar="FROM TO",
    help="Only what is under way between these simulated seconds.",
)
@click.option(
    "--allow-code",
    is_flag=True,
    help="Import and run the scheduler that the scenario names (scheduler.policy).",
)
def command(
    scenario: str,
    sets: tuple[str, ...],
    as_json: bool,
    output: Path | None,
    timeline: Path | None,
    window: tuple[float, float] | None,
    allow_code: bool,
) -> None:
    """Simulate SCENARIO, a name (`sim list scenarios`) or a YAML file."""
    if window is not None and timeline is None:
        raise click.UsageError("--timeline-window needs --timeline FILE")
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)  # before the work, as it may not be allowed
    loaded = load_scenario(scenario, sets=sets, allow_code=allow_code)
    policy = loaded.scheduler.policy
    if policy is not None:
        click.echo(f"runs code: {policy.__module__}:{policy.__qualname__}", err=True)
    if timeline is None:
        with progress(scenario) as update:
            run = run_prepared(prepare(loaded), on_progress=update)
    else:
        run = _with_timeline(loaded, scenario, timeline, window)
    if output is not None:
        _write(run, output)
    if as_json:
        print_json(run.to_json())
        return
    from sim.report.tables import run_report, show
    from sim.results.reasons import reasons

    show(run_report(run, reasons(run)))


def _with_timeline(
    loaded: Scenario, scenario: str, path: Path, window: tuple[float, float] | None
) -> Run:
    from sim.report.timeline import write_timeline
    from sim.results.timeline import recorded

    check_writable(path)
    prepared = prepare(loaded)
    with progress(scenario) as update:
        timeline = recorded(prepared, window_s=window, on_progress=update)
    count = write_timeline(timeline, path)
    click.echo(f"wrote {count:,} events to {path}", err=True)
    return timeline.run


def _write(run: Run, folder: Path) -> None:
    import json

    text = json.dumps(run.to_json(), indent=2, allow_nan=False, ensure_ascii=False)
    (folder / "result.json").write_text(text + "\n", encoding="utf-8")
    run.requests.to_csv(folder / "requests.csv", index_label="request")
    run.ops.to_csv(folder / "operators.csv", index=False)
    click.echo(f"wrote result.json, requests.csv and operators.csv to {folder}", err=True)
