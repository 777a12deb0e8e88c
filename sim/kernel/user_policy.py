"""Iterations that a user's policy asks for: checked, then done as those of the built-in ones."""

from __future__ import annotations

from typing import Any

from sim.kernel import passes
from sim.kernel.compiled import njit
from sim.kernel.iteration import microbatches, share_layers
from sim.kernel.records import RUNNING, WAITING
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
)
from sim.kernel.sequences import add_decode, add_prefill, kv_bytes
from sim.kernel.state import (
    BAD_LAYERS,
    BAD_TOKENS,
    BATCH_FULL,
    FINE,
    NO_MEMORY,
    NO_PROMPT,
    NOT_DECODING,
    NOT_SHOWN,
    TWICE,
    UNKNOWN,
)
from sim.kernel.steps import run_parts


@njit
def asked_iteration(
    replica: Any, flow: Any, engine: Any, scratch: Any, books: Any, decodes: Any, prompts: Any,
    cuts: Any,
) -> Any:  # fmt: skip
    """One iteration: `decodes` [n] pass all layers, `prompts` [n, 4] some.

    Rows of `prompts` are request, tokens, and layers [first, last); `cuts` [n + 1] are where the
    layers are cut. Returns what is wrong, if anything, and with which request: nothing is done
    then.
    """
    if cuts.shape[0] > 2 and books.log.shape[0] > 0:
        return NOT_SHOWN, -1
    wrong, number = admitted(replica, flow, engine, decodes, prompts)
    if wrong != FINE:
        return wrong, number
    requests, parts, prompt_tokens = flow.requests, cuts.shape[0] - 1, 0
    sequences = decodes.shape[0] + prompts.shape[0]
    micro = microbatches(replica.machine, float(sequences))
    for part in range(parts):
        features = scratch.features[part]
        features[:] = 0.0
        for index in range(decodes.shape[0]):
            request = requests[decodes[index]]
            add_decode(replica.streams, features, request.input, request.input + request.generated)
        for index in range(prompts.shape[0]):
            if prompts[index, 2] <= cuts[part] and cuts[part + 1] <= prompts[index, 3]:
                request = requests[prompts[index, 0]]
                add_prefill(
                    replica.streams, features, request.input, request.prefilled,
                    prompts[index, 1], request.target,
                )  # fmt: skip
        if micro > 1.0:
            features /= micro
        passes.spread_over_groups(features, replica.streams.shape[0], replica.machine.groups)
        share_layers(replica.reach, cuts[part], cuts[part + 1], scratch.shares[part])
    for index in range(prompts.shape[0]):
        prompt_tokens += prompts[index, 1]
    run_parts(
        replica, engine, scratch, books, parts, micro, sequences, decodes.shape[0], prompt_tokens,
        0, replica.reach.shape[1] - 1,
    )  # fmt: skip
    for index in range(decodes.shape[0]):
        request = requests[decodes[index]]
        close_gap(request, engine, books.gaps)
        if emit(request, engine):
            finish(request, flow, engine, replica.policy)
    for index in range(prompts.shape[0]):
        passed(replica, requests[prompts[index, 0]], prompts[index], flow, engine, books.gaps)
    compact(requests, flow.running, engine)
    grow(flow, engine, replica.streams, replica.policy)
    turn_away(replica, flow, engine)
    return FINE, 0


@njit
def passed(replica: Any, request: Any, row: Any, flow: Any, engine: Any, gaps: Any) -> None:
    """Tokens of a prompt have passed layers; after the last of them they are in memory."""
    if row[3] < replica.reach.shape[1] - 1:
        request.layer, request.on_way = row[3], row[1]
        return
    request.layer = request.on_way = 0
    prefill(request, row[1], flow, engine, replica.policy, gaps)


@njit
def admitted(replica: Any, flow: Any, engine: Any, decodes: Any, prompts: Any) -> Any:
    """Check an iteration, and admit those of its prompts that wait.

    First all is checked, then all is done: what is wrong changes nothing.
    """
    requests, layers = flow.requests, replica.reach.shape[1] - 1
    need_B, fresh = 0.0, 0
    for index in range(decodes.shape[0]):
        number = decodes[index]
        if number < 0 or number >= engine.tail:
            return UNKNOWN, number
        request = requests[number]
        if request.status != RUNNING or not decoding(request):
            return NOT_DECODING, number
        for other in range(index):
            if decodes[other] == number:
                return TWICE, number
    for index in range(prompts.shape[0]):
        number, tokens, first, last = prompts[index]
        if number < 0 or number >= engine.tail:
            return UNKNOWN, number
        request = requests[number]
        for other in range(index):
            if prompts[other, 0] == number:
                return TWICE, number
        waits = request.status == WAITING and request.arrival_s <= engine.now_s
        if not waits and (request.status != RUNNING or decoding(request)):
            return NO_PROMPT, number
        if first != request.layer or last <= first or last > layers:
            return BAD_LAYERS, number
        most = request.on_way if request.on_way > 0 else request.target - request.prefilled
        if tokens < 1 or tokens > most or (request.on_way > 0 and tokens != most):
            return BAD_TOKENS, number
        if waits:
            fresh += 1
            need_B += room_for(replica, request)
            if engine.kv_used_B + need_B > replica.policy.capacity_B:
                return NO_MEMORY, number
            if engine.running + fresh > replica.policy.max_batch:
                return BATCH_FULL, number
    for index in range(prompts.shape[0]):
        request = requests[prompts[index, 0]]
        if request.status == WAITING:
            leave_queue(flow, engine, prompts[index, 0])
            need_B = room_for(replica, request)
            admit(request, prompts[index, 0], need_B, 0, flow, engine, replica.policy)
    engine.kv_peak_B = max(engine.kv_peak_B, engine.kv_used_B)
    return FINE, 0


@njit
def room_for(replica: Any, request: Any) -> float:
    """Bytes that a request gets at admission."""
    tokens = request.target
    if replica.policy.reserve_full == 1:
        tokens = request.input + request.output
    return kv_bytes(replica.streams, replica.policy, request.input, tokens)


@njit
def leave_queue(flow: Any, engine: Any, number: int) -> None:
    """Take a request out of the queue, whose order stays."""
    at = engine.head
    while flow.waiting[at] != number:
        at += 1
    for index in range(at, engine.head, -1):
        flow.waiting[index] = flow.waiting[index - 1]
    engine.head += 1


@njit
def turn_away(replica: Any, flow: Any, engine: Any) -> None:
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
