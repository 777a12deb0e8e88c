"""A slow, plain reference of the kernel's laws, written from their documentation.

No numpy arithmetic, no closed form for what can be counted. It reads the same records as the
kernel, one field at a time. `reference_views` says what operators see, `reference_experts` what
experts take whose loads are drawn.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from reference_experts import (
    Drawn,
    Given,
    Group,
    busiest_rank,
    group_rows,
    sequence,
    touched_and_worst,
)
from reference_views import Seen, View, see_decode, see_prompt, see_step

from sim.mapping.program import Program

MATMUL, EXPERTS, ATTENTION, COLLECTIVE = 0, 1, 2, 6


def plain(record: Any) -> SimpleNamespace:
    """A record as plain Python numbers and lists."""
    return SimpleNamespace(**{name: record[name].tolist() for name in record.dtype.names})


def experts_at(table: list[list[float]], tokens: float) -> Any:
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
    busy: float = 0.0
    pair_share: float = 1.0
    weight_share: float = 1.0
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
    joules = flops * unit.J_per_flop[op.arithmetic]
    if unit.converts:
        numbers = cache * op.convert_per_kv_B
        compute += numbers / unit.flop_per_s[-1]
        joules += numbers * unit.J_per_flop[-1]
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
    return compute, memory, joules, memory_J


def on_link(
    op: SimpleNamespace, seen: Seen, mean: Seen, link: SimpleNamespace, load: float = 1.0
) -> tuple[float, float]:
    """Seconds and joules of one collective by the link's algorithm, or ring or tree.

    A device sends its group's tokens and receives the mean group's times `load`.
    """
    tokens = max(seen.tokens, mean.tokens * load)
    algorithms = range(2) if link.algorithm < 0 else [link.algorithm]
    options = []
    for algorithm in algorithms:
        sent = op.factor[algorithm] * op.message_B_per_token
        flowing = sent * tokens / (link.B_per_s * link.efficiency)
        seconds = op.steps[algorithm] * link.latency_s + flowing
        options.append((seconds, sent * mean.tokens * link.J_per_B))
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
    local: list[list[float]]
    drawn: Drawn | None
    given: Given
    state_B: float
    layers: list[list[int]]
    """Which layers of the decoder each operator is in."""
    known: dict[Any, Any] = field(default_factory=dict)

    def once(self, law: Any, op: SimpleNamespace, tokens: float, *rest: Any) -> Any:
        """What a slow law of the drawn experts of `op` gives, remembered."""
        key = law.__name__, id(op), tokens, tuple(map(id, rest))
        if key not in self.known:
            self.known[key] = law(self.drawn, op, tokens, *rest)
        return self.known[key]

    def unlike(self, view: View) -> float:
        """Tokens that a router takes for different ones: a prompt's own count for fewer.

        As do those that a sequence has verified at once.
        """
        if not self.local:
            return view.of(0).tokens
        return sum(
            seen.sequences * experts_at(self.local, seen.tokens / seen.sequences)[0]
            for seen in (view.of(1), view.of(2))
            if seen.sequences
        )

    def row(self, op: SimpleNamespace, views: list[View]) -> Row:
        """One operator where it runs fastest, all layers; time of the busiest group."""
        seen, mean = views[op.stream].of(op.phase), views[op.energy_stream].of(op.phase)
        if seen.tokens <= 0:
            return Row()
        if op.kind == COLLECTIVE:
            load = self.busiest_load(op, views) * op.inflow if op.routed else 1.0
            seconds, joules = on_link(op, seen, mean, self.links[op.link], load)
            seconds *= op.layers
            return Row(seconds=seconds, busy=seconds, link_J=joules * op.layers, bound="link")
        touched = (1.0, 1.0, 1.0)
        if op.kind == EXPERTS and self.drawn:
            touched = self.once(touched_and_worst, op, seen.tokens)
        elif op.kind == EXPERTS:
            touched = experts_at(self.table, self.unlike(views[op.stream]))
        best: Row | None = None
        for number, unit in enumerate(self.units):
            able = (unit.runs >> op.capability) & 1 if op.pinned < 0 else op.pinned == number
            if not able or math.isnan(unit.flop_per_s[op.arithmetic]):
                continue
            compute, memory, _, _ = on_unit(op, seen, touched, unit)
            _, _, compute_J, memory_J = on_unit(op, mean, touched, unit)
            busy = max(compute, memory)
            if op.kind == EXPERTS and self.drawn:
                busy, compute, memory = self.once(busiest_rank, op, seen.tokens, unit)
            launch = op.launches * unit.launch_s
            seconds = (busy + launch) * op.layers
            if best is None or seconds < best.seconds:
                best = Row(
                    seconds=seconds,
                    busy=seconds,
                    launch=launch * op.layers,
                    compute_J=compute_J * op.layers * op.copies,
                    memory_J=memory_J * op.layers * op.copies,
                    unit=number,
                    bound="compute" if compute > memory else "memory",
                )
        assert best is not None
        return best

    def busiest_load(self, op: SimpleNamespace, views: list[View]) -> float:
        """Pairs of the busiest rank over the mean, of the experts that a collective goes to."""
        experts = next(each for each in self.ops if each.experts and each.stream == op.routed - 1)
        if self.drawn:
            tokens = views[experts.stream].of(experts.phase).tokens
            return float(self.once(touched_and_worst, experts, tokens)[2])
        return float(experts_at(self.table, self.unlike(views[experts.stream]))[2])

    def shared(self, ops: list[SimpleNamespace], tokens: float) -> list[Row]:
        """Products of experts that two units share, all layers; joules of the mean rank."""
        assert self.drawn is not None
        rows = []
        shares = group_rows(Group(ops=ops, units=self.units), self.drawn, tokens, self.given)
        touched, _, _ = self.once(touched_and_worst, ops[0], tokens)
        for op, share in zip(ops, shares, strict=True):
            unit = self.units[op.pinned]
            weights = op.weight_B * touched / op.experts * share.touched
            moved = op.activation_B_per_token * tokens * share.pairs
            flops = op.flops_per_token * tokens * share.pairs
            memory_J = weights * unit.weights_J_per_B + moved * unit.activations_J_per_B
            rows.append(
                Row(
                    seconds=share.seconds * op.layers,
                    busy=share.busy * op.layers,
                    launch=share.launch * op.layers,
                    compute_J=flops * unit.J_per_flop[op.arithmetic] * op.layers,
                    memory_J=memory_J * op.layers,
                    pair_share=share.pairs,
                    weight_share=share.touched,
                    unit=op.pinned,
                    bound="compute" if share.computing > share.busy / 2 else "memory",
                )
            )
        return rows

    def passed(self, views: list[View]) -> list[Row]:
        """One pass: every operator, and groups of them that run at the same time."""
        groups: dict[int, list[int]] = {}
        for index, op in enumerate(self.ops):
            if op.group >= 0:
                groups.setdefault(op.group, []).append(index)
        shared = {
            index: number
            for number, members in groups.items()
            for index in members
            if self.ops[index].kind == EXPERTS
        }
        rows = [
            Row() if index in shared else self.row(op, views) for index, op in enumerate(self.ops)
        ]
        for number, members in groups.items():
            ops = [self.ops[index] for index in members]
            if number in shared.values():
                tokens = views[ops[0].stream].of(ops[0].phase).tokens
                made = self.shared(ops, tokens) if tokens else [Row() for _ in ops]
                for index, row in zip(members, made, strict=True):
                    rows[index] = row
            else:
                wait_for_slowest([rows[index] for index in members])
        return rows

    def in_layers(
        self, among: set[int], prompts: list[tuple[int, int, int, int]],
        decodes: list[tuple[int, int]], parts: int,
    ) -> list[Row]:  # fmt: skip
        """Rows of a pass of one microbatch of some sequences through some layers."""
        views = self.views(prompts, decodes, parts)
        rows = self.passed(views)
        for row, layers in zip(rows, self.layers, strict=True):
            share = sum(layer in among for layer in layers) / len(layers)
            for name in ("seconds", "launch", "compute_J", "memory_J", "link_J", "busy"):
                setattr(row, name, getattr(row, name) * share)
        return rows

    def views(
        self, prompts: list[tuple[int, int, int, int]], decodes: list[tuple[int, int]], parts: int
    ) -> list[View]:
        """What each stream sees of one of `parts` microbatches."""
        views = [View() for _ in self.streams]
        for view, stream in zip(views, self.streams, strict=True):
            for prompt, begin, tokens, target in prompts:
                see_prompt(view, stream, prompt, begin, tokens, target)
            for prompt, context in decodes:
                see_decode(view, stream, prompt, context)
        return self.in_groups([view.share(parts) for view in views])

    def in_groups(self, views: list[View]) -> list[View]:
        """Views of all groups, the busiest and the mean one, where there are several."""
        if self.one.groups > 1:  # what all groups, the busiest and the mean one see
            busiest = [view.busiest(self.one.groups) for view in views]
            views = views + busiest + [view.share(self.one.groups) for view in views]
        return views

    def iteration(
        self, prompts: list[tuple[int, int, int, int]], decodes: list[tuple[int, int]],
        group: set[int] | None = None,
    ) -> tuple[float, float, list[Row]]:  # fmt: skip
        """Seconds, joules and rows of one iteration.

        `prompts` are (input, begin, tokens, target), `decodes` (input, context). Prompts pass the
        layers of `group` alone (None: all), decodes pass all.
        """
        every = set().union(*map(set, self.layers))
        group = every if group is None else group
        parts = max(min(self.one.stages, len(prompts) + len(decodes)), 1)
        rows = self.in_layers(group, prompts, decodes, parts)
        if group != every:
            rows += self.in_layers(every - group, [], decodes, parts)
        return self.around(rows, len(prompts) + len(decodes), parts)

    def speculative(
        self, prompts: list[tuple[int, int, int, int]], contexts: list[int], ahead: int
    ) -> tuple[float, float, list[Row]]:
        """As `iteration`, with `ahead` drafted tokens of each sequence.

        The draft's mean pass comes once for each token; beside prompts its first by itself.
        """
        passes = range(1 if prompts and contexts else ahead)
        rows = self.drafting(prompts, contexts, ahead, passes, True)
        if prompts and contexts and ahead > 1:
            rows += self.drafting([], contexts, ahead, range(1, ahead), False)
        return self.around(rows, len(prompts) + len(contexts), 1)

    def drafting(
        self, prompts: list[tuple[int, int, int, int]], contexts: list[int], ahead: int,
        passes: range, verify: bool,
    ) -> list[Row]:  # fmt: skip
        """Rows of passes of the draft over sequences, and of what else comes with the first."""
        views = [View() for _ in self.streams]
        for view, stream in zip(views, self.streams, strict=True):
            for prompt, begin, tokens, target in prompts:
                see_prompt(view, stream, prompt, begin, tokens, target)
            for context in contexts:
                see_step(view, stream, context, ahead, passes, verify)
        rows = self.passed(self.in_groups(views))
        for row, op in zip(rows, self.ops, strict=True):
            if self.streams[op.stream % len(self.streams)].draft and contexts:
                for name in ("seconds", "launch", "compute_J", "memory_J", "link_J", "busy"):
                    setattr(row, name, getattr(row, name) * len(passes))
        return rows

    def around(self, rows: list[Row], sequences: int, parts: int) -> Any:
        """The iteration around the rows of its passes, each of one of `parts` microbatches."""
        passed = sum(row.seconds for row in rows)
        if self.one.sides:
            return self.on_two_sides(rows, int(parts), sequences)
        # each stage takes passed / stages; the slowest `imbalance` times that, once a microbatch
        pipelined = parts * self.one.imbalance * passed / self.one.stages
        host = self.one.host_step_s + self.one.host_sequence_s * sequences / self.one.groups
        seconds = max(passed, pipelined) + host
        return self.with_energy(rows, seconds, parts)

    def on_two_sides(
        self, rows: list[Row], parts: int, sequences: int
    ) -> tuple[float, float, list[Row]]:
        """As `iteration`, of microbatches that go to and fro, each side one after the other."""
        trips = round(self.one.sides)
        ops = itertools.cycle(self.ops)  # rows of layers with and without prompts follow
        took = [0.0] * 4
        for op, row in zip(ops, rows, strict=False):
            took[op.side] += row.seconds / trips
        free, ready = [0.0] * 4, [0.0] * parts
        for _ in range(trips):
            for number in range(parts):
                for side in (0, 2, 1, 3):  # attention, there, experts, back
                    ready[number] = free[side] = max(ready[number], free[side]) + took[side]
        host = self.one.host_step_s + self.one.host_sequence_s * sequences / self.one.groups
        return self.with_energy(rows, max(ready) + host, parts)

    def with_energy(
        self, rows: list[Row], seconds: float, parts: int
    ) -> tuple[float, float, list[Row]]:
        """An iteration with its joules: operators' as far as power allows, and of being on."""
        spent = sum(row.compute_J + row.memory_J + row.link_J for row in rows)
        always = self.one.static_W * self.one.devices * seconds
        room = self.one.limit_W * self.one.devices * seconds - always
        return seconds, min(spent * self.one.group * parts, max(room, 0.0)) + always, rows


def wait_for_slowest(rows: list[Row]) -> None:
    """Of operators that run at the same time, only those of the slowest unit count their time."""
    units = sorted({row.unit for row in rows if row.unit >= 0})
    if not units:
        return
    slowest = max(units, key=lambda unit: sum(row.busy for row in rows if row.unit == unit))
    for row in rows:
        if row.unit != slowest:
            row.seconds = row.launch = 0.0


def machine(program: Program) -> Machine:
    """The reference of `program`."""
    loads = program.routing.loads.tolist()
    return Machine(
        ops=[plain(record) for record in program.table.records],
        units=[plain(record) for record in program.units],
        links=[plain(record) for record in program.links],
        streams=[plain(record) for record in program.streams],
        one=plain(program.machine[0]),
        table=program.routing.coverage.tolist(),
        local=program.routing.local.tolist(),
        drawn=sequence(loads) if len(loads) > 1 else None,
        given=Given(
            masks=[] if (masks := program.routing.masks) is None else masks.tolist(),
            tokens=program.routing.mask_tokens.tolist(),
        ),
        state_B=program.state_B,
        layers=layers_of(program),
    )


def layers_of(program: Program) -> list[list[int]]:
    """Layers of each operator: what comes before them is in the first, what follows in the last."""
    found: list[list[int]] = [list(op.layer_indices) for op in program.table.graph.ops]
    last = max((layer for layers in found for layer in layers), default=0)
    begun = False
    for layers in found:
        begun = begun or bool(layers)
        if not layers:
            layers.append(last if begun else 0)
    return found
