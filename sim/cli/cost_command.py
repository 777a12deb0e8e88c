"""`sim cost`."""

from __future__ import annotations

from typing import Literal

import click

from sim.cli.output import print_json


@click.command("cost")
@click.argument("system")
@click.option("--site", default="default", show_default=True, help="Where it stands: a site.")
@click.option("--practice", default="default", show_default=True, help="How it is made and owned.")
@click.option(
    "--basis",
    type=click.Choice(["price", "cost"]),
    default="price",
    show_default=True,
    help="Devices at their list price (without one: cost with a markup), or all at cost.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    system: str, site: str, practice: str, basis: Literal["price", "cost"], as_json: bool
) -> None:
    """What SYSTEM costs and emits, line by line, at its rated power."""
    from sim.config.costs import ledger_of
    from sim.report.ledger import ledger_report
    from sim.report.tables import show

    found = ledger_of(system, site=site, practice=practice, basis=basis)
    if as_json:
        print_json(found.to_json())
        return
    show(ledger_report(found))
