"""A stretch: the same sequences decode step after step, until something changes.

Only operators that depend on cached tokens are timed anew each step.
"""

from __future__ import annotations

from sim.kernel import passes
from sim.kernel import records as r
from sim.kernel.arrays import Floats, Ints
from sim.kernel.compiled import njit
from sim.kernel.copies import held_up
from sim.kernel.iteration import (
    microbatches,
    part_of,
    part_time,
    row_joules,
    share_layers,
    tally,
    tally_part,
)
from sim.kernel.prefix import make_room
from sim.kernel.requests import (
    close_gap,
    compact,
    decoding,
    emit,
    finish,
    log_gap,
    own_bytes,
    room_of,
)
from sim.kernel.sequences import (
    grows,
    steady_steps,
)
from sim.kernel.state import Books, Flow, Replica, Scratch
from sim.kernel.steps import Work, add_decodes, charge, log_step, spend


@njit
def stretch_length(
    flow: Flow, engine: r.Engine, streams: r.Streams, policy: r.Policy, most: int
) -> int:
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
    streams: r.Streams,
    policy: r.Policy,
    requests: r.Requests,
    running: Ints,
    engine: r.Engine,
    features: Floats,
    growth: Floats,
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
def spread_growth(features: Floats, growth: Floats, streams: int, groups: float) -> None:
    """Growth of the busiest and of the mean group, in the shares that their features have."""
    if features.shape[0] == streams:
        return
    for stream in range(streams):
        sequences = max(features[stream, r.DECODE, r.SEQUENCES], 1e-30)
        busiest = features[streams + stream, r.DECODE, r.SEQUENCES]
        growth[streams + stream] = growth[stream] * busiest / sequences
        growth[2 * streams + stream] = growth[stream] / groups


@njit
def end_stretch(
    streams: r.Streams, policy: r.Policy, flow: Flow, engine: r.Engine, steps: int, longest: float,
    each_s: float, each_J: float,
) -> None:  # fmt: skip
    """Give every decoding request the tokens of `steps` steps and the memory they take.

    And charge it with `each_s` and `each_J`.
    The last token comes after memory is counted: a request that ends gives all of it back.
    """
    requests, running = flow.requests, flow.running
    for index in range(engine.running):
        request = requests[running[index]]
        if not decoding(request):
            continue
        charge(request, 1.0, each_s, each_J)
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
    replica: Replica, flow: Flow, engine: r.Engine, decoders: int, most: int, until_s: float,
    scratch: Scratch, books: Books,
) -> None:  # fmt: skip
    """Up to `most` decode iterations of the same sequences, stopping once `until_s` is reached."""
    ops, machine, gaps, growth = replica.ops, replica.machine, books.gaps, scratch.growth
    run = part_of(replica, scratch, 0)
    features, rows = run.features, run.rows
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
            still_s -= rows[index, r.SECONDS]
            still_J -= row_joules(rows, index)
    host_s = passes.host_time(float(decoders), machine)
    devices = micro * machine.group
    work = Work(micro, decoders, decoders, 0, 0, layers)
    left_in_all, steps, longest = 0.0, 0, 0.0
    each_s, each_J = 0.0, 0.0
    while True:
        moving_s, moving_J = 0.0, 0.0
        if steps > 0:
            for stream in range(growth.shape[0]):
                for feature in (r.PAIRS, r.CACHED):
                    features[stream, r.DECODE, feature] += growth[stream]
                    features[stream, r.ALL, feature] += growth[stream]
        for index in range(ops.shape[0]):
            if ops[index].moves == 1:
                if steps > 0:
                    passes.evaluate_row(run, index)
                moving_s += rows[index, r.SECONDS]
                moving_J += row_joules(rows, index)
        busiest_s = 0.0
        if machine.sides > 0.0:
            busiest_s = passes.busiest_side(ops, scratch.rows, scratch.shares, 1)
        time = passes.step_time(still_s + moving_s, micro, host_s, machine, busiest_s)
        spent_J = still_J + moving_J
        left = passes.within_limit(spent_J, time, micro, machine)
        if engine.copy_s > 0.0:
            time += held_up(engine, replica.policy, time, 0, layers)
        energy = passes.step_energy(spent_J * left, time, micro, machine)
        for index in range(ops.shape[0]):
            if ops[index].moves == 1:
                tally(run, index, books, 1.0, devices, devices * left)
        left_in_all += left
        log_step(books.log, engine, time, energy, work, streams.shape[0], features)
        spend(engine, time, host_s, energy, spent_J * left * devices, 1)
        each_s += time / decoders
        each_J += spent_J * left * devices / decoders
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
    end_stretch(streams, replica.policy, flow, engine, steps, longest, each_s, each_J)
