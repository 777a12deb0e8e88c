"""`sim capacity`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sim.cli.output import check_writable, print_json, scenario_options, status_line
from sim.errors import Infeasible

if TYPE_CHECKING:
    from sim.studies.capacity.capacity import Capacity


@click.command("capacity")
@scenario_options
@click.option(
    "--slo",
    multiple=True,
    metavar="NAME=TIME",
    help="ttft='2 s' or tbt='100 ms' of each request, or of all a mean, p50, p90, p99 or max: "
    "ttft.p99='5 s'. May be repeated. Default: the scenario's `slo`.",
)
@click.option(
    "--attain",
    type=float,
    default=0.9,
    show_default=True,
    help="Share of requests whose TTFT and every gap keep the SLO.",
)
@click.option(
    "--tolerance",
    type=float,
    default=0.02,
    show_default=True,
    help="How far apart, relatively, are the rate that meets the SLO and the one that doesn't.",
)
@click.option(
    "--system",
    "systems",
    multiple=True,
    metavar="SYSTEM",
    help="A system to search (`sim list systems`); may be repeated. Default: the scenario's.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes; each takes a system at a time.",
)
@click.option("--no-curve", is_flag=True, help="Try no more rates than the search needs.")
@click.option(
    "--png",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also draw goodput and attainment over the rate (.pdf and .svg work too).",
)
def command(
    scenario: str,
    as_json: bool,
    systems: tuple[str, ...],
    workers: int,
    no_curve: bool,
    png: Path | None,
    **options: Any,
) -> None:
    """Highest rate of requests at which SCENARIO meets its SLO and doesn't fall behind.

    Every rate serves the same requests in the same order. Of a closed loop the number of clients is
    searched instead.
    """
    if png is not None:
        from sim.report.drawing import check_drawable

        check_drawable(png)
        check_writable(png)
    from sim.studies.capacity.rate_search import capacities, capacity

    # slo, attain, tolerance and sets are called as the arguments of `capacity` are
    search = partial(capacity, scenario, curve=not no_curve, **options)
    kept: list[Capacity] = []
    refused: dict[str, Infeasible] = {}
    with status_line(_told(scenario)) as update:
        if not systems:
            kept.append(search(on_trial=update))
        answers = capacities(search, systems, workers=workers, on_trial=update)
        for system, answer in zip(systems, answers, strict=True):
            if isinstance(answer, Infeasible):
                refused[system] = answer
            else:
                kept.append(answer)
    if not kept:
        raise next(iter(refused.values()))
    if png is not None:
        from sim.report.capacity import plot_goodput

        plot_goodput(kept, png)
        click.echo(f"wrote {png}", err=True)
    if as_json:
        print_json(
            {
                "capacities": [each.to_json() for each in kept],
                "infeasible": [
                    {"system": name, "reason": error.reason, **error.numbers}
                    for name, error in refused.items()
                ],
            }
        )
        return
    from sim.report.capacity import capacity_report
    from sim.report.tables import show

    show(capacity_report(kept, {name: error.reason for name, error in refused.items()}))


def _told(label: str) -> Callable[[float, int], str]:
    """The level being tried, and how many were before it."""

    def told(level: float, tried: int) -> str:
        return f"{label}: {tried} loads tried, now {level:.4g}"

    return told
