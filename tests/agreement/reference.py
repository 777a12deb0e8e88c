"""A slow, plain reference of the kernel's laws, written from their documentation.

No numpy arithmetic, no closed form for what can be counted: query-key pairs are counted one by
one from who sees whom. It reads the same records as the kernel, one field at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from sim.mapping.program import Program

MATMUL, EXPERTS, ATTENTION, COLLECTIVE = 0, 1, 2, 6
PREFILL, DECODE, LOGITS = 1, 2, 3
CAUSAL, ENCODER, FIXED, GENERATED, CROSS = range(5)


def plain(record: Any) -> SimpleNamespace:
    """A record as plain Python numbers and lists."""
    return SimpleNamespace(**{name: record[name].tolist() for name in record.dtype.names})


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


@dataclass(kw_only=True)
class View:
    """One stream's part of an iteration."""

    prefill: Seen = field(default_factory=Seen)
    decode: Seen = field(default_factory=Seen)
    logits: float = 0.0

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
    view.prefill += new
    view.logits += last


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


# --- one operator -----------------------------------------------------------------------------


def experts_at(table: list[list[float]], tokens: float) -> tuple[float, float, float]:
    """Experts touched, and on the busiest rank: experts touched and work relative to the mean."""
    if tokens >= table[-1][0]:
        return tuple(table[-1][1:])  # type: ignore[return-value]
    row = max(index for index, entry in enumerate(table) if entry[0] <= tokens)
    low, high = table[row], table[row + 1]
    share = (tokens - low[0]) / (high[0] - low[0])
    return tuple(a + share * (b - a) for a, b in zip(low[1:], high[1:], strict=True))  # type: ignore[return-value]


def padding(m: float, n: float, unit: SimpleNamespace) -> float:
    """Useful share of an m x n product: rows padded to tiles, whole waves above the first."""
    if m <= 0:
        return 1.0
    padded = math.ceil(m / unit.tile_m) * unit.tile_m
    wave = unit.slots * unit.tile_n**2
    spent = padded * n
    if spent > wave:
        spent = math.ceil(spent / wave) * wave
    return m * n / spent


@dataclass(kw_only=True)
class Row:
    """What all layers of an operator took; unit -1 is a link."""

    seconds: float = 0.0
    launch: float = 0.0
    compute_J: float = 0.0
    memory_J: float = 0.0
    link_J: float = 0.0
    unit: int = -1
    bound: str = "overhead"


def on_unit(
    op: SimpleNamespace, seen: Seen, touched: tuple[float, float, float], unit: SimpleNamespace
) -> tuple[float, float, float, float]:
    """Seconds of compute and of memory, joules of both, of one layer."""
    flops = op.flops_per_token * seen.tokens + op.flops_per_pair * seen.pairs
    flops += op.flops_per_cached * seen.cached
    weights = op.weight_B + op.weight_B_per_token * seen.tokens
    cache = (
        op.kv_B_per_cached * seen.cached
        + op.kv_B_per_token * seen.tokens
        + op.state_B_per_sequence * seen.sequences
    )
    moved = op.activation_B_per_token * seen.tokens
    efficiency = unit.compute_efficiency
    slowest_weights = slowest_work = 1.0
    if op.kind == ATTENTION:
        efficiency = unit.attention_efficiency
    elif op.kind == MATMUL:
        efficiency *= padding(seen.tokens, op.width, unit)
    elif op.kind == EXPERTS:
        everywhere, busiest, slowest_work = touched
        weights *= everywhere / op.experts
        slowest_weights = busiest / (everywhere / op.ranks)
        per_expert = seen.tokens * op.top_k / op.ranks * slowest_work / busiest
        efficiency *= padding(per_expert, op.width * max(busiest, 1.0), unit)
    compute = flops * slowest_work / (unit.flop_per_s[op.arithmetic] * efficiency)
    streamed = (
        weights * slowest_weights / unit.weights_B_per_s
        + cache / unit.kv_B_per_s
        + moved * slowest_work / unit.activations_B_per_s
    )
    memory = 0.0
    if streamed > 0:
        start = unit.ramp_B / unit.activations_B_per_s
        memory = (streamed + start) / unit.memory_efficiency
    memory_J = (
        weights * unit.weights_J_per_B + cache * unit.kv_J_per_B + moved * unit.activations_J_per_B
    )
    return compute, memory, flops * unit.J_per_flop[op.arithmetic], memory_J


def on_link(op: SimpleNamespace, seen: Seen, link: SimpleNamespace) -> tuple[float, float]:
    """Seconds and joules of one collective by the link's algorithm, or ring or tree."""
    message = op.message_B_per_token * seen.tokens
    algorithms = range(2) if link.algorithm < 0 else [link.algorithm]
    options = []
    for algorithm in algorithms:
        sent = op.factor[algorithm] * message
        seconds = op.steps[algorithm] * link.latency_s + sent / (link.B_per_s * link.efficiency)
        options.append((seconds, sent * link.J_per_B))
    return min(options, key=lambda option: option[0])


@dataclass(kw_only=True)
class Machine:
    """A program in plain numbers, and what a pass and an iteration of it cost."""

    ops: list[SimpleNamespace]
    units: list[SimpleNamespace]
    links: list[SimpleNamespace]
    streams: list[SimpleNamespace]
    one: SimpleNamespace
    table: list[list[float]]
    state_B: float

    def row(self, op: SimpleNamespace, views: list[View]) -> Row:
        """One operator where it runs fastest, all layers."""
        seen = views[op.stream].of(op.phase)
        if seen.tokens <= 0:
            return Row()
        if op.kind == COLLECTIVE:
            seconds, joules = on_link(op, seen, self.links[op.link])
            return Row(seconds=seconds * op.layers, link_J=joules * op.layers, bound="link")
        touched = experts_at(self.table, views[op.stream].of(0).tokens)
        best: Row | None = None
        for number, unit in enumerate(self.units):
            able = (unit.runs >> op.capability) & 1 if op.pinned < 0 else op.pinned == number
            if not able or math.isnan(unit.flop_per_s[op.arithmetic]):
                continue
            compute, memory, compute_J, memory_J = on_unit(op, seen, touched, unit)
            launch = op.launches * unit.launch_s
            seconds = (max(compute, memory) + launch) * op.layers
            if best is None or seconds < best.seconds:
                best = Row(
                    seconds=seconds,
                    launch=launch * op.layers,
                    compute_J=compute_J * op.layers,
                    memory_J=memory_J * op.layers,
                    unit=number,
                    bound="compute" if compute > memory else "memory",
                )
        assert best is not None
        return best

    def iteration(
        self, prompts: list[tuple[int, int, int, int]], decodes: list[tuple[int, int]]
    ) -> tuple[float, float, list[Row]]:
        """Seconds, joules and rows of one iteration.

        `prompts` are (input, begin, tokens, target), `decodes` (input, context).
        """
        views = [View() for _ in self.streams]
        for view, stream in zip(views, self.streams, strict=True):
            for prompt, begin, tokens, target in prompts:
                see_prompt(view, stream, prompt, begin, tokens, target)
            for prompt, context in decodes:
                see_decode(view, stream, prompt, context)
        parts = max(min(self.one.stages, len(prompts) + len(decodes)), 1)
        for view in views:
            view.prefill, view.decode = view.prefill.share(parts), view.decode.share(parts)
            view.logits /= parts
        rows = [self.row(op, views) for op in self.ops]
        passed = sum(row.seconds for row in rows)
        # each stage takes passed / stages; the slowest `imbalance` times that, once a microbatch
        pipelined = parts * self.one.imbalance * passed / self.one.stages
        seconds = max(passed, pipelined) + self.one.host_step_s
        spent = sum(row.compute_J + row.memory_J + row.link_J for row in rows)
        always = self.one.static_W * self.one.devices * seconds
        return seconds, spent * self.one.group * parts + always, rows


def machine(program: Program) -> Machine:
    """The reference of `program`."""
    return Machine(
        ops=[plain(record) for record in program.table.records],
        units=[plain(record) for record in program.units],
        links=[plain(record) for record in program.links],
        streams=[plain(record) for record in program.streams],
        one=plain(program.machine[0]),
        table=program.coverage.tolist(),
        state_B=program.state_B,
    )
