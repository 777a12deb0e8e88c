"""Breakdown: where the time and the energy of a run went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.graph import breakdown_class
from sim.results.accounts.offload import beyond, copied
from sim.results.accounts.sides import op_copies
from sim.results.blocks import Block
from sim.results.quantity import share
from sim.results.statistics import finite
from sim.simulation.outcomes import Outcomes
from sim.simulation.prepare import Prepared

if TYPE_CHECKING:
    import pandas as pd

BOUNDS = ("compute", "memory", "link", "overhead")
"""What an operator waits for, in the kernel's order."""


def breakdown(prepared: Prepared, outcomes: Outcomes) -> Block:
    """Busy seconds and joules, by operator class and by processor, of all replicas.

    And by operator class the bytes of weights that all devices read.

    "host" is host time between iterations, "pipeline" what the longest pipeline stage has more
    than the mean one. "static" is the energy of being on, of all devices of the system over the
    whole run, so that energies add up (to `energy_J`, where no warm-up is left out of that).
    """
    classes: dict[str, list[float]] = {}
    units: dict[str, list[float]] = {}
    for group in outcomes.groups:
        for index, op in enumerate(group.prepared.program.table.graph.ops):
            entry = classes.setdefault(breakdown_class(op), [0.0, 0.0, 0.0])
            entry[0] += float(group.seconds[index].sum())
            entry[1] += float(group.joules[index].sum())
            copies = op_copies(group.prepared.program, index)
            entry[2] += sum(float(each.weights_B[index]) for each in group.outcomes) * copies
        for number, name in enumerate(group.processors):
            unit = units.setdefault(outcomes.unit_name(group, name), [0.0, 0.0])
            unit[0] += float(group.seconds[:, number].sum())
            unit[1] += float(group.joules[:, number].sum())
    busy = outcomes.busy_s
    host = sum(replica.host_s for replica in outcomes.replicas)
    waited = copied(outcomes.replicas, "wait_s")
    stages = busy - host - waited - sum(float(group.seconds.sum()) for group in outcomes.groups)
    time = {name: entry[0] for name, entry in classes.items()} | {"host": host}
    time |= beyond(prepared.scenario.scheduler, waited)
    fleet = prepared.scenario.fleet
    if any(group.in_microbatches for group in outcomes.groups):
        time["pipeline"] = stages
    elif fleet is not None and fleet.slowdowns:
        time["slowdown"] = stages
    static = outcomes.static_W * outcomes.whole_s
    sent = _sent_J(prepared, outcomes)
    values = {
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
    return Block(name="breakdown", values=values)


def _sent_J(prepared: Prepared, outcomes: Outcomes) -> dict[str, float | None]:
    """Joules of links between pools and of copies beyond devices, where there are any."""
    joules = beyond(prepared.scenario.scheduler, copied(outcomes.replicas, "joules"))
    if outcomes.fleet is not None and outcomes.fleet.transfers is not None:
        joules = {"transfer": outcomes.fleet.transfer_J} | joules
    return {name: finite(value) for name, value in joules.items()}


def bound(prepared: Prepared, outcomes: Outcomes) -> Block:
    """Share of busy time by what it waited for; "overhead" is launches, host and pipeline."""
    busy = outcomes.busy_s
    shares: dict[str, float | None] = dict.fromkeys(BOUNDS)
    if busy > 0.0:
        waits = sum(group.seconds.sum(axis=(0, 1)) for group in outcomes.groups) / busy
        copies = copied(outcomes.replicas, "wait_s") / busy  # links beyond devices
        waits += (0.0, 0.0, copies, 1.0 - float(waits.sum()) - copies)
        shares = dict(zip(BOUNDS, map(float, waits), strict=True))
    words = ", ".join(f"{name} {share(value)}" for name, value in shares.items())
    return Block(name="bound", values=shares, lines=(f"Busy time bound by: {words}",))


def operator_rows(outcomes: Outcomes) -> pd.DataFrame:
    """One row an operator and processor that ran it: seconds by bound, joules, all replicas."""
    import pandas as pd

    rows = []
    for group in outcomes.groups:
        for index, op in enumerate(group.prepared.program.table.graph.ops):
            for unit, name in enumerate(group.processors):
                seconds = group.seconds[index, unit]
                if seconds.sum() > 0.0:
                    rows.append(
                        {
                            "operator": op.name,
                            "class": breakdown_class(op),
                            "processor": outcomes.unit_name(group, name),
                            "layers": op.layers,
                            "time_s": float(seconds.sum()),
                            **{
                                f"{bound}_s": float(value)
                                for bound, value in zip(BOUNDS, seconds, strict=True)
                            },
                            "energy_J": float(group.joules[index, unit].sum()),
                        }
                    )
    columns = ["operator", "class", "processor", "layers", "time_s"]
    columns += [*(f"{bound}_s" for bound in BOUNDS), "energy_J"]
    return pd.DataFrame(rows, columns=columns)
