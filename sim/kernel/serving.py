"""The serving loop, compiled: iterations of one engine, many in a call.

Between two interactions (a horizon set by the event simulation) `serve` advances many iterations
in one call. It contains no duration: every second comes from `passes`. While a fixed set of
sequences decodes, only operators that depend on cached tokens are timed anew each step.
"""

from __future__ import annotations

import numpy as np

from sim.kernel import passes
from sim.kernel import records as r
from sim.kernel.arrays import Bools, Floats, Ints, Table
from sim.kernel.compiled import njit
from sim.kernel.copies import swap_in
from sim.kernel.decode_run import decode_stretch, stretch_length
from sim.kernel.iteration import microbatches, share_layers, without_prompts
from sim.kernel.requests import (
    choose,
    close_gap,
    compact,
    decoding,
    emit,
    finish,
    grow,
    prefilled,
    take_ready,
)
from sim.kernel.speculation import speculative_iteration
from sim.kernel.state import Books, Flow, Replica, Scratch
from sim.kernel.steps import Work, add_decodes, charge_all, fill_prompts, run_parts
from sim.kernel.tiers import next_ready


@njit
def fill_features(
    flow: Flow,
    engine: r.Engine,
    streams: r.Streams,
    policy: r.Policy,
    decoders: int,
    features: Floats,
) -> int:
    """Fill `features` with the prompts picked and `decoders` decoding; returns prompt tokens."""
    features[:] = 0.0
    prompt_tokens = fill_prompts(flow, engine, streams, features)
    if decoders > 0:
        add_decodes(flow.requests, flow.running, engine, streams, policy, features)
    return prompt_tokens


@njit
def mixed_iteration(
    reached: Floats | None,
    replica: Replica,
    flow: Flow,
    engine: r.Engine,
    decoders: int,
    scratch: Scratch,
    books: Books,
) -> None:
    """One iteration with prompt tokens, and with decodes where the policy mixes them.

    Prompts pass one group of the layers; where that is not all of them, decodes alone pass others.
    `reached` is None, or there is speculation and perhaps no prompt; without it numba leaves that
    out.
    """
    if reached is not None:
        speculative_iteration(reached, replica, flow, engine, decoders, scratch, books)
        return
    machine, streams = replica.machine, replica.streams
    features = scratch.features[0]
    if replica.policy.decode_with_prefill == 0:
        decoders = 0
    prompt_tokens = fill_features(flow, engine, streams, replica.policy, decoders, features)
    layers = replica.reach.shape[1] - 1
    first = group_start(engine.stage, engine.stages, layers)
    last = group_start(engine.stage + 1, engine.stages, layers)
    micro = microbatches(machine, float(engine.picked + decoders))
    if micro > 1.0:
        features /= micro
    passes.spread_over_groups(features, streams.shape[0], machine.groups)
    share_layers(replica.reach, first, last, scratch.shares[0])
    parts = 1
    if engine.stages > 1 and decoders > 0:
        parts = 2
        without_prompts(features, scratch.features[1])
        for index in range(replica.ops.shape[0]):
            scratch.shares[1, index] = 1.0 - scratch.shares[0, index]
    work = Work(micro, engine.picked + decoders, decoders, prompt_tokens, first, last)
    spent = run_parts(replica, engine, scratch, books, parts, work)
    charge_all(flow, engine, work, layers, 1, spent)
    if decoders > 0:
        for index in range(engine.running):
            request = flow.requests[flow.running[index]]
            if decoding(request):
                close_gap(request, engine, books.gaps)
                if emit(request, engine):
                    finish(request, flow, engine, replica.policy)
    engine.stage += 1
    if engine.stage == engine.stages:
        engine.load_s = 0.0
        prefilled(flow, engine, replica.policy, books.gaps)
    compact(flow.requests, flow.running, engine)


@njit
def group_start(number: int, groups: int, layers: int) -> int:
    """First layer of a group of layers: the first few groups have one layer more."""
    return number * (layers // groups) + min(number, layers % groups)


@njit
def next_arrival(flow: Flow, engine: r.Engine, policy: r.Policy) -> float:
    """When a request arrives that could start then: not where one that is here blocks the queue."""
    for index in range(engine.head, engine.tail):
        arrival = flow.requests[flow.waiting[index]].arrival_s
        if arrival > engine.now_s:
            return float(arrival)
        if policy.ordered == 0:
            break
    return np.inf


@njit
def serve(
    replica: Replica, flow: Flow, engine: r.Engine, scratch: Scratch, books: Books,
    horizon_s: float, limit: int, stop_at_completion: bool,
) -> int:  # fmt: skip
    """Run iterations until nothing is left, `horizon_s`, `limit` iterations or a request ends.

    No iteration starts at or after the horizon; the last one may end beyond it. Returns why.
    """
    policy, requests, waiting = replica.policy, flow.requests, flow.waiting
    last_iteration = engine.iterations + limit
    completed = engine.completed + engine.rejected
    while True:
        if stop_at_completion and engine.completed + engine.rejected > completed:
            return r.COMPLETED
        if engine.now_s >= horizon_s:
            return r.HORIZON
        if engine.iterations >= last_iteration:
            return r.LIMIT
        if engine.gaps + 2 * policy.max_batch + 2 > books.gaps.shape[0]:
            return r.LOG_FULL
        take_ready(flow, engine, replica.streams, policy)
        preemptions = engine.preemptions
        decoders = grow(flow, engine, replica.streams, policy)
        last = last_iteration
        if engine.swapped > 0 and engine.preemptions == preemptions:
            decoders += swap_in(flow, engine, replica.streams, policy)
        elif engine.swapped > 0:
            last = engine.iterations + 1  # nothing comes back while others go: look again then
        engine.picked = choose(flow, engine, replica, decoders)
        if engine.picked > 0 or (policy.ahead > 0 and decoders > 0):
            mixed_iteration(replica.reached, replica, flow, engine, decoders, scratch, books)
            continue
        ready_s = next_ready(flow, engine) if policy.loads == r.ASYNC else np.inf
        if decoders == 0:
            if engine.head >= engine.tail and ready_s == np.inf:
                if stop_at_completion and engine.completed + engine.rejected > completed:
                    return r.COMPLETED
                return r.IDLE
            if engine.head < engine.tail:
                arrival_s = requests[waiting[engine.head]].arrival_s
                if arrival_s > engine.now_s or ready_s == np.inf:
                    ready_s = min(ready_s, arrival_s)
            engine.now_s = max(engine.now_s, min(ready_s, horizon_s))
            continue
        until_s = min(horizon_s, ready_s)
        if engine.running < policy.max_batch and policy.static == 0:
            until_s = min(until_s, next_arrival(flow, engine, policy))
        most = stretch_length(flow, engine, replica.streams, policy, last - engine.iterations)
        decode_stretch(replica, flow, engine, decoders, most, until_s, scratch, books)


@njit
def advance(
    replica: Replica, flows: Flow, engines: Table[r.Engine], scratch: Scratch, ledgers: Books,
    until_s: float, limit: int, ended: Ints,
) -> int:  # fmt: skip
    """Let every engine work until `until_s`, which an iteration under way may exceed.

    `flows` is a `Flow` and `ledgers` are `Books` whose arrays have one more axis in front, the
    engine; but for `requests`, `ids` and `memo`, which all engines have in common. `ended`
    [engines] becomes how many requests had ended by `until_s`. Returns the first engine that has
    done `limit` iterations, or has no room left for gaps; -1 where none has.
    """
    for number in range(engines.shape[0]):
        engine = engines[number]
        if engine.now_s <= until_s:
            ended[number] = engine.completed + engine.rejected
        if engine.now_s >= until_s or (engine.head >= engine.tail and engine.running == 0):
            continue
        flow = Flow(
            flows.requests, flows.waiting[number], flows.running[number], flows.picked[number],
            flows.ids, flows.refs[number], flows.older[number], flows.newer[number],
        )  # fmt: skip
        books = Books(
            ledgers.memo, ledgers.visits[number], ledgers.seconds[number], ledgers.joules[number],
            ledgers.weights_B[number], ledgers.gaps[number], ledgers.log[number],
        )  # fmt: skip
        last = engine.iterations + limit
        while engine.now_s < until_s and (engine.head < engine.tail or engine.running > 0):
            before = engine.completed + engine.rejected
            left = last - engine.iterations
            reason = serve(replica, flow, engine, scratch, books, until_s, left, True)
            # it returns after the iteration in which one ends, so all of these end at its end
            over = engine.now_s > until_s
            ended[number] = before if over else engine.completed + engine.rejected
            if reason in (r.LOG_FULL, r.LIMIT):
                return number
    return -1


@njit
def deal_to_least(
    replica: Replica, flows: Flow, engines: Table[r.Engine], scratch: Scratch, ledgers: Books,
    ended: Ints, issued: Ints, alive: Bools, home: Ints, first: int, last: int, turn: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Hand requests [first, last) one by one, as they arrive, to the engine with the fewest.

    Fewest requests that have not ended by then, of the `alive`; of equal ones the first from
    `turn` on. Answers to one prompt go together. `home` gets each one's engine. Returns the next
    request, the next turn and the engine with no room left for gaps (-1: none); stops early also
    where a queue is full.
    """
    requests, waiting, count = flows.requests, flows.waiting, engines.shape[0]
    for number in range(first, last):
        now_s = requests[number].arrival_s
        full = advance(replica, flows, engines, scratch, ledgers, now_s, r.NO_END, ended)
        if full >= 0:
            return number, turn, full
        best = -1
        parent = requests[number].parent
        if parent > 0 and number > 0 and requests[number - 1].parent == parent:
            best = home[number - 1]
        for step in range(count if best < 0 else 0):
            engine = (turn + step) % count
            if alive[engine] and (
                best < 0 or issued[engine] - ended[engine] < issued[best] - ended[best]
            ):
                best = engine
        state = engines[best]
        if state.tail >= waiting.shape[1]:
            return number, turn, -1
        waiting[best, state.tail] = number
        state.tail += 1
        state.now_s = max(state.now_s, now_s)
        issued[best] += 1
        home[number] = best
        turn = (best + 1) % count
    return last, turn, -1
