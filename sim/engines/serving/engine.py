"""Engine: one replica serving requests, advanced by the compiled kernel between interactions."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import simpy

from sim.engines.scheduler import Scheduler
from sim.engines.serving import user_policy
from sim.engines.serving.copies import Copies, copies_of
from sim.engines.serving.replica import (
    block_bytes,
    books_of,
    check_tiers,
    forget_blocks,
    most_tokens,
    replica_of,
    scratch_of,
)
from sim.engines.serving.request_table import requests_of
from sim.kernel import iteration, records, sequences, serving
from sim.kernel import user_policy as user_policy_kernel
from sim.kernel.state import Books, Flow, Replica, Scratch
from sim.mapping.program import Program
from sim.workload.speculation import draws_of
from sim.workload.traffic import Blocks

Floats = npt.NDArray[np.float64]
Records = npt.NDArray[np.void]

GAP_ROOM = 1 << 18
ITERATIONS_PER_CALL = 1 << 17
"""Iterations between two chances to report progress; a log has room for as many between drains."""
ALWAYS = (0.0, math.inf)


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What one replica did. Times in seconds, energy in joules of all its devices.

    `requests` are `records.REQUEST` records in order of arrival; `gaps` [n, 2] seconds
    between tokens and how many such gaps; `seconds` [op, unit, bound] and `joules`
    [op, unit, part] add up what its operators took (the last unit is the links), `weights_B` [op]
    the weights that all its devices read; `operator_joules` has those of `copies` too;
    `cached_tokens` of the `asked_tokens` of its prompts came from the prefix cache; drafts were
    `verified` so many times, a sequence and iteration each, and `accepted_tokens` of them taken;
    `log` [iterations, columns] has those asked for.
    """

    requests: Records
    gaps: Floats
    seconds: Floats
    joules: Floats
    weights_B: Floats
    iterations: int
    preemptions: int
    busy_s: float
    host_s: float
    end_s: float
    operator_joules: float
    kv_peak_B: float
    kv_capacity_B: float
    prefill_tokens: int
    generated_tokens: int
    cached_tokens: int
    asked_tokens: int
    log: Floats
    verified: int = 0
    accepted_tokens: int = 0
    copies: Copies = field(default_factory=Copies)


def outcome_of(
    replica: Replica,
    scheduler: Scheduler,
    scratch: Scratch,
    books: Books,
    state: np.void,
    requests: Records,
    gaps: Floats,
    log: Floats,
) -> Outcome:
    """What a replica in this `state` (`records.ENGINE`) did; its books are settled by that."""
    iteration.settle(replica, scratch, books)
    copies = copies_of(replica, scheduler, state)
    return Outcome(
        requests=requests,
        gaps=gaps,
        seconds=books.seconds,
        joules=books.joules,
        weights_B=books.weights_B,
        copies=copies,
        iterations=int(state["iterations"]),
        preemptions=int(state["preemptions"]),
        busy_s=float(state["busy_s"]),
        host_s=float(state["host_s"]),
        end_s=float(state["now_s"]),
        operator_joules=float(books.joules.sum()) + copies.joules,
        kv_peak_B=float(state["kv_peak_B"]),
        kv_capacity_B=float(replica.policy["capacity_B"]),
        prefill_tokens=int(state["prefill_tokens"]),
        generated_tokens=int(state["generated_tokens"]),
        cached_tokens=int(state["cached_tokens"]),
        asked_tokens=int(state["asked_tokens"]),
        verified=int(state["verified"]),
        accepted_tokens=int(state["accepted"]),
        log=log,
    )


Array = TypeVar("Array", bound=npt.NDArray[Any])


def with_room(values: Array, size: int, fill: int = 0) -> Array:
    """`values` with room for `size` at least, and then for as many again.

    Requests are often handed over singly: what that copies in all is linear in how many come.
    """
    if size <= len(values):
        return values
    longer = np.full(max(size, 2 * len(values)), fill, values.dtype)
    longer[: len(values)] = values
    return longer  # type: ignore[return-value]


class Engine:
    """One replica: its queue, its running requests, and a SimPy process that advances it.

    Requests handed over may lie in the future: an open-loop source, which nothing here can
    influence, is handed over whole, and the kernel admits each request at its arrival. `horizon`
    tells until when nothing outside can touch this replica; by default nothing ever does but what
    follows from its own completions. The log keeps the first `log_iterations` iterations that are
    under way within `log_window_s` (from, until).
    """

    def __init__(
        self,
        env: simpy.Environment,
        program: Program,
        scheduler: Scheduler,
        kv_B: float,
        *,
        on_completion: Callable[[Engine], None] | None = None,
        on_progress: Callable[[Engine], None] | None = None,
        horizon: Callable[[], float] = lambda: math.inf,
        log_iterations: int = 0,
        log_window_s: tuple[float, float] = ALWAYS,
    ) -> None:
        self.env = env
        self.program = program
        self.horizon = horizon
        self.scheduler = scheduler
        self.replica = replica_of(program, scheduler, kv_B)
        self.on_completion = on_completion
        self.on_progress = on_progress
        self._requests = np.zeros(0, records.REQUEST)
        self._issued = 0
        self.waiting = np.zeros(0, np.int64)
        self.running = np.zeros(scheduler.max_batch, np.int64)
        self.picked = np.zeros((scheduler.max_batch, 2), np.int64)
        self.state = np.zeros(1, records.ENGINE)
        forget_blocks(self.state)
        self.ids, self.refs, self.older, self.newer = (np.zeros(0, np.int64) for _ in range(4))
        self._named = 0
        parts = 2 if scheduler.policy is None else self.replica.reach.shape[1] - 1
        self.scratch = scratch_of(program, self.replica, parts=parts)
        self.books = books_of(
            program,
            self.replica,
            tokens=most_tokens(scheduler, program.ahead),
            gaps=GAP_ROOM + 4 * scheduler.max_batch,
            log=ITERATIONS_PER_CALL if log_iterations else 0,
        )
        self.log_window_s = log_window_s
        self._log_room = log_iterations
        self._log_parts: list[Floats] = []
        self._gap_parts: list[Floats] = []
        self._wake = env.event()
        self._before = self._mark()

    @property
    def requests(self) -> Records:
        """Requests handed over so far, in order of arrival."""
        return self._requests[: self._issued]

    def submit(
        self,
        arrival_s: Floats,
        prompts: npt.NDArray[np.int64],
        outputs: npt.NDArray[np.int64],
        blocks: Blocks | None = None,
        priority: npt.NDArray[np.int64] | None = None,
        numbers: npt.NDArray[np.int64] | None = None,
        parent: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Hand over requests, sorted by arrival, none before those already handed over.

        `blocks` say what their prompts consist of; only a prefix cache asks. `numbers` are those
        of the whole traffic, by which what is accepted of their drafts is drawn, `parent` is as the
        trace has it.
        """
        new = requests_of(self.scheduler, arrival_s, prompts, outputs, blocks, priority, parent)
        if self.program.speculation is not None:
            if numbers is None:
                numbers = np.arange(self._issued, self._issued + len(new))
            new["draw"] = draws_of(self.program.seed, numbers)
        if self.scheduler.prefix_cache and blocks is not None:
            self._know(blocks, new)
        first, last = self._issued, self._issued + len(new)
        self._requests = with_room(self._requests, last)
        self.waiting = with_room(self.waiting, last)
        tail = int(self.state[0]["tail"])
        self._requests[first:last] = new
        self.waiting[tail : tail + len(new)] = np.arange(first, last)
        self._issued = last
        self.state[0]["tail"] = tail + len(new)
        if not self._wake.triggered:
            self._wake.succeed()

    def _know(self, blocks: Blocks, new: Records) -> None:
        """Note the blocks of new requests."""
        state = self.state[0]
        state["block_tokens"] = blocks.tokens
        state["block_B"] = block_bytes(self.program, blocks.tokens)
        check_tiers(self.scheduler, float(state["block_B"]))
        first, last = self._named, self._named + len(blocks.ids)
        new["first_block"] += first
        self.ids = with_room(self.ids, last)
        self.ids[first:last] = blocks.ids
        self._named = last
        known = int(blocks.ids.max(initial=-1)) + 1
        self.refs, self.older, self.newer = (
            with_room(each, known, -1) for each in (self.refs, self.older, self.newer)
        )

    def preload(self, generated: npt.NDArray[np.int64]) -> None:
        """Start with the first requests of the queue already running, `generated` tokens each.

        As many as fit the batch and the memory; they have no time to first token.
        """
        state, policy = self.state[0], self.replica.policy
        for tokens in generated[: self.running.size]:
            number = self.waiting[state["head"]]
            request = self.requests[number]
            assert 1 <= tokens < request["output"]
            need = sequences.kv_bytes(
                self.program.streams,
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
            request["last_s"] = self.env.now
            self.running[state["running"]] = number
            state["running"] += 1
            state["head"] += 1
            state["kv_used_B"] += need

    def _mark(self) -> Floats:
        """The clock, tokens generated and prefilled, and joules of operators so far."""
        state = self.state[0]
        counted = state["now_s"], state["generated_tokens"], state["prefill_tokens"]
        joules = copies_of(self.replica, self.scheduler, state).joules
        return np.array([*counted, state["operator_joules"] + joules])

    def done_by(self, at_s: float) -> Floats:
        """Tokens generated, tokens prefilled and joules of operators until `at_s`, shape [3].

        An engine runs ahead of the world to its next completion; within that stretch, linear.
        """
        before, after = self._before, self._mark()
        span = after[0] - before[0]
        share = min(max((at_s - before[0]) / span, 0.0), 1.0) if span > 0.0 else 1.0
        return np.asarray(before[1:] + share * (after[1:] - before[1:]))

    def run(self) -> Generator[simpy.Event, Any, None]:
        """The SimPy process: advance to the next event of the world, then let it happen."""
        state = self.state[0]
        while True:
            self._before = self._mark()
            reason = self._advance(self.horizon())
            self._drain_log()
            if state["now_s"] > self.env.now:
                yield self.env.timeout(float(state["now_s"]) - self.env.now)
                state["now_s"] = self.env.now
            if reason == records.COMPLETED and self.on_completion is not None:
                self.on_completion(self)
            elif reason == records.LOG_FULL:
                self._drain_gaps()
            elif reason == records.LIMIT and self.on_progress is not None:
                self.on_progress(self)
            elif reason == records.HORIZON:
                yield self.env.timeout(0.0)  # lets what happens now happen first
            elif reason == records.IDLE and state["head"] >= state["tail"]:
                self._wake = self.env.event()
                yield self._wake
                state["now_s"] = max(float(state["now_s"]), self.env.now)

    def flow(self) -> Flow:
        """Requests and where they stand, as the kernel takes them."""
        return Flow(
            requests=self._requests,
            waiting=self.waiting,
            running=self.running,
            picked=self.picked,
            ids=self.ids,
            refs=self.refs,
            older=self.older,
            newer=self.newer,
        )

    def need_B(self, number: int) -> float:
        """Bytes on each device that a request gets at admission."""
        return float(user_policy_kernel.room_for(self.replica, self._requests[number]))

    def _advance(self, horizon_s: float) -> int:
        stop = self.on_completion is not None
        if self.scheduler.policy is not None:
            policy = self.scheduler.policy
            return user_policy.advance(self, policy, horizon_s, ITERATIONS_PER_CALL, stop)
        return int(
            serving.serve(
                self.replica,
                self.flow(),
                self.state[0],
                self.scratch,
                self.books,
                horizon_s,
                ITERATIONS_PER_CALL,
                stop,
            )
        )

    def _drain_log(self) -> None:
        """Keep what was logged within the window, as long as there is room."""
        logged = self.books.log[: int(self.state[0]["logged"])]
        if not len(logged):
            return
        starts = logged[:, records.LOG_START_S]
        from_s, until_s = self.log_window_s
        inside = (starts + logged[:, records.LOG_SECONDS] > from_s) & (starts < until_s)
        kept = logged[inside][: self._log_room]
        self._log_parts.append(kept)
        self._log_room -= len(kept)
        self.state[0]["logged"] = 0
        if not self._log_room:
            self.books = self.books._replace(log=self.books.log[:0])

    def _drain_gaps(self) -> None:
        count = int(self.state[0]["gaps"])
        if count:
            self._gap_parts.append(self.books.gaps[:count].copy())
            self.state[0]["gaps"] = 0

    def gaps_so_far(self) -> Floats:
        """Gaps between tokens until now, [n, 2]: seconds and how many."""
        self._drain_gaps()
        return np.concatenate([np.zeros((0, 2)), *self._gap_parts])

    def outcome(self) -> Outcome:
        """Everything this replica did so far."""
        return outcome_of(
            self.replica,
            self.scheduler,
            self.scratch,
            self.books,
            self.state[0],
            self.requests,
            self.gaps_so_far(),
            np.concatenate([self.books.log[:0], *self._log_parts]),
        )
