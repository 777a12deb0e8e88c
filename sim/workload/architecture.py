"""Model architecture: the dimensions from which a layer graph follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Multi-, grouped- or multi-query attention; `window` None attends to everything.

    `local` tells how a window is cut: "sliding" (the last `window` tokens) or "chunked" (the
    tokens since the last multiple of `window`, Llama 4).
    """

    heads: int
    kv_heads: int
    head_dim: int
    window: int | None = None
    local: Literal["sliding", "chunked"] = "sliding"
    bias: bool = False
    output_bias: bool = False
    qk_norm: bool = False
    sinks: bool = False
    """One learned sink logit per head (gpt-oss)."""


@dataclass(frozen=True, kw_only=True)
class LatentAttention:
    """Multi-head latent attention (MLA, DeepSeek-V2 section 2.1): keys and values in one latent."""

    heads: int
    q_rank: int | None
    """Rank of the compressed query; None projects queries directly."""
    kv_rank: int
    nope_dim: int
    rope_dim: int
    v_dim: int


@dataclass(frozen=True, kw_only=True)
class StateSpace:
    """Mamba mixer. version 1: selective scan with `dt_rank`; 2: SSD with heads and groups."""

    version: Literal[1, 2]
    inner: int
    state: int
    conv: int = 4
    dt_rank: int = 0
    heads: int = 0
    groups: int = 1
    inner_norms: bool = False
    """RMSNorms on dt, B and C (Jamba)."""
    conv_bias: bool = True
    proj_bias: bool = False


@dataclass(frozen=True, kw_only=True)
class FeedForward:
    """Dense feed-forward network; `gated` has three matrices (SwiGLU, GeGLU), else two."""

    intermediate: int
    gated: bool = True
    bias: bool = False


@dataclass(frozen=True, kw_only=True)
class Experts:
    """Mixture of experts: `top_k` of `count` routed experts a token, plus shared experts."""

    count: int
    top_k: int
    intermediate: int
    gated: bool = True
    shared_intermediate: int = 0
    """Intermediate width of all shared experts together; 0 where there are none."""
    shared_gate: bool = False
    """One gate value per token on the shared experts (Qwen2-MoE)."""
    bias: bool = False
    router_bias: bool = False


@dataclass(frozen=True, kw_only=True)
class Block:
    """One layer: an optional sequence mixer and an optional feed-forward part."""

    mixer: Attention | LatentAttention | StateSpace | None = None
    ffn: FeedForward | Experts | None = None
    cross_attention: Attention | None = None
    norms: int = 2
    """Norm layers in the block."""
    norm_bias: bool = False
    """LayerNorm with bias (two vectors) rather than RMSNorm (one)."""


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Bidirectional tower: of an encoder-decoder, of an encoder-only model, or for images/audio.

    `tokens` fixes the sequence length (image patches, audio frames); None takes the prompt's.
    `output_tokens` is how many of them enter the decoder as prompt tokens (0: cross-attention or
    none). `patch_inputs` is the number of input values one token is projected from;
    several convolutions in a row add up theirs (Whisper).
    """

    hidden: int
    layers: tuple[Block, ...]
    tokens: int | None = None
    output_tokens: int = 0
    patch_inputs: int = 0
    other_parameters: int = 0
    """Positions, class token, convolutional stem, projector: parameters outside the layers."""
    projector_parameters: int = 0
    """Weights of the projector into the decoder, applied to each output token."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A transformer, state-space or hybrid model, layer by layer.

    `layers` is the decoder stack in order, empty for encoder-only models.
    """

    name: str
    title: str
    hidden: int
    vocabulary: int
    layers: tuple[Block, ...]
    tied_embeddings: bool = False
    encoder: Encoder | None = None
    position_parameters: int = 0
    """Learned position embeddings and the like (OPT, Whisper, relative-bias tables of T5)."""
    final_norm_bias: bool = False
    extra_norms: int = 0
    """Norms of width `hidden` outside the layers besides the final one."""
    head_outputs: int | None = None
    """Outputs of the head where it isn't the vocabulary: classes, or 0 for no head."""
    head_bias: bool = False
    weights_dtype: str = "bf16"
    """Format the weights are published in."""
    quantised_experts_dtype: str | None = None
    """Format of expert weights where it differs from the rest (mxfp4 in gpt-oss)."""
    max_context: int | None = None
    source: str | None = None
