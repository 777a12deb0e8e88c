"""Cautions: what a reader should know before believing the numbers of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from sim.engines.scheduler import Scheduler
from sim.kernel.records import DONE
from sim.workload.traffic import Closed

if TYPE_CHECKING:
    from sim.hardware import Device
    from sim.hardware.runtime import Runtime
    from sim.results.run import Run

OVERLOADED = 2.0
"""Open loop: the last quarter of requests waits this many times as long as the second quarter."""


def cautions(run: Run) -> Iterator[str]:
    """Sentences about requests, load, power and devices; none where all is well."""
    scenario = run.scenario
    yield from _without_effect(scenario.scheduler)
    requests = run.requests
    total = len(requests)
    rejected = int((requests["status"] == "rejected").sum())
    if rejected:
        yield f"{rejected:,} of {total:,} requests could never fit the KV memory and were rejected"
    limit = scenario.model.max_context
    if limit and scenario.model.layers:
        served = requests[requests["status"] != "rejected"]
        beyond = int((served["input_tokens"] + served["output_tokens"] > limit).sum())
        if beyond:
            yield (
                f"{beyond:,} of {total:,} requests are longer than the model's context of "
                f"{limit:,} tokens: served all the same"
            )
    if isinstance(scenario.traffic, Closed):
        if requests["ttft_s"].notna().sum() == 0 and rejected < total:
            yield (
                "no request began and ended while measuring: ask for more requests than there "
                "are clients"
            )
    elif overloaded(run):
        yield "requests arrive faster than they are served: the queue, and TTFT, grow to the end"
    steady = None if run.speculation is None else run.speculation["steady"]
    if steady is not None and steady["speedup"] < 1.0:
        yield (
            f"speculation does not pay: a step of {steady['sequences']} sequences gives tokens "
            f"{steady['speedup']:.2f} times as fast as one without"
        )
    for part in run.parts:
        yield from _foreign_runtime(scenario.runtime, part.system.device)
        power, tdp = run.power_of(part), part.system.device.tdp_W
        on = part.devices * part.on_share
        if power is not None and tdp is not None and power > tdp * on:
            yield (
                f"mean power {power / on:,.0f} W a device is above its TDP of "
                f"{tdp:,.0f} W: a real device would slow down"
            )
        layout, count = part.prepared.program.layout, part.system.count
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


def overloaded(run: Run) -> bool:
    """Whether requests wait longer and longer: open loop beyond saturation.

    Where the queue isn't in order of arrival, waits say less than what is left when the last
    request arrives: it takes as long to serve as half of the arrivals took.
    """
    records = run.records
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
    if run.scenario.scheduler.order != "arrival":
        growing = growing or left_s > 0.5 * span_s
    return growing and late > service
