"""Tables of a fleet: its pools, its replicas, and what went between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sim.report.quantity import binary, digits, share, si
from sim.report.tables import table

BARS = " ▁▂▃▄▅▆▇█"
SPARKS = 60
"""Parts of a run whose replicas are shown."""
MOST_ROWS = 16
"""Replicas shown one by one; of more, pools alone."""


def fleet_report(fleet: Mapping[str, Any]) -> list[RenderableType]:
    """What `sim run` prints of `fleet` as it is in the JSON."""
    shown: list[RenderableType] = [_pools(fleet)]
    if 1 < len(fleet["replicas"]) <= MOST_ROWS:
        shown.append(_replicas(fleet))
    if fleet["failures"]:
        shown.append(
            Text(
                f"Failures: {fleet['failures']:,}; requests that went on elsewhere: "
                f"{fleet['retried_requests']:,}, {fleet['retries']:,} times in all"
            )
        )
    if "autoscale" in fleet:
        shown += _scaled(fleet["autoscale"])
    sent = fleet["transfer"]
    if sent is not None:
        shown.append(
            Text(
                f"Caches sent: {sent['requests']:,}, {binary(sent['bytes'])}, the busiest link "
                f"{share(sent['busiest_link_share'])} of the time; after the first token "
                f"{si(sent['exposed_s']['mean'], 's')} on the link (p99 "
                f"{si(sent['exposed_s']['p99'], 's')}) and {si(sent['queue_s']['mean'], 's')} "
                f"waiting to decode (p99 {si(sent['queue_s']['p99'], 's')}), on average"
            )
        )
    return shown


def _scaled(about: Mapping[str, Any]) -> list[RenderableType]:
    """How many replicas were on, in words and as a line over the run."""
    mean = about["replicas_mean"]
    line = (
        f"Replicas on: {digits(mean)} on average, {about['replicas_max']} at most, of "
        f"{about['min']} to {about['max']}; {digits(about['serving_mean'])} took requests. "
        f"{about['starts']:,} started ({si(about['start_up_s'], 's')} each), "
        f"{about['stops']:,} stopped; {digits(about['replica_hours'])} replica-hours"
    )
    return [Text(line), Text(f"  over time: {_spark(about['series'], about['end_s'])}")]


def _spark(series: Sequence[Mapping[str, Any]], end_s: float) -> str:
    """The most replicas on in each of `SPARKS` equal parts of a run, as a line of bars."""
    most = max(each["on"] for each in series)
    first = min(series[0]["at_s"], end_s)
    bars = []
    for part in range(SPARKS):
        from_s, until_s = (first + (end_s - first) * (part + k) / SPARKS for k in (0, 1))
        before = [each["on"] for each in series if each["at_s"] <= from_s][-1:]
        within = [each["on"] for each in series if from_s < each["at_s"] < until_s]
        bars.append(BARS[-(-max(before + within) * (len(BARS) - 1) // most)])
    return "".join(bars)


def _pools(fleet: Mapping[str, Any]) -> Table:
    made = table(
        f"Pools, {fleet['route']}", "pool", "systems", "replicas", "tp x pp", "completed",
        "rejected", "busy", "energy",
    )  # fmt: skip
    for pool in fleet["pools"]:
        made.add_row(
            pool["role"] or "all",
            f"{pool['systems']} {pool['system']}",
            f"{pool['replicas']:,}",
            f"{pool['tp']} x {pool['pp']}",
            f"{pool['completed']:,}",
            f"{pool['rejected']:,}",
            share(pool["busy_share"]),
            si(pool["energy_J"], "J"),
        )
    return made


def _replicas(fleet: Mapping[str, Any]) -> Table:
    names = ("completed", "rejected", "preemptions", "failures", "retries")
    made = table("Replicas", "", *names, "tokens out", "busy", "energy")
    for row in fleet["replicas"]:
        role = fleet["pools"][row["pool"]]["role"]
        made.add_row(
            f"{row['replica']}" + (f" {role}" if role else ""),
            *(f"{row[name]:,}" for name in names),
            f"{row['generated_tokens']:,}",
            share(row["busy_share"]),
            si(row["energy_J"], "J"),
        )
    return made
