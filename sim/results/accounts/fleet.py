"""Fleet: what its pools and replicas did, what failed, came and went, and what was sent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from sim.engines.fleet import Autoscale
from sim.engines.serving.autoscaling import Scaling
from sim.engines.serving.outcome import Window
from sim.kernel.records import DONE, REJECTED
from sim.results.blocks import Block, Table
from sim.results.quantity import binary, digits, share, si
from sim.results.statistics import finite, spread
from sim.simulation.outcomes import FleetEvents, Outcomes, ReplicaGroup
from sim.simulation.prepare import Prepared

BARS: Final = " ▁▂▃▄▅▆▇█"
SPARKS: Final = 60
"""Parts of a run whose replicas are shown."""
MOST_ROWS: Final = 16
"""Replicas shown one by one; of more, pools alone."""


def fleet(prepared: Prepared, outcomes: Outcomes) -> Block | None:
    """Pools, replicas, and what went on between them; None of one system.

    Of the whole run, warm-up of a closed loop and the iterations under way at its end included.
    """
    if outcomes.fleet is None:
        return None
    replicas, window = outcomes.replicas, outcomes.served.window
    begun = min(float(each.requests["arrival_s"].min(initial=np.inf)) for each in replicas)
    ended = max(each.end_s for each in replicas)
    duration_s = max(ended, window.until_s) - min(begun, window.from_s)
    rows = list(_rows(outcomes, outcomes.fleet, duration_s))
    values = {
        "route": outcomes.fleet.route,
        "pools": [
            _pool(group, [row for row in rows if row["pool"] == number])
            for number, group in enumerate(outcomes.groups)
        ],
        "replicas": rows,
        "failures": sum(row["failures"] for row in rows),
        "retries": sum(row["retries"] for row in rows),
        "retried_requests": 0 if outcomes.fleet.faults is None else outcomes.fleet.faults.retried,
        "transfer": _transfer(outcomes.fleet, duration_s),
        **_scaled(outcomes.fleet, window),
    }
    return Block(name="fleet", values=values, lines=tuple(_lines(values)))


def _pool(group: ReplicaGroup, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the replicas of a pool, a row each, come to together."""
    layout = group.prepared.program.layout
    return {
        "role": group.role or None,
        "system": group.system.name,
        "systems": group.systems,
        "replicas": len(group.outcomes),
        "tp": layout.tp,
        "pp": layout.pp,
        "ep": layout.ep,
        **{name: sum(row[name] for row in rows) for name in ("completed", "rejected")},
        "busy_share": _mean([row["busy_share"] for row in rows]),
        "energy_J": _total([row["energy_J"] for row in rows]),
    }


def _rows(
    outcomes: Outcomes, events: FleetEvents, duration_s: float
) -> Iterator[Mapping[str, Any]]:
    """One row a replica. A prefill replica completes what it passed on."""
    faults, sent = events.faults, events.transfers
    number = 0
    scaling, window = events.scaling, outcomes.served.window
    on_s = None if scaling is None else scaling.on_s(window.from_s, window.until_s)
    for pool, group in enumerate(outcomes.groups):
        static_W = group.static_W / group.on_share / len(group.outcomes)
        for index, outcome in enumerate(group.outcomes):
            status = outcome.requests["status"]
            passed = 0
            if sent is not None and group.role == "prefill":
                passed = int((sent.sender == index).sum())
            yield {
                "replica": number,
                "pool": pool,
                "completed": int((status == DONE).sum()) + passed,
                "rejected": int((status == REJECTED).sum()),
                "iterations": outcome.iterations,
                "prefill_tokens": outcome.prefill_tokens,
                "generated_tokens": outcome.generated_tokens,
                "busy_share": outcome.busy_s / duration_s if duration_s > 0.0 else None,
                "energy_J": finite(
                    outcome.operator_joules
                    + static_W * (duration_s if on_s is None else float(on_s[number]))
                ),
                "preemptions": outcome.preemptions,
                "failures": 0 if faults is None else int(faults.failures[number]),
                "retries": 0 if faults is None else int(faults.retries[number]),
                "down_s": 0.0 if faults is None else float(faults.down_s[number]),
                **({} if on_s is None else {"on_s": float(on_s[number])}),
            }
            number += 1


def _scaled(events: FleetEvents, window: Window) -> dict[str, Any]:
    if events.rule is None or events.scaling is None:
        return {}
    return {"autoscale": scaling_json(events.rule, events.scaling, window)}


def _transfer(events: FleetEvents, duration_s: float) -> dict[str, Any] | None:
    sent = events.transfers
    if sent is None:
        return None
    taken = np.bincount(sent.sender, weights=sent.busy_s, minlength=1)
    busiest = float(taken.max()) / duration_s if duration_s > 0.0 else None
    return {
        "requests": len(sent.sender),
        "bytes": float(sent.size_B.sum()),
        "link_s": float(sent.busy_s.sum()),
        "busiest_link_share": busiest,
        "exposed_s": spread(sent.exposed_s),
        "queue_s": spread(sent.queue_s),
        "energy_J": finite(events.transfer_J),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    total = _total(values)
    return None if total is None or not values else total / len(values)


def _total(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if len(known) == len(values) else None


def scaling_json(rule: Autoscale, scaling: Scaling, window: Window) -> dict[str, Any]:
    """The `fleet.autoscale` of a result, from the first arrival to the last completion.

    `series` has how many replicas are on, and how many of these take requests, from `at_s` on.
    """
    changes = scaling.changes[scaling.changes[:, 0] <= window.until_s]
    starts = changes[:, 0].clip(window.from_s)
    spans = np.append(starts[1:], window.until_s) - starts
    span_s = window.until_s - window.from_s
    on_s = float(scaling.on_s(window.from_s, window.until_s).sum())
    return {
        "min": rule.least,
        "max": rule.most,
        "target": rule.target,
        "start_up_s": rule.start_up_s,
        "starts": scaling.starts,
        "stops": scaling.stops,
        "end_s": window.until_s,
        "replica_hours": on_s / 3600.0,
        "replicas_mean": on_s / span_s if span_s > 0.0 else None,
        "replicas_max": int(changes[:, 1].max()),
        "serving_mean": float(changes[:, 2] @ spans) / span_s if span_s > 0.0 else None,
        "series": [
            {"at_s": at, "on": int(on), "serving": int(up)} for at, on, up in changes.tolist()
        ],
    }


def _lines(values: Mapping[str, Any]) -> Iterator[str | Table]:
    """Pools, replicas, and what went on between them, for people."""
    yield _pool_table(values)
    if 1 < len(values["replicas"]) <= MOST_ROWS:
        yield _replica_table(values)
    if values["failures"]:
        yield (
            f"Failures: {values['failures']:,}; requests that went on elsewhere: "
            f"{values['retried_requests']:,}, {values['retries']:,} times in all"
        )
    if "autoscale" in values:
        yield from _scaling_lines(values["autoscale"])
    sent = values["transfer"]
    if sent is not None:
        yield (
            f"Caches sent: {sent['requests']:,}, {binary(sent['bytes'])}, the busiest link "
            f"{share(sent['busiest_link_share'])} of the time; after the first token "
            f"{si(sent['exposed_s']['mean'], 's')} on the link (p99 "
            f"{si(sent['exposed_s']['p99'], 's')}) and {si(sent['queue_s']['mean'], 's')} "
            f"waiting to decode (p99 {si(sent['queue_s']['p99'], 's')}), on average"
        )


def _scaling_lines(scaling: Mapping[str, Any]) -> Iterator[str]:
    """How many replicas were on, in words and as a line over the run."""
    yield (
        f"Replicas on: {digits(scaling['replicas_mean'])} on average, {scaling['replicas_max']} at "
        f"most, of {scaling['min']} to {scaling['max']}; {digits(scaling['serving_mean'])} took "
        f"requests. {scaling['starts']:,} started ({si(scaling['start_up_s'], 's')} each), "
        f"{scaling['stops']:,} stopped; {digits(scaling['replica_hours'])} replica-hours"
    )
    yield f"  over time: {_spark(scaling['series'], scaling['end_s'])}"


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


def _pool_table(values: Mapping[str, Any]) -> Table:
    return Table(
        title=f"Pools, {values['route']}",
        columns=(
            "pool", "systems", "replicas", "tp x pp", "completed", "rejected", "busy", "energy",
        ),
        rows=tuple(
            (
                pool["role"] or "all",
                f"{pool['systems']} {pool['system']}",
                f"{pool['replicas']:,}",
                f"{pool['tp']} x {pool['pp']}",
                f"{pool['completed']:,}",
                f"{pool['rejected']:,}",
                share(pool["busy_share"]),
                si(pool["energy_J"], "J"),
            )
            for pool in values["pools"]
        ),
    )  # fmt: skip


def _replica_table(values: Mapping[str, Any]) -> Table:
    names = ("completed", "rejected", "preemptions", "failures", "retries")
    roles = [pool["role"] for pool in values["pools"]]
    return Table(
        title="Replicas",
        columns=("", *names, "tokens out", "busy", "energy"),
        rows=tuple(
            (
                f"{row['replica']}" + (f" {roles[row['pool']]}" if roles[row["pool"]] else ""),
                *(f"{row[name]:,}" for name in names),
                f"{row['generated_tokens']:,}",
                share(row["busy_share"]),
                si(row["energy_J"], "J"),
            )
            for row in values["replicas"]
        ),
    )
