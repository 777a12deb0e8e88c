"""Iteration: what one takes, in parts of some layers and some sequences each.

A part evaluates the operator table with features of its own, and each operator counts for the share
of its layers that the part has. What depends on a number of tokens alone is worked out once for
each number and recalled after that, which is exact; operators are told apart again at the end
(`settle`). It contains no law: every second comes from `passes`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.kernel import passes
from sim.kernel.compiled import njit
from sim.kernel.experts import expert_features
from sim.kernel.records import (
    ALL,
    BOUND,
    COMPUTE_J,
    DECODE,
    EXPERTS,
    LAUNCH_S,
    LINK_J,
    LOGITS,
    MEMORY_J,
    OVERHEAD,
    PREFILL,
    SECONDS,
    SEQUENCES,
    TOKENS,
    TOUCHED,
    UNIT,
)
from sim.kernel.splitting import split_experts


@njit(inline="always")
def row_joules(rows: Any, index: int) -> float:
    """Joules of row `index` on one device."""
    return rows[index, COMPUTE_J] + rows[index, MEMORY_J] + rows[index, LINK_J]


@njit
def microbatches(machine: Any, sequences: float) -> float:
    """Parts an iteration is cut in to fill the pipeline: never more than it has sequences."""
    return max(min(machine.stages, sequences), 1.0)


@njit(inline="always")
def share_layers(reach: Any, first: int, last: int, shares: Any) -> None:
    """Fill `shares` [ops] with what of each operator's layers lies in [first, last)."""
    for index in range(shares.shape[0]):
        shares[index] = reach[index, last] - reach[index, first]


@njit
def without_prompts(features: Any, out: Any) -> None:
    """Fill `out` with the features of the sequences that decode among `features`."""
    for stream in range(features.shape[0]):
        for feature in range(4):
            decoding = features[stream, DECODE, feature]
            out[stream, ALL, feature] = out[stream, DECODE, feature] = decoding
            out[stream, PREFILL, feature] = out[stream, LOGITS, feature] = 0.0
        out[stream, LOGITS, TOKENS] = features[stream, DECODE, SEQUENCES]


@njit
def evaluate_class(ops: Any, klass: int, replica: Any, scratch: Any) -> None:
    """Evaluate the operators of a class with the features in `alone`, in rows of the first part."""
    rows, chosen = scratch.rows[0], scratch.chosen[0]
    for index in range(ops.shape[0]):
        if replica.classes[index] == klass and ops[index].experts > 0.0:
            expert_features(ops, scratch.alone, replica.routing, scratch.alone_experts)
            break
    for index in range(ops.shape[0]):
        op = ops[index]
        if replica.classes[index] == klass and (op.group < 0 or op.kind != EXPERTS):
            passes.evaluate_row(
                ops, index, scratch.alone, scratch.alone_experts, replica.routing, replica.units,
                replica.links, rows, chosen,
            )  # fmt: skip
    shared_experts(replica.routing.masks, ops, klass, scratch.alone, replica, rows, chosen)


@njit
def shared_experts(
    masks: Any, ops: Any, klass: int, features: Any, replica: Any, rows: Any, chosen: Any
) -> None:
    """Split experts of a class between two units; without any, numba leaves this out."""
    if masks is None:
        return
    for index in range(ops.shape[0]):
        op = ops[index]
        if replica.classes[index] == klass and op.group >= 0 and op.leads == 1:
            tokens = features[op.stream, op.phase, TOKENS]
            split_experts(ops, index, tokens, replica.routing, replica.units, rows, chosen)


@njit
def ask(replica: Any, scratch: Any, klass: int, tokens: float) -> None:
    """Evaluate a class at a number of tokens."""
    leader = replica.ops[replica.leaders[klass]]
    scratch.alone[leader.stream, leader.phase, TOKENS] = tokens
    evaluate_class(replica.ops, klass, replica, scratch)
    scratch.alone[leader.stream, leader.phase, TOKENS] = 0.0


@njit
def remember(replica: Any, scratch: Any, books: Any, klass: int, tokens: int) -> None:
    """Work out what a class takes for a number of tokens."""
    ask(replica, scratch, klass, float(tokens))
    seconds, joules = 0.0, 0.0
    for index in range(replica.ops.shape[0]):
        if replica.classes[index] == klass:
            seconds += scratch.rows[0, index, SECONDS]
            joules += row_joules(scratch.rows[0], index)
    books.memo[klass, tokens, 0], books.memo[klass, tokens, 1] = seconds, joules


@njit(inline="always")
def recall(replica: Any, scratch: Any, books: Any, part: int) -> Any:
    """Seconds and joules of one device of the classes of a part, from memory where they fit it.

    Comes before the part's other operators: what is not remembered yet takes rows to work out.
    """
    features, shares = scratch.features[part], scratch.shares[part]
    seconds, joules = 0.0, 0.0
    for klass in range(replica.leaders.shape[0]):
        first = replica.leaders[klass]
        leader = replica.ops[first]
        tokens = features[leader.stream, leader.phase, TOKENS]
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
def recalled(replica: Any, scratch: Any, part: int, index: int) -> bool:
    """Whether operator `index` of a part is one of a class that was recalled."""
    klass = replica.classes[index]
    return klass >= 0 and scratch.direct[part, klass] == 0


@njit(inline="always")
def evaluate_rest(replica: Any, scratch: Any, part: int) -> Any:
    """Seconds and joules of one device of the operators of a part that aren't recalled."""
    ops, features, experts = replica.ops, scratch.features[part], scratch.experts[part]
    rows, chosen, shares = scratch.rows[part], scratch.chosen[part], scratch.shares[part]
    asked, grouped = False, False
    for index in range(ops.shape[0]):
        op = ops[index]
        if recalled(replica, scratch, part, index):
            continue
        grouped = grouped or op.group >= 0
        if (op.experts > 0.0 or op.routed > 0) and not asked:
            expert_features(ops, features, replica.routing, experts)
            asked = True
        if op.group < 0 or op.kind != EXPERTS:
            passes.evaluate_row(
                ops, index, features, experts, replica.routing, replica.units, replica.links,
                rows, chosen,
            )  # fmt: skip
    if grouped:
        beside(replica.routing.masks, ops, replica, scratch, part)
    seconds, joules = 0.0, 0.0
    for index in range(ops.shape[0]):
        if not recalled(replica, scratch, part, index):
            seconds += rows[index, SECONDS] * shares[index]
            joules += row_joules(rows, index) * shares[index]
    return seconds, joules


@njit
def beside(masks: Any, ops: Any, replica: Any, scratch: Any, part: int) -> None:
    """Settle operators at work at the same time on several units, of those not recalled."""
    if masks is None:
        return
    features, experts = scratch.features[part], scratch.experts[part]
    rows, chosen = scratch.rows[part], scratch.chosen[part]
    for index in range(ops.shape[0]):
        op = ops[index]
        if op.group < 0 or op.leads == 0 or recalled(replica, scratch, part, index):
            continue
        if op.kind != EXPERTS:
            passes.overlap(
                ops, index, features, experts, replica.routing, replica.units, replica.links,
                rows, chosen,
            )  # fmt: skip
        else:
            tokens = features[op.stream, op.phase, TOKENS]
            split_experts(ops, index, tokens, replica.routing, replica.units, rows, chosen)


@njit(inline="always")
def part_time(replica: Any, scratch: Any, books: Any, part: int) -> Any:
    """Seconds, and joules of one device, of a part whose features and shares are filled in."""
    seconds, joules = recall(replica, scratch, books, part)
    more_s, more_J = evaluate_rest(replica, scratch, part)
    return seconds + more_s, joules + more_J


# --- books ------------------------------------------------------------------------------------


@njit
def weights_read(op: Any, features: Any, experts: Any) -> float:
    """Bytes of weights that all layers of `op` read on one device."""
    tokens = features[op.stream, op.phase, TOKENS]
    if tokens <= 0.0:
        return 0.0
    read_B = op.weight_B
    if op.kind == EXPERTS:
        read_B *= experts[op.stream, TOUCHED] / op.experts
    return (read_B + op.weight_B_per_token * tokens) * op.layers


@njit(inline="always")
def tally(
    ops: Any, index: int, features: Any, experts: Any, rows: Any, chosen: Any,
    seconds: Any, joules: Any, weights_B: Any, times: float, copies: float, spending: float,
) -> None:  # fmt: skip
    """Add row `index`, `times` over, to seconds [op, unit, bound] and joules [op, unit, part].

    The last unit stands for the links. `copies` are devices and microbatches that do the same,
    times over, and read its weights; `spending` is `copies` times the share of joules left to them.
    """
    unit = chosen[index, UNIT]
    working = rows[index, SECONDS] - rows[index, LAUNCH_S]
    seconds[index, unit, chosen[index, BOUND]] += working * times
    seconds[index, unit, OVERHEAD] += rows[index, LAUNCH_S] * times
    for part in range(3):
        joules[index, unit, part] += rows[index, COMPUTE_J + part] * spending
    weights_B[index] += weights_read(ops[index], features, experts) * copies


@njit(inline="always")
def tally_part(
    replica: Any, scratch: Any, books: Any, part: int, times: float, devices: float, left: float
) -> None:
    """Book a part, `times` over, on so many `devices` and microbatches.

    `left` is the sum over these times of the share of joules that a power limit left.
    """
    features, shares = scratch.features[part], scratch.shares[part]
    for klass in range(replica.leaders.shape[0]):
        first = replica.leaders[klass]
        leader = replica.ops[first]
        tokens = features[leader.stream, leader.phase, TOKENS]
        if scratch.direct[part, klass] == 0 and tokens > 0.0 and shares[first] > 0.0:
            visit = books.visits[klass, int(tokens)]
            visit[0] += times * shares[first]
            visit[1] += times * shares[first] * devices
            visit[2] += left * shares[first] * devices
    for index in range(replica.ops.shape[0]):
        if not recalled(replica, scratch, part, index):
            share = shares[index]
            tally(
                replica.ops, index, features, scratch.experts[part], scratch.rows[part],
                scratch.chosen[part], books.seconds, books.joules, books.weights_B,
                times * share, times * share * devices, left * share * devices,
            )  # fmt: skip


@njit
def settle(replica: Any, scratch: Any, books: Any) -> None:
    """Book operator by operator what was recalled since the last time."""
    for klass in range(replica.leaders.shape[0]):
        for tokens in range(books.visits.shape[1]):
            times, copies, spending = books.visits[klass, tokens]
            if times == 0.0:
                continue
            leader = replica.ops[replica.leaders[klass]]
            ask(replica, scratch, klass, float(tokens))
            scratch.alone[leader.stream, leader.phase, TOKENS] = tokens
            for index in range(replica.ops.shape[0]):
                if replica.classes[index] == klass:
                    tally(
                        replica.ops, index, scratch.alone, scratch.alone_experts, scratch.rows[0],
                        scratch.chosen[0], books.seconds, books.joules, books.weights_B, times,
                        copies, spending,
                    )  # fmt: skip
            scratch.alone[leader.stream, leader.phase, TOKENS] = 0.0
            books.visits[klass, tokens] = 0.0
