"""Serve: the traffic of a prepared scenario on systems that are alike."""

from __future__ import annotations

from typing import Any

from sim.engines.serving.conversations import serve_following
from sim.engines.serving.engine import ALWAYS
from sim.engines.serving.simulation import Progress, Served, serve_closed, serve_trace
from sim.simulation.prepare import Prepared
from sim.workload.traffic import Closed


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
    scenario, requests = prepared.scenario, prepared.requests
    engine = prepared.program, scenario.scheduler, prepared.budget.kv_B
    more: dict[str, Any] = {
        "extra_prompt": prepared.extra_prompt,
        "on_progress": on_progress,
        "log_iterations": log,
        "log_window_s": log_window_s,
    }
    if isinstance(scenario.traffic, Closed):
        return serve_closed(
            *engine,
            scenario.traffic,
            requests.input_tokens,
            requests.output_tokens,
            scenario.seed,
            priority=requests.priority,
            blocks=requests.blocks,
            parent=requests.parent,
            systems=systems,
            **more,
        )
    if requests.follows is not None:
        return serve_following(*engine, requests, systems=systems, **more)
    assert systems == 1
    return serve_trace(*engine, requests, **more)
