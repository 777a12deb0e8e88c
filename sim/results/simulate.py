"""Run a scenario: prepare, serve, account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from sim.config.replacements import Replacements
from sim.config.scenarios import load_scenario
from sim.engines.serving.outcome import ALWAYS, Progress
from sim.results.run import Run
from sim.scenario import Scenario
from sim.simulation.execute import execute
from sim.simulation.prepare import Prepared, prepare


def simulate(
    scenario: str | Path | Mapping[str, Any] | Scenario,
    *,
    sets: Sequence[str] = (),
    on_progress: Progress | None = None,
    allow_code: bool = False,
    **replacements: Unpack[Replacements],
) -> Run:
    """The result of `scenario`: a name, a path, a mapping like the YAML, or a ready Scenario.

    `sets` are "path=value" strings as for `sim run --set`; `replacements` are scenario keys
    (`system="h100-x4"`), as names, paths, mappings or objects. With `allow_code` a scheduler that
    the scenario names is imported and runs.
    Raises ConfigError for wrong input, Infeasible for a design that cannot work.
    """
    return run_prepared(
        prepare(load_scenario(scenario, sets=sets, allow_code=allow_code, **replacements)),
        on_progress=on_progress,
    )


def run_prepared(
    prepared: Prepared,
    *,
    on_progress: Progress | None = None,
    log_iterations: int = 0,
    log_window_s: tuple[float, float] = ALWAYS,
) -> Run:
    """The result of a prepared scenario, with a log as `serve` keeps it (fleets keep none)."""
    outcomes = execute(
        prepared,
        on_progress=on_progress,
        log_iterations=log_iterations,
        log_window_s=log_window_s,
    )
    return Run(prepared=prepared, outcomes=outcomes)
