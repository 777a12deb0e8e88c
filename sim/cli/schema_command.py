"""`sim schema`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sim.cli.output import print_json
from sim.config.schema import schemas


@click.command("schema")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write one FORM.schema.json a form into this folder.",
)
def command(output: Path | None) -> None:
    """JSON Schema of every YAML form; editors check and complete with them."""
    made = schemas()
    if output is None:
        print_json(dict(made))
        return
    output.mkdir(parents=True, exist_ok=True)
    for name, schema in made.items():
        text = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        (output / f"{name}.schema.json").write_text(text, encoding="utf-8")
    click.echo(
        f"wrote {len(made)} schemas to {output}; begin a YAML file with\n"
        f"# yaml-language-server: $schema={output}/scenario.schema.json",
        err=True,
    )
