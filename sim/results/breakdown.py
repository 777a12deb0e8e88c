"""Breakdown: where the time and the energy of a run went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sim.graph import breakdown_class
from sim.results.offload import beyond, copied
from sim.results.split_report import op_copies
from sim.results.statistics import finite

if TYPE_CHECKING:
    import pandas as pd

    from sim.results.run import Run

BOUNDS = ("compute", "memory", "link", "overhead")
"""What an operator waits for, in the kernel's order."""


def breakdown_of(run: Run) -> Mapping[str, Any]:
    """Busy seconds and joules, by operator class and by processor, of all replicas.

    And by operator class the bytes of weights that all devices read.

    "host" is host time between iterations, "pipeline" what the longest pipeline stage has more
    than the mean one. "static" is the energy of being on, of all devices of the system over the
    whole run, so that energies add up (to `energy_J`, where no warm-up is left out of that).
    """
    classes: dict[str, list[float]] = {}
    units: dict[str, list[float]] = {}
    for part in run.parts:
        for index, op in enumerate(part.prepared.program.table.graph.ops):
            entry = classes.setdefault(breakdown_class(op), [0.0, 0.0, 0.0])
            entry[0] += float(part.seconds[index].sum())
            entry[1] += float(part.joules[index].sum())
            copies = op_copies(part.prepared.program, index)
            entry[2] += sum(float(each.weights_B[index]) for each in part.outcomes) * copies
        for number, name in enumerate(part.processors):
            unit = units.setdefault(run.unit_name(part, name), [0.0, 0.0])
            unit[0] += float(part.seconds[:, number].sum())
            unit[1] += float(part.joules[:, number].sum())
    busy = sum(part.busy_s for part in run.parts)
    host = sum(outcome.host_s for outcome in run.served.outcomes)
    waited = copied(run.served.outcomes, "wait_s")
    stages = busy - host - waited - sum(float(part.seconds.sum()) for part in run.parts)
    time = {name: entry[0] for name, entry in classes.items()} | {"host": host}
    time |= beyond(run.scenario.scheduler, waited)
    fleet = run.scenario.fleet
    if any(part.in_microbatches for part in run.parts):
        time["pipeline"] = stages
    elif fleet is not None and fleet.slowdowns:
        time["slowdown"] = stages
    static = run.measurement.static_W * run.duration_s
    sent = _sent_J(run)
    return {
        "busy_s": busy,
        "time_s": {
            "by_class": {name: finite(value) for name, value in time.items()},
            "by_processor": {name: finite(unit[0]) for name, unit in units.items()},
        },
        "energy_J": {
            "by_class": {name: finite(entry[1]) for name, entry in classes.items()}
            | {"static": finite(static)}
            | sent,
            "by_processor": {name: finite(unit[1]) for name, unit in units.items()},
        },
        "weights_read_B": {"by_class": {name: entry[2] for name, entry in classes.items()}},
    }


def _sent_J(run: Run) -> dict[str, float | None]:
    """Joules of links between pools and of copies beyond devices, where there are any."""
    joules = beyond(run.scenario.scheduler, copied(run.served.outcomes, "joules"))
    if run.account is not None and run.account.transfers is not None:
        joules = {"transfer": run.account.transfer_J} | joules
    return {name: finite(value) for name, value in joules.items()}


def bound_of(run: Run) -> Mapping[str, float | None]:
    """Share of busy time by what it waited for; "overhead" is launches, host and pipeline."""
    busy = sum(outcome.busy_s for outcome in run.served.outcomes)
    if busy <= 0.0:
        return dict.fromkeys(BOUNDS)
    shares = sum(part.seconds.sum(axis=(0, 1)) for part in run.parts) / busy
    named = dict(zip(BOUNDS, map(float, shares), strict=True))
    waited = copied(run.served.outcomes, "wait_s") / busy  # links beyond devices
    named["link"] += waited
    named["overhead"] += 1.0 - float(shares.sum()) - waited
    return named


def operator_rows(run: Run) -> pd.DataFrame:
    """One row an operator and processor that ran it: seconds by bound, joules, all replicas."""
    import pandas as pd

    rows = []
    for part in run.parts:
        for index, op in enumerate(part.prepared.program.table.graph.ops):
            for unit, name in enumerate(part.processors):
                seconds = part.seconds[index, unit]
                if seconds.sum() > 0.0:
                    rows.append(
                        {
                            "operator": op.name,
                            "class": breakdown_class(op),
                            "processor": run.unit_name(part, name),
                            "layers": op.layers,
                            "time_s": float(seconds.sum()),
                            **{
                                f"{bound}_s": float(value)
                                for bound, value in zip(BOUNDS, seconds, strict=True)
                            },
                            "energy_J": float(part.joules[index, unit].sum()),
                        }
                    )
    columns = ["operator", "class", "processor", "layers", "time_s"]
    columns += [*(f"{bound}_s" for bound in BOUNDS), "energy_J"]
    return pd.DataFrame(rows, columns=columns)
