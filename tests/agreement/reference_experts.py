"""A slow, plain reference of a mixture of experts with drawn loads, on one unit or split on two.

Written from the documentation of `sim.kernel.experts` and `sim.mapping.coprocessing`. Tokens are
counted one by one; a split is tried with every choice there is.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from types import SimpleNamespace

DRAWS = 64
"""Batches whose mean a layer takes."""
GREEDY, EXACT, GIVEN = range(3)


@dataclass(kw_only=True)
class Drawn:
    """The experts that each token of a drawn sequence goes to, and batches cut from it."""

    picks: list[list[tuple[int, float]]]
    """Of each token, experts and what it counts there: one pair, if nobody weighted it."""
    experts: int
    known: dict[float, list[list[float]]] = field(default_factory=dict)

    def batches(self, tokens: float) -> list[list[float]]:
        """Token-expert pairs of each expert in every batch of `tokens` tokens.

        Batches begin evenly spaced and go round to the start rather than over the end. A part of a
        token is that part of the next one; batches beyond the sequence are all in its proportions.
        """
        if tokens not in self.known:
            self.known[tokens] = [self._batch(tokens, draw) for draw in range(DRAWS)]
        return self.known[tokens]

    def _batch(self, tokens: float, draw: int) -> list[float]:
        pool, loads = len(self.picks), [0.0] * self.experts
        if tokens >= pool:
            for chosen in self.picks:
                for expert, pairs in chosen:
                    loads[expert] += pairs
            return [load * tokens / pool for load in loads]
        whole = math.floor(tokens)
        begin = draw * (pool // DRAWS) % (pool - whole)
        for chosen in self.picks[begin : begin + whole]:
            for expert, pairs in chosen:
                loads[expert] += pairs
        if tokens > whole:
            for expert, pairs in self.picks[begin + whole]:
                loads[expert] += (tokens - whole) * pairs
        return loads


def sequence(loads: list[list[float]]) -> Drawn:
    """The drawn sequence of a table of pairs of its first 0, 1, 2, ... tokens."""
    picks = [
        [
            (expert, now - past)
            for expert, (past, now) in enumerate(zip(before, after, strict=True))
            if now > past
        ]
        for before, after in itertools.pairwise(loads)
    ]
    return Drawn(picks=picks, experts=len(loads[0]))


def on_ranks(loads: list[float], ranks: int) -> list[list[float]]:
    """The loads of each rank's own experts, dealt in turn."""
    return [loads[rank::ranks] for rank in range(ranks)]


def present(load: float) -> float:
    """How much of the time an expert has work: a part of a token is there that part of it."""
    return min(load, 1.0)


def touched_and_worst(drawn: Drawn, op: SimpleNamespace, tokens: float) -> tuple[float, ...]:
    """Experts touched, and on the busiest rank: experts touched and pairs over the mean rank's."""
    everywhere, most_touched, most_pairs = [], [], []
    for loads in drawn.batches(tokens):
        ranks = on_ranks(loads, int(op.ranks))
        touched = [sum(map(present, rank)) for rank in ranks]
        everywhere.append(sum(touched))
        most_touched.append(max(touched))
        most_pairs.append(max(map(sum, ranks)))
    mean_rank = tokens * op.top_k / op.ranks
    return mean(everywhere), mean(most_touched), mean(most_pairs) / mean_rank


def mean(values: list[float]) -> float:
    """Mean over the draws."""
    return sum(values) / len(values)


# --- one unit -----------------------------------------------------------------------------------


def one_expert(op: SimpleNamespace, load: float, unit: SimpleNamespace) -> tuple[float, float]:
    """Seconds of compute and of memory of one expert with `load` tokens, as far as it is there.

    The operator counts for the mean rank: `top_k / ranks` pairs a token, `experts / ranks` experts.
    """
    flops_of_pair = op.flops_per_token / (op.top_k / op.ranks)
    bytes_of_pair = op.activation_B_per_token / (op.top_k / op.ranks)
    matrix_B = op.weight_B / (op.experts / op.ranks)
    rows = math.ceil(load / unit.tile_m) * unit.tile_m
    compute = rows * flops_of_pair / (unit.flop_per_s[op.arithmetic] * unit.compute_efficiency)
    at_peak = present(load) * matrix_B / unit.weights_B_per_s
    at_peak += load * bytes_of_pair / unit.activations_B_per_s
    return present(load) * compute, at_peak / unit.memory_efficiency


def first_byte(unit: SimpleNamespace) -> float:
    """Seconds before the stream flows."""
    return float(unit.ramp_B / unit.activations_B_per_s / unit.memory_efficiency)


def busiest_rank(
    drawn: Drawn, op: SimpleNamespace, tokens: float, unit: SimpleNamespace
) -> tuple[float, float, float]:
    """Seconds of the busiest rank, expert after expert; and what of them compute and memory ask."""
    busy, computing, moving = [], [], []
    for loads in drawn.batches(tokens):
        ranks = []
        for rank in on_ranks(loads, int(op.ranks)):
            asked = [one_expert(op, load, unit) for load in rank if load > 0]
            ranks.append((sum(map(max, asked)), sum(c for c, _ in asked), sum(m for _, m in asked)))
        slowest = max(ranks, key=lambda each: each[0])
        for total, part in zip((busy, computing, moving), slowest, strict=True):
            total.append(part)
    start = first_byte(unit)
    return mean(busy) + start, mean(computing), mean(moving) + start


# --- two units ----------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Space:
    """A memory space of a rank: its experts that have tokens, and what each product takes."""

    loads: list[float]
    products: list[tuple[float, float]]
    """Of each product: seconds on its unit, and the compute-bound part of them."""

    @property
    def pairs(self) -> float:
        return sum(self.loads)

    @property
    def touched(self) -> float:
        return sum(map(present, self.loads))


@dataclass(kw_only=True)
class Share:
    """What one product of a group took in all layers, summed over draws until `group_rows`."""

    seconds: float = 0.0
    busy: float = 0.0
    launch: float = 0.0
    computing: float = 0.0
    pairs: float = 0.0
    touched: float = 0.0


@dataclass(kw_only=True)
class Group:
    """The products of experts that two units share, and the units; the first product leads."""

    ops: list[SimpleNamespace]
    units: list[SimpleNamespace]

    def of(self, second: bool) -> list[int]:
        """Products that run on the unit in memory, or on the leader's."""
        return [
            number
            for number, op in enumerate(self.ops)
            if (op.pinned != self.ops[0].pinned) == second
        ]

    def start(self, number: int) -> float:
        """Seconds before a product's first byte flows."""
        op = self.ops[number]
        unit = self.units[op.pinned]
        return op.launches * unit.launch_s + first_byte(unit)

    def spaces(self, rank: list[float]) -> list[Space]:
        """The memory spaces of a rank, its experts dealt in turn."""
        count = self.ops[0].spaces
        made = []
        for number in range(count):
            loads = [load for load in rank[number::count] if load > 0]
            products = []
            for op in self.ops:
                asked = [one_expert(op, load, self.units[op.pinned]) for load in loads]
                bound = sum(compute for compute, memory in asked if compute > memory)
                products.append((sum(map(max, asked)), bound))
            made.append(Space(loads=loads, products=products))
        return made

    def takes(self, spaces: list[Space], moved: set[int], second: bool) -> float:
        """Seconds of one unit, where the spaces `moved` are the second one's."""
        own = [space for number, space in enumerate(spaces) if (number in moved) == second]
        own = [space for space in own if space.loads]
        if not own:
            return 0.0
        products = self.of(second)
        work = sum(space.products[number][0] for space in own for number in products)
        return work + sum(map(self.start, products))

    def slower(self, spaces: list[Space], moved: set[int]) -> float:
        """Seconds until both units are done."""
        return max(self.takes(spaces, moved, second) for second in (False, True))

    def choose(self, spaces: list[Space], mask: int) -> set[int]:
        """Spaces the second unit has; `mask` sets a bit for each that a user's policy moved."""
        if self.ops[0].split == GIVEN:
            return {number for number in range(len(spaces)) if mask >> number & 1}
        if self.ops[0].split == EXACT:
            every = [
                {number for number, bit in enumerate(reversed(bits)) if bit}
                for bits in itertools.product((0, 1), repeat=len(spaces))
            ]
            return min(every, key=lambda moved: self.slower(spaces, moved))
        moved: set[int] = set()
        busy = [number for number, space in enumerate(spaces) if space.loads]
        for number in sorted(busy, key=lambda each: spaces[each].pairs):
            if self.slower(spaces, moved | {number}) >= self.slower(spaces, moved):
                break
            moved.add(number)
        return moved


def add_work(
    row: Share, group: Group, product: int, work: list[Space], *, waited_for: bool
) -> None:
    """Add what a product takes for the spaces its unit has in one batch."""
    op = group.ops[product]
    busy = group.start(product) + sum(space.products[product][0] for space in work)
    row.busy += busy
    row.computing += sum(space.products[product][1] for space in work)
    if waited_for:
        row.seconds += busy
        row.launch += op.launches * group.units[op.pinned].launch_s


@dataclass(kw_only=True)
class Given:
    """A user's splits: bits of each draw and rank, at these numbers of tokens."""

    masks: list[list[list[int]]]
    tokens: list[float]

    def of(self, tokens: float) -> list[list[int]]:
        """Those for the nearest number of tokens, the larger one of two as near."""
        rows = range(len(self.tokens))
        return self.masks[min(rows, key=lambda row: (abs(self.tokens[row] - tokens), -row))]


def group_rows(group: Group, drawn: Drawn, tokens: float, given: Given) -> list[Share]:
    """What each product took in one layer: time of the busiest rank, pairs and experts of all.

    The slower unit is waited for; what the other does meanwhile counts no seconds.
    """
    rows = [Share() for _ in group.ops]
    everywhere = 0.0
    for draw, loads in enumerate(drawn.batches(tokens)):
        tried: list[tuple[float, list[Space], set[int]]] = []
        for rank, own in enumerate(on_ranks(loads, int(group.ops[0].ranks))):
            spaces = group.spaces(own)
            mask = given.of(tokens)[draw][rank] if group.ops[0].split == GIVEN else 0
            moved = group.choose(spaces, mask)
            for number, space in enumerate(spaces):
                everywhere += space.touched
                for product in group.of(number in moved):
                    rows[product].pairs += space.pairs
                    rows[product].touched += space.touched
            tried.append((group.slower(spaces, moved), spaces, moved))
        _, spaces, moved = max(tried, key=lambda each: each[0])
        first, second = (group.takes(spaces, moved, side) for side in (False, True))
        for side in (False, True):
            waited_for = side == (second > first)
            work = [s for n, s in enumerate(spaces) if (n in moved) == side and s.loads]
            for product in group.of(side) if work else ():
                add_work(rows[product], group, product, work, waited_for=waited_for)
    for row in rows:
        for part in ("seconds", "busy", "launch", "computing"):
            setattr(row, part, getattr(row, part) / DRAWS)
        row.pairs /= DRAWS * tokens * group.ops[0].top_k
        row.touched /= everywhere
    return rows
