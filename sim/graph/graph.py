"""Graph: the operators one pass of a model runs, in order, and what they add up to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from sim.dtypes import Grouped, bytes_per_element
from sim.graph.operator import Op, Phase, Stream, weight_dtype


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
