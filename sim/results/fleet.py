"""Fleet: what its pools and replicas did, what failed, came and went, and what was sent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sim.engines.fleet import Autoscale
from sim.engines.serving.autoscaling import Scaling
from sim.engines.serving.simulation import Served, Window
from sim.kernel.records import DONE, REJECTED
from sim.results.statistics import finite, spread
from sim.simulation.fleet import Account
from sim.simulation.replica_groups import Part


def account_json(account: Account, parts: Sequence[Part], served: Served) -> dict[str, Any]:
    """The `fleet` of a result: pools, replicas, and what went on between them.

    Of the whole run, warm-up of a closed loop and the iterations under way at its end included.
    """
    begun = min(float(each.requests["arrival_s"].min(initial=np.inf)) for each in served.outcomes)
    ended = max(each.end_s for each in served.outcomes)
    duration_s = max(ended, served.window.until_s) - min(begun, served.window.from_s)
    rows = list(_rows(account, parts, served, duration_s))
    pools = []
    for number, part in enumerate(parts):
        own = [row for row in rows if row["pool"] == number]
        layout = part.prepared.program.layout
        pools.append(
            {
                "role": part.role or None,
                "system": part.system.name,
                "systems": part.systems,
                "replicas": len(part.outcomes),
                "tp": layout.tp,
                "pp": layout.pp,
                "ep": layout.ep,
                **{name: sum(row[name] for row in own) for name in ("completed", "rejected")},
                "busy_share": _mean([row["busy_share"] for row in own]),
                "energy_J": _total([row["energy_J"] for row in own]),
            }
        )
    return {
        "route": account.route,
        "pools": pools,
        "replicas": rows,
        "failures": sum(row["failures"] for row in rows),
        "retries": sum(row["retries"] for row in rows),
        "retried_requests": account.retried,
        "transfer": _transfer(account, duration_s),
        **_scaled(account, served),
    }


def _rows(
    account: Account, parts: Sequence[Part], served: Served, duration_s: float
) -> Iterator[Mapping[str, Any]]:
    """One row a replica. A prefill replica completes what it passed on."""
    faults, sent = account.faults, account.transfers
    number = 0
    scaling, window = account.scaling, served.window
    on_s = None if scaling is None else scaling.on_s(window.from_s, window.until_s)
    for pool, part in enumerate(parts):
        static_W = part.static_W / part.on_share / len(part.outcomes)
        for index, outcome in enumerate(part.outcomes):
            status = outcome.requests["status"]
            passed = 0
            if sent is not None and part.role == "prefill":
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


def _scaled(account: Account, served: Served) -> dict[str, Any]:
    if account.rule is None or account.scaling is None:
        return {}
    return {"autoscale": scaling_json(account.rule, account.scaling, served.window)}


def _transfer(account: Account, duration_s: float) -> dict[str, Any] | None:
    sent = account.transfers
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
        "energy_J": finite(account.transfer_J),
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
