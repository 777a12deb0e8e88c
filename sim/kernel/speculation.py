"""Iterations with speculation: a draft proposes tokens of every sequence, the model verifies them.

The draft's operators stand in the model's table, with streams of their own, so its KV cache and its
pass over prompts come as those of the model do. One part of an iteration has the model's operators,
and the draft's as often as it drafts; with prompts in between, the first pass of the draft takes
them along, and further ones are a part of their own. Each has the mean pass's cached tokens.
"""

from __future__ import annotations

import numpy as np

from sim.kernel import passes, splitmix
from sim.kernel import records as r
from sim.kernel.arrays import Floats
from sim.kernel.compiled import njit
from sim.kernel.requests import close_gap, compact, decoding, emit, finish, prefilled
from sim.kernel.sequences import add_drafting, add_features, add_verification
from sim.kernel.state import Books, Flow, Replica, Scratch
from sim.kernel.steps import Work, charge_all, fill_prompts, log_features, run_parts

UNIT_STEP = 2.0**-53
bits_at = njit(splitmix.bits_at)


@njit
def uniform_at(start: np.uint64, place: int) -> float:
    """The number from [0, 1) at `place` of the stream that begins at `start`."""
    return float(bits_at(start, place) >> np.uint64(11)) * UNIT_STEP


@njit
def accepted_tokens(reached: Floats, start: np.uint64, count: int) -> int:
    """How many drafted tokens are accepted, of a sequence with `count` tokens generated.

    `reached` [tokens] is the probability that so many are. One number decides: whoever accepts
    more readily accepts at least as many.
    """
    number, found = uniform_at(start, count), 0
    while found < reached.shape[0] and number < reached[found]:
        found += 1
    return found


@njit
def add_step(
    flow: Flow, engine: r.Engine, streams: r.Streams, policy: r.Policy, verify: bool, first: int,
    last: int, features: Floats,
) -> None:  # fmt: skip
    """Add passes [first, last) of the draft, in the mean, over all that decode; and verification.

    The latter only where `verify` says so.
    """
    requests, running, ahead = flow.requests, flow.running, policy.ahead
    count, cached = 0, 0
    for index in range(engine.running):
        request = requests[running[index]]
        if not decoding(request):
            continue
        context = request.input + request.generated
        count += 1
        cached += context
        if policy.plain == 0:
            if verify:
                add_verification(streams, features, request.input, context, ahead)
            add_drafting(streams, features, request.input, context, first, last)
    if policy.plain == 0:
        return
    tokens = float(count)
    for stream in range(streams.shape[0]):
        if streams[stream].draft != 0:
            seen = cached + 0.5 * (first + last - 1) * tokens
            add_features(features[stream], r.DECODE, tokens, seen, seen, tokens)
            features[stream, r.LOGITS, r.TOKENS] += tokens
        elif verify:
            pairs = (ahead + 1) * (cached + 0.5 * ahead * tokens)
            seen = cached + ahead * tokens
            add_features(features[stream], r.DECODE, (ahead + 1) * tokens, pairs, seen, tokens)
            features[stream, r.LOGITS, r.TOKENS] += (ahead + 1) * tokens
        features[stream, r.LOGITS, r.SEQUENCES] += tokens


@njit
def share_draft(ops: r.Ops, times: float, rest: float, shares: Floats) -> None:
    """Fill `shares` [ops]: operators of the draft run `times` times, those of the model `rest`."""
    for index in range(ops.shape[0]):
        shares[index] = times if ops[index].drafts == 1 else rest


@njit
def speculative_iteration(
    reached: Floats,
    replica: Replica,
    flow: Flow,
    engine: r.Engine,
    decoders: int,
    scratch: Scratch,
    books: Books,
) -> None:
    """One iteration: prompts picked, and drafted and verified tokens of those that decode.

    `reached` as `accepted_tokens` takes it.
    """
    machine, streams, policy = replica.machine, replica.streams, replica.policy
    features = scratch.features[0]
    if engine.picked > 0 and policy.decode_with_prefill == 0:
        decoders = 0
    features[:] = 0.0
    prompt_tokens = fill_prompts(flow, engine, streams, features)
    for stream in range(streams.shape[0]):
        features[stream, r.LOGITS, r.SEQUENCES] = features[stream, r.LOGITS, r.TOKENS]
    parts, drafts = 1, policy.ahead if decoders > 0 and engine.picked == 0 else 1
    if decoders > 0:
        add_step(flow, engine, streams, policy, True, 0, drafts, features)
        if drafts < policy.ahead:
            parts = 2
            further = scratch.features[1]
            further[:] = 0.0
            add_step(flow, engine, streams, policy, False, drafts, policy.ahead, further)
            share_draft(replica.ops, float(policy.ahead - drafts), 0.0, scratch.shares[1])
    share_draft(replica.ops, float(drafts), 1.0, scratch.shares[0])
    for part in range(parts):
        passes.spread_over_groups(scratch.features[part], streams.shape[0], machine.groups)
    logged = engine.logged
    layers = replica.reach.shape[1] - 1
    work = Work(1.0, engine.picked + decoders, decoders, prompt_tokens, 0, layers)
    spent = run_parts(replica, engine, scratch, books, parts, work)
    charge_all(flow, engine, work, layers, policy.ahead + 1, spent)
    engine.load_s = 0.0
    if engine.logged > logged:
        if parts == 1:
            scratch.features[1, :] = 0.0
        log_features(books.log[logged], streams.shape[0], streams.shape[0], scratch.features[1])
    if decoders > 0:
        give_out(reached, flow, engine, policy, books.gaps)
    prefilled(flow, engine, policy, books.gaps)
    compact(flow.requests, flow.running, engine)


@njit
def give_out(reached: Floats, flow: Flow, engine: r.Engine, policy: r.Policy, gaps: Floats) -> None:
    """Every sequence that decodes gets the tokens accepted, and one more; not past its end."""
    for index in range(engine.running):
        request = flow.requests[flow.running[index]]
        if not decoding(request):
            continue
        close_gap(request, engine, gaps)
        accepted = accepted_tokens(reached, request.draw, request.generated)
        engine.verified += 1
        engine.accepted += accepted
        more = min(accepted, request.output - request.generated - 1)
        request.generated += more
        engine.generated_tokens += more
        if emit(request, engine):
            finish(request, flow, engine, policy)
