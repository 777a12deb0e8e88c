"""A replica advanced by a user's policy, one iteration at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sim.engines.policy import Iteration, View
from sim.errors import ConfigError, Problem
from sim.kernel import records, user_policy
from sim.kernel.state import (
    BAD_LAYERS,
    BAD_TOKENS,
    BATCH_FULL,
    FINE,
    LOADING,
    NO_MEMORY,
    NO_PROMPT,
    NOT_DECODING,
    NOT_SHOWN,
    SWAPPED,
    TWICE,
    UNKNOWN,
    Flow,
)

Numbers = npt.NDArray[np.int64]

WRONG = {
    UNKNOWN: "there is no such request",
    NOT_DECODING: "it does not decode: only sequences of `view.decoding` do",
    NO_PROMPT: "it has no prompt to run: only those of `view.waiting` and `view.prefilling` have",
    BAD_LAYERS: "its layers are wrong: they begin where its tokens stopped (request field "
    "`layer`), and end behind that, at the model's last layer at most",
    BAD_TOKENS: "its tokens are wrong: 1 or more, what is left of the prompt at most, and "
    "all of those on their way",
    NO_MEMORY: "there is no KV memory for it",
    BATCH_FULL: "the batch is full",
    TWICE: "it is named twice",
    SWAPPED: "caches in host memory come back before anything is admitted, by themselves",
    LOADING: "blocks of its prompt are being loaded: `view.prefilling` has it once they are there",
    NOT_SHOWN: "a timeline or an operator trace can't show prompts that pass some of the "
    "layers, but for the built-in layered prefill",
}


class Replicas(Protocol):
    """What a policy is asked for: replicas by number, as `pool.Pool` holds them."""

    states: Any
    replica: Any
    scratch: Any
    room: Any

    def flow(self, number: int) -> Flow:
        """Requests on their way in a replica."""

    def books_of(self, number: int) -> Any:
        """What a replica keeps of its iterations."""


def advance(
    pool: Replicas, number: int, policy: Callable[[View], Iteration], until_s: float
) -> int:
    """As `serving.serve`, with a policy of the user's. ConfigError for what can't be done."""
    state, replica = pool.states[number], pool.replica
    flow, books = pool.flow(number), pool.books_of(number)
    view = View(pool, number)
    layers = replica.reach.shape[1] - 1
    whole = np.array([0, layers])
    ended = state["completed"] + state["rejected"]
    last = state["iterations"] + pool.room.iterations
    user_policy.settle(replica, flow, state)
    while True:
        if state["completed"] + state["rejected"] > ended:
            return records.COMPLETED
        if state["now_s"] >= until_s:
            return records.HORIZON
        if state["iterations"] >= last:
            return records.LIMIT
        if state["gaps"] + 2 * len(flow.running) + 2 > len(books.gaps):
            return records.LOG_FULL
        wanted = policy(view)
        if not isinstance(wanted, Iteration):
            raise _refused(view, Iteration(), f"an Iteration is due, this is {wanted!r}", None)
        if not len(wanted.decode) and not wanted.prompts:
            reason = _wait(flow, state, view, until_s)
            if reason is not None:
                return reason
            user_policy.settle(replica, flow, state)
            continue
        try:
            decodes = np.asarray(wanted.decode)
            if decodes.dtype.kind not in "iu" and decodes.size:
                raise TypeError(f"decode holds {decodes.dtype} rather than numbers of requests")
            decodes = decodes.astype(np.int64)
            prompts, cuts = _rows(wanted, layers, whole)
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise _refused(view, Iteration(), f"no iteration can be read: {error}", None) from error
        wrong, row = user_policy.asked_iteration(
            replica, flow, state, pool.scratch, books, decodes, prompts, cuts
        )
        if wrong != FINE:
            raise _refused(view, wanted, WRONG[wrong], int(row))


def _rows(wanted: Iteration, layers: int, whole: Numbers) -> tuple[Numbers, Numbers]:
    """Prompts [n, 4] as the kernel takes them, and where the layers are cut."""
    rows = np.array(
        [
            (each.number, each.tokens, each.first, layers if each.last is None else each.last)
            for each in wanted.prompts
        ]
    ).reshape(-1, 4)
    if rows.size and rows.dtype.kind not in "iu":
        raise TypeError(f"a prompt holds {rows.dtype} rather than whole numbers")
    rows = rows.astype(np.int64)
    inside = rows[:, 2:]
    if not inside.size or (inside[:, 0].max() == 0 and inside[:, 1].min() == layers):
        return rows, whole
    return rows, np.unique(np.concatenate([whole, np.clip(inside.ravel(), 0, layers)]))


def _wait(flow: Flow, state: np.void, view: View, until_s: float) -> int | None:
    """Move the clock to the next arrival or loaded prompt; if there is none, why it stops."""
    queue = flow.waiting[state["head"] : state["tail"]]
    running = flow.running[: state["running"]]
    arrivals, ready = (view.requests[name] for name in ("arrival_s", "ready_s"))
    due = np.concatenate([arrivals[queue], ready[running]])
    later = due[due > state["now_s"]]
    if len(later):
        state["now_s"] = min(float(later.min()), until_s)
        return None
    if until_s < np.inf:
        state["now_s"] = until_s
        return None
    if len(queue) or state["running"]:
        raise _refused(view, Iteration(), "nothing more arrives, and it asks for nothing", None)
    return records.IDLE


def _refused(view: View, wanted: Iteration, why: str, number: int | None) -> ConfigError:
    """What the policy asked for, of which request, and the state that it saw."""
    state = (
        f"at {view.now_s:.6g} s with {len(view.waiting)} waiting, {len(view.prefilling)} in "
        f"prefill, {len(view.decoding)} decoding (at most {view.max_batch} run), "
        f"{view.free_B:.6g} B of KV memory free, {view.layers} layers"
    )
    about = ""
    if number is not None:
        row = next((each for each in wanted.prompts if each.number == number), None)
        about = f"request {number} ({'decode' if row is None else row}): "
        if 0 <= number < len(view.requests):
            own = view.requests[number]
            fields = ("input", "target", "prefilled", "generated", "layer", "on_way")
            known = ", ".join(f"{name} {own[name]}" for name in fields)
            state += f"; request {number} has {known}"
    return ConfigError([Problem(path="scheduler.policy", message=f"{about}{why}; {state}")])
