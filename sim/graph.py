"""Graph: the operators one pass of a model runs, and OpTable, the same as arrays for the kernel.

`Op` objects are for people and for rewriting; lowering to `OpTable` goes one way. Identical layers
are one operator with a repeat count. What an operator costs is linear in a few features of the
batch its `Stream` sees (tokens, query-key pairs, cached tokens, sequences); the one thing that is
not, how many distinct experts a batch touches, is a feature of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from sim.dtypes import COMPUTE, Grouped, arithmetic, bytes_per_element, conversions
from sim.kernel.records import OP, VECTOR
from sim.operators import COMMUNICATION, OPERATOR_CLASSES

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


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The operators of one pass, in order of execution; counts are of the whole model."""

    name: str
    ops: tuple[Op, ...]
    layers: int
    hidden: int

    @cached_property
    def streams(self) -> tuple[Stream, ...]:
        """Distinct streams, in order of first use."""
        seen = (stream for op in self.ops for stream in (op.stream, op.windowed) if stream)
        return tuple(dict.fromkeys(seen))

    @property
    def decodes(self) -> bool:
        """Whether the model generates token after token; an encoder answers once."""
        return any(op.stream.kind in ("causal", "generated") for op in self.ops)

    @property
    def parameters(self) -> float:
        """Number of weights of the model."""
        return sum(op.weights * op.layers for op in self.ops if op.owned)

    @property
    def active_parameters_per_token(self) -> float:
        """Weights one token uses: all of them but the routed experts it isn't sent to."""
        return sum(
            op.weights * op.layers * (op.top_k / op.experts if op.experts else 1.0)
            for op in self.ops
            if op.owned
        )

    def weight_bytes(self, weights: str, experts: str | None = None) -> float:
        """Bytes of all weights in format `weights`, routed experts in `experts` if given."""
        return sum(
            op.weights * op.layers * bytes_per_element(weight_dtype(op, weights, experts))
            for op in self.ops
            if op.owned
        )

    def kv_bytes_per_token(self, dtype: str | Grouped) -> float:
        """Growth of the KV cache per new decoder token, before windows cut it."""
        return bytes_per_element(dtype) * sum(
            op.kv_write * op.layers
            for op in self.ops
            if op.phase == Phase.DECODE and op.stream.kind in ("causal", "generated")
        )

    def cross_kv_bytes_per_input_token(self, dtype: str | Grouped) -> float:
        """Bytes of cross-attention keys and values per token of the encoder's output."""
        return bytes_per_element(dtype) * sum(
            op.kv_read * op.layers
            for op in self.ops
            if op.phase == Phase.DECODE and op.stream.kind == "cross"
        )

    def state_bytes_per_sequence(
        self, dtype: str | Grouped, encoder_tokens: int = 0, *, activations: str | None = None
    ) -> float:
        """Bytes a sequence keeps whatever its length: recurrent state and cross-attention.

        Recurrent state is kept in the format of `activations` (else `dtype`), for it is computed
        anew each token; cross-attention in that of the KV cache. `encoder_tokens` is the input
        length of an encoder-decoder whose encoder has no fixed one.
        """
        recurrent = bytes_per_element(activations or dtype) * sum(
            op.state * op.layers for op in self.ops if op.phase == Phase.DECODE
        )
        tokens = max((op.stream.tokens for op in self.ops if op.stream.kind == "cross"), default=0)
        return recurrent + (tokens or encoder_tokens) * self.cross_kv_bytes_per_input_token(dtype)

    def rewrite(self, rule: Callable[[Op], tuple[Op, ...]]) -> Graph:
        """The graph with every operator replaced by what `rule` gives for it."""
        return replace(self, ops=tuple(new for op in self.ops for new in rule(op)))


def weight_dtype(op: Op, weights: str, experts: str | None) -> str:
    """Format of `op`'s weights: routed experts may have one of their own.

    Everything else, embeddings, head, norms, biases and router included, is in `weights`. Files
    quantised to 4 or 8 bits usually keep those in 16 bits; that is not modelled.
    """
    return experts if experts and op.experts else weights


@dataclass(frozen=True, kw_only=True, eq=False)
class OpTable:
    """A graph as arrays: row i of `records` (`OP`) is `graph.ops[i]`."""

    graph: Graph
    records: npt.NDArray[np.void]

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Streams in the order the records number them."""
        return self.graph.streams


def lower(
    graph: Graph,
    *,
    weights: str,
    kv: str | Grouped,
    activations: str,
    experts: str | None = None,
    expert_ranks: int = 1,
    pinned: Mapping[str, int] | None = None,
    processors: Sequence[str] = (),
    groups: int = 1,
    split: int = 0,
    spaces: int = 1,
) -> OpTable:
    """The operator table of `graph` in these number formats.

    `pinned` maps operator classes to the index of the processor that must run them; `processors`
    are the names that operators may ask for. `groups` data-parallel groups share the experts;
    `split` is how two processors share those of a device, which lie in `spaces` memory spaces.
    """
    records = np.zeros(len(graph.ops), OP)
    streams = {stream: index for index, stream in enumerate(graph.streams)}
    concurrent = list(dict.fromkeys(op.concurrent for op in graph.ops if op.concurrent))
    leaders: set[str] = set()
    activation_B = bytes_per_element(activations)
    kv_B = bytes_per_element(kv)
    for record, op in zip(records, graph.ops, strict=True):
        dtype = weight_dtype(op, weights, experts)
        record["kind"], record["phase"] = op.kind, op.phase
        record["stream"] = record["energy_stream"] = streams[op.stream]
        if groups > 1 and not op.all_groups:
            record["stream"] += len(streams)
            record["energy_stream"] += 2 * len(streams)
        record["group"] = concurrent.index(op.concurrent) if op.concurrent else -1
        record["leads"] = int(op.concurrent not in leaders)
        record["drafts"] = int(op.stream.draft != "")
        leaders |= {op.concurrent} - {""}
        record["split"], record["spaces"] = split, spaces
        record["side"] = op.side
        record["arithmetic"] = _arithmetic(op, dtype, kv, activations)
        record["layers"], record["launches"] = op.layers, op.launches
        record["pinned"] = (pinned or {}).get(op.operator_class, -1)
        if op.processor:
            record["pinned"] = processors.index(op.processor)
        if op.kind == Kind.PIPELINE:
            record["moves"] = 1
            record["windowed"] = streams[op.windowed or op.stream]
            for name, value in (op.pipeline or {}).items():
                record[name] = value
            continue
        if op.kind == Kind.COLLECTIVE:
            record["link"] = 1 if op.across_nodes else 2 if op.side != Side.ATTENTION else 0
            record["message_B_per_token"] = op.message * activation_B
            record["steps"], record["factor"] = collective_terms(op.collective, op.group)
            record["collective"], record["ranks"] = COLLECTIVES.index(op.collective), op.group
            record["routed"] = 1 + streams[op.stream] if op.routed else 0
            record["inflow"] = op.inflow
            continue
        record["capability"] = OPERATOR_CLASSES.index(op.operator_class)
        record["flops_per_token"] = op.flops_per_token
        record["flops_per_pair"] = op.flops_per_pair
        record["flops_per_cached"] = op.flops_per_cached
        weight_B = op.weights * bytes_per_element(dtype)
        if op.kind == Kind.GATHER:
            record["weight_B_per_token"] = op.inputs * bytes_per_element(dtype)
        else:
            record["weight_B"] = weight_B
        traffic = op.outputs if op.kind == Kind.GATHER else op.inputs + op.outputs
        record["activation_B_per_token"] = traffic * activation_B
        record["kv_B_per_cached"] = op.kv_read * kv_B
        record["kv_B_per_token"] = op.kv_write * kv_B
        if op.kind == Kind.ATTENTION:
            record["convert_per_kv_B"] = conversions(kv) / kv_B
        record["state_B_per_sequence"] = 2.0 * op.state * activation_B  # read and written back
        record["heads"], record["kv_heads"] = op.heads, op.kv_heads
        record["latent"] = int(op.kind == Kind.ATTENTION and op.depth != op.width)
        record["width"] = op.width + op.kv_width
        record["experts"], record["top_k"] = op.experts, op.top_k
        record["ranks"] = expert_ranks
        record["moves"] = int(
            op.phase == Phase.DECODE and (op.kv_read > 0 or op.flops_per_pair > 0)
        )
    return OpTable(graph=graph, records=records)


def _arithmetic(op: Op, weights: str, kv: str | Grouped, activations: str) -> int:
    if op.kind in (Kind.VECTOR, Kind.SCAN, Kind.GATHER, Kind.COLLECTIVE, Kind.PIPELINE):
        return VECTOR
    operand = kv if op.kind == Kind.ATTENTION else weights
    return COMPUTE.index(arithmetic(operand, activations))


def collective_terms(collective: str, group: int) -> tuple[list[float], list[float]]:
    """Hops and bytes sent per byte of message, by ring, tree and direct exchange.

    Thakur, Rabenseifner, Gropp, "Optimization of Collective Communication Operations in MPICH",
    IJHPCA 19(1), 2005. The tree pipelines chunks, so it sends the message up and down once each;
    the direct all-reduce is a reduce-scatter and an all-gather among devices that all see each
    other (a switch), two hops whatever their number.
    """
    others = group - 1
    share = others / group
    levels = math.ceil(math.log2(group))
    terms = {
        "all-reduce": ([2.0 * others, 2.0 * levels, 2.0], [2.0 * share, 2.0, 2.0 * share]),
        "all-gather": ([others, levels, 1.0], [share, share, share]),
        "all-to-all": ([others, levels, 1.0], [share, levels / 2.0, share]),
        "send": ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0]),
    }
    return terms[collective]


def breakdown_class(op: Op) -> str:
    """Class under which reports add up the time of `op`."""
    return COMMUNICATION if op.kind == Kind.COLLECTIVE else op.operator_class
