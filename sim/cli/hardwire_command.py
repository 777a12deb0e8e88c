"""`sim hardwire`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sim.cli.output import check_writable, print_json


@click.command("hardwire")
@click.argument("model")
@click.option("--grid", metavar="RxC", help="Rows and columns of chips; default: the smallest.")
@click.option(
    "--context",
    type=click.IntRange(min=0),
    default=2048,
    show_default=True,
    help="Cached tokens of a sequence.",
)
@click.option(
    "--weights",
    default="fp4",
    show_default=True,
    help="Format of all hardwired weights: fp4 takes one digit, fp8 and int8 two, bf16 four.",
)
@click.option("--kv", default="fp8", show_default=True, help="Format of keys and values.")
@click.option(
    "--vex",
    type=click.Choice(["per-layer", "shared"]),
    default="per-layer",
    show_default=True,
    help="Attention units of each layer's own, or one a chip that all layers share.",
)
@click.option("--windows", is_flag=True, help="Sliding-window layers attend to their window only.")
@click.option(
    "--links",
    type=click.Choice(["calibrated", "first-principles"]),
    default="calibrated",
    show_default=True,
    help="Collectives as fitted on the paper, or a hop and a message on links all layers share.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the device of one chip, which scenarios can run, as YAML.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(model: str, output: Path | None, as_json: bool, **design: Any) -> None:
    """MODEL as a hardwired LPU: its chips, what they hold, and how fast tokens pass them.

    MODEL is a name (`sim list models`), a model YAML or a Hugging Face config.json.
    """
    from sim.hardwiring import hardwire
    from sim.report.hardwire import device_file, hardwire_report
    from sim.report.tables import show

    if output is not None:
        check_writable(output)
    lpu = hardwire(model, **design)
    if output is not None:
        output.write_text(device_file(lpu, str(output)), encoding="utf-8")
        chips = lpu.grid.chips
        click.echo(
            f"wrote {output}; run it: sim run SCENARIO --set model={model} "
            f"--set 'system={{device: {output}, count: {chips}, devices_per_node: {chips}}}'",
            err=True,
        )
    if as_json:
        print_json(lpu.to_json())
        return
    show(hardwire_report(lpu))
