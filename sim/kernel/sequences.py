"""Sequences: what each stream of operators sees of one, what it holds, and its part of a batch."""

from __future__ import annotations

import numpy as np

from sim.kernel import records as r
from sim.kernel.arrays import Floats
from sim.kernel.compiled import njit


@njit
def attended(stream: r.Stream, prompt: int, context: int) -> float:
    """Cached tokens the newest of `context` tokens attends to in `stream`."""
    if stream.kind == r.CROSS:
        return float(stream.tokens if stream.tokens > 0 else prompt)
    if stream.kind == r.GENERATED:
        seen = float(context - prompt + 1)  # its start token comes first
    elif stream.kind == r.CAUSAL:
        seen = kept(stream, prompt, context)
    else:
        return 0.0
    if stream.window > 0 and seen > stream.window:
        if stream.chunked == 1:
            return (seen - 1.0) % stream.window + 1.0
        return float(stream.window)
    return seen


@njit
def kept(stream: r.Stream, prompt: int, tokens: int) -> float:
    """How many of the first `tokens` tokens are left: techniques cut only the prompt."""
    return tokens - (1.0 - stream.keep) * min(prompt, tokens)


@njit
def steady_steps(stream: r.Stream, prompt: int, context: int) -> int:
    """Decode steps from `context` over which `attended` grows evenly."""
    if stream.window == 0 or stream.kind == r.CROSS:
        return r.NO_END
    seen = int(attended(stream, prompt, context))
    if stream.chunked == 1 or seen < stream.window:
        return max(stream.window - seen, 1)
    return r.NO_END


@njit
def grows(stream: r.Stream, prompt: int, context: int) -> float:
    """1 where one more token means one more cached token attended to, else 0."""
    return attended(stream, prompt, context + 1) - attended(stream, prompt, context)


@njit
def window_pairs(stream: r.Stream, tokens: float) -> float:
    """Query-key pairs of the first `tokens` tokens of a causal stream."""
    w = float(stream.window)
    if w == 0.0 or tokens <= w:
        return tokens * (tokens + 1.0) / 2.0
    if stream.chunked == 1:
        whole, rest = tokens // w, tokens % w
        return whole * w * (w + 1.0) / 2.0 + rest * (rest + 1.0) / 2.0
    return w * (w + 1.0) / 2.0 + (tokens - w) * w


@njit
def kv_bytes(streams: r.Streams, policy: r.Policy, prompt: int, context: int) -> float:
    """Bytes one device holds for a sequence of `context` tokens, whole blocks."""
    total = policy.state_B
    block = float(policy.kv_block)
    for index in range(streams.shape[0]):
        stream = streams[index]
        if stream.kv_B == 0.0:
            continue
        if stream.kind == r.CROSS:
            held = attended(stream, prompt, context)
        elif stream.kind == r.GENERATED:
            held = float(context - prompt + 1)
        else:
            held = kept(stream, prompt, context)
        if stream.window > 0:
            held = min(held, float(stream.window))
        total += np.ceil(held / block) * block * stream.kv_B
    return total


@njit
def add_features(
    features: Floats, phase: int, tokens: float, pairs: float, cached: float, sequences: float
) -> None:
    """Add one sequence's part to `features` [phase, feature] of a stream."""
    for slot in (phase, r.ALL):
        features[slot, r.TOKENS] += tokens
        features[slot, r.PAIRS] += pairs
        features[slot, r.CACHED] += cached
        features[slot, r.SEQUENCES] += sequences


@njit
def add_decode(streams: r.Streams, features: Floats, prompt: int, context: int) -> None:
    """One sequence decodes one token, the newest of `context`."""
    for index in range(streams.shape[0]):
        stream = streams[index]
        if stream.kind == r.ENCODER or stream.kind == r.FIXED:
            continue
        seen = attended(stream, prompt, context)
        add_features(features[index], r.DECODE, 1.0, seen, seen, 1.0)
        features[index, r.LOGITS, r.TOKENS] += 1.0


@njit(inline="always")
def span(stream: r.Stream, prompt: int, begin: int, tokens: int) -> tuple[float, float, float]:
    """Tokens, query-key pairs and cached tokens of tokens [begin, begin + tokens), all at once.

    Of a causal stream; the tokens themselves count as cached.
    """
    left, right = kept(stream, prompt, begin), kept(stream, prompt, begin + tokens)
    pairs = window_pairs(stream, right) - window_pairs(stream, left)
    cached = right
    if stream.window > 0 and stream.chunked == 1:
        cached = right - left // stream.window * stream.window
    elif stream.window > 0:
        cached = min(right, stream.window + (right - left) - 1.0)
    return right - left, pairs, cached


@njit
def add_verification(
    streams: r.Streams, features: Floats, prompt: int, context: int, ahead: int
) -> None:
    """A sequence has `ahead` drafted tokens verified, behind the newest of `context`.

    All of them give logits. Cached tokens are read once for all.
    """
    for index in range(streams.shape[0]):
        if streams[index].draft != 0:
            continue
        tokens, pairs, cached = span(streams[index], prompt, context - 1, ahead + 1)
        add_features(features[index], r.DECODE, tokens, pairs, cached, 1.0)
        features[index, r.LOGITS, r.TOKENS] += ahead + 1.0
        features[index, r.LOGITS, r.SEQUENCES] += 1.0


@njit
def add_drafting(
    streams: r.Streams, features: Floats, prompt: int, context: int, first: int, last: int
) -> None:
    """The draft's mean pass of passes [first, last) over a sequence: one token each.

    The first pass takes the newest of `context` tokens, each later one the token drafted before.
    """
    for index in range(streams.shape[0]):
        if streams[index].draft == 0:
            continue
        _, pairs, _ = span(streams[index], prompt, context - 1 + first, last - first)
        seen = pairs / (last - first)
        add_features(features[index], r.DECODE, 1.0, seen, seen, 1.0)
        features[index, r.LOGITS, r.TOKENS] += 1.0
        features[index, r.LOGITS, r.SEQUENCES] += 1.0


@njit
def add_prefill(
    streams: r.Streams, features: Floats, prompt: int, begin: int, tokens: int, target: int
) -> None:
    """A sequence prefills tokens [begin, begin + tokens) of `target`."""
    last = begin + tokens == target
    for index in range(streams.shape[0]):
        stream = streams[index]
        seen = features[index]
        if stream.draft == r.SHARED_CACHE:
            continue
        if stream.kind == r.CAUSAL:
            passed, pairs, cached = span(stream, prompt, begin, tokens)
            add_features(seen, r.PREFILL, passed, pairs, cached, 1.0)
        elif stream.kind == r.ENCODER or stream.kind == r.FIXED:
            if begin == 0:
                size = float(stream.tokens if stream.kind == r.FIXED else prompt)
                add_features(seen, r.PREFILL, size, size * size, size, 1.0)
        elif last:
            generated = float(target - prompt + 1)  # the start token, and after preemption more
            if stream.kind == r.GENERATED:
                pairs = window_pairs(stream, generated)
                add_features(seen, r.PREFILL, generated, pairs, generated, 1.0)
            else:
                cached = attended(stream, prompt, target)
                add_features(seen, r.PREFILL, generated, generated * cached, cached, 1.0)
        if last:
            seen[r.LOGITS, r.TOKENS] += 1.0
