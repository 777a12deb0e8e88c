"""Several engines of one kind on one table of requests, advanced together to a moment in time."""

from __future__ import annotations

from typing import Any

from sim.kernel.compiled import njit
from sim.kernel.records import LOG_FULL, NO_END
from sim.kernel.serving import serve
from sim.kernel.state import Books, Flow


@njit
def advance(
    replica: Any, requests: Any, queues: Any, states: Any, scratch: Any, ledgers: Any,
    until_s: float, ended: Any,
) -> int:  # fmt: skip
    """Let every engine work until `until_s`, which an iteration under way may exceed.

    `queues` are the fields of `Flow` without `requests`, `ledgers` those of `Books`, each with one
    more axis in front: the engine. Only `ids` and `memo` have none, which are the same for all.
    `ended` [engines] becomes how many requests had ended by `until_s`. Returns the first engine
    with no room left for gaps, or -1.
    """
    waiting, running, picked, ids, refs, older, newer = queues
    memo, visits, seconds, joules, weights_B, gaps, log = ledgers
    for number in range(states.shape[0]):
        engine = states[number]
        if engine.now_s <= until_s:
            ended[number] = engine.completed + engine.rejected
        if engine.now_s >= until_s or (engine.head >= engine.tail and engine.running == 0):
            continue
        flow = Flow(
            requests, waiting[number], running[number], picked[number], ids, refs[number],
            older[number], newer[number],
        )  # fmt: skip
        books = Books(
            memo, visits[number], seconds[number], joules[number], weights_B[number],
            gaps[number], log[number],
        )  # fmt: skip
        while engine.now_s < until_s and (engine.head < engine.tail or engine.running > 0):
            before = engine.completed + engine.rejected
            reason = serve(replica, flow, engine, scratch, books, until_s, NO_END, True)
            # it returns after the iteration in which one ends, so all of these end at its end
            over = engine.now_s > until_s
            ended[number] = before if over else engine.completed + engine.rejected
            if reason == LOG_FULL:
                return number
    return -1


@njit
def deal_to_least(
    replica: Any, requests: Any, queues: Any, states: Any, scratch: Any, ledgers: Any,
    ended: Any, issued: Any, alive: Any, home: Any, first: int, last: int, turn: int,
) -> Any:  # fmt: skip
    """Hand requests [first, last) one by one, as they arrive, to the engine with the fewest.

    Fewest requests that have not ended by then, of the `alive`; of equal ones the first from
    `turn` on. Answers to one prompt go together. `home` gets each one's engine. Returns the next
    request, the next turn and the engine with no room left for gaps (-1: none); stops early also
    where a queue is full.
    """
    waiting, engines = queues[0], states.shape[0]
    for number in range(first, last):
        now_s = requests[number].arrival_s
        full = advance(replica, requests, queues, states, scratch, ledgers, now_s, ended)
        if full >= 0:
            return number, turn, full
        best = -1
        parent = requests[number].parent
        if parent > 0 and number > 0 and requests[number - 1].parent == parent:
            best = home[number - 1]
        for step in range(engines if best < 0 else 0):
            engine = (turn + step) % engines
            if alive[engine] and (
                best < 0 or issued[engine] - ended[engine] < issued[best] - ended[best]
            ):
                best = engine
        state = states[best]
        if state.tail >= waiting.shape[1]:
            return number, turn, -1
        waiting[best, state.tail] = number
        state.tail += 1
        state.now_s = max(state.now_s, now_s)
        issued[best] += 1
        home[number] = best
        turn = (best + 1) % engines
    return last, turn, -1
