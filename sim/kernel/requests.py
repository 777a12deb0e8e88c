"""Requests of one engine: the queue, memory for what runs, prompts picked, tokens given out."""

from __future__ import annotations

from sim.kernel import records as r
from sim.kernel.arrays import Floats, Ints
from sim.kernel.compiled import njit
from sim.kernel.copies import queue_again
from sim.kernel.prefix import idle_among, known_blocks, leave_answer, make_room, release, share
from sim.kernel.sequences import kv_bytes
from sim.kernel.state import Flow, Replica


@njit
def log_gap(gaps: Floats, engine: r.Engine, seconds: float, count: float) -> None:
    """Record `count` gaps of `seconds` between tokens, merged with the record before if equal."""
    last = engine.gaps - 1
    if last >= 0 and gaps[last, 0] == seconds:
        gaps[last, 1] += count
    else:
        gaps[engine.gaps, 0] = seconds
        gaps[engine.gaps, 1] = count
        engine.gaps += 1


@njit
def give_back(request: r.Request, flow: Flow, engine: r.Engine) -> None:
    """A request gives its memory back, blocks that it computed to the prefix cache."""
    engine.kv_used_B -= request.kv_B
    request.kv_B = 0.0
    request.room = 0
    if request.shared > 0:
        computed = request.shared
        if not decoding(request):
            computed = request.prefilled // engine.block_tokens
        release(flow, engine, request, computed)


@njit
def finish(request: r.Request, flow: Flow, engine: r.Engine, policy: r.Policy) -> None:
    """A request has all its tokens: give back its memory."""
    request.status = r.DONE
    if request.all_blocks > request.blocks:
        leave_answer(flow, engine, policy, request)
    give_back(request, flow, engine)
    engine.completed += 1


@njit
def room_of(context: int, policy: r.Policy) -> int:
    """Tokens that fit in the memory of `context` tokens, as far as that is sure."""
    if policy.plain == 0:
        return context
    return -(-context // policy.kv_block) * policy.kv_block


@njit
def own_bytes(
    request: r.Request, tokens: int, engine: r.Engine, streams: r.Streams, policy: r.Policy
) -> float:
    """Bytes one device holds for a request with `tokens` tokens, without what it shares."""
    held = kv_bytes(streams, policy, request.input, tokens)
    return held - request.shared * engine.block_B


@njit
def whole_bytes(request: r.Request, streams: r.Streams, policy: r.Policy) -> float:
    """Bytes one device holds for a request at its end, with what is drafted beyond."""
    tokens = request.input + request.output + policy.ahead
    return kv_bytes(streams, policy, request.input, tokens)


@njit
def compact(requests: r.Requests, running: Ints, engine: r.Engine) -> None:
    """Drop finished and preempted requests from the running list, keeping its order."""
    count = 0
    for index in range(engine.running):
        if requests[running[index]].status == r.RUNNING:
            running[count] = running[index]
            count += 1
    engine.running = count
    if count == 0:
        engine.kv_used_B = 0.0  # what rounding left would keep a request of just the size out


@njit
def decoding(request: r.Request) -> bool:
    """Whether a running request has its whole prompt in memory."""
    return request.prefilled == request.target


@njit
def grow(flow: Flow, engine: r.Engine, streams: r.Streams, policy: r.Policy) -> int:
    """Give every decoding sequence room for one more token, and for those drafted for it.

    Returns how many decode. Where memory runs out, the request admitted last is preempted, at the
    end the one in need itself, and goes to the head of the queue (`copies.queue_again`).
    """
    requests, running = flow.requests, flow.running
    for index in range(engine.running):
        request = requests[running[index]]
        if request.status != r.RUNNING or not decoding(request):
            continue
        context = request.input + request.generated + policy.ahead
        if context <= request.room:
            continue
        need = own_bytes(request, context, engine, streams, policy)
        if need <= request.kv_B:
            request.room = room_of(context, policy)
            continue
        last = engine.running - 1
        while engine.kv_used_B + need - request.kv_B > policy.capacity_B and last >= index:
            victim = requests[running[last]]
            if victim.status == r.RUNNING:
                victim.status = r.WAITING
                held_B = victim.kv_B + victim.shared * engine.block_B
                give_back(victim, flow, engine)
                victim.preemptions += 1
                engine.preemptions += 1
                queue_again(victim, running[last], held_B, flow, engine, policy)
            last -= 1
        if request.status == r.RUNNING:
            engine.kv_used_B += need - request.kv_B
            request.kv_B = need
            request.room = room_of(context, policy)
    compact(requests, running, engine)
    engine.kv_peak_B = max(engine.kv_peak_B, engine.kv_used_B)
    if engine.idle_blocks > 0:
        make_room(flow, engine, policy)
    count = 0
    for index in range(engine.running):
        if decoding(requests[running[index]]):
            count += 1
    return count


@njit
def promote(flow: Flow, engine: r.Engine) -> None:
    """Bring the most urgent of the requests that have arrived to the head of the queue."""
    requests, waiting = flow.requests, flow.waiting
    best = engine.head
    for index in range(engine.head + 1, engine.tail):
        request = requests[waiting[index]]
        if request.arrival_s > engine.now_s:
            break
        if request.urgency < requests[waiting[best]].urgency:
            best = index
    first = waiting[best]
    for index in range(best, engine.head, -1):
        waiting[index] = waiting[index - 1]
    waiting[engine.head] = first


@njit
def rejected(request: r.Request, whole_B: float, engine: r.Engine, policy: r.Policy) -> bool:
    """Whether the request at the head of the queue needs more memory than there is; it is gone."""
    if whole_B <= policy.capacity_B:
        return False
    request.status = r.REJECTED
    engine.rejected += 1
    engine.head += 1
    return True


@njit
def pick(flow: Flow, engine: r.Engine, streams: r.Streams, policy: r.Policy, decoders: int) -> int:
    """Choose prompts, or chunks of them, for the next iteration; admits from the queue.

    Fills `picked` [n, 2] with request and tokens. Requests that could never fit are rejected.
    """
    requests, waiting, running, picked = flow.requests, flow.waiting, flow.running, flow.picked
    if policy.static == 1:
        for index in range(engine.running):
            request = requests[running[index]]
            if decoding(request) and request.generated > 1:
                return 0
    budget = policy.budget
    if policy.decoders_first == 1:
        budget -= decoders * (1 + policy.ahead)
    count = 0
    if policy.cut != r.WHOLE or policy.loads == r.ASYNC:
        for index in range(engine.running):
            request = requests[running[index]]
            if budget > 0 and not decoding(request) and request.ready_s <= engine.now_s:
                tokens = request.target - request.prefilled
                if policy.cut != r.WHOLE:
                    tokens = min(budget, tokens)
                elif tokens > budget and count > 0:
                    if request.parent > 0:
                        budget = 0  # other answers to it count on this prompt
                    continue
                picked[count, 0], picked[count, 1] = running[index], tokens
                budget -= tokens
                count += 1
    while engine.head < engine.tail and engine.running < policy.max_batch and budget > 0:
        if engine.swapped > 0:
            break
        if policy.ordered == 1:
            promote(flow, engine)
        number = waiting[engine.head]
        request = requests[number]
        if request.arrival_s > engine.now_s or decoding(request):
            break
        need = whole_bytes(request, streams, policy)
        if rejected(request, need, engine, policy):
            continue
        if policy.reserve_full == 0:
            need = kv_bytes(streams, policy, request.input, request.target)
        spare = policy.watermark_B if engine.running > 0 else 0.0
        known = known_blocks(flow, engine, policy, request) if policy.prefix_blocks > 0 else 0
        taken_B = (idle_among(flow, request, known) - known) * engine.block_B
        if engine.kv_used_B + need + taken_B > policy.capacity_B - spare:
            break
        tokens = request.target - known * engine.block_tokens
        if policy.cut != r.WHOLE:
            tokens = min(budget, tokens)
        elif tokens > budget and count > 0:
            break
        engine.head += 1
        admit(request, number, need, known, flow, engine, policy)
        if request.ready_s > engine.now_s:
            continue
        picked[count, 0], picked[count, 1] = number, tokens
        budget -= tokens
        count += 1
    engine.kv_peak_B = max(engine.kv_peak_B, engine.kv_used_B)
    return count


@njit
def take_ready(flow: Flow, engine: r.Engine, streams: r.Streams, policy: r.Policy) -> None:
    """Admit from the head of the queue what came with its prompt in memory, prefilled elsewhere.

    As `pick` admits, but nothing is left to prefill: it decodes from the next iteration on.
    """
    if policy.static == 1 and engine.running > 0:
        return
    while engine.head < engine.tail and engine.running < policy.max_batch:
        if engine.swapped > 0:
            break
        if policy.ordered == 1:
            promote(flow, engine)
        number = flow.waiting[engine.head]
        request = flow.requests[number]
        if not decoding(request) or request.arrival_s > engine.now_s:
            break
        need = whole_bytes(request, streams, policy)
        if rejected(request, need, engine, policy):
            continue
        if policy.reserve_full == 0:
            need = kv_bytes(streams, policy, request.input, request.input + request.generated)
        spare = policy.watermark_B if engine.running > 0 else 0.0
        if engine.kv_used_B + need > policy.capacity_B - spare:
            break
        engine.head += 1
        admit(request, number, need, 0, flow, engine, policy)
    engine.kv_peak_B = max(engine.kv_peak_B, engine.kv_used_B)


@njit
def admit(
    request: r.Request,
    number: int,
    need_B: float,
    known: int,
    flow: Flow,
    engine: r.Engine,
    policy: r.Policy,
) -> None:
    """A request that left the queue runs from now on, with memory for `need_B` in all.

    `known` blocks of its prompt are in the prefix cache.
    """
    request.status = r.RUNNING
    if request.preemptions == 0:
        request.admitted_s = engine.now_s
    if policy.prefix_blocks > 0:
        share(flow, engine, policy, request, known)
    request.kv_B = need_B - request.shared * engine.block_B
    engine.kv_used_B += request.kv_B
    if engine.idle_blocks > 0:
        make_room(flow, engine, policy)
    flow.running[engine.running] = number
    engine.running += 1


@njit
def layer_groups(policy: r.Policy, tokens: int, layers: int) -> int:
    """Groups of layers that prompts of so many tokens pass, one an iteration.

    The paper's rule takes one for every `group_tokens`; its release rounds up to powers of two,
    and to half of twelve groups (Layered Prefill, arXiv 2510.08055, and its code).
    """
    wanted = -(-tokens // policy.group_tokens)
    if policy.group_rule == 1:
        power = 1
        while power < wanted:
            power *= 2
        wanted = power if power <= 8 else policy.groups
        if power == 8 and policy.groups == 12:
            wanted = 6
    return max(min(wanted, policy.groups, layers), 1)


@njit
def pick_layered(flow: Flow, engine: r.Engine, replica: Replica, decoders: int) -> int:
    """As `pick`: goes on with the prompts that are on their way, or picks the next ones."""
    requests, picked = flow.requests, flow.picked
    count, tokens = 0, 0
    for index in range(engine.picked):
        if requests[picked[index, 0]].status == r.RUNNING:  # and not preempted on the way
            picked[count, 0], picked[count, 1] = picked[index]
            count += 1
    if count > 0:
        return count
    engine.load_s = 0.0  # of those that were preempted on the way
    count = pick(flow, engine, replica.streams, replica.policy, decoders)
    for index in range(count):
        tokens += picked[index, 1]
    engine.stage = 0
    engine.stages = layer_groups(replica.policy, tokens, replica.reach.shape[1] - 1)
    return count


@njit
def choose(flow: Flow, engine: r.Engine, replica: Replica, decoders: int) -> int:
    """Prompts of the next iteration by the replica's policy; returns how many."""
    if replica.policy.cut == r.LAYERED:
        return pick_layered(flow, engine, replica, decoders)
    engine.stage, engine.stages = 0, 1
    return pick(flow, engine, replica.streams, replica.policy, decoders)


@njit
def prefilled(flow: Flow, engine: r.Engine, policy: r.Policy, gaps: Floats) -> None:
    """The prompts picked have passed all layers; those that are whole get their first token."""
    for index in range(engine.picked):
        request = flow.requests[flow.picked[index, 0]]
        prefill(request, flow.picked[index, 1], flow, engine, policy, gaps)
    engine.picked = 0


@njit
def prefill(
    request: r.Request, tokens: int, flow: Flow, engine: r.Engine, policy: r.Policy, gaps: Floats
) -> None:
    """`tokens` of a prompt have passed all layers; the last of all gives an answer's first."""
    request.prefilled += tokens
    engine.prefill_tokens += tokens
    if decoding(request):
        if request.generated == 0:
            request.first_s = engine.now_s
        else:
            close_gap(request, engine, gaps)
        if emit(request, engine):
            finish(request, flow, engine, policy)


@njit
def close_gap(request: r.Request, engine: r.Engine, gaps: Floats) -> None:
    """The gap before a token that a request gets now ends."""
    gap = engine.now_s - request.last_s
    log_gap(gaps, engine, gap, 1.0)
    request.max_gap_s = max(request.max_gap_s, gap)


@njit
def emit(request: r.Request, engine: r.Engine) -> bool:
    """A request gets one token now; returns whether it was its last."""
    request.generated += 1
    request.last_s = engine.now_s
    engine.generated_tokens += 1
    return request.generated == request.output
