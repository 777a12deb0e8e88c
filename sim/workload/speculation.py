"""Speculative decoding: what drafts tokens for a model, and how many of them it accepts.

A draft proposes `tokens` tokens of a sequence one by one; the model then checks all of them, and
the one that comes after them, in one pass. It keeps those before the first it rejects, and adds one
of its own (Leviathan, Kalman, Matias, "Fast Inference from Transformers via Speculative Decoding",
arXiv 2211.17192, algorithm 1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from sim.graph import Graph, Kind, Op
from sim.kernel.splitmix import bits_at
from sim.workload.architecture import Architecture
from sim.workload.layers.model import build_graph
from sim.workload.layers.parts import matmul, norm

Numbers = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

PADDING = 1024
"""Rows by which vocabularies that are alike may differ: their tables are padded."""


@dataclass(frozen=True, kw_only=True)
class Speculation:
    """`tokens` drafted a step, and the probability that each is accepted if those before it are.

    `draft` is a model of its own, "mtp" (the model's module for multi-token prediction: its last
    layer once more, with a projection; it shares embedding and head) or "self" (the model's first
    `layers` layers and its head, on the model's own KV cache).
    """

    draft: Architecture | Literal["mtp", "self"]
    tokens: int
    acceptance: tuple[float, ...]
    layers: int | None = None

    @property
    def name(self) -> str:
        """What drafts."""
        return self.draft if isinstance(self.draft, str) else self.draft.name

    @property
    def reached(self) -> npt.NDArray[np.float64]:
        """Probability that the first 1, 2 ... drafted tokens are all accepted; shape [tokens]."""
        return np.asarray(np.cumprod(self.acceptance), np.float64)

    @property
    def tokens_per_step(self) -> float:
        """Tokens that a sequence gets a step, on average and as long as it needs that many.

        With one acceptance a for all it is (1 - a^(k + 1)) / (1 - a) (equation 1 of the paper).
        """
        return 1.0 + float(self.reached.sum())


def draws_of(seed: int, numbers: Numbers) -> Keys:
    """Where the random numbers of requests begin: the same whatever serves them."""
    with np.errstate(over="ignore"):
        found: Keys = bits_at(bits_at(np.uint64(seed), 1), numbers + 1)
    return found


def draft_graph(model: Architecture, speculation: Speculation) -> Graph:
    """The operators of one pass of the draft, in streams of their own."""
    if speculation.draft == "mtp":
        graph = _module(model)
    elif speculation.draft == "self":
        assert speculation.layers is not None
        graph = build_graph(replace(model, layers=model.layers[: speculation.layers]))
    else:
        assert isinstance(speculation.draft, Architecture)
        graph = build_graph(speculation.draft)
    ops = tuple(_drafting(op, shared=speculation.draft == "self") for op in graph.ops)
    return replace(graph, ops=ops)


def _drafting(op: Op, *, shared: bool) -> Op:
    return replace(
        op,
        name=f"draft.{op.name}",
        stream=replace(op.stream, draft="shared" if shared else "own"),
        layer_indices=(),
        owned=op.owned and not shared,
    )


def _module(model: Architecture) -> Graph:
    """A module for multi-token prediction (DeepSeek-V3, arXiv 2412.19437, section 2.2).

    The token's embedding and the hidden state before it are normed, put side by side and projected
    to one; then comes a layer. Embedding and head are the model's.
    """
    graph = build_graph(replace(model, layers=model.layers[-1:], encoder=None))
    stream, hidden = graph.streams[0], model.hidden
    projection = matmul("projection", 2 * hidden, hidden, stream, "none")
    joined = (norm("projection_norm", hidden, 2.0 * hidden, stream, 2), projection)
    first, *rest = (
        replace(op, owned=False) if op.operator_class in ("embedding", "lm-head") else op
        for op in graph.ops
    )
    return replace(graph, ops=(first, *joined, *rest))


def unfit(model: Architecture, speculation: Speculation) -> dict[str, str]:
    """Why the model can't be drafted for like this, by key of `speculation`; empty where it can."""
    found: dict[str, str] = {}
    draft = speculation.draft
    if speculation.draft == "self" and not 0 < (speculation.layers or 0) < len(model.layers):
        found["layers"] = (
            f"self-speculation drafts with 1 to {len(model.layers) - 1} of the {len(model.layers)} "
            f"layers of {model.name}: write layers"
        )
    if speculation.draft != "self" and speculation.layers is not None:
        found["layers"] = "layers go with draft: self; leave them out"
    for each in (model, draft) if isinstance(draft, Architecture) else (model,):
        if not _attends(each):
            found["draft"] = (
                f"{each.name} is not a decoder with attention in every layer: there is no "
                "speculation for encoders and recurrent states"
            )
            return found
    if isinstance(draft, Architecture):
        if abs(draft.vocabulary - model.vocabulary) > PADDING:
            found["draft"] = (
                f"{draft.name} has a vocabulary of {draft.vocabulary} tokens, {model.name} one of "
                f"{model.vocabulary}: a draft needs the same tokens"
            )
        elif _experts(draft) and _experts(draft) != _experts(model):
            found["draft"] = (
                f"{draft.name} routes to other experts than {model.name}: take a dense draft"
            )
    return found


def _attends(model: Architecture) -> bool:
    """Whether all a sequence keeps are keys and values of its tokens."""
    if model.encoder is not None or not model.layers:
        return False
    ops = build_graph(model).ops
    return all(
        op.stream.kind == "causal" and not op.state and op.kind not in (Kind.SCAN, Kind.PIPELINE)
        for op in ops
    )


def _experts(model: Architecture) -> set[tuple[int, int]]:
    return {(op.experts, op.top_k) for op in build_graph(model).ops if op.experts}
