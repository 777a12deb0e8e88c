"""Form of models: compact for uniform ones, with named blocks and a pattern for the rest."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from sim.config.fields import Count, Flag, Form, Index, Text, named, wrong
from sim.config.sources import SourceForm
from sim.dtypes import BITS

DType = Annotated[str, *named(*BITS)]

MOST_LAYERS: Final = 1_000
"""Layers are built one by one, so a typing mistake must not become a loop's length."""


def _buildable(value: int) -> int:
    if value > MOST_LAYERS:
        raise wrong(f"{value}: a whole number to {MOST_LAYERS} is due")
    return value


Layers = Annotated[Count, AfterValidator(_buildable)]
LayersOrNone = Annotated[Index, AfterValidator(_buildable)]


class Part(Form):
    """A part of a model; the text under a field is its description in the JSON Schema."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class AttentionForm(Part):
    """Multi-, grouped- or multi-query attention."""

    heads: Count
    """Query heads."""
    kv_heads: Count | None = None
    """Key-value heads; as many as query heads if left out."""
    head_dim: Count | None = None
    """Width of a head; hidden / heads if left out."""
    window: Count | None = None
    """Tokens a token attends to; all of those before it if left out."""
    local: Literal["sliding", "chunked"] = "sliding"
    """Whether the window slides or restarts at its multiples (Llama 4)."""
    bias: Flag = False
    """Biases on queries, keys and values."""
    output_bias: Flag = False
    """Bias on the output projection."""
    qk_norm: Flag = False
    """Norms with weights on the queries and keys of each head (Qwen3)."""
    sinks: Flag = False
    """One learned sink logit per head (gpt-oss)."""

    @model_validator(mode="after")
    def _whole_groups(self) -> AttentionForm:
        if self.kv_heads is not None and self.heads % self.kv_heads:
            raise wrong(f"{self.kv_heads} kv_heads do not divide {self.heads} heads")
        return self


class LatentAttentionForm(Part):
    """Multi-head latent attention (MLA, DeepSeek-V2, arXiv 2405.04434, section 2.1)."""

    heads: Count
    """Query heads."""
    q_rank: Count | None = None
    """Rank of the compressed query; queries are projected directly if left out."""
    kv_rank: Count
    """Rank of the latent that stands for keys and values."""
    nope_dim: Count
    """Part of a head's query and key without position."""
    rope_dim: Count
    """Part of a head's query, and of the one shared key, with position."""
    v_dim: Count
    """Width of a head's value."""


class StateSpaceForm(Part):
    """Mamba mixer: version 1 (arXiv 2312.00752) or 2 (arXiv 2405.21060)."""

    version: Literal[1, 2]
    """1 is Mamba's selective scan, 2 is Mamba-2's with heads."""
    inner: Count
    """Channels of the scan (d_inner)."""
    state: Count
    """State values per channel."""
    conv: Count = 4
    """Width of the convolution over tokens."""
    dt_rank: Index = 0
    """Rank of the step size; version 1 only."""
    heads: Index = 0
    """Heads; version 2 only."""
    groups: Count = 1
    """Groups of heads that share B and C; version 2 only."""
    inner_norms: Flag = False
    """Norms on step size, B and C (Jamba)."""
    conv_bias: Flag = True
    """Bias on the convolution."""
    proj_bias: Flag = False
    """Biases on the projections in and out."""

    @model_validator(mode="after")
    def _of_its_version(self) -> StateSpaceForm:
        if self.version == 1 and not self.dt_rank:
            raise wrong("version 1 needs dt_rank")
        if self.version == 2 and not self.heads:
            raise wrong("version 2 needs heads")
        for name, whole in (("heads", self.inner), ("groups", self.heads)):
            parts = getattr(self, name)
            if self.version == 2 and whole % parts:
                raise wrong(f"{parts} {name} do not divide {whole}")
        return self


class FeedForwardForm(Part):
    """Dense feed-forward network."""

    intermediate: Count
    """Width between the matrices."""
    gated: Flag = True
    """Three matrices (SwiGLU, GeGLU) rather than two."""
    bias: Flag = False
    """Biases on all matrices."""


class ExpertsForm(Part):
    """Mixture of experts."""

    count: Count
    """Routed experts."""
    top_k: Count
    """Routed experts each token is sent to."""
    intermediate: Count
    """Width between the matrices of one routed expert."""
    gated: Flag = True
    """Three matrices rather than two."""
    shared_intermediate: Index = 0
    """Width of all shared experts together; 0 where there are none."""
    shared_gate: Flag = False
    """A gate on the shared experts (Qwen2-MoE)."""
    bias: Flag = False
    """Biases on the matrices of routed experts."""
    router_bias: Flag = False
    """Bias on the router."""

    @model_validator(mode="after")
    def _enough(self) -> ExpertsForm:
        if self.top_k > self.count:
            raise wrong(f"top_k {self.top_k} of only {self.count} experts")
        return self


class BlockForm(Part):
    """One kind of layer: at most one mixer and one feed-forward part."""

    attention: AttentionForm | None = None
    """Attention of the layer."""
    latent_attention: LatentAttentionForm | None = None
    """Latent attention (MLA) instead."""
    state_space: StateSpaceForm | None = None
    """A state space (Mamba) instead."""
    ffn: FeedForwardForm | None = None
    """A dense feed-forward network."""
    experts: ExpertsForm | None = None
    """A mixture of experts instead."""
    cross_attention: AttentionForm | None = None
    """Attention to the encoder's output."""
    norms: Index | None = None
    """Norms in the layer; one for each part if left out."""
    norm_bias: Flag = False
    """LayerNorm with bias (two vectors) rather than RMSNorm (one)."""

    @model_validator(mode="after")
    def _one_each(self) -> BlockForm:
        for names in (("attention", "latent_attention", "state_space"), ("ffn", "experts")):
            given = [name for name in names if getattr(self, name) is not None]
            if len(given) > 1:
                raise wrong(f"only one of {', '.join(names)} in a layer, here are {len(given)}")
        return self


class EncoderForm(BlockForm):
    """A bidirectional tower of equal layers: text, image patches or audio frames."""

    hidden: Count
    """Width of the tower."""
    layers: Layers
    """Layers of the tower."""
    tokens: Count | None = None
    """Fixed length of its sequence (patches, frames); the prompt's if left out."""
    output_tokens: Index = 0
    """How many of them enter the decoder as prompt tokens."""
    patch_inputs: Index = 0
    """Input values one token is projected from; 0 for text."""
    other_parameters: Index = 0
    """Parameters outside the layers: positions, class token, biases and norms."""
    projector_parameters: Index = 0
    """Parameters of the projector into the decoder, applied to each output token."""


class PartialBlockForm(Part):
    """What a named block changes of the keys the model states for all layers; null removes."""

    attention: dict[str, Any] | None = None
    """Attention of the layer."""
    latent_attention: dict[str, Any] | None = None
    """Latent attention (MLA) instead."""
    state_space: dict[str, Any] | None = None
    """A state space (Mamba) instead."""
    ffn: dict[str, Any] | None = None
    """A dense feed-forward network."""
    experts: dict[str, Any] | None = None
    """A mixture of experts instead."""
    cross_attention: dict[str, Any] | None = None
    """Attention to the encoder's output."""
    norms: Index | None = None
    """Norms of the layer."""
    norm_bias: Flag | None = None
    """Whether they have biases."""


class ModelForm(BlockForm):
    """A model. Parts stated at the top are of every layer; `blocks` and `pattern` vary them.

    `pattern` lists block names in order, "name x3" for three in a row, and repeats until `layers`
    layers are there; a text of one-letter block names works too.
    """

    name: Text | None = None
    """The name of its file, if left out."""
    title: Text
    """Name for people."""
    source: Text | None = None
    """Where the dimensions come from: a key of `sources`, its own or the library's."""
    sources: dict[str, SourceForm] = Field(default_factory=dict)
    """Sources the library does not have, by key."""
    hidden: Count
    """Width of the residual stream."""
    layers: LayersOrNone
    """Layers of the decoder; 0 for a model that only encodes."""
    vocabulary: Index
    """Rows of the embedding table; 0 where it isn't counted."""
    blocks: dict[str, PartialBlockForm] = Field(default_factory=dict)
    """Kinds of layer by name, for models whose layers differ."""
    pattern: tuple[Text, ...] | Text | None = None
    """Names of `blocks` in order; repeats."""
    encoder: EncoderForm | None = None
    """What reads the input before the decoder, if anything does."""
    tied_embeddings: Flag = False
    """The head is the embedding table."""
    position_parameters: Index = 0
    """Parameters of learned positions and the like."""
    final_norm_bias: Flag = False
    """The last norm is a LayerNorm with bias."""
    extra_norms: Index = 0
    """Norms outside the layers besides the last one."""
    head_outputs: Index | None = None
    """Outputs of the head where it isn't the vocabulary; 0 for none."""
    head_bias: Flag = False
    """Bias on the head."""
    weights_dtype: DType = "bf16"
    """Format the weights are published in."""
    experts_dtype: DType | None = None
    """Format of routed experts where it differs (mxfp4 in gpt-oss)."""
    max_context: Count | None = None
    """Longest context, in tokens."""

    @model_validator(mode="after")
    def _whole_model(self) -> ModelForm:
        if not self.layers and self.encoder is None:
            raise wrong("layers: 0 is for models with an encoder")
        if self.pattern == ():
            raise wrong("pattern is empty: names of blocks are due")
        return self
