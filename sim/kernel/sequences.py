"""Sequences: what each stream of operators sees of one, what it holds, and its part of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.kernel.compiled import njit
from sim.kernel.records import (
    ALL,
    CACHED,
    CAUSAL,
    CROSS,
    DECODE,
    ENCODER,
    FIXED,
    GENERATED,
    LOGITS,
    NO_END,
    PAIRS,
    PREFILL,
    SEQUENCES,
    SHARED_CACHE,
    TOKENS,
)


@njit
def attended(stream: Any, prompt: int, context: int) -> float:
    """Cached tokens the newest of `context` tokens attends to in `stream`."""
    if stream.kind == CROSS:
        return float(stream.tokens if stream.tokens > 0 else prompt)
    if stream.kind == GENERATED:
        seen = float(context - prompt + 1)  # its start token comes first
    elif stream.kind == CAUSAL:
        seen = kept(stream, prompt, context)
    else:
        return 0.0
    if stream.window > 0 and seen > stream.window:
        if stream.chunked == 1:
            return (seen - 1.0) % stream.window + 1.0
        return float(stream.window)
    return seen


@njit
def kept(stream: Any, prompt: int, tokens: int) -> float:
    """How many of the first `tokens` tokens are left: techniques cut only the prompt."""
    return tokens - (1.0 - stream.keep) * min(prompt, tokens)


@njit
def steady_steps(stream: Any, prompt: int, context: int) -> int:
    """Decode steps from `context` over which `attended` grows evenly."""
    if stream.window == 0 or stream.kind == CROSS:
        return NO_END
    seen = int(attended(stream, prompt, context))
    if stream.chunked == 1 or seen < stream.window:
        return max(stream.window - seen, 1)
    return NO_END


@njit
def grows(stream: Any, prompt: int, context: int) -> float:
    """1 where one more token means one more cached token attended to, else 0."""
    return attended(stream, prompt, context + 1) - attended(stream, prompt, context)


@njit
def window_pairs(stream: Any, tokens: float) -> float:
    """Query-key pairs of the first `tokens` tokens of a causal stream."""
    w = float(stream.window)
    if w == 0.0 or tokens <= w:
        return tokens * (tokens + 1.0) / 2.0
    if stream.chunked == 1:
        whole, rest = tokens // w, tokens % w
        return whole * w * (w + 1.0) / 2.0 + rest * (rest + 1.0) / 2.0
    return w * (w + 1.0) / 2.0 + (tokens - w) * w


@njit
def kv_bytes(streams: Any, policy: Any, prompt: int, context: int) -> float:
    """Bytes one device holds for a sequence of `context` tokens, whole blocks."""
    total = policy.state_B
    block = float(policy.kv_block)
    for index in range(streams.shape[0]):
        stream = streams[index]
        if stream.kv_B == 0.0:
            continue
        if stream.kind == CROSS:
            held = attended(stream, prompt, context)
        elif stream.kind == GENERATED:
            held = float(context - prompt + 1)
        else:
            held = kept(stream, prompt, context)
        if stream.window > 0:
            held = min(held, float(stream.window))
        total += np.ceil(held / block) * block * stream.kv_B
    return total


@njit
def add_features(
    features: Any, phase: int, tokens: float, pairs: float, cached: float, sequences: float
) -> None:
    """Add one sequence's part to `features` [phase, feature] of a stream."""
    for slot in (phase, ALL):
        features[slot, TOKENS] += tokens
        features[slot, PAIRS] += pairs
        features[slot, CACHED] += cached
        features[slot, SEQUENCES] += sequences


@njit
def add_decode(streams: Any, features: Any, prompt: int, context: int) -> None:
    """One sequence decodes one token, the newest of `context`."""
    for index in range(streams.shape[0]):
        stream = streams[index]
        if stream.kind == ENCODER or stream.kind == FIXED:
            continue
        seen = attended(stream, prompt, context)
        add_features(features[index], DECODE, 1.0, seen, seen, 1.0)
        features[index, LOGITS, TOKENS] += 1.0


@njit(inline="always")
def span(stream: Any, prompt: int, begin: int, tokens: int) -> Any:
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
def add_verification(streams: Any, features: Any, prompt: int, context: int, ahead: int) -> None:
    """A sequence has `ahead` drafted tokens verified, behind the newest of `context`.

    All of them give logits. Cached tokens are read once for all.
    """
    for index in range(streams.shape[0]):
        if streams[index].draft != 0:
            continue
        tokens, pairs, cached = span(streams[index], prompt, context - 1, ahead + 1)
        add_features(features[index], DECODE, tokens, pairs, cached, 1.0)
        features[index, LOGITS, TOKENS] += ahead + 1.0
        features[index, LOGITS, SEQUENCES] += 1.0


@njit
def add_drafting(
    streams: Any, features: Any, prompt: int, context: int, first: int, last: int
) -> None:
    """The draft's mean pass of passes [first, last) over a sequence: one token each.

    The first pass takes the newest of `context` tokens, each later one the token drafted before.
    """
    for index in range(streams.shape[0]):
        if streams[index].draft == 0:
            continue
        _, pairs, _ = span(streams[index], prompt, context - 1 + first, last - first)
        seen = pairs / (last - first)
        add_features(features[index], DECODE, 1.0, seen, seen, 1.0)
        features[index, LOGITS, TOKENS] += 1.0
        features[index, LOGITS, SEQUENCES] += 1.0


@njit
def add_prefill(
    streams: Any, features: Any, prompt: int, begin: int, tokens: int, target: int
) -> None:
    """A sequence prefills tokens [begin, begin + tokens) of `target`."""
    last = begin + tokens == target
    for index in range(streams.shape[0]):
        stream = streams[index]
        own = features[index]
        if stream.draft == SHARED_CACHE:
            continue
        if stream.kind == CAUSAL:
            passed, pairs, cached = span(stream, prompt, begin, tokens)
            add_features(own, PREFILL, passed, pairs, cached, 1.0)
        elif stream.kind == ENCODER or stream.kind == FIXED:
            if begin == 0:
                size = float(stream.tokens if stream.kind == FIXED else prompt)
                add_features(own, PREFILL, size, size * size, size, 1.0)
        elif last:
            generated = float(target - prompt + 1)  # the start token, and after preemption more
            if stream.kind == GENERATED:
                pairs = window_pairs(stream, generated)
                add_features(own, PREFILL, generated, pairs, generated, 1.0)
            else:
                seen = attended(stream, prompt, target)
                add_features(own, PREFILL, generated, generated * seen, seen, 1.0)
        if last:
            own[LOGITS, TOKENS] += 1.0
