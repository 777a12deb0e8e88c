"""The serving loop, compiled: iterations of one engine, many in a call.

Between two interactions (a horizon set by the event simulation) `serve` advances many iterations
in one call. It contains no duration: every second comes from `passes`. While a fixed set of
sequences decodes, only operators that depend on cached tokens are timed anew each step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.kernel import passes
from sim.kernel.compiled import njit
from sim.kernel.iteration import (
    microbatches,
    part_time,
    row_joules,
    share_layers,
    tally,
    tally_part,
    without_prompts,
)
from sim.kernel.prefix import make_room
from sim.kernel.records import (
    ALL,
    CACHED,
    COMPLETED,
    DECODE,
    HORIZON,
    IDLE,
    LIMIT,
    LOG_COLUMNS,
    LOG_DECODING,
    LOG_FIRST_LAYER,
    LOG_FULL,
    LOG_JOULES,
    LOG_LAST_LAYER,
    LOG_MICROBATCHES,
    LOG_PROMPT_TOKENS,
    LOG_SECONDS,
    LOG_SEQUENCES,
    LOG_START_S,
    LOGITS,
    PAIRS,
    SECONDS,
    SEQUENCES,
    TOKENS,
)
from sim.kernel.requests import (
    choose,
    close_gap,
    compact,
    decoding,
    emit,
    finish,
    grow,
    log_gap,
    own_bytes,
    prefilled,
    room_of,
    take_ready,
)
from sim.kernel.sequences import (
    add_decode,
    add_features,
    add_prefill,
    grows,
    steady_steps,
)


@njit
def log_step(
    log: Any, engine: Any, seconds: float, joules: float, micro: float, sequences: int,
    decoders: int, prompt_tokens: int, first: int, last: int, features: Any,
) -> None:  # fmt: skip
    """Record one iteration with the features its operators saw, where a log is kept."""
    if engine.logged >= log.shape[0]:
        return
    row = log[engine.logged]
    row[LOG_START_S], row[LOG_SECONDS] = engine.now_s, seconds
    row[LOG_DECODING], row[LOG_PROMPT_TOKENS] = decoders, prompt_tokens
    row[LOG_JOULES], row[LOG_MICROBATCHES], row[LOG_SEQUENCES] = joules, micro, sequences
    row[LOG_FIRST_LAYER], row[LOG_LAST_LAYER] = first, last
    at = LOG_COLUMNS
    for stream in range((log.shape[1] - LOG_COLUMNS) // 16):
        for phase in range(4):
            for feature in range(4):
                row[at] = features[stream, phase, feature]
                at += 1
    engine.logged += 1


@njit
def fill_features(
    flow: Any, engine: Any, streams: Any, policy: Any, decoders: int, features: Any
) -> int:
    """Fill `features` with the prompts picked and `decoders` decoding; returns prompt tokens."""
    features[:] = 0.0
    prompt_tokens = 0
    for index in range(engine.picked):
        number, tokens = flow.picked[index]
        request = flow.requests[number]
        prompt_tokens += tokens
        add_prefill(streams, features, request.input, request.prefilled, tokens, request.target)
    if decoders > 0:
        add_decodes(flow.requests, flow.running, engine, streams, policy, features)
    return prompt_tokens


@njit
def add_decodes(
    requests: Any, running: Any, engine: Any, streams: Any, policy: Any, features: Any
) -> int:
    """Add all decoding sequences to `features`; returns how many."""
    count, cached = 0, 0
    for index in range(engine.running):
        request = requests[running[index]]
        if decoding(request):
            count += 1
            cached += request.input + request.generated
            if policy.plain == 0:
                add_decode(streams, features, request.input, request.input + request.generated)
    if policy.plain == 1:
        for stream in range(streams.shape[0]):
            tokens, seen = float(count), float(cached)
            add_features(features[stream], DECODE, tokens, seen, seen, tokens)
            features[stream, LOGITS, TOKENS] += tokens
    return count


@njit
def mixed_iteration(
    replica: Any, flow: Any, engine: Any, decoders: int, scratch: Any, books: Any
) -> None:
    """One iteration with prompt tokens, and with decodes where the policy mixes them.

    Prompts pass one group of the layers; where that is not all of them, decodes alone pass others.
    """
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
    parts, seconds, spent_J = 1, 0.0, 0.0
    if engine.stages > 1 and decoders > 0:
        parts = 2
        without_prompts(features, scratch.features[1])
        for index in range(replica.ops.shape[0]):
            scratch.shares[1, index] = 1.0 - scratch.shares[0, index]
    for part in range(parts):
        more_s, more_J = part_time(replica, scratch, books, part)
        seconds += more_s
        spent_J += more_J
    host_s = passes.host_time(float(engine.picked + decoders), machine)
    time = passes.step_time(seconds, micro, host_s, machine)
    left = passes.within_limit(spent_J, time, micro, machine)
    energy = passes.step_energy(spent_J * left, time, micro, machine)
    devices = micro * machine.group
    for part in range(parts):
        tally_part(replica, scratch, books, part, 1.0, devices, left)
    log_step(
        books.log, engine, time, energy, micro, engine.picked + decoders, decoders, prompt_tokens,
        first, last, features,
    )  # fmt: skip
    spend(engine, time, host_s, energy, spent_J * left * devices, 1)
    if decoders > 0:
        for index in range(engine.running):
            request = flow.requests[flow.running[index]]
            if decoding(request):
                close_gap(request, engine, books.gaps)
                if emit(request, engine):
                    finish(request, flow, engine, replica.policy)
    engine.stage += 1
    if engine.stage == engine.stages:
        prefilled(flow, engine, replica.policy, books.gaps)
    compact(flow.requests, flow.running, engine)


@njit
def group_start(number: int, groups: int, layers: int) -> int:
    """First layer of a group of layers: the first few groups have one layer more."""
    return number * (layers // groups) + min(number, layers % groups)


@njit
def spend(
    engine: Any, seconds: float, host_s: float, joules: float, operator_joules: float, steps: int
) -> None:
    """An engine has done `steps` iterations."""
    engine.now_s += seconds
    engine.busy_s += seconds
    engine.host_s += host_s
    engine.joules += joules
    engine.operator_joules += operator_joules
    engine.iterations += steps


@njit
def stretch_length(flow: Any, engine: Any, streams: Any, policy: Any, most: int) -> int:
    """Decode steps until a request ends, a window fills or memory runs out."""
    requests, running = flow.requests, flow.running
    for index in range(engine.running):
        request = requests[running[index]]
        if not decoding(request):
            continue
        most = min(most, request.output - request.generated)
        context = request.input + request.generated
        for stream in range(streams.shape[0]):
            most = min(most, steady_steps(streams[stream], request.input, context))
    while most > 1 and policy.reserve_full == 0:
        need = engine.kv_used_B
        for index in range(engine.running):
            request = requests[running[index]]
            if decoding(request):
                context = request.input + request.generated + most - 1
                need += own_bytes(request, context, engine, streams, policy) - request.kv_B
        if need <= policy.capacity_B:
            break
        most //= 2
    return max(most, 1)


@njit
def start_stretch(
    streams: Any, policy: Any, requests: Any, running: Any, engine: Any, features: Any, growth: Any
) -> None:
    """Fill the features of a decode step, and what each stream sees more at every further one."""
    features[:] = 0.0
    growth[:] = 0.0
    count = add_decodes(requests, running, engine, streams, policy, features)
    if policy.plain == 1:
        growth[:] = count
        return
    for index in range(engine.running):
        request = requests[running[index]]
        if decoding(request):
            context = request.input + request.generated
            for stream in range(streams.shape[0]):
                growth[stream] += grows(streams[stream], request.input, context)


@njit
def spread_growth(features: Any, growth: Any, streams: int, groups: float) -> None:
    """Growth of the busiest and of the mean group, in the shares that their features have."""
    if features.shape[0] == streams:
        return
    for stream in range(streams):
        sequences = max(features[stream, DECODE, SEQUENCES], 1e-30)
        busiest = features[streams + stream, DECODE, SEQUENCES]
        growth[streams + stream] = growth[stream] * busiest / sequences
        growth[2 * streams + stream] = growth[stream] / groups


@njit
def end_stretch(
    streams: Any, policy: Any, flow: Any, engine: Any, steps: int, longest: float
) -> None:
    """Give every decoding request the tokens of `steps` steps and the memory they take.

    The last token comes after memory is counted: a request that ends gives all of it back.
    """
    requests, running = flow.requests, flow.running
    for index in range(engine.running):
        request = requests[running[index]]
        if not decoding(request):
            continue
        request.max_gap_s = max(request.max_gap_s, longest)
        request.generated += steps - 1
        engine.generated_tokens += steps - 1
        context = request.input + request.generated
        if policy.reserve_full == 0 and context > request.room:
            held = own_bytes(request, context, engine, streams, policy)
            engine.kv_used_B += held - request.kv_B
            request.kv_B = held
            request.room = room_of(context, policy)
    engine.kv_peak_B = max(engine.kv_peak_B, engine.kv_used_B)
    for index in range(engine.running):
        request = requests[running[index]]
        if decoding(request) and emit(request, engine):
            finish(request, flow, engine, policy)
    compact(requests, running, engine)
    if engine.idle_blocks > 0:
        make_room(flow, engine, policy)


@njit
def decode_stretch(
    replica: Any, flow: Any, engine: Any, decoders: int, most: int, until_s: float, scratch: Any,
    books: Any,
) -> None:  # fmt: skip
    """Up to `most` decode iterations of the same sequences, stopping once `until_s` is reached."""
    ops, machine, gaps, growth = replica.ops, replica.machine, books.gaps, scratch.growth
    features, experts = scratch.features[0], scratch.experts[0]
    rows, chosen = scratch.rows[0], scratch.chosen[0]
    streams, layers = replica.streams, replica.reach.shape[1] - 1
    start_stretch(streams, replica.policy, flow.requests, flow.running, engine, features, growth)
    micro = microbatches(machine, float(decoders))
    if micro > 1.0:
        features /= micro
        growth /= micro
    passes.spread_over_groups(features, streams.shape[0], machine.groups)
    spread_growth(features, growth, streams.shape[0], machine.groups)
    share_layers(replica.reach, 0, layers, scratch.shares[0])
    still_s, still_J = part_time(replica, scratch, books, 0)
    for index in range(ops.shape[0]):
        if ops[index].moves == 1:
            still_s -= rows[index, SECONDS]
            still_J -= row_joules(rows, index)
    host_s = passes.host_time(float(decoders), machine)
    devices = micro * machine.group
    left_in_all, steps, longest = 0.0, 0, 0.0
    while True:
        moving_s, moving_J = 0.0, 0.0
        if steps > 0:
            for stream in range(growth.shape[0]):
                for feature in (PAIRS, CACHED):
                    features[stream, DECODE, feature] += growth[stream]
                    features[stream, ALL, feature] += growth[stream]
        for index in range(ops.shape[0]):
            if ops[index].moves == 1:
                if steps > 0:
                    passes.evaluate_row(
                        ops, index, features, experts, replica.routing, replica.units,
                        replica.links, rows, chosen,
                    )  # fmt: skip
                moving_s += rows[index, SECONDS]
                moving_J += row_joules(rows, index)
        time = passes.step_time(still_s + moving_s, micro, host_s, machine)
        spent_J = still_J + moving_J
        left = passes.within_limit(spent_J, time, micro, machine)
        energy = passes.step_energy(spent_J * left, time, micro, machine)
        for index in range(ops.shape[0]):
            if ops[index].moves == 1:
                tally(
                    ops, index, features, experts, rows, chosen, books.seconds, books.joules,
                    books.weights_B, 1.0, devices, devices * left,
                )  # fmt: skip
        left_in_all += left
        log_step(books.log, engine, time, energy, micro, decoders, decoders, 0, 0, layers, features)
        spend(engine, time, host_s, energy, spent_J * left * devices, 1)
        steps += 1
        if steps == 1:
            for index in range(engine.running):
                request = flow.requests[flow.running[index]]
                if decoding(request):
                    close_gap(request, engine, gaps)
        else:
            log_gap(gaps, engine, time, float(decoders))
            longest = max(longest, time)
        if steps >= most or engine.now_s >= until_s or engine.gaps >= gaps.shape[0] - 1:
            break
    for index in range(ops.shape[0]):
        if ops[index].moves == 1:
            scratch.shares[0, index] = 0.0  # booked above, step by step
    tally_part(replica, scratch, books, 0, float(steps), devices, left_in_all)
    end_stretch(streams, replica.policy, flow, engine, steps, longest)


@njit
def next_arrival(flow: Any, engine: Any, policy: Any) -> float:
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
    replica: Any, flow: Any, engine: Any, scratch: Any, books: Any,
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
            return COMPLETED
        if engine.now_s >= horizon_s:
            return HORIZON
        if engine.iterations >= last_iteration:
            return LIMIT
        if engine.gaps + 2 * policy.max_batch + 2 > books.gaps.shape[0]:
            return LOG_FULL
        take_ready(flow, engine, replica.streams, policy)
        decoders = grow(flow, engine, replica.streams, policy)
        engine.picked = choose(flow, engine, replica, decoders)
        if engine.picked > 0:
            mixed_iteration(replica, flow, engine, decoders, scratch, books)
            continue
        if decoders == 0:
            if engine.head >= engine.tail:
                if stop_at_completion and engine.completed + engine.rejected > completed:
                    return COMPLETED
                return IDLE
            engine.now_s = max(
                engine.now_s, min(requests[waiting[engine.head]].arrival_s, horizon_s)
            )
            continue
        until_s = horizon_s
        if engine.running < policy.max_batch and policy.static == 0:
            until_s = min(until_s, next_arrival(flow, engine, policy))
        most = stretch_length(
            flow, engine, replica.streams, policy, last_iteration - engine.iterations
        )
        decode_stretch(replica, flow, engine, decoders, most, until_s, scratch, books)
