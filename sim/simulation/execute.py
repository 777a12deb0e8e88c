"""Execute: a prepared scenario becomes outcomes, on one system or on a fleet."""

from __future__ import annotations

from sim.engines.serving.outcome import ALWAYS, Progress
from sim.simulation.fleet import served_by_pools
from sim.simulation.outcomes import Outcomes, ReplicaGroup
from sim.simulation.prepare import Prepared
from sim.simulation.serve import serve


def execute(
    prepared: Prepared,
    *,
    on_progress: Progress | None = None,
    log_iterations: int = 0,
    log_window_s: tuple[float, float] = ALWAYS,
) -> Outcomes:
    """What happens when `prepared` runs, with a log as `serve` keeps it (fleets keep none)."""
    if prepared.scenario.fleet is not None or prepared.scenario.disaggregate is not None:
        return served_by_pools(prepared, on_progress=on_progress)
    served = serve(prepared, on_progress=on_progress, log=log_iterations, log_window_s=log_window_s)
    group = ReplicaGroup(prepared=prepared, systems=1, outcomes=served.outcomes)
    return Outcomes(served=served, groups=(group,))
