"""`sim trace`."""

from __future__ import annotations

import csv
import sys
from contextlib import nullcontext
from pathlib import Path

import click

from sim.cli.output import print_json
from sim.config.scenarios import load_scenario
from sim.config.traces import load_trace
from sim.workload.traffic.arrivals import select
from sim.workload.traffic.generate import fit, generate
from sim.workload.traffic.readers import write_trace
from sim.workload.traffic.summary import summary

FILE = click.Path(dir_okay=False, path_type=Path)
READS = "Azure, BurstGPT or Vidur CSV, Mooncake JSON lines, vLLM benchmark JSON; gzip or not"


@click.group("trace")
def command() -> None:
    """Request traces, and operator traces of a scenario."""


@command.command("summarize")
@click.argument("trace")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def summarize(trace: str, as_json: bool) -> None:
    """Rate, burstiness and lengths of TRACE: a name (`sim list traffic`) or a file."""
    about = summary(load_trace(trace))
    if as_json:
        print_json(about)
        return
    from sim.report.tables import show
    from sim.report.traffic import summary_report

    show(summary_report(about))


@command.command("convert", help=f"Rewrite TRACE as CSV that every command reads. Reads {READS}.")
@click.argument("trace")
@click.option("-o", "--output", type=FILE, required=True, help="CSV to write; .gz compresses.")
@click.option("--window", nargs=2, type=float, help="Keep arrivals in [FROM, TO) seconds.")
@click.option("--rate-scale", type=float, default=1.0, help="Arrivals this many times as dense.")
@click.option("--limit", type=int, help="Keep the first N requests.")
def convert(
    trace: str,
    output: Path,
    window: tuple[float, float] | None,
    rate_scale: float,
    limit: int | None,
) -> None:
    """Rewrite TRACE as CSV."""
    part = select(load_trace(trace), window_s=window, rate_scale=rate_scale, limit=limit)
    write_trace(part, output)
    click.echo(f"wrote {len(part.arrival_s):,} requests to {output}", err=True)


@command.command("generate")
@click.option("--like", required=True, metavar="TRACE", help="Trace whose statistics to follow.")
@click.option("--requests", type=int, default=2000, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("-o", "--output", type=FILE, required=True, help="CSV to write; .gz compresses.")
def generate_command(like: str, requests: int, seed: int, output: Path) -> None:
    """Write a synthetic trace with the rate, burstiness and lengths of another.

    No row of the other trace is copied: only its fitted statistics are used.
    """
    write_trace(generate(fit(load_trace(like)), requests, seed), output)
    click.echo(f"wrote {requests:,} requests to {output}", err=True)


@command.command("operators")
@click.argument("scenario")
@click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="As for `sim run`.")
@click.option("--iterations", type=int, default=10, show_default=True, help="First N iterations.")
@click.option("-o", "--output", type=FILE, help="CSV to write; default: standard output.")
def operators(scenario: str, sets: tuple[str, ...], iterations: int, output: Path | None) -> None:
    """One row an operator execution of the first iterations of SCENARIO."""
    from sim.results.operator_trace import COLUMNS, operator_trace
    from sim.simulation.prepare import prepare

    rows = operator_trace(prepare(load_scenario(scenario, sets=sets)), iterations)
    with output.open("w", newline="") if output else nullcontext(sys.stdout) as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
