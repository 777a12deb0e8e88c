"""What every kind of iteration does: see who decodes, take its time, log it, move the clock."""

from __future__ import annotations

from typing import Any

from sim.kernel import passes
from sim.kernel.compiled import njit
from sim.kernel.copies import held_up
from sim.kernel.iteration import part_time, tally_part
from sim.kernel.records import (
    DECODE,
    LOG_COLUMNS,
    LOG_DECODING,
    LOG_FIRST_LAYER,
    LOG_JOULES,
    LOG_LAST_LAYER,
    LOG_MICROBATCHES,
    LOG_PROMPT_TOKENS,
    LOG_SECONDS,
    LOG_SEQUENCES,
    LOG_START_S,
    LOGITS,
    TOKENS,
)
from sim.kernel.requests import decoding
from sim.kernel.sequences import add_decode, add_features, add_prefill


@njit(inline="always")
def run_parts(
    replica: Any, engine: Any, scratch: Any, books: Any, parts: int, micro: float, sequences: int,
    decoders: int, prompt_tokens: int, first: int, last: int,
) -> None:  # fmt: skip
    """Run one iteration of `parts` parts, whose features and shares are filled in.

    It is of `micro` microbatches and `sequences` sequences in all, of which `decoders` decode;
    prompts pass layers [first, last). The caller gives tokens out.
    """
    machine = replica.machine
    seconds, spent_J = 0.0, 0.0
    for part in range(parts - 1, -1, -1):  # the first last: what others remember takes its rows
        more_s, more_J = part_time(replica, scratch, books, part)
        seconds += more_s
        spent_J += more_J
    host_s = passes.host_time(float(sequences), machine)
    busiest_s = 0.0
    if machine.sides > 0.0:
        busiest_s = passes.busiest_side(replica.ops, scratch.rows, scratch.shares, parts)
    time = passes.step_time(seconds, micro, host_s, machine, busiest_s)
    left = passes.within_limit(spent_J, time, micro, machine)
    if engine.copy_s > 0.0 or engine.load_s > 0.0:
        time += held_up(engine, replica.policy, time, last - first, replica.reach.shape[1] - 1)
    energy = passes.step_energy(spent_J * left, time, micro, machine)
    devices = micro * machine.group
    for part in range(parts):
        tally_part(replica, scratch, books, part, 1.0, devices, left)
    log_step(
        books.log, engine, time, energy, micro, sequences, decoders, prompt_tokens, first, last,
        replica.streams.shape[0], scratch.features[0],
    )  # fmt: skip
    spend(engine, time, host_s, energy, spent_J * left * devices, 1)


@njit
def log_step(
    log: Any, engine: Any, seconds: float, joules: float, micro: float, sequences: int,
    decoders: int, prompt_tokens: int, first: int, last: int, streams: int, features: Any,
) -> None:  # fmt: skip
    """Record one iteration with the features its operators saw, where a log is kept."""
    if engine.logged >= log.shape[0]:
        return
    row = log[engine.logged]
    row[LOG_START_S], row[LOG_SECONDS] = engine.now_s, seconds
    row[LOG_DECODING], row[LOG_PROMPT_TOKENS] = decoders, prompt_tokens
    row[LOG_JOULES], row[LOG_MICROBATCHES], row[LOG_SEQUENCES] = joules, micro, sequences
    row[LOG_FIRST_LAYER], row[LOG_LAST_LAYER] = first, last
    log_features(row, 0, streams, features)
    engine.logged += 1


@njit
def log_features(row: Any, begin: int, streams: int, features: Any) -> None:
    """Record `features` of `streams` streams behind those of `begin` others."""
    at = LOG_COLUMNS + 16 * begin
    for stream in range(streams):
        for phase in range(4):
            for feature in range(4):
                row[at] = features[stream, phase, feature]
                at += 1


@njit
def fill_prompts(flow: Any, engine: Any, streams: Any, features: Any) -> int:
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
