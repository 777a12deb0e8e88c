"""What every kind of iteration does: see who decodes, take its time, log it, move the clock."""

from __future__ import annotations

from typing import NamedTuple

from sim.kernel import passes
from sim.kernel import records as r
from sim.kernel.arrays import Floats, Ints
from sim.kernel.compiled import njit
from sim.kernel.copies import held_up
from sim.kernel.iteration import part_time, tally_part
from sim.kernel.requests import decoding
from sim.kernel.sequences import add_decode, add_features, add_prefill
from sim.kernel.state import Books, Flow, Replica, Scratch


class Work(NamedTuple):
    """What one iteration is of: `micro` microbatches and `sequences` sequences in all.

    `decoders` of them decode; prompts pass layers [first, last).
    """

    micro: float
    sequences: int
    decoders: int
    prompt_tokens: int
    first: int
    last: int


@njit(inline="always")
def run_parts(
    replica: Replica, engine: r.Engine, scratch: Scratch, books: Books, parts: int, work: Work
) -> tuple[float, float]:
    """Run one iteration of `parts` parts, whose features and shares are filled in.

    Returns its seconds and its operators' joules, which the caller charges to requests as it gives
    tokens out.
    """
    machine, micro = replica.machine, work.micro
    seconds, spent_J = 0.0, 0.0
    for part in range(parts - 1, -1, -1):  # the first last: what others remember takes its rows
        more_s, more_J = part_time(replica, scratch, books, part)
        seconds += more_s
        spent_J += more_J
    host_s = passes.host_time(float(work.sequences), machine)
    busiest_s = 0.0
    if machine.sides > 0.0:
        busiest_s = passes.busiest_side(replica.ops, scratch.rows, scratch.shares, parts)
    time = passes.step_time(seconds, micro, host_s, machine, busiest_s)
    left = passes.within_limit(spent_J, time, micro, machine)
    if engine.copy_s > 0.0 or engine.load_s > 0.0:
        layers = replica.reach.shape[1] - 1
        time += held_up(engine, replica.policy, time, work.last - work.first, layers)
    energy = passes.step_energy(spent_J * left, time, micro, machine)
    devices = micro * machine.group
    for part in range(parts):
        tally_part(replica, scratch, books, part, 1.0, devices, left)
    streams = replica.streams.shape[0]
    log_step(books.log, engine, time, energy, work, streams, scratch.features[0])
    spend(engine, time, host_s, energy, spent_J * left * devices, 1)
    return time, spent_J * left * devices


@njit
def log_step(
    log: Floats, engine: r.Engine, seconds: float, joules: float, work: Work, streams: int,
    features: Floats,
) -> None:  # fmt: skip
    """Record one iteration with the features its operators saw, where a log is kept."""
    if engine.logged >= log.shape[0]:
        return
    row = log[engine.logged]
    row[r.LOG_START_S], row[r.LOG_SECONDS] = engine.now_s, seconds
    row[r.LOG_DECODING], row[r.LOG_PROMPT_TOKENS] = work.decoders, work.prompt_tokens
    row[r.LOG_JOULES], row[r.LOG_MICROBATCHES] = joules, work.micro
    row[r.LOG_SEQUENCES] = work.sequences
    row[r.LOG_FIRST_LAYER], row[r.LOG_LAST_LAYER] = work.first, work.last
    log_features(row, 0, streams, features)
    engine.logged += 1


@njit
def log_features(row: Floats, begin: int, streams: int, features: Floats) -> None:
    """Record `features` of `streams` streams behind those of `begin` others."""
    at = r.LOG_COLUMNS + 16 * begin
    for stream in range(streams):
        for phase in range(4):
            for feature in range(4):
                row[at] = features[stream, phase, feature]
                at += 1


@njit
def fill_prompts(flow: Flow, engine: r.Engine, streams: r.Streams, features: Floats) -> int:
    """Add the prompts picked to `features`; returns their tokens."""
    prompt_tokens = 0
    for index in range(engine.picked):
        number, tokens = flow.picked[index]
        request = flow.requests[number]
        prompt_tokens += tokens
        add_prefill(streams, features, request.input, request.prefilled, tokens, request.target)
    return prompt_tokens


@njit
def add_decodes(
    requests: r.Requests,
    running: Ints,
    engine: r.Engine,
    streams: r.Streams,
    policy: r.Policy,
    features: Floats,
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
            add_features(features[stream], r.DECODE, tokens, seen, seen, tokens)
            features[stream, r.LOGITS, r.TOKENS] += tokens
    return count


@njit(inline="always")
def charge(request: r.Request, weight: float, seconds: float, joules: float) -> None:
    """A request takes its share of an iteration: seconds and joules for each token, by `weight`."""
    request.busy_s += weight * seconds
    request.joules += weight * joules


@njit
def charge_all(
    flow: Flow, engine: r.Engine, work: Work, layers: int, decoded: int, spent: tuple[float, float]
) -> None:
    """The seconds and joules `spent` go to the prompts picked and to the sequences that decode.

    By tokens: those of prompts count for the layers that they pass, `decoded` of each sequence.
    """
    passing = (work.last - work.first) / layers
    tokens = work.prompt_tokens * passing + work.decoders * decoded
    seconds, joules = spent[0] / tokens, spent[1] / tokens
    for index in range(engine.picked):
        request = flow.requests[flow.picked[index, 0]]
        charge(request, flow.picked[index, 1] * passing, seconds, joules)
    if work.decoders > 0:
        for index in range(engine.running):
            request = flow.requests[flow.running[index]]
            if decoding(request):
                charge(request, float(decoded), seconds, joules)


@njit
def spend(
    engine: r.Engine,
    seconds: float,
    host_s: float,
    joules: float,
    operator_joules: float,
    steps: int,
) -> None:
    """An engine has done `steps` iterations."""
    engine.now_s += seconds
    engine.busy_s += seconds
    engine.host_s += host_s
    engine.joules += joules
    engine.operator_joules += operator_joules
    engine.iterations += steps
