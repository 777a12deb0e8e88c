"""The serving loop, compiled: schedulers, KV memory and iterations of one engine.

Between two interactions (a horizon set by the event simulation) `serve` advances many iterations
in one call. It contains no duration: every second comes from `passes`. While a fixed set of
sequences decodes, only operators that depend on cached tokens are timed anew each step.
"""

from __future__ import annotations

from typing import Any

from sim.kernel import passes
from sim.kernel.compiled import njit
from sim.kernel.experts import expert_features
from sim.kernel.records import (
    ALL,
    BOUND,
    CACHED,
    COMPLETED,
    COMPUTE_J,
    DECODE,
    DONE,
    HORIZON,
    IDLE,
    LAUNCH_S,
    LIMIT,
    LINK_J,
    LOG_COLUMNS,
    LOG_DECODING,
    LOG_FULL,
    LOG_JOULES,
    LOG_MICROBATCHES,
    LOG_PROMPT_TOKENS,
    LOG_SECONDS,
    LOG_SEQUENCES,
    LOG_START_S,
    MEMORY_J,
    OVERHEAD,
    PAIRS,
    REJECTED,
    RUNNING,
    SECONDS,
    SEQUENCES,
    UNIT,
    WAITING,
)
from sim.kernel.sequences import (
    add_decode,
    add_prefill,
    grows,
    kv_bytes,
    steady_steps,
)

# --- one iteration ----------------------------------------------------------------------------


@njit
def tally(
    rows: Any, chosen: Any, index: int, times: float, passes: float, seconds: Any, joules: Any
) -> None:
    """Add row `index`, `times` over, to seconds [op, unit, bound] and joules [op, unit, part].

    `passes` devices and microbatches spend its joules. The last unit stands for the links.
    """
    unit = chosen[index, UNIT]
    working = rows[index, SECONDS] - rows[index, LAUNCH_S]
    seconds[index, unit, chosen[index, BOUND]] += working * times
    seconds[index, unit, OVERHEAD] += rows[index, LAUNCH_S] * times
    for part in range(3):
        joules[index, unit, part] += rows[index, COMPUTE_J + part] * times * passes


@njit
def row_joules(rows: Any, index: int) -> float:
    """Joules of row `index` on one device."""
    return rows[index, COMPUTE_J] + rows[index, MEMORY_J] + rows[index, LINK_J]


@njit
def iteration_joules(rows: Any) -> float:
    """Joules of one pass on one device."""
    total = 0.0
    for index in range(rows.shape[0]):
        total += row_joules(rows, index)
    return total


@njit
def log_gap(gaps: Any, engine: Any, seconds: float, count: float) -> None:
    """Record `count` gaps of `seconds` between tokens, merged with the record before if equal."""
    last = engine.gaps - 1
    if last >= 0 and gaps[last, 0] == seconds:
        gaps[last, 1] += count
    else:
        gaps[engine.gaps, 0] = seconds
        gaps[engine.gaps, 1] = count
        engine.gaps += 1


@njit
def log_step(
    log: Any, engine: Any, seconds: float, joules: float, micro: float, sequences: int,
    decoders: int, prompt_tokens: int, features: Any,
) -> None:  # fmt: skip
    """Record one iteration with the features its operators saw, where a log is kept."""
    if engine.logged >= log.shape[0]:
        return
    row = log[engine.logged]
    row[LOG_START_S], row[LOG_SECONDS] = engine.now_s, seconds
    row[LOG_DECODING], row[LOG_PROMPT_TOKENS] = decoders, prompt_tokens
    row[LOG_JOULES], row[LOG_MICROBATCHES], row[LOG_SEQUENCES] = joules, micro, sequences
    at = LOG_COLUMNS
    for stream in range((log.shape[1] - LOG_COLUMNS) // 16):
        for phase in range(4):
            for feature in range(4):
                row[at] = features[stream, phase, feature]
                at += 1
    engine.logged += 1


@njit
def finish(request: Any, engine: Any) -> None:
    """A request has all its tokens: give back its memory."""
    request.status = DONE
    engine.kv_used_B -= request.kv_B
    request.kv_B = 0.0
    engine.completed += 1


@njit
def compact(requests: Any, running: Any, engine: Any) -> None:
    """Drop finished and preempted requests from the running list, keeping its order."""
    count = 0
    for index in range(engine.running):
        if requests[running[index]].status == RUNNING:
            running[count] = running[index]
            count += 1
    engine.running = count
    if count == 0:
        engine.kv_used_B = 0.0  # what rounding left would keep a request of just the size out


@njit
def decoding(request: Any) -> bool:
    """Whether a running request has its whole prompt in memory."""
    return request.prefilled == request.target


@njit
def grow(requests: Any, waiting: Any, running: Any, engine: Any, streams: Any, policy: Any) -> int:
    """Give every decoding sequence room for one more token; returns how many decode.

    Where memory runs out, the request admitted last is preempted, at the end the one in need
    itself: its cache is dropped and it goes to the head of the queue, to be computed again (vLLM's
    recompute preemption).
    """
    for index in range(engine.running):
        request = requests[running[index]]
        if request.status != RUNNING or not decoding(request):
            continue
        need = kv_bytes(streams, policy, request.input, request.input + request.generated)
        if need <= request.kv_B:
            continue
        last = engine.running - 1
        while engine.kv_used_B + need - request.kv_B > policy.capacity_B and last >= index:
            victim = requests[running[last]]
            if victim.status == RUNNING:
                victim.status = WAITING
                engine.kv_used_B -= victim.kv_B
                victim.kv_B = 0.0
                victim.target = victim.input + victim.generated
                victim.prefilled = 0
                victim.preemptions += 1
                engine.preemptions += 1
                engine.head -= 1
                waiting[engine.head] = running[last]
            last -= 1
        if request.status == RUNNING:
            engine.kv_used_B += need - request.kv_B
            request.kv_B = need
    compact(requests, running, engine)
    count = 0
    for index in range(engine.running):
        if decoding(requests[running[index]]):
            count += 1
    return count


@njit
def pick(
    requests: Any,
    waiting: Any,
    running: Any,
    engine: Any,
    streams: Any,
    policy: Any,
    decoders: int,
    picked: Any,
) -> int:
    """Choose prompts, or chunks of them, for the next iteration; admits from the queue in order.

    Fills `picked` [n, 2] with request and tokens. Requests that could never fit are rejected.
    """
    budget = policy.budget - (decoders if policy.chunked == 1 else 0)
    count = 0
    if policy.chunked == 1:
        for index in range(engine.running):
            request = requests[running[index]]
            if budget > 0 and not decoding(request):
                tokens = min(budget, request.target - request.prefilled)
                picked[count, 0], picked[count, 1] = running[index], tokens
                budget -= tokens
                count += 1
    while engine.head < engine.tail and engine.running < policy.max_batch and budget > 0:
        number = waiting[engine.head]
        request = requests[number]
        if request.arrival_s > engine.now_s:
            break
        whole = kv_bytes(streams, policy, request.input, request.input + request.output)
        if whole > policy.capacity_B:
            request.status = REJECTED
            engine.rejected += 1
            engine.head += 1
            continue
        need = whole
        if policy.reserve_full == 0:
            need = kv_bytes(streams, policy, request.input, request.target)
        spare = policy.watermark_B if engine.running > 0 else 0.0
        if engine.kv_used_B + need > policy.capacity_B - spare:
            break
        tokens = request.target
        if policy.chunked == 1:
            tokens = min(budget, tokens)
        elif tokens > budget and count > 0:
            break
        engine.head += 1
        request.status = RUNNING
        if request.preemptions == 0:
            request.admitted_s = engine.now_s
        request.kv_B = need
        engine.kv_used_B += need
        running[engine.running] = number
        engine.running += 1
        picked[count, 0], picked[count, 1] = number, tokens
        budget -= tokens
        count += 1
    engine.kv_peak_B = max(engine.kv_peak_B, engine.kv_used_B)
    return count


@njit
def microbatches(machine: Any, sequences: float) -> float:
    """Parts an iteration is cut in to fill the pipeline: never more than it has sequences."""
    return max(min(machine.stages, sequences), 1.0)


@njit
def mixed_iteration(
    ops: Any, routing: Any, streams: Any, units: Any, links: Any, machine: Any, policy: Any,
    requests: Any, running: Any, engine: Any, picked: Any, decoders: int,
    features: Any, experts: Any, rows: Any, chosen: Any,
    seconds: Any, joules: Any, gaps: Any, log: Any,
) -> None:  # fmt: skip
    """One iteration with prompt tokens, and with decodes where the policy mixes them."""
    features[:] = 0.0
    with_decode = policy.decode_with_prefill == 1 and decoders > 0
    prompt_tokens = 0
    for index in range(engine.picked):
        request = requests[picked[index, 0]]
        prompt_tokens += picked[index, 1]
        add_prefill(
            streams, features, request.input, request.prefilled, picked[index, 1], request.target
        )
    if with_decode:
        for index in range(engine.running):
            request = requests[running[index]]
            if decoding(request):
                add_decode(streams, features, request.input, request.input + request.generated)
    decoding_now = decoders if with_decode else 0
    micro = microbatches(machine, float(engine.picked + decoding_now))
    if micro > 1.0:
        features /= micro
    passes.spread_over_groups(features, streams.shape[0], machine.groups)
    expert_features(ops, features, routing, experts)
    total = passes.evaluate(ops, features, experts, routing, units, links, rows, chosen)
    host_s = passes.host_time(float(engine.picked + decoding_now), machine)
    time = passes.step_time(total, micro, host_s, machine)
    spent_J = iteration_joules(rows)
    left = passes.within_limit(spent_J, time, micro, machine)
    energy = passes.step_energy(spent_J * left, time, micro, machine)
    for index in range(ops.shape[0]):
        tally(rows, chosen, index, 1.0, micro * machine.group * left, seconds, joules)
    log_step(
        log, engine, time, energy, micro, engine.picked + decoding_now, decoding_now, prompt_tokens,
        features,
    )  # fmt: skip
    engine.now_s += time
    engine.busy_s += time
    engine.host_s += host_s
    engine.joules += energy
    engine.iterations += 1
    if with_decode:
        for index in range(engine.running):
            request = requests[running[index]]
            if decoding(request):
                close_gap(request, engine, gaps)
                emit(request, engine)
    for index in range(engine.picked):
        request = requests[picked[index, 0]]
        request.prefilled += picked[index, 1]
        engine.prefill_tokens += picked[index, 1]
        if decoding(request):
            if request.generated == 0:
                request.first_s = engine.now_s
            else:
                close_gap(request, engine, gaps)
            emit(request, engine)
    compact(requests, running, engine)


@njit
def close_gap(request: Any, engine: Any, gaps: Any) -> None:
    """The gap before a token that a request gets now ends."""
    gap = engine.now_s - request.last_s
    log_gap(gaps, engine, gap, 1.0)
    request.max_gap_s = max(request.max_gap_s, gap)


@njit
def emit(request: Any, engine: Any) -> None:
    """A request gets one token now; with its last one it ends."""
    request.generated += 1
    request.last_s = engine.now_s
    engine.generated_tokens += 1
    if request.generated == request.output:
        finish(request, engine)


@njit
def stretch_length(
    requests: Any, running: Any, engine: Any, streams: Any, policy: Any, most: int
) -> int:
    """Decode steps until a request ends, a window fills or memory runs out."""
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
                need += kv_bytes(streams, policy, request.input, context) - request.kv_B
        if need <= policy.capacity_B:
            break
        most //= 2
    return max(most, 1)


@njit
def start_stretch(
    streams: Any, requests: Any, running: Any, engine: Any, features: Any, growth: Any
) -> None:
    """Fill the features of a decode step, and what each stream sees more at every further one."""
    features[:] = 0.0
    growth[:] = 0.0
    for index in range(engine.running):
        request = requests[running[index]]
        if decoding(request):
            context = request.input + request.generated
            add_decode(streams, features, request.input, context)
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
    streams: Any,
    policy: Any,
    requests: Any,
    running: Any,
    engine: Any,
    steps: int,
    longest: float,
) -> None:
    """Give every decoding request the tokens of `steps` steps and the memory they take.

    The last token comes after memory is counted: a request that ends gives all of it back.
    """
    for index in range(engine.running):
        request = requests[running[index]]
        if not decoding(request):
            continue
        request.max_gap_s = max(request.max_gap_s, longest)
        request.generated += steps - 1
        engine.generated_tokens += steps - 1
        if policy.reserve_full == 0:
            held = kv_bytes(streams, policy, request.input, request.input + request.generated)
            engine.kv_used_B += held - request.kv_B
            request.kv_B = held
    engine.kv_peak_B = max(engine.kv_peak_B, engine.kv_used_B)
    for index in range(engine.running):
        request = requests[running[index]]
        if decoding(request):
            emit(request, engine)
    compact(requests, running, engine)


@njit
def decode_stretch(
    ops: Any, routing: Any, streams: Any, units: Any, links: Any, machine: Any, policy: Any,
    requests: Any, running: Any, engine: Any, decoders: int, most: int, until_s: float,
    features: Any, experts: Any, rows: Any, chosen: Any, growth: Any,
    seconds: Any, joules: Any, gaps: Any, log: Any,
) -> None:  # fmt: skip
    """Up to `most` decode iterations of the same sequences, stopping once `until_s` is reached."""
    start_stretch(streams, requests, running, engine, features, growth)
    micro = microbatches(machine, float(decoders))
    if micro > 1.0:
        features /= micro
        growth /= micro
    passes.spread_over_groups(features, streams.shape[0], machine.groups)
    spread_growth(features, growth, streams.shape[0], machine.groups)
    expert_features(ops, features, routing, experts)
    total = passes.evaluate(ops, features, experts, routing, units, links, rows, chosen)
    host_s = passes.host_time(float(decoders), machine)
    still_s, still_J, left_in_all, steps, longest = 0.0, 0.0, 0.0, 0, 0.0
    for index in range(ops.shape[0]):
        if ops[index].moves == 0:
            still_s += rows[index, SECONDS]
            still_J += row_joules(rows, index)
    while True:
        moving_J = 0.0
        if steps > 0:
            for stream in range(growth.shape[0]):
                for feature in (PAIRS, CACHED):
                    features[stream, DECODE, feature] += growth[stream]
                    features[stream, ALL, feature] += growth[stream]
            total = still_s
        for index in range(ops.shape[0]):
            if ops[index].moves == 1:
                if steps > 0:
                    total += passes.evaluate_row(
                        ops, index, features, experts, routing, units, links, rows, chosen
                    )
                moving_J += row_joules(rows, index)
        time = passes.step_time(total, micro, host_s, machine)
        left = passes.within_limit(still_J + moving_J, time, micro, machine)
        energy = passes.step_energy((still_J + moving_J) * left, time, micro, machine)
        for index in range(ops.shape[0]):
            if ops[index].moves == 1:
                tally(rows, chosen, index, 1.0, micro * machine.group * left, seconds, joules)
        left_in_all += left
        log_step(log, engine, time, energy, micro, decoders, decoders, engine.picked, features)
        engine.now_s += time
        engine.busy_s += time
        engine.joules += energy
        steps += 1
        if steps == 1:
            for index in range(engine.running):
                request = requests[running[index]]
                if decoding(request):
                    close_gap(request, engine, gaps)
        else:
            log_gap(gaps, engine, time, float(decoders))
            longest = max(longest, time)
        if steps >= most or engine.now_s >= until_s or engine.gaps >= gaps.shape[0] - 1:
            break
    for index in range(ops.shape[0]):
        if ops[index].moves == 0:
            spending = micro * machine.group * left_in_all / steps
            tally(rows, chosen, index, float(steps), spending, seconds, joules)
    engine.iterations += steps
    engine.host_s += host_s * steps
    end_stretch(streams, policy, requests, running, engine, steps, longest)


@njit
def serve(
    ops: Any, routing: Any, streams: Any, units: Any, links: Any, machine: Any, policy: Any,
    requests: Any, waiting: Any, running: Any, engine: Any,
    picked: Any, features: Any, experts: Any, rows: Any, chosen: Any, growth: Any,
    seconds: Any, joules: Any, gaps: Any, log: Any,
    horizon_s: float, limit: int, stop_at_completion: bool,
) -> int:  # fmt: skip
    """Run iterations until nothing is left, `horizon_s`, `limit` iterations or a request ends.

    No iteration starts at or after the horizon; the last one may end beyond it. Returns why.
    """
    last_iteration = engine.iterations + limit
    completed = engine.completed + engine.rejected
    while True:
        if stop_at_completion and engine.completed + engine.rejected > completed:
            return COMPLETED
        if engine.now_s >= horizon_s:
            return HORIZON
        if engine.iterations >= last_iteration:
            return LIMIT
        if engine.gaps + 2 * policy.max_batch + 2 > gaps.shape[0]:
            return LOG_FULL
        decoders = grow(requests, waiting, running, engine, streams, policy)
        engine.picked = pick(requests, waiting, running, engine, streams, policy, decoders, picked)
        if engine.picked > 0:
            mixed_iteration(
                ops, routing, streams, units, links, machine, policy,
                requests, running, engine, picked, decoders,
                features, experts, rows, chosen, seconds, joules, gaps, log,
            )  # fmt: skip
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
        if engine.head < engine.tail and engine.running < policy.max_batch:
            arrival = requests[waiting[engine.head]].arrival_s
            if arrival > engine.now_s:
                until_s = min(until_s, arrival)
        most = stretch_length(
            requests, running, engine, streams, policy, last_iteration - engine.iterations
        )
        decode_stretch(
            ops, routing, streams, units, links, machine, policy,
            requests, running, engine, decoders, most, until_s,
            features, experts, rows, chosen, growth, seconds, joules, gaps, log,
        )  # fmt: skip
