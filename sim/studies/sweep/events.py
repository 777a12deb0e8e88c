"""Events: one point of a study by the event simulation of its traffic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim.config.scenarios import load_document
from sim.errors import ConfigError, Infeasible
from sim.results.simulate import run_prepared
from sim.simulation.prepare import prepare
from sim.studies.sweep.study import Study


@dataclass(frozen=True, kw_only=True)
class Point:
    """What one simulated point came to; `status` is ok, infeasible or failed."""

    status: str
    reason: str
    values: dict[str, float]
    """Result columns, and ends of their error bands."""
    known: str = ""
    """How well its times are known."""


def simulated(study: Study, sets: Sequence[str]) -> Point:
    """The point with these changes; a design or an input that cannot be is a point too."""
    nothing = dict.fromkeys(study.numbers, np.nan)
    try:
        run = run_prepared(prepare(load_document(study.base, sets=sets)))
    except Infeasible as error:
        return Point(status="infeasible", reason=error.reason, values=nothing)
    except ConfigError as error:
        reason = "; ".join(problem.message for problem in error.problems)
        return Point(status="failed", reason=reason, values=nothing)
    bands = run.bands
    ends = {f"{name}_{end}": getattr(band, end)
            for name, band in bands.items() for end in ("low", "high")}  # fmt: skip
    level = bands["throughput_tok_per_s"].level if "throughput_tok_per_s" in bands else ""
    return Point(status="ok", reason="", values=nothing | run.row | ends, known=level)
