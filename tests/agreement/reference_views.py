"""What the operators of an iteration see, for the plain reference: who attends to whom, counted.

No closed form for what can be counted: query-key pairs are counted one by one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import SimpleNamespace

PREFILL, DECODE, LOGITS = 1, 2, 3
CAUSAL, ENCODER, FIXED, GENERATED, CROSS = range(5)
SHARED = 2
"""A draft that works on the model's cache."""


@dataclass(kw_only=True)
class Seen:
    """What operators of one stream see in one phase."""

    tokens: float = 0.0
    pairs: float = 0.0
    cached: float = 0.0
    sequences: float = 0.0

    def __add__(self, other: Seen) -> Seen:
        return Seen(
            tokens=self.tokens + other.tokens,
            pairs=self.pairs + other.pairs,
            cached=self.cached + other.cached,
            sequences=self.sequences + other.sequences,
        )

    def share(self, parts: float) -> Seen:
        return Seen(
            tokens=self.tokens / parts,
            pairs=self.pairs / parts,
            cached=self.cached / parts,
            sequences=self.sequences / parts,
        )

    def busiest(self, groups: float) -> Seen:
        """What the group with the most sequences has, dealt to groups in turn."""
        return self.share(self.sequences / most(self.sequences, groups)) if self.sequences else self


def most(count: float, groups: float) -> float:
    """Of `count` things dealt to groups in turn, how many the first one has."""
    return min(float(math.ceil(count / groups)), count)


@dataclass(kw_only=True)
class View:
    """One stream's part of an iteration."""

    prefill: Seen = field(default_factory=Seen)
    decode: Seen = field(default_factory=Seen)
    logits: float = 0.0
    answers: float = 0.0
    """Sequences that these logits are of."""

    def share(self, parts: float) -> View:
        return View(
            prefill=self.prefill.share(parts),
            decode=self.decode.share(parts),
            logits=self.logits / parts,
            answers=self.answers / parts,
        )

    def busiest(self, groups: float) -> View:
        """What the group with the most sequences has, phase by phase."""
        return View(
            prefill=self.prefill.busiest(groups),
            decode=self.decode.busiest(groups),
            logits=self.logits / max(self.answers, 1e-30) * most(self.answers, groups),
        )

    def of(self, phase: int) -> Seen:
        if phase == PREFILL:
            return self.prefill
        if phase == DECODE:
            return self.decode
        if phase == LOGITS:
            return Seen(tokens=self.logits)
        return self.prefill + self.decode


# --- who sees whom ----------------------------------------------------------------------------


def sees(window: int, chunked: bool, query: int, key: int) -> bool:
    """Whether the token at place `query` attends to the one at place `key`."""
    if key > query:
        return False
    if not window:
        return True
    if chunked:
        return key // window == query // window
    return query - key < window


def attention(stream: SimpleNamespace, begin: int, end: int) -> tuple[int, int]:
    """Pairs of the queries [begin, end), and how many keys at least one of them reads."""
    pairs, read = 0, set()
    for query in range(begin, end):
        keys = [key for key in range(end) if sees(stream.window, stream.chunked == 1, query, key)]
        pairs += len(keys)
        read.update(keys)
    return pairs, len(read)


def see_prompt(
    view: View, stream: SimpleNamespace, prompt: int, begin: int, tokens: int, target: int
) -> None:
    """Add a sequence that prefills `tokens` from `begin` of `target`, its prompt or more."""
    assert stream.keep == 1.0, "the reference has no pruning"
    last = begin + tokens == target
    written = target - prompt + 1  # what the decoder of an encoder-decoder has by then
    new = Seen()
    if stream.kind == CAUSAL:
        pairs, read = attention(stream, begin, begin + tokens)
        new = Seen(tokens=tokens, pairs=pairs, cached=read, sequences=1)
    elif stream.kind in (ENCODER, FIXED) and begin == 0:
        size = stream.tokens if stream.kind == FIXED else prompt
        new = Seen(tokens=size, pairs=size * size, cached=size, sequences=1)
    elif stream.kind == GENERATED and last:
        pairs, read = attention(stream, 0, written)
        new = Seen(tokens=written, pairs=pairs, cached=read, sequences=1)
    elif stream.kind == CROSS and last:
        size = stream.tokens or prompt
        new = Seen(tokens=written, pairs=written * size, cached=size, sequences=1)
    if stream.draft == SHARED:
        return
    view.prefill += new
    view.logits += last
    view.answers += last


def see_decode(view: View, stream: SimpleNamespace, prompt: int, context: int) -> None:
    """Add a sequence that gets the token after `context` tokens."""
    if stream.kind in (ENCODER, FIXED):
        return
    if stream.kind == CROSS:
        seen = stream.tokens or prompt
    else:
        places = context if stream.kind == CAUSAL else context - prompt + 1
        seen, _ = attention(stream, places - 1, places)
    view.decode += Seen(tokens=1, pairs=seen, cached=seen, sequences=1)
    view.logits += 1
    view.answers += 1


def see_step(
    view: View, stream: SimpleNamespace, context: int, ahead: int, passes: range, verify: bool
) -> None:
    """Add a sequence of `context` tokens with `ahead` drafted ones; of `passes`, the mean one."""
    if stream.draft:
        for number in passes:
            place = context - 1 + number
            seen, _ = attention(stream, place, place + 1)
            new = Seen(tokens=1, pairs=seen, cached=seen, sequences=1)
            view.decode += new.share(len(passes))
        view.logits += 1
        view.answers += 1
    elif verify:
        pairs, read = attention(stream, context - 1, context + ahead)
        view.decode += Seen(tokens=1 + ahead, pairs=pairs, cached=read, sequences=1)
        view.logits += 1 + ahead
        view.answers += 1
