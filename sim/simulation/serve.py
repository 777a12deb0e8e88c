"""Serve: the traffic of a prepared scenario on systems that are alike."""

from __future__ import annotations

from sim.engines.serving.clients import serve_closed
from sim.engines.serving.conversations import serve_following
from sim.engines.serving.fleet import serve_trace
from sim.engines.serving.outcome import ALWAYS, Progress, Served, Watch
from sim.engines.serving.replica import Kind
from sim.engines.serving.requests import Requests
from sim.simulation.prepare import Prepared
from sim.workload.traffic import Closed


def kind_of(prepared: Prepared) -> Kind:
    """What each replica of a prepared scenario runs."""
    return Kind(
        program=prepared.program,
        scheduler=prepared.scenario.scheduler,
        kv_B=prepared.budget.kv_B,
    )


def requests_of(prepared: Prepared, kind: Kind) -> Requests:
    """The requests of a prepared scenario as a table for replicas of a `kind`."""
    return Requests.of(kind, prepared.requests, extra_prompt=prepared.extra_prompt)


def serve(
    prepared: Prepared,
    *,
    systems: int = 1,
    on_progress: Progress | None = None,
    log: int = 0,
    log_window_s: tuple[float, float] = ALWAYS,
) -> Served:
    """Outcomes of all replicas under the scenario's traffic, dealt to them in turn.

    `systems` are as many alike, for traffic that looks at answers: closed loops, sessions that
    wait. Each logs the first `log` iterations under way within `log_window_s` (from, until).
    """
    scenario, kind = prepared.scenario, kind_of(prepared)
    requests = requests_of(prepared, kind)
    watch = Watch(on_progress=on_progress, log_iterations=log, log_window_s=log_window_s)
    if isinstance(scenario.traffic, Closed):
        return serve_closed(
            kind, requests, scenario.traffic, seed=scenario.seed, systems=systems, watch=watch
        )
    if requests.follows is not None:
        return serve_following(kind, requests, systems=systems, watch=watch)
    assert systems == 1
    return serve_trace(kind, requests, watch=watch)
