"""Pool: replicas that are alike, on one table of requests, advanced by the compiled kernel."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from sim.engines.serving import user_policy
from sim.engines.serving.copies import copies_of
from sim.engines.serving.outcome import UNWATCHED, Outcome, Watch, outcome_of
from sim.engines.serving.replica import (
    Kind,
    block_bytes,
    books_of,
    check_tiers,
    forget_blocks,
    most_tokens,
    replica_of,
    scratch_of,
)
from sim.engines.serving.requests import Requests
from sim.kernel import records, sequences, serving
from sim.kernel import user_policy as user_policy_kernel
from sim.kernel.state import Books, Flow

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

GAP_BITS = 15
"""Bits that gaps keep where there are too many: within 2**-16, 15 millionths."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a replica keeps: `gaps` between tokens until they are taken from it.

    Of these `exact` ones stay as they are: long runs would fill the memory. After `iterations` it
    stops for a report, and its log, which has room for as many, is drained.
    """

    gaps: int
    exact: int
    iterations: int


OF_SYSTEM: Final = Room(gaps=1 << 18, exact=records.NO_END, iterations=1 << 17)
OF_FLEET: Final = Room(gaps=1 << 14, exact=1 << 17, iterations=records.NO_END)
"""What replicas of one system keep, and those of a fleet."""


def rounded(gaps: Floats) -> Floats:
    """`gaps` [n, 2] to so many bits, equal ones merged: far fewer records."""
    parts, exponents = np.frexp(gaps[:, 0])
    scale = 2.0**GAP_BITS
    values, which = np.unique(
        np.ldexp(np.round(parts * scale) / scale, exponents), return_inverse=True
    )
    return np.column_stack([values, np.bincount(which, weights=gaps[:, 1])])


@dataclass(kw_only=True, eq=False)
class Pool:
    """`count` replicas of a `kind`, of whose devices' work each second takes `slowdown`.

    They work on rows of `requests`, which other pools may work on too. Of each replica `ended`
    [count] are requests that had ended when the pool was advanced last, and `issued` those handed
    over to it less those taken from it.
    """

    kind: Kind
    count: int
    requests: Requests
    slowdown: float = 1.0
    room: Room = OF_FLEET
    watch: Watch = UNWATCHED
    on_pause: Callable[[], None] | None = None
    """Called where the kernel returns before it is done, after so many iterations."""
    gaps: list[list[Floats]] = field(init=False)

    def __post_init__(self) -> None:
        kind, count, scheduler = self.kind, self.count, self.kind.scheduler
        self.replica = replica_of(kind)
        if self.slowdown != 1.0:
            machine = kind.program.machine.copy()
            machine["slow"] = self.slowdown
            self.replica = self.replica._replace(machine=machine[0])
        layers = self.replica.reach.shape[1] - 1
        parts = 2 if scheduler.policy is None else max(layers, 2)
        self.scratch = scratch_of(kind.program, self.replica, parts=parts)
        self._log_left = [self.watch.log_iterations] * count
        books = books_of(
            kind.program,
            self.replica,
            tokens=most_tokens(scheduler, kind.program.ahead),
            gaps=self.room.gaps + 4 * scheduler.max_batch,
            log=self.room.iterations if self.watch.log_iterations else 0,
        )
        self.books = Books(books.memo, *(np.zeros((count, *each.shape)) for each in books[1:]))
        self.states = np.zeros(count, records.ENGINE)
        self._begin()
        self.ended = np.zeros(count, np.int64)
        self.issued = np.zeros(count, np.int64)
        self.gaps = [[] for _ in range(count)]
        self._logs: list[list[Floats]] = [[] for _ in range(count)]

    def _begin(self) -> None:
        """Empty queues and prefix caches, of no blocks where the scheduler keeps none."""
        count, batch = self.count, self.kind.scheduler.max_batch
        blocks = self.requests.blocks if self.kind.scheduler.prefix_cache else None
        ids = np.zeros(0, np.int64) if blocks is None else blocks.ids
        refs, older, newer = np.full((3, count, int(ids.max(initial=-1)) + 1), -1)
        forget_blocks(self.states)
        if blocks is not None:
            block_B = block_bytes(self.kind.program, blocks.tokens)
            self.states["block_tokens"], self.states["block_B"] = blocks.tokens, block_B
            check_tiers(self.kind.scheduler, block_B)
        self.flows = Flow(
            requests=self.requests.table,
            waiting=np.zeros((count, 64), np.int64),
            running=np.zeros((count, batch), np.int64),
            picked=np.zeros((count, batch, 2), np.int64),
            ids=ids,
            refs=refs,
            older=older,
            newer=newer,
        )

    def flow(self, number: int) -> Flow:
        """The queue, running requests and blocks of one replica."""
        requests, waiting, running, picked, ids, *blocks = self.flows
        return Flow(
            requests, waiting[number], running[number], picked[number], ids,
            *(each[number] for each in blocks),
        )  # fmt: skip

    def books_of(self, number: int) -> Books:
        """What adds up at one replica."""
        return Books(self.books.memo, *(each[number] for each in self.books[1:]))

    def hand_over(self, number: int, rows: Numbers, at_s: float) -> None:
        """Queue requests at replica `number`, which has been advanced to `at_s`."""
        state = self.states[number]
        tail = int(state["tail"])
        self._make_room(tail + len(rows))
        self.flows.waiting[number, tail : tail + len(rows)] = rows
        state["tail"] = tail + len(rows)
        state["now_s"] = max(float(state["now_s"]), at_s)
        self.issued[number] += len(rows)

    def _make_room(self, tail: int) -> None:
        room = self.flows.waiting.shape[1]
        if tail > room:
            more = np.zeros((self.count, max(tail, 2 * room) - room), np.int64)
            longer = np.concatenate([self.flows.waiting, more], axis=1)
            self.flows = self.flows._replace(waiting=longer)

    def preload(self, number: int, generated: Numbers) -> None:
        """Start with the first requests of a queue already running, `generated` tokens each.

        As many as fit the batch and the memory; they have no time to first token.
        """
        state, policy, flow = self.states[number], self.replica.policy, self.flow(number)
        for tokens in generated[: flow.running.size]:
            row = flow.waiting[state["head"]]
            request = self.requests.table[row]
            assert 1 <= tokens < request["output"]
            need = sequences.kv_bytes(
                self.replica.streams,
                policy,
                request["input"],
                request["input"]
                + (request["output"] if policy["reserve_full"] else tokens)
                + policy["ahead"],
            )
            if state["kv_used_B"] + need > policy["capacity_B"]:
                break
            request["generated"], request["kv_B"] = tokens, need
            request["prefilled"] = request["target"]
            request["status"] = records.RUNNING
            request["last_s"] = state["now_s"]
            flow.running[state["running"]] = row
            state["running"] += 1
            state["head"] += 1
            state["kv_used_B"] += need

    def advance(self, until_s: float) -> None:
        """Let all replicas work until `until_s`; iterations under way then end beyond it."""
        alone = self.count == 1 and until_s == math.inf  # spares compiling `serving.advance`
        if self.kind.scheduler.policy is not None or alone:
            for number in range(self.count):
                self._advance_one(number, until_s)
            return
        stopped = 0
        while stopped >= 0:
            stopped = serving.advance(
                self.replica, self.flows, self.states, self.scratch, self.books, until_s,
                self.room.iterations, self.ended,
            )  # fmt: skip
            if stopped >= 0:
                self._drain(stopped)
        for number in range(self.count):
            self._drain_log(number)

    def _advance_one(self, number: int, until_s: float) -> None:
        """As `kernel.serving.advance` for one replica."""
        state = self.states[number]
        if state["now_s"] <= until_s:
            self.ended[number] = self.over(number)
        while state["now_s"] < until_s and (state["head"] < state["tail"] or state["running"] > 0):
            before = self.over(number)
            self.step(number, until_s, stop_at_completion=until_s < math.inf)
            self.ended[number] = before if state["now_s"] > until_s else self.over(number)

    def step(self, number: int, until_s: float, *, stop_at_completion: bool = True) -> int:
        """Let one replica work until `until_s`, or a request of it ends; why it stopped."""
        state, policy = self.states[number], self.kind.scheduler.policy
        while True:
            if policy is not None:
                reason = user_policy.advance(self, number, policy, until_s)
            else:
                reason = serving.serve(
                    self.replica, self.flow(number), state, self.scratch, self.books_of(number),
                    until_s, self.room.iterations, stop_at_completion,
                )  # fmt: skip
            self._drain_log(number)
            if reason not in (records.LOG_FULL, records.LIMIT):
                return int(reason)
            self._drain(number)

    def deal_to_least(
        self, first: int, last: int, alive: npt.NDArray[np.bool_], home: Numbers, turn: int
    ) -> int:
        """Advance to each arrival of requests [first, last) and give it to the least loaded.

        As `kernel.serving.deal_to_least`; returns whose turn is next.
        """
        while first < last:
            first, turn, full = serving.deal_to_least(
                self.replica, self.flows, self.states, self.scratch, self.books, self.ended,
                self.issued, alive, home, first, last, turn,
            )  # fmt: skip
            if full >= 0:
                self._drain(full)
            elif first < last:
                self._make_room(self.flows.waiting.shape[1] + 1)
        return turn

    def over(self, number: int) -> int:
        """Requests of a replica that are done or were rejected."""
        state = self.states[number]
        return int(state["completed"] + state["rejected"])

    def clock_s(self, number: int) -> float:
        """When the iteration under way at a replica ends."""
        return float(self.states[number]["now_s"])

    def need_B(self, number: int, row: int) -> float:
        """Bytes by which a request makes the memory in use more, as `View.need_B`."""
        state, flow = self.states[number], self.flow(number)
        need_B = user_policy_kernel.need_at_admission
        return float(need_B(self.replica, flow, state, flow.requests[row]))

    def tokens_left(self, number: int, row: int) -> int:
        """Tokens of a prompt to compute yet, as `View.left`."""
        state, flow = self.states[number], self.flow(number)
        left = user_policy_kernel.tokens_left
        return int(left(self.replica, flow, state, flow.requests[row]))

    def mark(self, number: int) -> Floats:
        """A replica's clock, tokens generated and prefilled, and joules of operators so far."""
        state = self.states[number]
        counted = state["now_s"], state["generated_tokens"], state["prefill_tokens"]
        joules = copies_of(self.replica, self.kind.scheduler, state).joules
        return np.array([*counted, state["operator_joules"] + joules])

    def drop(self, number: int) -> Numbers:
        """Take all requests from a replica that died, those that ran first; their cache is lost.

        Each goes on from the tokens it has, which are computed again with its prompt.
        """
        state = self.states[number]
        flow, requests = self.flow(number), self.requests.table
        running = flow.running[: state["running"]].copy()
        waiting = flow.waiting[state["head"] : state["tail"]].copy()
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
        self.flows.refs[number] = -1
        state = self.states[number : number + 1]
        forget_blocks(state)
        for name in ("swapped", "host_used_B", "copy_s", "load_s", "load_end_s"):
            state[name] = 0

    def _drain(self, number: int) -> None:
        """Take gaps and what was logged where there is no room for more; a chance to look on."""
        nearly = self.books.gaps.shape[1] - 2 * self.kind.scheduler.max_batch - 2
        if self.states[number]["gaps"] > nearly:
            self._take_gaps(number)
        self._drain_log(number)
        if self.on_pause is not None:
            self.on_pause()

    def _take_gaps(self, number: int) -> None:
        count = int(self.states[number]["gaps"])
        if count:
            parts = self.gaps[number]
            parts.append(self.books.gaps[number, :count].copy())
            if sum(map(len, parts)) > self.room.exact:
                self.gaps[number] = [rounded(np.concatenate(parts))]
            self.states[number]["gaps"] = 0

    def _drain_log(self, number: int) -> None:
        """Keep what was logged within the window, as long as there is room."""
        logged = self.books.log[number, : int(self.states[number]["logged"])]
        if not len(logged):
            return
        starts = logged[:, records.LOG_START_S]
        from_s, until_s = self.watch.log_window_s
        inside = (starts + logged[:, records.LOG_SECONDS] > from_s) & (starts < until_s)
        kept = logged[inside][: self._log_left[number]]
        self._logs[number].append(kept)
        self._log_left[number] -= len(kept)
        self.states[number]["logged"] = 0
        if not any(self._log_left):
            self.books = self.books._replace(log=self.books.log[:, :0])

    def gaps_so_far(self, number: int) -> Floats:
        """Gaps between tokens until now, [n, 2]: seconds and how many."""
        self._take_gaps(number)
        return np.concatenate([np.zeros((0, 2)), *self.gaps[number]])

    def outcome(self, number: int, requests: Records) -> Outcome:
        """What one replica did, with the `requests` that count to it. Its gaps are given away."""
        gaps = self.gaps_so_far(number)
        self.gaps[number] = []
        books = self.books_of(number)
        log = np.concatenate([books.log[:0], *self._logs[number]])
        return outcome_of(
            self.replica, self.kind.scheduler, self.scratch, books, self.states[number], requests,
            gaps, log,
        )  # fmt: skip
