"""Slices: what an iteration does on each track of a timeline, as complete ("X") trace events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sim.engines.roofline import Step, asked_for, steps_of_layers, steps_of_parts
from sim.engines.serving.replica import layers_reached
from sim.graph import breakdown_class
from sim.kernel.records import (
    BOUND,
    BUSY_S,
    LOG_COLUMNS,
    LOG_DECODING,
    LOG_FIRST_LAYER,
    LOG_LAST_LAYER,
    LOG_MICROBATCHES,
    LOG_PROMPT_TOKENS,
    LOG_SECONDS,
    LOG_SEQUENCES,
    LOG_START_S,
    PIPELINE,
    SECONDS,
    UNIT,
)
from sim.mapping.program import Program
from sim.results.accounts.breakdown import BOUNDS
from sim.results.explain import Floats, operator_row
from sim.simulation.prepare import Prepared

ITERATIONS, HOST, UNITS = range(3)
"""Tracks of a process; the last is the first processor's. Links and pipeline follow processors."""
ROUNDING = 1e-9
"""Share of an iteration below which what is left of it is no time but rounding."""


def thread(pid: int, track: int) -> int:
    """Thread number of a track: in all processes a different one, and none that of a process."""
    return 1000 * pid + track


def replayed(program: Program, logged: Floats, reach: Floats) -> list[Step]:
    """The iteration that the engine logged, operator by operator, one part after the other.

    `reach` as `layers_reached` gives it.
    """
    if program.ahead:
        return _replayed_drafts(program, logged)
    features = logged[LOG_COLUMNS:].reshape(len(program.streams), 4, 4)
    first, last = int(logged[LOG_FIRST_LAYER]), int(logged[LOG_LAST_LAYER])
    inside = reach[:, last] - reach[:, first]
    sequences = float(logged[LOG_SEQUENCES])
    return steps_of_layers(program, features, float(logged[LOG_MICROBATCHES]), sequences, inside)


def _replayed_drafts(program: Program, logged: Floats) -> list[Step]:
    """As `replayed`, with speculation: further passes of the draft beside prompts come first."""
    first, further = logged[LOG_COLUMNS:].reshape(2, len(program.streams), 4, 4)
    alone = logged[LOG_DECODING] > 0.0 and logged[LOG_PROMPT_TOKENS] == 0.0
    ahead = float(program.ahead)
    shares = np.where(program.drafts, ahead if alone else 1.0, 1.0)
    parts: list[tuple[Floats, Floats | None]] = [(first, shares)]
    if further.any():
        parts.insert(0, (further, np.where(program.drafts, ahead - 1.0, 0.0)))
    return steps_of_parts(program, parts, 1.0, float(logged[LOG_SEQUENCES]))


class Slices:
    """Slices of one replica, process `pid`; no two of a track overlap.

    Host time comes first, then operators one after the other; those of a group (co-processing)
    begin together, each on its own unit. Begin and end are rounded to whole nanoseconds one by one,
    so that rounding does not add up.
    """

    def __init__(self, prepared: Prepared, pid: int) -> None:
        self.prepared = prepared
        self.pid = pid
        table = prepared.program.table
        self._reach = layers_reached(table.graph)
        self._blocks = _blocks(table.records["group"].tolist())
        self._classes = [breakdown_class(op) for op in table.graph.ops]
        self._kinds = table.records["kind"].tolist()
        self._names = [each.name for each in prepared.program.system.device.processors]
        self._demands = self._costs = np.empty(0)
        self._ends: dict[int, int] = {}
        self._words: dict[int, tuple[bytes, dict[str, Any]]] = {}

    def iteration(self, logged: Floats) -> Iterator[dict[str, Any]]:
        """The slices of one iteration, from the engine's log of it."""
        program = self.prepared.program
        start, seconds = float(logged[LOG_START_S]), float(logged[LOG_SECONDS])
        decoding, prompt = int(logged[LOG_DECODING]), int(logged[LOG_PROMPT_TOKENS])
        name = "decode" if not prompt else "mixed" if decoding else "prefill"
        about: dict[str, Any] = {"decoding": decoding, "prompt_tokens": prompt}
        yield self._slice(ITERATIONS, name, "iteration", start, seconds, about)
        parts = replayed(program, logged, self._reach)
        host = passed = parts[0].host_s
        if host > 0.0:
            yield self._slice(HOST, "host", "host", start, host, {"seconds": host})
        copies = seconds - parts[0].seconds
        if copies > ROUNDING * seconds:
            about = {"seconds": copies, "why": "caches come from or go to memory beyond the device"}
            yield self._slice(HOST, "copies", "copies", start + passed, copies, about)
            passed += copies
        for done in parts:
            yield from self._operators(done, start + passed)
            passed += float(done.rows[:, SECONDS].sum())
        cut = program.layout.pp > 1 or program.split is not None
        if cut and seconds - passed > ROUNDING * seconds:
            about = {
                "seconds": seconds - passed,
                "microbatches": parts[0].microbatches,
                "why": "further microbatches follow, paced by the longest stage or side",
            }
            track = UNITS + len(self._names) + 1
            yield self._slice(
                track, "pipeline", "pipeline", start + passed, seconds - passed, about
            )

    def _operators(self, done: Step, start: float) -> Iterator[dict[str, Any]]:
        program = self.prepared.program
        self._demands, self._costs = asked_for(program, done)
        busy, adds = done.rows[:, BUSY_S].tolist(), done.rows[:, SECONDS].tolist()
        units = done.chosen[:, UNIT].tolist()
        for block in self._blocks:
            free: dict[int, float] = {}
            for index in block:
                if busy[index] <= 0.0:
                    continue
                unit = units[index]
                begin = free.get(unit, start)
                free[unit] = begin + busy[index]
                yield self._slice(
                    UNITS + (len(self._names) if unit < 0 else unit),
                    program.table.graph.ops[index].name,
                    self._classes[index],
                    begin,
                    busy[index],
                    {"seconds": adds[index], **self._about(done, index)},
                )
            start += sum(adds[index] for index in block)

    def _about(self, done: Step, index: int) -> dict[str, Any]:
        """Bound, unit, Op/B and why, in the words of `explain`.

        While the same sequences decode most operators stay as they are: words are kept until what
        they are about changes. A whole model in metal is one operator, whose words name more.
        """
        state = b"".join(
            each[index].tobytes() for each in (self._demands, self._costs, done.rows, done.chosen)
        )
        known = self._words.get(index)
        if known is not None and known[0] == state and self._kinds[index] != PIPELINE:
            return known[1]
        op = self.prepared.program.table.graph.ops[index]
        layers = op.layers * done.shares[index]
        asked, costs = self._demands[index] * layers, self._costs[index]
        row = operator_row(self.prepared, done, index, op, asked, costs)
        about = {"bound": BOUNDS[int(done.chosen[index, BOUND])], "unit": row["unit"]}
        if row["op_per_B"] is not None:
            about["op_per_B"] = float(f"{row['op_per_B']:.4g}")
        about["why"] = row["why"]
        self._words[index] = state, about
        return about

    def _slice(
        self,
        track: int,
        name: str,
        category: str,
        start: float,
        seconds: float,
        args: dict[str, Any],
    ) -> dict[str, Any]:
        begin = max(round(start * 1e9), self._ends.get(track, 0))
        end = self._ends[track] = max(round((start + seconds) * 1e9), begin)
        return {
            "name": name,
            "ph": "X",
            "cat": category,
            "ts": begin / 1e3,
            "dur": (end - begin) / 1e3,
            "pid": self.pid,
            "tid": thread(self.pid, track),
            "args": args,
        }


def _blocks(groups: list[int]) -> list[list[int]]:
    """Operators that run one after the other; those of a group, at the same time, are one block."""
    blocks: list[list[int]] = []
    found: dict[int, list[int]] = {}
    for index, group in enumerate(groups):
        if group < 0 or group not in found:
            blocks.append([])
            found[group] = blocks[-1]
        found[group].append(index)
    return blocks
