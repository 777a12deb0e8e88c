"""Operator trace: one row an operator execution, as the layer graph feeds the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.engines.roofline import Step, asked_for
from sim.engines.serving.replica import layers_reached
from sim.graph import breakdown_class
from sim.kernel.records import (
    BOUND,
    BUSY_S,
    JOULES,
    LOG_START_S,
    SECONDS,
    UNIT,
)
from sim.mapping.program import Program
from sim.results.accounts.breakdown import BOUNDS
from sim.results.trace_events import replayed
from sim.simulation.prepare import Prepared
from sim.simulation.serve import serve

Floats = npt.NDArray[np.float64]

COLUMNS = (
    "replica", "iteration", "start_s", "operator", "class", "layers", "tokens", "flops",
    "weight_B", "kv_B", "activation_B", "message_B", "processor", "bound", "time_s", "busy_s",
    "energy_J",
)  # fmt: skip


def operator_trace(prepared: Prepared, iterations: int) -> Iterator[dict[str, Any]]:
    """Rows of the first `iterations` iterations of every replica, in order of execution.

    Counts, seconds and joules are of all `layers` layers, one device and, where a pipeline cuts
    the batch, one microbatch; operators start one after the other, after host time. `time_s` is
    what an operator adds to the iteration: 0 where another unit, working at the same time, is
    slower; `busy_s` is how long its own unit works.
    """
    program = prepared.program
    names = [each.name for each in prepared.program.system.device.processors]
    reach = layers_reached(program.table.graph)
    for replica, outcome in enumerate(serve(prepared, log=iterations).outcomes):
        for number, logged in enumerate(outcome.log):
            parts = replayed(program, logged, reach)
            start = float(logged[LOG_START_S]) + parts[0].host_s
            for done, index, asked in _executions(program, parts):
                op, record = program.table.graph.ops[index], program.table.records[index]
                seconds, busy = map(float, done.rows[index, [SECONDS, BUSY_S]])
                chosen, layers = int(done.chosen[index, UNIT]), op.layers * done.shares[index]
                tokens = float(done.features[int(record["stream"]), int(record["phase"]), 0])
                yield {
                    "replica": replica,
                    "iteration": number,
                    "start_s": start,
                    "operator": op.name,
                    "class": breakdown_class(op),
                    "layers": round(layers),
                    "tokens": tokens,
                    "flops": float(asked[0] * layers),
                    "weight_B": float(asked[1] * layers),
                    "kv_B": float(asked[2] * layers),
                    "activation_B": float(asked[3] * layers),
                    "message_B": float(record["message_B_per_token"]) * tokens * layers,
                    "processor": "link" if chosen < 0 else names[chosen],
                    "bound": BOUNDS[int(done.chosen[index, BOUND])],
                    "time_s": seconds,
                    "busy_s": busy,
                    "energy_J": float(done.rows[index, JOULES].sum()),
                }
                start += seconds


def _executions(program: Program, parts: list[Step]) -> Iterator[tuple[Step, int, Floats]]:
    """Operators of an iteration that work, with what one layer asks for: flops and bytes [4]."""
    for done in parts:
        demands, _ = asked_for(program, done)
        asked = np.nan_to_num(demands)
        for index in np.flatnonzero(done.rows[:, BUSY_S] > 0.0):
            yield done, int(index), asked[index]
