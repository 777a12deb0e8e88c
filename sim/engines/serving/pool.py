"""Pool: replicas that are alike, on one table of requests, advanced together by the kernel."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sim.engines.scheduler import Scheduler
from sim.engines.serving.engine import Outcome, outcome_of
from sim.engines.serving.replica import (
    block_bytes,
    books_of,
    check_tiers,
    forget_blocks,
    most_tokens,
    replica_of,
    scratch_of,
)
from sim.kernel import pool, records
from sim.kernel.state import Books
from sim.mapping.program import Program
from sim.workload.traffic import Blocks

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

GAP_ROOM = 1 << 14
"""Gaps between tokens that a replica keeps until they are taken from it."""

EXACT_GAPS = 1 << 17
"""Most records of gaps that a replica keeps as they are: long runs would fill the memory."""
GAP_BITS = 15
"""Bits that gaps keep beyond that: within 2**-16, 15 millionths."""


def rounded(gaps: Floats) -> Floats:
    """`gaps` [n, 2] to so many bits, equal ones merged: far fewer records."""
    parts, exponents = np.frexp(gaps[:, 0])
    scale = 2.0**GAP_BITS
    values, which = np.unique(
        np.ldexp(np.round(parts * scale) / scale, exponents), return_inverse=True
    )
    return np.column_stack([values, np.bincount(which, weights=gaps[:, 1])])


@dataclass(frozen=True, kw_only=True, eq=False)
class Kind:
    """What replicas that are alike run: a program under a scheduler, `kv_B` of cache a device."""

    program: Program
    scheduler: Scheduler
    kv_B: float


@dataclass(kw_only=True, eq=False)
class Pool:
    """`count` replicas of a kind, of whose devices' work each second takes `slowdown`.

    Requests are rows of `table`, which other pools may work on too; `blocks` say what their prompts
    consist of, for a prefix cache. Of each replica `ended` [count] are requests that had ended when
    the pool was advanced last, and `issued` those handed over to it less those taken from it.
    """

    kind: Kind
    count: int
    table: Records
    blocks: Blocks | None = None
    slowdown: float = 1.0
    gaps: list[list[Floats]] = field(init=False)

    def __post_init__(self) -> None:
        kind, count = self.kind, self.count
        self.replica = replica_of(kind.program, kind.scheduler, kind.kv_B)
        if self.slowdown != 1.0:
            machine = kind.program.machine.copy()
            machine["slow"] = self.slowdown
            self.replica = self.replica._replace(machine=machine[0])
        batch = kind.scheduler.max_batch
        self.scratch = scratch_of(kind.program, self.replica, parts=2)
        own = books_of(
            kind.program,
            self.replica,
            tokens=most_tokens(kind.scheduler, kind.program.ahead),
            gaps=GAP_ROOM + 4 * batch,
            log=0,
        )
        self.states = np.zeros(count, records.ENGINE)
        self.waiting = np.zeros((count, 64), np.int64)
        self.running = np.zeros((count, batch), np.int64)
        self.picked = np.zeros((count, batch, 2), np.int64)
        self._begin_prefixes()
        self.books = Books(own.memo, *(np.zeros((count, *each.shape)) for each in own[1:]))
        self.ended = np.zeros(count, np.int64)
        self.issued = np.zeros(count, np.int64)
        self.gaps = [[] for _ in range(count)]

    def _begin_prefixes(self) -> None:
        """Empty prefix caches, of no blocks where the scheduler keeps none."""
        blocks = self.blocks if self.kind.scheduler.prefix_cache else None
        self.ids = np.zeros(0, np.int64) if blocks is None else blocks.ids
        known = int(self.ids.max(initial=-1)) + 1
        self.refs, self.older, self.newer = np.full((3, self.count, known), -1)
        forget_blocks(self.states)
        if blocks is not None:
            self.states["block_tokens"] = blocks.tokens
            block_B = block_bytes(self.kind.program, blocks.tokens)
            self.states["block_B"] = block_B
            check_tiers(self.kind.scheduler, block_B)

    def _queues(self) -> tuple[Numbers, ...]:
        """As `kernel.pool.advance` takes them."""
        return (
            self.waiting, self.running, self.picked, self.ids, self.refs, self.older, self.newer,
        )  # fmt: skip

    def hand_over(self, number: int, rows: Numbers, at_s: float) -> None:
        """Queue requests at replica `number`, which has been advanced to `at_s`."""
        state = self.states[number]
        tail = int(state["tail"])
        self._make_room(tail + len(rows))
        self.waiting[number, tail : tail + len(rows)] = rows
        state["tail"] = tail + len(rows)
        state["now_s"] = max(float(state["now_s"]), at_s)
        self.issued[number] += len(rows)

    def _make_room(self, tail: int) -> None:
        room = self.waiting.shape[1]
        if tail > room:
            more = np.zeros((self.count, max(tail, 2 * room) - room), np.int64)
            self.waiting = np.concatenate([self.waiting, more], axis=1)

    def advance(self, until_s: float) -> None:
        """Let all replicas work until `until_s`; iterations under way then end beyond it."""
        while True:
            full = pool.advance(
                self.replica, self.table, self._queues(), self.states,
                self.scratch, tuple(self.books), until_s, self.ended,
            )  # fmt: skip
            if full < 0:
                return
            self._take_gaps(full)

    def deal_to_least(
        self, first: int, last: int, alive: npt.NDArray[np.bool_], home: Numbers, turn: int
    ) -> int:
        """Advance to each arrival of requests [first, last) and give it to the least loaded.

        As `kernel.pool.deal_to_least`; returns whose turn is next.
        """
        while first < last:
            first, turn, full = pool.deal_to_least(
                self.replica, self.table, self._queues(), self.states,
                self.scratch, tuple(self.books), self.ended, self.issued, alive, home, first, last,
                turn,
            )  # fmt: skip
            if full >= 0:
                self._take_gaps(full)
            elif first < last:
                self._make_room(self.waiting.shape[1] + 1)
        return turn

    def at_work_until(self, number: int) -> float:
        """When the iteration under way at a replica ends: its clock."""
        return float(self.states[number]["now_s"])

    def drop(self, number: int) -> Numbers:
        """Take all requests from a replica that died, those that ran first; their cache is lost.

        Each goes on from the tokens it has, which are computed again with its prompt.
        """
        state = self.states[number]
        running = self.running[number, : state["running"]].copy()
        waiting = self.waiting[number, state["head"] : state["tail"]].copy()
        requests = self.table
        requests["preemptions"][running] += 1
        state["preemptions"] += len(running)
        for rows in (running, waiting):  # those preempted earlier wait with tokens of their own
            requests["status"][rows] = records.WAITING
            requests["target"][rows] = requests["input"][rows] + requests["generated"][rows]
            for name in ("prefilled", "layer", "on_way", "room"):
                requests[name][rows] = 0
            requests["kv_B"][rows] = requests["host_B"][rows] = 0.0
        state["head"] = state["tail"] = state["running"] = state["picked"] = 0
        state["kv_used_B"] = 0.0
        requests["shared"][running] = 0
        self.forget(number)
        dropped = np.concatenate([running, waiting])
        self.issued[number] -= len(dropped)
        return dropped

    def forget(self, number: int) -> None:
        """A replica's prefix cache is lost, its tiers and what it swapped."""
        self.refs[number] = -1
        own = self.states[number : number + 1]
        forget_blocks(own)
        for name in ("swapped", "host_used_B", "copy_s", "load_s", "load_end_s"):
            own[name] = 0

    def _take_gaps(self, number: int) -> None:
        count = int(self.states[number]["gaps"])
        if count:
            parts = self.gaps[number]
            parts.append(self.books.gaps[number, :count].copy())
            if sum(map(len, parts)) > EXACT_GAPS:
                self.gaps[number] = [rounded(np.concatenate(parts))]
            self.states[number]["gaps"] = 0

    def outcome(self, number: int, requests: Records) -> Outcome:
        """What one replica did, with the `requests` that count to it. Its gaps are given away."""
        self._take_gaps(number)
        own = Books(self.books.memo, *(each[number] for each in self.books[1:]))
        gaps = np.concatenate([np.zeros((0, 2)), *self.gaps[number]])
        self.gaps[number] = []
        return outcome_of(
            self.replica, self.kind.scheduler, self.scratch, own, self.states[number], requests,
            gaps, own.log,
        )  # fmt: skip
