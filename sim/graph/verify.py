"""Verifier: what holds of every graph, and what a pass over one must leave as it was.

It runs after each pass (techniques, sharding, co-processing), so that a rewrite which halves a
width and forgets the work that goes with it fails where it stands, not as a wrong time later.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from sim.graph.graph import Graph
from sim.graph.operator import COLLECTIVES, Kind, Op, Phase
from sim.operators import COMMUNICATION, OPERATOR_CLASSES

AMOUNTS: Final = (
    *("flops_per_token", "flops_per_pair", "flops_per_cached", "weights", "inputs", "outputs"),
    *("kv_read", "kv_write", "state", "reduced", "message", "launches"),
)
"""Fields that count something: finite and not negative."""


class Unsound(AssertionError):
    """A pass made a graph that no model has: a bug of that pass, not of the user's input."""


def verify(graph: Graph, after: str, *, expert_ranks: int = 1) -> Graph:
    """`graph` itself, if every operator is sound; Unsound names the pass `after` which it isn't.

    A device has the work of one of `expert_ranks` ranks of experts.
    """
    wrong = [f"{op.name}: {fault}" for op in graph.ops for fault in faults(op, expert_ranks)]
    if wrong:
        raise Unsound(f"{graph.name} after {after}: {'; '.join(wrong[:5])}")
    return graph


def verify_pass(
    before: Graph, graph: Graph, after: str, *, conserved: Sequence[str], devices: int = 1
) -> Graph:
    """`graph`, if it has what was `conserved` (`TOTALS`) of the graph `before`.

    Each of `devices` has an even share at least, and all of it at most (what is replicated).
    """
    for name in conserved:
        whole, part = total(before, name), total(graph, name)
        slack = 1e-9 * whole
        if not whole / devices - slack <= part <= whole + slack:
            raise Unsound(
                f"{before.name} after {after}: {name} of a device is {part:.6g}, which is not "
                f"between 1/{devices} and all of {whole:.6g}"
            )
    return graph


def faults(op: Op, expert_ranks: int = 1) -> Iterator[str]:
    """What is wrong with `op` on its own."""
    for name in AMOUNTS:
        amount = getattr(op, name)
        if not (math.isfinite(amount) and amount >= 0.0):
            yield f"{name} is {amount}"
    if op.layers < 1 or len(op.layer_indices) not in (0, op.layers):
        yield f"{op.layers} layers, of which {len(op.layer_indices)} have an index"
    if not 0.0 < op.stream.keep <= 1.0:
        yield f"keeps a share {op.stream.keep} of its tokens"
    if op.kind == Kind.COLLECTIVE:
        if op.operator_class != COMMUNICATION or op.collective not in COLLECTIVES or op.group < 2:
            yield f"{op.collective or 'no collective'} among {op.group} devices"
    elif op.operator_class not in OPERATOR_CLASSES:
        yield f"class {op.operator_class} is not one of operators"
    if op.kind in (Kind.MATMUL, Kind.EXPERTS):
        yield from _product_faults(op, expert_ranks)
    if op.kind == Kind.ATTENTION:
        if not op.heads or not op.kv_heads or op.heads % op.kv_heads:
            yield f"{op.heads} heads on {op.kv_heads} of keys and values"
        if op.phase not in (Phase.PREFILL, Phase.DECODE):
            yield "attends in neither prefill nor decode"


def _product_faults(op: Op, expert_ranks: int) -> Iterator[str]:
    """Work and weights that don't follow from the shape of a product.

    Tensor parallelism rounds each side of the shape up; biases and scales come on top of weights.
    """
    if op.kind == Kind.EXPERTS and not 0 < op.top_k <= op.experts:
        yield f"{op.top_k} of {op.experts} experts a token"
        return
    if not op.shaped:
        return
    columns = op.width + op.kv_width
    most, least = op.depth * columns, (op.depth - 1) * max(columns - 2, 0)
    matrices = op.experts / expert_ranks if op.kind == Kind.EXPERTS else 1.0
    used = op.top_k / expert_ranks if op.kind == Kind.EXPERTS else 1.0
    work = op.flops_per_token + op.flops_per_cached
    if not 2.0 * used * least <= work <= 2.0 * used * most * (1.0 + 1e-9):
        yield f"{work:g} flops a token for a shape of {op.depth} x {columns}"
    extra = 3.0 * (op.depth + columns)
    if not matrices * least <= op.weights <= matrices * (most + extra):
        yield f"{op.weights:g} weights for a shape of {op.depth} x {columns}"


TOTALS: Final[Mapping[str, Callable[[Op], float]]] = {
    "work by token": lambda op: op.flops_per_token,
    "work by pair": lambda op: op.flops_per_pair,
    "work by cached token": lambda op: op.flops_per_cached,
    "weights": lambda op: op.weights * op.owned,
    "cached elements": lambda op: op.kv_write,
    "state": lambda op: op.state,
}
"""What a graph adds up to over its layers, by name: work, and elements that are stored."""

STORED: Final = ("weights", "cached elements", "state")


def total(graph: Graph, name: str) -> float:
    """One of `TOTALS` of a graph: the sum over its layers and operators that compute."""
    amount = TOTALS[name]
    return sum(amount(op) * op.layers for op in graph.ops if op.kind != Kind.COLLECTIVE)
