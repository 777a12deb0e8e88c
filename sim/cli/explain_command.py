"""`sim explain`."""

from __future__ import annotations

from typing import Literal

import click

from sim.cli.output import print_json, scenario_options, tell_compiling
from sim.results.explain import explain


@click.command("explain")
@scenario_options
@click.option(
    "--phase",
    type=click.Choice(["decode", "prefill"]),
    default="decode",
    show_default=True,
    help="Which kind of iteration to explain.",
)
@click.option(
    "--batch", type=int, help="Sequences in the iteration. Default: what the traffic keeps running."
)
@click.option(
    "--context",
    type=int,
    help="Cached (decode) or prompt (prefill) tokens of each. Default: means of the traffic.",
)
def command(
    scenario: str,
    sets: tuple[str, ...],
    as_json: bool,
    phase: Literal["decode", "prefill"],
    batch: int | None,
    context: int | None,
) -> None:
    """Per operator of SCENARIO: FLOPs, bytes, Op/B, ridge points, the unit chosen and why."""
    tell_compiling()
    explanation = explain(scenario, sets=sets, phase=phase, sequences=batch, context=context)
    if as_json:
        print_json(explanation.to_json())
        return
    from sim.report.explanation import explanation_report
    from sim.report.tables import show

    show(explanation_report(explanation), width=200)
