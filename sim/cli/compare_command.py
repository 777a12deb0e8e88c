"""`sim compare`."""

from __future__ import annotations

import click

from sim.cli.output import print_json, progress, scenario_options
from sim.results.comparison import compare


@click.command("compare")
@scenario_options
@click.option(
    "--system",
    "systems",
    multiple=True,
    metavar="SYSTEM",
    help="A system to compare (`sim list systems`); may be repeated. Default: the scenario's.",
)
def command(scenario: str, sets: tuple[str, ...], as_json: bool, systems: tuple[str, ...]) -> None:
    """Run SCENARIO on every --system; ratios are to the first that can run it."""
    comparison = compare(scenario, systems, sets=sets, watch=progress)
    if as_json:
        print_json(comparison.to_json())
        return
    from sim.report.tables import compare_report, show
    from sim.results.reasons import reasons

    show(compare_report(comparison, [reasons(run) for run in comparison.runs]))
