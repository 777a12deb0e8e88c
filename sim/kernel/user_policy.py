"""Iterations that a user's policy asks for: checked, then done as those of the built-in ones."""

from __future__ import annotations

from sim.kernel import passes, state
from sim.kernel import records as r
from sim.kernel.arrays import Floats, Ints
from sim.kernel.compiled import njit
from sim.kernel.copies import swap_in
from sim.kernel.iteration import microbatches, share_layers
from sim.kernel.prefix import idle_among, known_blocks
from sim.kernel.requests import (
    admit,
    close_gap,
    compact,
    decoding,
    emit,
    finish,
    grow,
    prefill,
    rejected,
    take_ready,
)
from sim.kernel.sequences import add_decode, add_prefill, kv_bytes
from sim.kernel.state import Books, Flow, Replica, Scratch
from sim.kernel.steps import Work, charge, run_parts


@njit
def asked_iteration(
    replica: Replica, flow: Flow, engine: r.Engine, scratch: Scratch, books: Books, decodes: Ints,
    prompts: Ints, cuts: Ints,
) -> tuple[int, int]:  # fmt: skip
    """One iteration: `decodes` [n] pass all layers, `prompts` [n, 4] some.

    Rows of `prompts` are request, tokens, and layers [first, last); `cuts` [n + 1] are where the
    layers are cut. Returns what is wrong, if anything, and with which request: nothing is done
    then.
    """
    if cuts.shape[0] > 2 and books.log.shape[0] > 0:
        return state.NOT_SHOWN, -1
    wrong, number = admitted(replica, flow, engine, decodes, prompts)
    if wrong != state.FINE:
        return wrong, number
    requests, parts, prompt_tokens = flow.requests, cuts.shape[0] - 1, 0
    sequences = decodes.shape[0]
    for index in range(prompts.shape[0]):
        prompt_tokens += prompts[index, 1]
        if prompts[index, 1] > 0:
            sequences += 1
    if sequences == 0:  # all that it asked for is being loaded
        settle(replica, flow, engine)
        return state.FINE, 0
    micro = microbatches(replica.machine, float(sequences))
    for part in range(parts):
        features = scratch.features[part]
        features[:] = 0.0
        for index in range(decodes.shape[0]):
            request = requests[decodes[index]]
            add_decode(replica.streams, features, request.input, request.input + request.generated)
        for index in range(prompts.shape[0]):
            inside = prompts[index, 2] <= cuts[part] and cuts[part + 1] <= prompts[index, 3]
            if inside and prompts[index, 1] > 0:
                request = requests[prompts[index, 0]]
                add_prefill(
                    replica.streams, features, request.input, request.prefilled,
                    prompts[index, 1], request.target,
                )  # fmt: skip
        if micro > 1.0:
            features /= micro
        passes.spread_over_groups(features, replica.streams.shape[0], replica.machine.groups)
        share_layers(replica.reach, cuts[part], cuts[part + 1], scratch.shares[part])
    layers = replica.reach.shape[1] - 1
    work = Work(micro, sequences, decodes.shape[0], prompt_tokens, 0, layers)
    seconds, joules = run_parts(replica, engine, scratch, books, parts, work)
    tokens = float(decodes.shape[0])
    for index in range(prompts.shape[0]):
        tokens += passing_tokens(prompts[index], layers)
    seconds, joules = seconds / tokens, joules / tokens
    for index in range(decodes.shape[0]):
        request = requests[decodes[index]]
        charge(request, 1.0, seconds, joules)
        close_gap(request, engine, books.gaps)
        if emit(request, engine):
            finish(request, flow, engine, replica.policy)
    engine.load_s = 0.0
    for index in range(prompts.shape[0]):
        if prompts[index, 1] > 0:
            request = requests[prompts[index, 0]]
            charge(request, passing_tokens(prompts[index], layers), seconds, joules)
            passed(replica, request, prompts[index], flow, engine, books.gaps)
    compact(requests, flow.running, engine)
    settle(replica, flow, engine)
    return state.FINE, 0


@njit
def passing_tokens(row: Ints, layers: int) -> float:
    """Tokens of a prompt, each for the share of all layers that it passes."""
    return float(row[1] * (row[3] - row[2]) / layers)


@njit
def settle(replica: Replica, flow: Flow, engine: r.Engine) -> None:
    """What is not for a policy to decide, as the built-in schedulers do it.

    Caches that came with a request or lie in host memory come in, those that decode grow, and what
    could never fit is turned away.
    """
    streams, policy, preemptions = replica.streams, replica.policy, engine.preemptions
    take_ready(flow, engine, streams, policy)
    grow(flow, engine, streams, policy)
    if engine.swapped > 0 and engine.preemptions == preemptions:
        swap_in(flow, engine, streams, policy)
    turn_away(replica, flow, engine)


@njit
def passed(
    replica: Replica, request: r.Request, row: Ints, flow: Flow, engine: r.Engine, gaps: Floats
) -> None:
    """Tokens of a prompt have passed layers; after the last of them they are in memory."""
    if row[3] < replica.reach.shape[1] - 1:
        request.layer, request.on_way = row[3], row[1]
        return
    request.layer = request.on_way = 0
    prefill(request, row[1], flow, engine, replica.policy, gaps)


@njit
def admitted(
    replica: Replica, flow: Flow, engine: r.Engine, decodes: Ints, prompts: Ints
) -> tuple[int, int]:
    """Check an iteration, and admit those of its prompts that wait.

    First all is checked, then all is done: what is wrong changes nothing. Tokens that the prefix
    cache has are taken from `prompts`, and all of those that are being loaded.
    """
    requests, layers = flow.requests, replica.reach.shape[1] - 1
    need_B, fresh = 0.0, 0
    for index in range(decodes.shape[0]):
        number = decodes[index]
        if number < 0 or number >= requests.shape[0]:
            return state.UNKNOWN, number
        runs = place_of(number, flow.running, 0, engine.running) >= 0
        if not runs or not decoding(requests[number]):
            return state.NOT_DECODING, number
        for other in range(index):
            if decodes[other] == number:
                return state.TWICE, number
    for index in range(prompts.shape[0]):
        number, tokens, first, last = prompts[index]
        if number < 0 or number >= requests.shape[0]:
            return state.UNKNOWN, number
        request = requests[number]
        for other in range(index):
            if prompts[other, 0] == number:
                return state.TWICE, number
        waits = request.status == r.WAITING and request.arrival_s <= engine.now_s
        waits = waits and place_of(number, flow.waiting, engine.head, engine.tail) >= 0
        runs = place_of(number, flow.running, 0, engine.running) >= 0
        if waits and engine.swapped > 0:
            return state.SWAPPED, number
        if decoding(request) or not (waits or runs):
            return state.NO_PROMPT, number
        if runs and request.ready_s > engine.now_s:
            return state.LOADING, number
        if first != request.layer or last <= first or last > layers:
            return state.BAD_LAYERS, number
        most = request.on_way if request.on_way > 0 else request.target - request.prefilled
        if tokens < 1 or tokens > most or (request.on_way > 0 and tokens != most):
            return state.BAD_TOKENS, number
        if waits:
            fresh += 1
            need_B += need_at_admission(replica, flow, engine, request)
            if engine.kv_used_B + need_B > replica.policy.capacity_B:
                return state.NO_MEMORY, number
            if engine.running + fresh > replica.policy.max_batch:
                return state.BATCH_FULL, number
    for index in range(prompts.shape[0]):
        request = requests[prompts[index, 0]]
        if request.status == r.WAITING:
            leave_queue(flow, engine, prompts[index, 0])
            known = found_blocks(replica, flow, engine, request)
            need_B = room_for(replica, request)
            admit(request, prompts[index, 0], need_B, known, flow, engine, replica.policy)
            prompts[index, 1] = min(prompts[index, 1], request.target - request.prefilled)
            if request.ready_s > engine.now_s:
                prompts[index, 1] = 0
    engine.kv_peak_B = max(engine.kv_peak_B, engine.kv_used_B)
    return state.FINE, 0


@njit
def found_blocks(replica: Replica, flow: Flow, engine: r.Engine, request: r.Request) -> int:
    """Blocks of a prompt that are in the prefix cache now."""
    if replica.policy.prefix_blocks == 0:
        return 0
    return known_blocks(flow, engine, replica.policy, request)


@njit
def need_at_admission(replica: Replica, flow: Flow, engine: r.Engine, request: r.Request) -> float:
    """Bytes by which an admission makes the memory in use more: blocks in use are there already."""
    known = found_blocks(replica, flow, engine, request)
    taken_B = (idle_among(flow, request, known) - known) * engine.block_B
    return room_for(replica, request) + taken_B


@njit
def tokens_left(replica: Replica, flow: Flow, engine: r.Engine, request: r.Request) -> int:
    """Tokens of a prompt to compute yet, of one that waits without those in the prefix cache."""
    if request.status == r.WAITING:
        known = found_blocks(replica, flow, engine, request)
        return request.target - known * engine.block_tokens
    return request.target - request.prefilled


@njit
def room_for(replica: Replica, request: r.Request) -> float:
    """Bytes that a request has from its admission on, with those of blocks that it shares."""
    tokens = request.target
    if replica.policy.reserve_full == 1:
        tokens = request.input + request.output
    return kv_bytes(replica.streams, replica.policy, request.input, tokens)


@njit
def place_of(number: int, rows: Ints, first: int, last: int) -> int:
    """Where in `rows` [first, last) a request stands; -1: it is another engine's."""
    for index in range(first, last):
        if rows[index] == number:
            return index
    return -1


@njit
def leave_queue(flow: Flow, engine: r.Engine, number: int) -> None:
    """Take a request out of the queue, whose order stays."""
    at = place_of(number, flow.waiting, engine.head, engine.tail)
    for index in range(at, engine.head, -1):
        flow.waiting[index] = flow.waiting[index - 1]
    engine.head += 1


@njit
def turn_away(replica: Replica, flow: Flow, engine: r.Engine) -> None:
    """Reject what is at the head of the queue and could never fit."""
    while engine.head < engine.tail:
        request = flow.requests[flow.waiting[engine.head]]
        whole = kv_bytes(
            replica.streams, replica.policy, request.input, request.input + request.output
        )
        if request.arrival_s > engine.now_s:
            break
        if not rejected(request, whole, engine, replica.policy):
            break
