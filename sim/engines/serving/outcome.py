"""Outcome: what replicas did, and the window of time in which a run measures them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sim.engines.scheduler import Scheduler
from sim.engines.serving.copies import Copies, copies_of
from sim.kernel import iteration
from sim.kernel.records import DONE
from sim.kernel.state import Books, Replica, Scratch

Floats = npt.NDArray[np.float64]
Records = npt.NDArray[np.void]

Progress = Callable[[int, int, float], None]
"""Called now and then with requests ended, requests in all, and simulated seconds."""
ALWAYS = (0.0, math.inf)


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What is looked at while replicas work.

    Each logs the first `log_iterations` iterations under way within `log_window_s` (from, until).
    """

    on_progress: Progress | None = None
    log_iterations: int = 0
    log_window_s: tuple[float, float] = ALWAYS

    def report(self, ended: int, total: int, now_s: float) -> None:
        """Tell how far a run is, where somebody listens."""
        if self.on_progress is not None:
            self.on_progress(ended, total, now_s)


UNWATCHED = Watch()


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


@dataclass(frozen=True, kw_only=True)
class Window:
    """When measuring began and ended, and what all replicas did in between.

    `first_gaps` are the records of each outcome's `gaps` that belong to the time before.
    """

    from_s: float
    until_s: float
    generated_tokens: float
    prefill_tokens: float
    operator_joules: float
    first_gaps: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """Outcomes of all replicas, and the window that metrics count in."""

    outcomes: tuple[Outcome, ...]
    window: Window


def whole_run(outcomes: tuple[Outcome, ...]) -> Served:
    """All of an open loop: from the first arrival to the last completion."""
    arrivals = np.concatenate([outcome.requests["arrival_s"] for outcome in outcomes])
    ends = np.concatenate(
        [outcome.requests["last_s"][outcome.requests["status"] == DONE] for outcome in outcomes]
    )
    first = float(arrivals.min())
    window = Window(
        from_s=first,
        until_s=float(ends.max(initial=first)),
        generated_tokens=sum(outcome.generated_tokens for outcome in outcomes),
        prefill_tokens=sum(outcome.prefill_tokens for outcome in outcomes),
        operator_joules=sum(outcome.operator_joules for outcome in outcomes),
        first_gaps=(0,) * len(outcomes),
    )
    return Served(outcomes=outcomes, window=window)
