"""`sim show`."""

from __future__ import annotations

import click

from sim.cli.output import print_json
from sim.config.catalogue import load_model
from sim.config.kinds import SHOWN
from sim.config.show import find_kinds, resolved


@click.command("show")
@click.argument("name")
@click.option("--kind", type=click.Choice(SHOWN), help="Needed only where several have this name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(name: str, kind: str | None, as_json: bool) -> None:
    """What NAME (or a YAML or config.json file) resolves to, every number with its source."""
    if kind is None:
        kind, *others = find_kinds(name)
        if others:
            click.echo(f"'{name}' is also in {' and '.join(others)}: --kind shows it", err=True)
    if kind == "models":
        from sim.results.describe import default_precision, describe_model

        model = load_model(name)
        about = describe_model(model, default_precision(model))
    else:
        about = dict(resolved(kind, name))
    if as_json:
        print_json(about)
        return
    from sim.report.library import details
    from sim.report.tables import show

    show(details(kind, about))
