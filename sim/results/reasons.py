"""Reasons: which unit ran each operator class of a run, and why, from its busiest operator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim.graph import breakdown_class
from sim.results.explain import explain_prepared
from sim.results.run import Run
from sim.results.statistics import finite
from sim.results.typical_batch import PhaseName


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One operator class on one unit: its shares of busy time and of all energy, and why."""

    operator_class: str
    unit: str
    time_share: float | None
    energy_share: float | None
    why: str


def reasons(run: Run) -> Sequence[Reason]:
    """Operator classes by unit, the longest first; host time last.

    The words are those of `explain` for the busiest operator of the class, in a typical decode
    iteration if it has work there, else in a prefill one.
    """
    why = _words(run)
    busy = run.breakdown["busy_s"]
    table = run.ops
    if busy <= 0.0:
        return []
    joules = run.breakdown["energy_J"]["by_class"]
    energy = sum(_or_nan(each) for each in joules.values())
    listed = [
        Reason(
            operator_class=str(name),
            unit=str(unit),
            time_share=float(rows["time_s"].sum()) / busy,
            energy_share=finite(float(np.sum(rows["energy_J"].to_numpy())) / energy),
            why=why.get((str(name), str(unit)), "faster in some iterations"),
        )
        for (name, unit), rows in table.groupby(["class", "processor"], sort=True)
    ]
    listed.sort(key=lambda reason: -(reason.time_share or 0.0))
    host = 1.0 - sum(reason.time_share or 0.0 for reason in listed)
    listed.append(
        Reason(
            operator_class="host",
            unit="host",
            time_share=host,
            energy_share=None,
            why="scheduling and sampling between iterations"
            + (f"; {_pipeline(run)}" if "pipeline" in _classes(run) else ""),
        )
    )
    occupied = busy / (run.outcomes.whole_s * len(run.outcomes.replicas))
    listed.append(
        Reason(
            operator_class="static",
            unit="all",
            time_share=None,
            energy_share=finite(_or_nan(joules["static"]) / energy),
            why=f"power of being on, busy {100.0 * occupied:.0f} % of the time",
        )
    )
    return listed


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _pipeline(run: Run) -> str:
    """What there is beside one pass of one microbatch."""
    apart = run.scenario.split is not None
    return "microbatches after the first" if apart else "pipeline stages of unequal length"


def _classes(run: Run) -> Sequence[str]:
    return list(run.breakdown["time_s"]["by_class"])


def _words(run: Run) -> dict[tuple[str, str], str]:
    """Reason of the busiest operator of each class on each unit."""
    words: dict[tuple[str, str], str] = {}
    phases: tuple[PhaseName, ...] = ("decode", "prefill")
    if not run.scenario.model.layers:
        phases = ("prefill",)
    for group in run.outcomes.groups:
        known = {op.name: breakdown_class(op) for op in group.prepared.program.table.graph.ops}
        for phase in ("prefill",) if group.role == "prefill" else phases:
            rows = explain_prepared(group.prepared, phase=phase).rows
            for row in sorted(rows, key=lambda row: -row["time_s"]):
                unit = run.outcomes.unit_name(group, row["unit"])
                words.setdefault((known[row["operator"]], unit), f"{phase}: {row['why']}")
    return words
