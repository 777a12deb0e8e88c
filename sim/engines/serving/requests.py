"""Requests: the one table that traffic becomes, whose rows are handed to replicas."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim.engines.scheduler import Scheduler
from sim.engines.serving.replica import Kind
from sim.kernel.records import DONE, REJECTED, REQUEST
from sim.workload.speculation import draws_of
from sim.workload.traffic import Blocks, Follows, Trace

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]


@dataclass(frozen=True, kw_only=True, eq=False)
class Requests:
    """`records.REQUEST` records, one a row, which every replica and source works on.

    `blocks` are those of all prompts: a request's begin at its `first_block`. `follows` says which
    rows wait for the answer to another one.
    """

    table: Records
    blocks: Blocks | None = None
    follows: Follows | None = None

    @classmethod
    def of(cls, kind: Kind, trace: Trace, *, extra_prompt: int = 0) -> Requests:
        """The requests of `trace` for replicas of a `kind`, in its order.

        `extra_prompt` tokens (image patches) come in front of every prompt. Where the scheduler
        keeps prefixes, requests have the blocks of the trace, of which whole ones can be shared;
        the last token of an answer is never computed, so no block ends with it.
        """
        scheduler = kind.scheduler
        table = np.zeros(len(trace.arrival_s), REQUEST)
        table["input"], table["output"] = trace.input_tokens + extra_prompt, trace.output_tokens
        table["target"] = table["input"]
        for name, values in trace.columns():
            table[name] = values
        table["admitted_s"] = table["first_s"] = table["last_s"] = math.nan
        if kind.program.speculation is not None:
            table["draw"] = draws_of(kind.program.seed, np.arange(len(table)))
        arrive(table, slice(None), trace.arrival_s, scheduler)
        blocks = trace.blocks if scheduler.prefix_cache else None
        if blocks is not None:
            named = np.diff(blocks.starts)
            table["first_block"] = blocks.starts[:-1]
            table["blocks"] = np.minimum(named, table["input"] // blocks.tokens)
            table["all_blocks"] = table["blocks"]
            if blocks.answers:
                tokens = table["input"] + table["output"] - 1
                table["all_blocks"] = np.minimum(named, tokens // blocks.tokens)
        return cls(table=table, blocks=trace.blocks, follows=trace.follows)

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.table)


def arrive(table: Records, rows: slice | Rows, at_s: float | Floats, scheduler: Scheduler) -> None:
    """Set when `rows` arrive, and by which number the queue is ordered."""
    table["arrival_s"][rows] = at_s
    if scheduler.order == "shortest":
        table["urgency"][rows] = table["input"][rows]
    elif scheduler.order == "deadline":
        due_s = scheduler.deadline_s + scheduler.deadline_s_per_token * table["input"][rows]
        table["urgency"][rows] = at_s + due_s
    elif scheduler.order == "priority":
        table["urgency"][rows] = table["priority"][rows]


def ended(table: Records, rows: Rows) -> npt.NDArray[np.bool_]:
    """Which of `rows` are done or were rejected."""
    status = table["status"][rows]
    return np.asarray((status == DONE) | (status == REJECTED))
