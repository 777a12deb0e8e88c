"""`sim compare`."""

from __future__ import annotations

import click

from sim.cli.output import print_json, progress, scenario_options
from sim.errors import Infeasible
from sim.results.run import Run
from sim.results.simulate import simulate


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
    runs: list[Run] = []
    refused: dict[str, Infeasible] = {}
    for system in systems or (None,):
        chosen = {} if system is None else {"system": system}
        try:
            with progress(system or scenario) as update:
                runs.append(simulate(scenario, sets=sets, on_progress=update, **chosen))
        except Infeasible as error:
            refused[system or scenario] = error
    if not runs:
        raise next(iter(refused.values()))
    from sim.results.conclusion import conclude

    conclusion = conclude(runs)
    if as_json:
        from sim.report.bands import alike_of

        print_json(
            {
                "alike": alike_of(runs),
                "runs": [run.to_json() for run in runs],
                "infeasible": [
                    {"system": name, "reason": error.reason, **error.numbers}
                    for name, error in refused.items()
                ],
                "conclusion": None if conclusion is None else conclusion.to_json(),
            }
        )
        return
    from sim.report.tables import compare_report, show
    from sim.results.reasons import reasons

    reported = {name: error.reason for name, error in refused.items()}
    show(compare_report(runs, [reasons(run) for run in runs], reported, conclusion))
