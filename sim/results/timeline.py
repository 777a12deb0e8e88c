"""Timeline: a run as trace events, which Perfetto and chrome://tracing show.

One process a replica. Its tracks: requests (async spans), iterations, host, one a processor, links
and, with pipeline stages, the time that further microbatches add. The events are of one device and
one microbatch, which passes all stages in turn, as in the run's breakdown.

Two sums, which differ only where units work at the same time (co-processing):
- `dur` is how long a unit works, in whole nanoseconds: viewers round to these, and drop a slice
  that overlaps another by one.
- `args.seconds` is what an operator adds to the iteration, unrounded: 0 where another unit is
  slower. On each track these sum up to the run's `breakdown["time_s"]`: of a processor and of the
  links to `by_processor`, of host and pipeline to `by_class`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.engines.serving.outcome import ALWAYS, Outcome, Progress
from sim.errors import ConfigError, Problem
from sim.kernel.records import (
    COLLECTIVE,
    DONE,
    LOG_COLUMNS,
    LOG_START_S,
    REJECTED,
    TOKENS,
)
from sim.results.provenance import provenance
from sim.results.run import Run
from sim.results.simulate import run_prepared
from sim.results.trace_events import HOST, ITERATIONS, UNITS, Slices, thread
from sim.simulation.prepare import Prepared

Event = dict[str, Any]

MOST_EVENTS = 2_000_000
"""About as many as a browser shows without running out of memory."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Timeline:
    """A run whose iterations within `window_s` (from, until) are logged."""

    run: Run
    window_s: tuple[float, float]

    def about(self) -> dict[str, Any]:
        """What the events are of; `window_s` is null for the whole run."""
        scenario = self.run.scenario
        whole = self.window_s == ALWAYS
        return {
            "scenario": scenario.name,
            "model": scenario.model.name,
            "system": scenario.system.name,
            "seed": scenario.seed,
            "window_s": None if whole else list(self.window_s),
            "version": provenance(scenario)["version"],
            "digest": scenario.digest,
        }

    def events(self) -> Iterator[Event]:
        """Trace events: replica by replica names, requests, then iterations as they follow."""
        for replica, outcome in enumerate(self.run.served.outcomes):
            pid = replica + 1
            yield from self._names(pid)
            yield from self._requests(pid, outcome, self._numbers[replica])
            slices = Slices(self.run.prepared, pid)
            for logged in outcome.log:
                yield from slices.iteration(logged)

    def _names(self, pid: int) -> Iterator[Event]:
        """Names and order of a replica's tracks, those that can have events."""
        prepared = self.run.prepared
        scenario, layout = prepared.scenario, prepared.program.layout
        units = [each.name for each in prepared.program.system.device.processors]
        tracks = {ITERATIONS: "iterations"}
        host = prepared.program.machine[0]
        if host["host_step_s"] > 0.0 or host["host_sequence_s"] > 0.0:
            tracks[HOST] = "host"
        tracks |= {UNITS + number: name for number, name in enumerate(units)}
        if (prepared.program.table.records["kind"] == COLLECTIVE).any():
            tracks[UNITS + len(units)] = "link"
        if layout.pp > 1 or prepared.program.split is not None:
            tracks[UNITS + len(units) + 1] = "pipeline"
        of_process = {"ph": "M", "ts": 0, "pid": pid, "tid": thread(pid, ITERATIONS)}
        name = f"replica {pid - 1} of {scenario.name} on {scenario.system.name}"
        labels = f"tp {layout.tp}, pp {layout.pp}, ep {layout.ep}"
        yield {"name": "process_name", **of_process, "args": {"name": name}}
        yield {"name": "process_labels", **of_process, "args": {"labels": labels}}
        yield {"name": "process_sort_index", **of_process, "args": {"sort_index": pid}}
        for number, name in tracks.items():
            track = {**of_process, "tid": thread(pid, number)}
            yield {"name": "thread_name", **track, "args": {"name": name}}
            yield {"name": "thread_sort_index", **track, "args": {"sort_index": number}}

    @cached_property
    def _numbers(self) -> list[npt.NDArray[np.int64]]:
        """Of each replica's requests, their rows in the run's table of requests."""
        parts = [outcome.requests["arrival_s"] for outcome in self.run.served.outcomes]
        arrivals = np.concatenate(parts)
        numbers = np.empty(len(arrivals), np.int64)
        numbers[np.argsort(arrivals, kind="stable")] = np.arange(len(arrivals))
        return np.split(numbers, np.cumsum([len(part) for part in parts])[:-1])

    def _requests(
        self, pid: int, outcome: Outcome, numbers: npt.NDArray[np.int64]
    ) -> Iterator[Event]:
        """Async spans of the requests under way within the window."""
        status = {DONE: "completed", REJECTED: "rejected"}
        for index in np.flatnonzero(_under_way(outcome, self.window_s)):
            request, number = outcome.requests[index], int(numbers[index])
            spans = request_spans(request, outcome.end_s)
            about = {
                "request": number,
                "input_tokens": int(request["input"]),
                "output_tokens": int(request["output"]),
                "status": status.get(int(request["status"]), "unfinished"),
                "preemptions": int(request["preemptions"]),
            }
            shared = {
                "cat": "request",
                "id2": {"local": f"{number:#x}"},  # local, or it is shown apart from its replica
                "pid": pid,
                "tid": thread(pid, ITERATIONS),
            }
            outer = ("request", spans[0][1], spans[-1][2])
            yield {"name": "request", "ph": "b", "ts": _us(outer[1]), **shared, "args": about}
            for name, from_s, until_s in spans:
                if until_s > from_s:
                    yield {"name": name, "ph": "b", "ts": _us(from_s), **shared}
                    yield {"name": name, "ph": "e", "ts": _us(until_s), **shared}
            yield {"name": "request", "ph": "e", "ts": _us(outer[2]), **shared}


def recorded(
    prepared: Prepared,
    *,
    window_s: tuple[float, float] | None = None,
    on_progress: Progress | None = None,
) -> Timeline:
    """Run `prepared` and keep what its timeline needs; `window_s` (from, until) limits that.

    Raises ConfigError for a window in which nothing runs and for more events than viewers take.
    """
    if len(prepared.scenario.pools) > 1 or prepared.scenario.fleet is not None:
        raise ConfigError([Problem(path="--timeline", message="there is none of a fleet yet")])
    window_s = ALWAYS if window_s is None else window_s
    if not 0.0 <= window_s[0] < window_s[1]:
        raise _wrong(f"{window_s[0]:g} {window_s[1]:g}: 0 <= FROM < TO is due, in seconds")
    most = MOST_EVENTS // 2 + 1  # an iteration has two events or more
    run = run_prepared(
        prepared, on_progress=on_progress, log_iterations=most, log_window_s=window_s
    )
    timeline = Timeline(run=run, window_s=window_s)
    _check_size(timeline)
    return timeline


def request_spans(request: np.void, end_s: float) -> list[tuple[str, float, float]]:
    """Queue, prefill and decode of a request as far as it came: name, from and until in seconds.

    What preemption makes it compute again counts to the span it was in. A request that was there
    when the simulation began (closed loop) only decodes; one that is rejected is so on arrival,
    as when the queue came to it is not recorded.
    """
    arrival, admitted, first = (
        float(request[key]) for key in ("arrival_s", "admitted_s", "first_s")
    )
    marks = [("queue", arrival), ("prefill", admitted), ("decode", first)]
    if math.isnan(admitted) and request["generated"] > 0:
        marks = [("decode", arrival)]
    begun = [(name, at) for name, at in marks if not math.isnan(at)]
    last = float(request["last_s"]) if request["status"] == DONE else max(end_s, arrival)
    if request["status"] == REJECTED:
        last = arrival
    ends = [at for _, at in begun[1:]] + [last]
    return [(name, at, end) for (name, at), end in zip(begun, ends, strict=True)]


def _us(seconds: float) -> float:
    return round(seconds * 1e9) / 1e3


def _under_way(outcome: Outcome, window_s: tuple[float, float]) -> npt.NDArray[np.bool_]:
    """Which requests of a replica are queued or running at some time within the window."""
    requests = outcome.requests
    last = np.where(requests["status"] == DONE, requests["last_s"], outcome.end_s)
    last = np.where(requests["status"] == REJECTED, requests["arrival_s"], last)
    return (requests["arrival_s"] < window_s[1]) & (last >= window_s[0])


def _check_size(timeline: Timeline) -> None:
    """ConfigError where there are no events in the window, or too many; says what would fit."""
    from_s = timeline.window_s[0]
    parts = [_sizes(timeline, outcome) for outcome in timeline.run.served.outcomes]
    starts, sizes = (np.concatenate(each) for each in zip(*parts, strict=True))
    if not len(starts):
        end = max(outcome.end_s for outcome in timeline.run.served.outcomes)
        raise _wrong(f"nothing runs then: the run ends at {end:.6g} s")
    order = np.argsort(starts, kind="stable")
    total = np.cumsum(sizes[order])
    if total[-1] <= MOST_EVENTS:
        return
    until_s = float(starts[order][np.searchsorted(total, MOST_EVENTS, side="right")])
    rounded = math.floor(until_s * 1e3) / 1e3
    raise _wrong(
        f"{int(total[-1]):,} events or more, and viewers take about {MOST_EVENTS:,}: "
        f"--timeline-window {from_s} {rounded if rounded > from_s else until_s} fits"
    )


def _wrong(message: str) -> ConfigError:
    return ConfigError([Problem(path="--timeline-window", message=message)])


def _sizes(timeline: Timeline, outcome: Outcome) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """When each iteration and request of a replica begins, in seconds, and its events (at most)."""
    program = timeline.run.prepared.program
    log, streams = outcome.log, len(program.streams)
    width = log.shape[1] - LOG_COLUMNS  # with speculation, features of two parts
    features = log[:, LOG_COLUMNS:].reshape(len(log), width // (16 * streams), streams, 4, 4)
    events = np.full(len(log), 3 if program.layout.pp > 1 else 2)
    for record in program.table.records:
        seen = features[:, :, record["stream"] % streams, record["phase"], TOKENS]
        events += (seen > 0.0).sum(axis=1)
    arrivals = outcome.requests["arrival_s"][_under_way(outcome, timeline.window_s)]
    starts = np.concatenate([log[:, LOG_START_S], np.maximum(arrivals, timeline.window_s[0])])
    return starts, np.concatenate([events, np.full(len(arrivals), 8)])
