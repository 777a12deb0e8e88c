"""Cautions: what a reader should know before believing the numbers of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sim.engines.scheduler import Scheduler
from sim.kernel.records import DONE, REJECTED
from sim.results.statistics import latencies
from sim.scenario import Scenario
from sim.simulation.outcomes import Outcomes, ReplicaGroup
from sim.simulation.prepare import Prepared
from sim.workload.traffic import Closed

if TYPE_CHECKING:
    from sim.hardware import Device
    from sim.hardware.runtime import Runtime

OVERLOADED = 2.0
"""Open loop: the last quarter of requests waits this many times as long as the second quarter."""


def cautions(
    prepared: Prepared, outcomes: Outcomes, speculation: Mapping[str, Any] | None
) -> Iterator[str]:
    """Sentences about requests, load, power and devices; none where all is well.

    `speculation` are the values of its account.
    """
    scenario = prepared.scenario
    yield from _without_effect(scenario.scheduler)
    yield from _of_requests(scenario, outcomes.requests)
    steady = None if speculation is None else speculation["steady"]
    if steady is not None and steady["speedup"] < 1.0:
        yield (
            f"speculation does not pay: a step of {steady['sequences']} sequences gives tokens "
            f"{steady['speedup']:.2f} times as fast as one without"
        )
    for group in outcomes.groups:
        yield from _foreign_runtime(scenario.runtime, group.system.device)
        yield from _of_devices(outcomes, group)


def _of_requests(scenario: Scenario, requests: npt.NDArray[np.void]) -> Iterator[str]:
    """Requests that can't be served, that are longer than usual, that wait ever longer."""
    total, refused = len(requests), requests["status"] == REJECTED
    rejected = int(refused.sum())
    if rejected:
        yield f"{rejected:,} of {total:,} requests could never fit the KV memory and were rejected"
    limit = scenario.model.max_context
    if limit and scenario.model.layers:
        served = requests[~refused]
        beyond = int((served["input"] + served["output"] > limit).sum())
        if beyond:
            yield (
                f"{beyond:,} of {total:,} requests are longer than the model's context of "
                f"{limit:,} tokens: served all the same"
            )
    if isinstance(scenario.traffic, Closed):
        if not np.isfinite(latencies(requests)["ttft_s"]).any() and rejected < total:
            yield (
                "no request began and ended while measuring: ask for more requests than there "
                "are clients"
            )
    elif overloaded(scenario, requests):
        yield "requests arrive faster than they are served: the queue, and TTFT, grow to the end"


def _of_devices(outcomes: Outcomes, group: ReplicaGroup) -> Iterator[str]:
    """Devices that draw more than they can, or have nothing to do."""
    power_W, tdp_W = outcomes.power_W, group.system.device.tdp_W
    if outcomes.fleet is not None and outcomes.window_s > 0.0:
        power_W = group.static_W + group.operator_joules / outcomes.window_s
    devices = group.devices * group.on_share
    if power_W is not None and tdp_W is not None and power_W > tdp_W * devices:
        yield (
            f"mean power {power_W / devices:,.0f} W a device is above its TDP of "
            f"{tdp_W:,.0f} W: a real device would slow down"
        )
    layout, count = group.prepared.program.layout, group.system.count
    used = layout.devices * layout.dp
    if used < count:
        yield (
            f"{count - used} of {count} devices have nothing to do under tp {layout.tp}, "
            f"pp {layout.pp}, dp {layout.dp}; their static power counts"
        )


def _without_effect(scheduler: Scheduler) -> Iterator[str]:
    """What of a scheduler has nothing to act on: no error, as sweeps turn off what it needs."""
    if scheduler.host is not None and scheduler.preemption != "swap":
        yield (
            f"scheduler.host takes nothing: preemption is {scheduler.preemption}; write "
            "scheduler.preemption: swap, or leave host out"
        )
    if scheduler.kv_loads != Scheduler.kv_loads and not scheduler.kv_tiers:
        yield (
            f"scheduler.kv_loads {scheduler.kv_loads} loads nothing: write scheduler.kv_tiers: "
            "[{name, size, bandwidth, latency}], or leave kv_loads out"
        )
    if scheduler.prefix_blocks is not None and not scheduler.prefix_cache:
        yield (
            "scheduler.prefix_blocks bounds nothing: write scheduler.prefix_cache: true, or leave "
            "it out"
        )


def _foreign_runtime(runtime: Runtime | None, device: Device) -> Iterator[str]:
    """Whether a runtime has the numbers of another kind of processor."""
    if runtime is None or runtime.runs_on is None:
        return
    kinds = list(dict.fromkeys(each.kind for each in device.processors))
    if runtime.runs_on not in kinds:
        yield (
            f"runtime {runtime.name} was fitted on a {runtime.runs_on}, and {device.name} is a "
            f"{' and '.join(kinds)}: its times and shares say little here"
        )


def overloaded(scenario: Scenario, records: npt.NDArray[np.void]) -> bool:
    """Whether requests wait longer and longer: open loop beyond saturation.

    Where the queue isn't in order of arrival, waits say less than what is left when the last
    request arrives: it takes as long to serve as half of the arrivals took.
    """
    done = records["status"] == DONE
    admitted_s = records["admitted_s"][done]
    waits = admitted_s - records["arrival_s"][done]
    if len(waits) < 40:
        return False
    quarter = len(waits) // 4
    early, late = float(waits[quarter : 2 * quarter].mean()), float(waits[-quarter:].mean())
    service = float((records["last_s"][done] - admitted_s).mean())
    span_s = float(np.ptp(records["arrival_s"]))
    left_s = float(records["last_s"][done].max() - records["arrival_s"].max())
    growing = late > OVERLOADED * early
    if scenario.scheduler.order != "arrival":
        growing = growing or left_s > 0.5 * span_s
    return growing and late > service
