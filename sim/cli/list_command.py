"""`sim list`."""

from __future__ import annotations

import click

from sim.cli.output import print_json
from sim.config.kinds import SHOWN


@click.command("list")
@click.argument("kind", type=click.Choice((*SHOWN, "schedulers", "papers")))
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def command(kind: str, as_json: bool) -> None:
    """List everything of one KIND with its title."""
    from sim.report.library import entries, library_table

    found = entries(kind)
    if as_json:
        print_json(found)
        return
    from sim.report.tables import show

    show(library_table(kind, found))
