"""Iteration: what one takes, in parts of some layers and some sequences each.

A part evaluates the operator table with features of its own, and each operator counts for the share
of its layers that the part has. What depends on a number of tokens alone is worked out once for
each number and recalled after that, which is exact; operators are told apart again at the end
(`settle`). It contains no law: every second comes from `passes`.
"""

from __future__ import annotations

import numpy as np

from sim.kernel import passes
from sim.kernel import records as r
from sim.kernel.arrays import Floats, Ints
from sim.kernel.compiled import njit
from sim.kernel.experts import expert_features
from sim.kernel.records import Pass
from sim.kernel.state import Books, Replica, Scratch


@njit(inline="always")
def part_of(replica: Replica, scratch: Scratch, part: int) -> Pass:
    """The pass of a part of an iteration."""
    return Pass(
        replica.ops, scratch.features[part], scratch.experts[part], replica.routing,
        replica.units, replica.links, scratch.rows[part], scratch.chosen[part],
    )  # fmt: skip


@njit(inline="always")
def alone(replica: Replica, scratch: Scratch) -> Pass:
    """A pass with features of its own, in the rows of the first part."""
    return Pass(
        replica.ops, scratch.alone, scratch.alone_experts, replica.routing,
        replica.units, replica.links, scratch.rows[0], scratch.chosen[0],
    )  # fmt: skip


@njit(inline="always")
def row_joules(rows: Floats, index: int) -> float:
    """Joules of row `index` on one device."""
    return rows[index, r.COMPUTE_J] + rows[index, r.MEMORY_J] + rows[index, r.LINK_J]


@njit
def microbatches(machine: r.Machine, sequences: float) -> float:
    """Parts an iteration is cut in to fill the pipeline: never more than it has sequences."""
    return max(min(machine.stages, sequences), 1.0)


@njit(inline="always")
def share_layers(reach: Floats, first: int, last: int, shares: Floats) -> None:
    """Fill `shares` [ops] with what of each operator's layers lies in [first, last)."""
    for index in range(shares.shape[0]):
        shares[index] = reach[index, last] - reach[index, first]


@njit
def without_prompts(features: Floats, out: Floats) -> None:
    """Fill `out` with the features of the sequences that decode among `features`."""
    for stream in range(features.shape[0]):
        for feature in range(4):
            decoding = features[stream, r.DECODE, feature]
            out[stream, r.ALL, feature] = out[stream, r.DECODE, feature] = decoding
            out[stream, r.PREFILL, feature] = out[stream, r.LOGITS, feature] = 0.0
        out[stream, r.LOGITS, r.TOKENS] = features[stream, r.DECODE, r.SEQUENCES]


@njit
def evaluate_class(replica: Replica, run: Pass, klass: int) -> None:
    """Evaluate the operators of a class with the features of `run`."""
    ops, classes = run.ops, replica.classes
    for index in range(ops.shape[0]):
        if classes[index] == klass and ops[index].experts > 0.0:
            expert_features(ops, run.features, run.routing, run.experts)
            break
    for index in range(ops.shape[0]):
        if classes[index] == klass and (ops[index].group < 0 or ops[index].kind != r.EXPERTS):
            passes.evaluate_row(run, index)
    shared_experts(run.routing.masks, classes, run, klass)


@njit
def shared_experts(masks: Ints | None, classes: Ints, run: Pass, klass: int) -> None:
    """Split experts of a class between two units; without any, numba leaves this out."""
    if masks is None:
        return
    for index in range(run.ops.shape[0]):
        op = run.ops[index]
        if classes[index] == klass and op.group >= 0 and op.leads == 1:
            passes.settle_group(masks, run, index)


@njit
def ask(replica: Replica, scratch: Scratch, klass: int, tokens: float) -> Pass:
    """The pass of a class at a number of tokens, evaluated."""
    run, leader = alone(replica, scratch), replica.ops[replica.leaders[klass]]
    run.features[leader.stream, leader.phase, r.TOKENS] = tokens
    evaluate_class(replica, run, klass)
    return run


@njit
def forget(replica: Replica, run: Pass, klass: int) -> None:
    """Take the tokens of a class out of the features of a pass again."""
    leader = replica.ops[replica.leaders[klass]]
    run.features[leader.stream, leader.phase, r.TOKENS] = 0.0


@njit
def remember(replica: Replica, scratch: Scratch, books: Books, klass: int, tokens: int) -> None:
    """Work out what a class takes for a number of tokens."""
    run = ask(replica, scratch, klass, float(tokens))
    seconds, joules = 0.0, 0.0
    for index in range(replica.ops.shape[0]):
        if replica.classes[index] == klass:
            seconds += run.rows[index, r.SECONDS]
            joules += row_joules(run.rows, index)
    books.memo[klass, tokens, 0], books.memo[klass, tokens, 1] = seconds, joules
    forget(replica, run, klass)


@njit(inline="always")
def recall(replica: Replica, scratch: Scratch, books: Books, part: int) -> tuple[float, float]:
    """Seconds and joules of one device of the classes of a part, from memory where they fit it.

    Comes before the part's other operators: what is not remembered yet takes rows to work out.
    """
    features, shares = scratch.features[part], scratch.shares[part]
    seconds, joules = 0.0, 0.0
    for klass in range(replica.leaders.shape[0]):
        first = replica.leaders[klass]
        leader = replica.ops[first]
        tokens = features[leader.stream, leader.phase, r.TOKENS]
        scratch.direct[part, klass] = 0
        if tokens <= 0.0 or shares[first] <= 0.0:
            continue
        whole = int(tokens)
        if whole != tokens or whole >= books.memo.shape[1]:
            scratch.direct[part, klass] = 1
            continue
        if np.isnan(books.memo[klass, whole, 0]):
            remember(replica, scratch, books, klass, whole)
        seconds += books.memo[klass, whole, 0] * shares[first]
        joules += books.memo[klass, whole, 1] * shares[first]
    return seconds, joules


@njit(inline="always")
def recalled(replica: Replica, scratch: Scratch, part: int, index: int) -> bool:
    """Whether operator `index` of a part is one of a class that was recalled."""
    klass = replica.classes[index]
    return klass >= 0 and scratch.direct[part, klass] == 0


@njit(inline="always")
def evaluate_rest(replica: Replica, scratch: Scratch, part: int) -> tuple[float, float]:
    """Seconds and joules of one device of the operators of a part that aren't recalled."""
    run, shares = part_of(replica, scratch, part), scratch.shares[part]
    ops, rows = run.ops, run.rows
    experts_known, grouped = False, False
    for index in range(ops.shape[0]):
        op = ops[index]
        if recalled(replica, scratch, part, index):
            continue
        grouped = grouped or op.group >= 0
        if (op.experts > 0.0 or op.routed > 0) and not experts_known:
            expert_features(ops, run.features, run.routing, run.experts)
            experts_known = True
        if op.group < 0 or op.kind != r.EXPERTS:
            passes.evaluate_row(run, index)
    if grouped:
        beside(replica.routing.masks, run, replica, scratch, part)
    seconds, joules = 0.0, 0.0
    for index in range(ops.shape[0]):
        if not recalled(replica, scratch, part, index):
            seconds += rows[index, r.SECONDS] * shares[index]
            joules += row_joules(rows, index) * shares[index]
    return seconds, joules


@njit
def beside(masks: Ints | None, run: Pass, replica: Replica, scratch: Scratch, part: int) -> None:
    """Settle operators at work at the same time on several units, of those not recalled."""
    if masks is None:
        return
    for index in range(run.ops.shape[0]):
        op = run.ops[index]
        if op.group >= 0 and op.leads == 1 and not recalled(replica, scratch, part, index):
            passes.settle_group(masks, run, index)


@njit(inline="always")
def part_time(replica: Replica, scratch: Scratch, books: Books, part: int) -> tuple[float, float]:
    """Seconds, and joules of one device, of a part whose features and shares are filled in."""
    seconds, joules = recall(replica, scratch, books, part)
    more_s, more_J = evaluate_rest(replica, scratch, part)
    return seconds + more_s, joules + more_J


# --- books ------------------------------------------------------------------------------------


@njit
def weights_read(op: r.Op, features: Floats, experts: Floats) -> float:
    """Bytes of weights that all layers of `op` read on one device."""
    tokens = features[op.stream, op.phase, r.TOKENS]
    if tokens <= 0.0:
        return 0.0
    read_B = op.weight_B
    if op.kind == r.EXPERTS:
        read_B *= experts[op.stream, r.TOUCHED] / op.experts
    return (read_B + op.weight_B_per_token * tokens) * op.layers


@njit(inline="always")
def tally(
    run: Pass, index: int, books: Books, times: float, copies: float, spending: float
) -> None:
    """Add row `index`, `times` over, to the seconds, joules and bytes of weights of `books`.

    The last unit stands for the links. `copies` are devices and microbatches that do the same,
    times over, and read its weights; `spending` is `copies` times the share of joules left to them.
    """
    rows, unit = run.rows, run.chosen[index, r.UNIT]
    working = rows[index, r.SECONDS] - rows[index, r.LAUNCH_S]
    books.seconds[index, unit, run.chosen[index, r.BOUND]] += working * times
    books.seconds[index, unit, r.OVERHEAD] += rows[index, r.LAUNCH_S] * times
    for part in range(3):
        books.joules[index, unit, part] += rows[index, r.COMPUTE_J + part] * spending
    books.weights_B[index] += weights_read(run.ops[index], run.features, run.experts) * copies


@njit(inline="always")
def tally_part(
    replica: Replica,
    scratch: Scratch,
    books: Books,
    part: int,
    times: float,
    devices: float,
    left: float,
) -> None:
    """Book a part, `times` over, on so many `devices` and microbatches.

    `left` is the sum over these times of the share of joules that a power limit left.
    """
    run, shares = part_of(replica, scratch, part), scratch.shares[part]
    for klass in range(replica.leaders.shape[0]):
        first = replica.leaders[klass]
        leader = replica.ops[first]
        tokens = run.features[leader.stream, leader.phase, r.TOKENS]
        if scratch.direct[part, klass] == 0 and tokens > 0.0 and shares[first] > 0.0:
            visit = books.visits[klass, int(tokens)]
            visit[0] += times * shares[first]
            visit[1] += times * shares[first] * devices
            visit[2] += left * shares[first] * devices
    for index in range(replica.ops.shape[0]):
        if not recalled(replica, scratch, part, index):
            share = shares[index]
            copies = times * share * devices
            tally(run, index, books, times * share, copies, left * share * devices)


@njit
def settle(replica: Replica, scratch: Scratch, books: Books) -> None:
    """Book operator by operator what was recalled since the last time."""
    for klass in range(replica.leaders.shape[0]):
        for tokens in range(books.visits.shape[1]):
            times, copies, spending = books.visits[klass, tokens]
            if times == 0.0:
                continue
            run = ask(replica, scratch, klass, float(tokens))
            for index in range(replica.ops.shape[0]):
                if replica.classes[index] == klass:
                    tally(run, index, books, times, copies, spending)
            forget(replica, run, klass)
            books.visits[klass, tokens] = 0.0
