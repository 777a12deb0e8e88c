"""Which requests a run sees: part of a trace, or draws of an arrival process."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import assert_never

import numpy as np

from sim.errors import ConfigError
from sim.workload.traffic.forms import Closed, Poisson, Sessions, Trace, Traffic
from sim.workload.traffic.lengths import sample_lengths
from sim.workload.traffic.priorities import check_priorities, with_priorities
from sim.workload.traffic.samples import check_samples, fan_out
from sim.workload.traffic.sessions import session_requests


def select(
    trace: Trace,
    *,
    window_s: tuple[float, float] | None = None,
    rate_scale: float = 1.0,
    limit: int | None = None,
) -> Trace:
    """The part of `trace` to replay, its clock starting at 0.

    In this order: requests that arrive in [from, to) of `window_s`, on the trace's own clock
    (without a window all, from the first arrival on); arrivals `rate_scale` times as dense; the
    first `limit`. ConfigError if nothing is left.
    """
    if not (rate_scale > 0 and math.isfinite(rate_scale)):
        raise ConfigError(f"rate_scale {rate_scale:g}: a number above 0 is due, 2 doubles the rate")
    if limit is not None and limit < 1:
        raise ConfigError(f"limit {limit}: at least 1 request is due")
    arrival = trace.arrival_s
    if len(arrival) == 0:
        raise ConfigError(f"trace {trace.name} has no requests")
    first, last, start = 0, len(arrival), float(arrival[0])
    if window_s is not None:
        start, end = window_s
        if not 0 <= start < end:
            raise ConfigError(
                f"window [{start:g} s, {end:g} s]: a start from 0 and a later end are due"
            )
        first, last = (int(place) for place in np.searchsorted(arrival, (start, end), side="left"))
        if first == last:
            raise ConfigError(
                f"window [{start:g} s, {end:g} s] has no requests: trace {trace.name} runs from "
                f"{arrival[0]:g} s to {arrival[-1]:g} s"
            )
    if limit is not None:
        last = min(last, first + limit)
    part = slice(first, last)
    return replace(trace.of(part), arrival_s=(arrival[part] - start) / rate_scale)


def requests_of(traffic: Traffic, seed: int) -> Trace:
    """The requests of `traffic` one by one, decided by `seed`.

    A trace is itself. Poisson traffic gets exponential gaps. A closed loop gets lengths only, all
    arrivals 0: the engine sends each when a client is free. Arrivals, inputs and outputs are drawn
    from separate streams: another rate leaves the lengths alone and stretches the same gaps. Each
    of several `samples` of an answer is a row of its own.
    """
    check_priorities(traffic)
    check_samples(traffic)
    made = _prompts(traffic, seed)
    if traffic.samples == 1:
        return made
    return fan_out(
        made, traffic.samples, None if isinstance(traffic, Trace) else traffic.output, seed
    )


def _prompts(traffic: Traffic, seed: int) -> Trace:
    """One row a prompt."""
    if isinstance(traffic, Trace):
        return with_priorities(traffic, traffic.priorities, seed)
    if isinstance(traffic, Sessions):
        return session_requests(traffic, seed)
    if traffic.requests < 1:
        raise ConfigError(f"{traffic.requests} requests: at least 1 is due")
    gaps, inputs, outputs = (
        np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(3)
    )
    match traffic:
        case Poisson():
            if not (traffic.rate_per_s > 0 and math.isfinite(traffic.rate_per_s)):
                raise ConfigError(f"a rate of {traffic.rate_per_s:g} /s: a number above 0 is due")
            name = "poisson"
            arrival = np.cumsum(gaps.standard_exponential(traffic.requests)) / traffic.rate_per_s
        case Closed():
            name = "closed"
            arrival = np.zeros(traffic.requests)
        case _:
            assert_never(traffic)
    made = Trace(
        name=name,
        arrival_s=arrival,
        input_tokens=sample_lengths(traffic.input, traffic.requests, inputs),
        output_tokens=sample_lengths(traffic.output, traffic.requests, outputs),
    )
    return with_priorities(made, traffic.priorities, seed)
