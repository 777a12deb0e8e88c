"""Operators of a layer graph: what one costs, whom it serves, where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from sim.operators import COMMUNICATION

Shard = Literal["column", "row", "heads", "vocabulary", "none"]
Collective = Literal["", "all-reduce", "all-gather", "all-to-all", "send"]


COLLECTIVES: tuple[Collective, ...] = ("all-reduce", "all-gather", "all-to-all", "send")
"""In the order of the kernel's numbers."""


class Kind(IntEnum):
    """How an operator computes; decides which law of the kernel times it."""

    MATMUL = 0
    EXPERTS = 1
    ATTENTION = 2
    SCAN = 3
    VECTOR = 4
    GATHER = 5
    COLLECTIVE = 6
    PIPELINE = 7
    """A whole model in metal, through which tokens pass one behind the other."""


class Phase(IntEnum):
    """Which tokens of the iteration an operator works on."""

    ALL = 0
    PREFILL = 1
    DECODE = 2
    LOGITS = 3
    """The last token of every sequence that gives an output token in this iteration."""


class Side(IntEnum):
    """Where an operator runs when routed experts are apart from attention, on another system."""

    ATTENTION = 0
    EXPERTS = 1
    LINK_THERE = 2
    LINK_BACK = 3


@dataclass(frozen=True, kw_only=True)
class Stream:
    """What a group of layers sees of each sequence.

    "causal": every token, each attending to those before it (within `window`; "chunked" windows
    restart at multiples). "encoder": the prompt, bidirectional, once. "fixed": `tokens` tokens,
    bidirectional, once (image patches, audio frames). "generated": only generated tokens, after
    one start token (decoder of an encoder-decoder). "cross": queries from generated tokens, keys
    from the prompt, or from `tokens` fixed ones.
    `keep` is the share of prompt tokens that techniques leave in these layers. `draft` is for the
    layers of a draft (`workload.speculation`): "own" keeps keys and values of its own, "shared"
    works on those of the model.
    """

    kind: Literal["causal", "encoder", "fixed", "generated", "cross"] = "causal"
    window: int | None = None
    chunked: bool = False
    tokens: int = 0
    keep: float = 1.0
    draft: Literal["", "own", "shared"] = ""


CAUSAL = Stream()


@dataclass(frozen=True, kw_only=True)
class Op:
    """One operator of `layers` equal layers. Counts are of elements of the whole model.

    `operator_class` is one of `hardware.OPERATOR_CLASSES` or "communication". A matrix product of
    `depth` (k) by `width` (n) has `kv_width` further columns that belong to key and value heads.
    `owned` is False where the weights are another operator's (tied head, absorbed MLA). `shard`
    tells how tensor parallelism cuts it: "column" (outputs), "row" (inputs), "heads",
    "vocabulary" or "none" (replicated). `kv_read` is elements read per attended cached token,
    `kv_write` elements stored per new token, `state` elements kept per sequence.
    """

    name: str
    kind: Kind
    operator_class: str
    layers: int = 1
    stream: Stream = CAUSAL
    phase: Phase = Phase.ALL
    flops_per_token: float = 0.0
    flops_per_pair: float = 0.0
    flops_per_cached: float = 0.0
    """Work on every cached token, the new ones among them (expanding MLA's latents)."""
    weights: float = 0.0
    owned: bool = True
    inputs: float = 0.0
    outputs: float = 0.0
    depth: int = 1
    width: int = 1
    kv_width: int = 0
    shaped: bool = True
    """Whether work and weights of a product follow from depth and widths; not of several in one."""
    kv_read: float = 0.0
    kv_write: float = 0.0
    state: float = 0.0
    heads: int = 0
    kv_heads: int = 0
    experts: int = 0
    top_k: int = 0
    shard: Shard = "none"
    launches: float = 1.0
    layer_indices: tuple[int, ...] = ()
    """Layers of the decoder stack this operator stands for; empty outside it."""
    reduced: float = 0.0
    """Elements per token that the tensor-parallel group must sum afterwards."""
    message: float = 0.0
    """Elements per token that a collective moves."""
    collective: Collective = ""
    group: int = 1
    """Devices that take part in a collective."""
    across_nodes: bool = False
    routed: bool = False
    """A collective whose tokens the router sends: the busiest expert rank may decide its time."""
    inflow: float = 1.0
    """Of that, devices that send for each one that receives."""
    side: Side = Side.ATTENTION
    all_groups: bool = False
    """Sees the tokens of all data-parallel groups that share experts, not of its own alone."""
    pipeline: Mapping[str, float] | None = None
    """Times of a pipeline, as the kernel's records name them."""
    windowed: Stream | None = None
    """What those layers of a pipeline see that attend to less than `stream`."""
    processor: str = ""
    """The processor that must run it; empty lets time decide."""
    concurrent: str = ""
    """Operators of one such name run at the same time where they are on different processors."""


def weight_dtype(op: Op, weights: str, experts: str | None) -> str:
    """Format of `op`'s weights: routed experts may have one of their own.

    Everything else, embeddings, head, norms, biases and router included, is in `weights`. Files
    quantised to 4 or 8 bits usually keep those in 16 bits; that is not modelled.
    """
    return experts if experts and op.experts else weights


def breakdown_class(op: Op) -> str:
    """Class under which reports add up the time of `op`."""
    return COMMUNICATION if op.kind == Kind.COLLECTIVE else op.operator_class
