"""Events: one point of a study by the event simulation of its traffic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from sim.config.scenarios import load_document
from sim.errors import ConfigError, Infeasible
from sim.results.run import Run
from sim.results.simulate import run_prepared
from sim.simulation.prepare import prepare
from sim.studies.study import BANDED, EVENTS, Study

ENDS: Final = tuple(f"{name}_{end}" for name in BANDED["events"] for end in ("low", "high"))
"""Columns of error bands."""


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
    nothing = dict.fromkeys((*EVENTS, *ENDS), np.nan)
    try:
        run = run_prepared(prepare(load_document(study.base, sets=sets)))
    except Infeasible as error:
        return Point(status="infeasible", reason=error.reason, values=nothing)
    except ConfigError as error:
        reason = "; ".join(problem.message for problem in error.problems)
        return Point(status="failed", reason=reason, values=nothing)
    bands = run.bands
    ends = {f"{name}_{end}": getattr(bands[name], end)
            for name in BANDED["events"] if name in bands for end in ("low", "high")}  # fmt: skip
    level = bands["throughput_tok_per_s"].level if "throughput_tok_per_s" in bands else ""
    return Point(status="ok", reason="", values=nothing | flat(run) | ends, known=level)


def flat(run: Run) -> dict[str, float]:
    """Metrics of a run in one row: ttft_s.p90 is ttft_p90_s."""
    found: dict[str, Any] = {}
    for name, value in run.metrics.items():
        if isinstance(value, dict):
            found |= {f"{name.removesuffix('_s')}_{part}_s": each for part, each in value.items()}
        else:
            found[name] = value
    usd = run.cost["usd_per_Mtok"] or {}
    found |= {f"cost_usd_per_Mtok_{end}": usd.get(end) for end in ("low", "high")}
    totals = {} if run.owned is None else run.owned.ledger.totals
    for name in ("capex_usd", "die_area_mm2"):
        ends = totals.get(name)
        found[name] = None if ends is None else ends[1]
    counts = run.to_json()["requests"]
    found |= {name: counts[name] for name in ("completed", "rejected")}
    return {name: np.nan if found.get(name) is None else float(found[name]) for name in EVENTS}
