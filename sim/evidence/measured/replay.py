"""Replay: requests sent to a prepared server as benchmarks send them, and what each one waited."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sim.engines.scheduler import Scheduler
from sim.engines.serving import Kind, Requests, serve_closed, serve_trace
from sim.kernel.records import DONE
from sim.mapping.program import Program
from sim.results.statistics import latencies
from sim.workload.traffic import Closed, Constant, Trace

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
EARLIEST: Final = 0.5
"""Least share of the mean turnaround; the most is as far above the mean."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Replayed:
    """What requests saw, those that ended: seconds and tokens, in order of arrival.

    `end_s` is when the last one ended, `lost` how many were rejected or left.
    """

    arrival_s: Floats
    first_s: Floats
    last_s: Floats
    ttft_s: Floats
    tpot_s: Floats
    input_tokens: Ints
    output_tokens: Ints
    end_s: float
    lost: int


def replayed(requests: npt.NDArray[Any]) -> Replayed:
    """The requests of outcomes that are answered."""
    answered = requests[requests["status"] == DONE]
    times = latencies(answered)
    return Replayed(
        arrival_s=answered["arrival_s"],
        first_s=answered["first_s"],
        last_s=answered["last_s"],
        ttft_s=times["ttft_s"],
        tpot_s=times["tpot_s"],
        input_tokens=answered["input"],
        output_tokens=answered["output"],
        end_s=float(answered["last_s"].max(initial=0.0)),
        lost=len(requests) - len(answered),
    )


def of_trace(
    program: Program, scheduler: Scheduler, kv_B: float, arrival_s: Floats, prompts: Ints,
    outputs: Ints,
) -> Replayed:  # fmt: skip
    """Requests sent at their times, whatever the server does."""
    kind = Kind(program=program, scheduler=scheduler, kv_B=kv_B)
    trace = Trace(name="replay", arrival_s=arrival_s, input_tokens=prompts, output_tokens=outputs)
    return replayed(serve_trace(kind, Requests.of(kind, trace)).outcomes[0].requests)


def of_clients(
    program: Program,
    scheduler: Scheduler,
    kv_B: float,
    concurrency: int,
    prompts: Ints,
    outputs: Ints,
    *,
    turnaround_s: float = 0.0,
    stagger_s: float = 0.0,
) -> Replayed:
    """All requests sent by `concurrency` clients, each its next one after its last one has ended.

    About `turnaround_s` after it, evenly between half and one and a half of it: clients that all
    take the same time stay in step once they are, which real ones don't. The first requests arrive
    `stagger_s` apart.
    """

    def arrivals(first: int, last: int, now_s: float) -> Floats:
        if first == 0:
            return stagger_s * np.arange(last, dtype=float)
        random = np.random.default_rng([0, first])
        shares = random.uniform(EARLIEST, 2.0 - EARLIEST, last - first)
        return now_s + turnaround_s * np.asarray(np.sort(shares))

    anything = Constant(tokens=1)
    loop = Closed(
        concurrency=concurrency, requests=len(prompts), input=anything, output=anything,
        start="cold",
    )  # fmt: skip
    kind = Kind(program=program, scheduler=scheduler, kv_B=kv_B)
    trace = Trace(
        name="replay", arrival_s=np.zeros(len(prompts)), input_tokens=prompts,
        output_tokens=outputs,
    )  # fmt: skip
    served = serve_closed(kind, Requests.of(kind, trace), loop, arrivals=arrivals)
    return replayed(served.outcomes[0].requests)


def with_host(program: Program, host_step_s: float, host_sequence_s: float) -> Program:
    """`program` with other times of the host."""
    machine = program.machine.copy()
    machine["host_step_s"], machine["host_sequence_s"] = host_step_s, host_sequence_s
    return replace(program, machine=machine)
