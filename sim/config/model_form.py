"""Form of models: compact for uniform ones, with named blocks and a pattern for the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from sim.config.device_form import SourceForm
from sim.config.document import Document
from sim.config.fields import Count, Flag, Form, Index, Text, unknown_name, wrong
from sim.config.scenario_form import DType
from sim.config.validate import validated
from sim.errors import ConfigError, Problem
from sim.workload.architecture import (
    Architecture,
    Attention,
    Block,
    Encoder,
    Experts,
    FeedForward,
    LatentAttention,
    StateSpace,
)


class AttentionForm(Form):
    """Multi-, grouped- or multi-query attention; head_dim defaults to hidden / heads."""

    heads: Count
    kv_heads: Count | None = None
    head_dim: Count | None = None
    window: Count | None = None
    local: Literal["sliding", "chunked"] = "sliding"
    bias: Flag = False
    output_bias: Flag = False
    qk_norm: Flag = False
    sinks: Flag = False

    @model_validator(mode="after")
    def _whole_groups(self) -> AttentionForm:
        if self.kv_heads is not None and self.heads % self.kv_heads:
            raise wrong(f"{self.kv_heads} kv_heads do not divide {self.heads} heads")
        return self


class LatentAttentionForm(Form):
    """Multi-head latent attention (MLA, DeepSeek-V2)."""

    heads: Count
    q_rank: Count | None = None
    kv_rank: Count
    nope_dim: Count
    rope_dim: Count
    v_dim: Count


class StateSpaceForm(Form):
    """Mamba mixer, version 1 or 2."""

    version: Literal[1, 2]
    inner: Count
    state: Count
    conv: Count = 4
    dt_rank: Index = 0
    heads: Index = 0
    groups: Count = 1
    inner_norms: Flag = False
    conv_bias: Flag = True
    proj_bias: Flag = False


class FeedForwardForm(Form):
    """Dense feed-forward network; gated has three matrices, else two."""

    intermediate: Count
    gated: Flag = True
    bias: Flag = False


class ExpertsForm(Form):
    """Mixture of experts; `shared_intermediate` is of all shared experts together."""

    count: Count
    top_k: Count
    intermediate: Count
    gated: Flag = True
    shared_intermediate: Index = 0
    shared_gate: Flag = False
    bias: Flag = False
    router_bias: Flag = False

    @model_validator(mode="after")
    def _enough(self) -> ExpertsForm:
        if self.top_k > self.count:
            raise wrong(f"top_k {self.top_k} of only {self.count} experts")
        return self


class BlockForm(Form):
    """One kind of layer: at most one mixer and one feed-forward part."""

    attention: AttentionForm | None = None
    latent_attention: LatentAttentionForm | None = None
    state_space: StateSpaceForm | None = None
    ffn: FeedForwardForm | None = None
    experts: ExpertsForm | None = None
    cross_attention: AttentionForm | None = None
    norms: Index | None = None
    """Norms in the layer; one for each part if left out."""
    norm_bias: Flag = False

    @model_validator(mode="after")
    def _one_each(self) -> BlockForm:
        for names in (("attention", "latent_attention", "state_space"), ("ffn", "experts")):
            given = [name for name in names if getattr(self, name) is not None]
            if len(given) > 1:
                raise wrong(f"only one of {', '.join(names)} in a layer, here are {len(given)}")
        return self


class EncoderForm(BlockForm):
    """A bidirectional tower of equal layers."""

    hidden: Count
    layers: Count
    tokens: Count | None = None
    output_tokens: Index = 0
    patch_inputs: Index = 0
    other_parameters: Index = 0
    projector_parameters: Index = 0


class PartialBlockForm(Form):
    """What a named block changes of the keys the model states for all layers; null removes."""

    attention: dict[str, Any] | None = None
    latent_attention: dict[str, Any] | None = None
    state_space: dict[str, Any] | None = None
    ffn: dict[str, Any] | None = None
    experts: dict[str, Any] | None = None
    cross_attention: dict[str, Any] | None = None
    norms: Index | None = None
    norm_bias: Flag | None = None


class ModelForm(BlockForm):
    """A model. Parts stated at the top are of every layer; `blocks` and `pattern` vary them.

    `pattern` lists block names in order, "name x3" for three in a row, and repeats until `layers`
    layers are there; a text of one-letter block names works too.
    """

    name: Text | None = None
    title: Text
    source: Text | None = None
    sources: dict[str, SourceForm] = Field(default_factory=dict)
    hidden: Count
    layers: Index
    vocabulary: Index
    blocks: dict[str, PartialBlockForm] = Field(default_factory=dict)
    pattern: tuple[Text, ...] | Text | None = None
    encoder: EncoderForm | None = None
    tied_embeddings: Flag = False
    position_parameters: Index = 0
    final_norm_bias: Flag = False
    extra_norms: Index = 0
    head_outputs: Index | None = None
    head_bias: Flag = False
    weights_dtype: DType = "bf16"
    experts_dtype: DType | None = None
    max_context: Count | None = None


_PARTS = tuple(BlockForm.model_fields)


def to_architecture(document: Document) -> Architecture:
    """The architecture that `document` describes; ConfigError with all that is wrong."""
    form = validated(ModelForm, document)
    kinds = {name: _named_block(document, name) for name in form.blocks}
    order = _order(form, document)
    blocks = {name: _block(kind, form.hidden) for name, kind in kinds.items()}
    layers = tuple(blocks[name] for name in order)
    if not order:
        layers = (_block(form, form.hidden),) * form.layers
    return Architecture(
        name=form.name or "inline",
        title=form.title,
        hidden=form.hidden,
        vocabulary=form.vocabulary,
        layers=layers,
        tied_embeddings=form.tied_embeddings,
        encoder=None if form.encoder is None else _encoder(form.encoder),
        position_parameters=form.position_parameters,
        final_norm_bias=form.final_norm_bias,
        extra_norms=form.extra_norms,
        head_outputs=form.head_outputs,
        head_bias=form.head_bias,
        weights_dtype=form.weights_dtype,
        quantised_experts_dtype=form.experts_dtype,
        max_context=form.max_context,
        source=form.source,
    )


def _named_block(document: Document, name: str) -> BlockForm:
    """Block `name`: what the model states for all layers, with the block's changes on top."""
    data = document.data
    merged = {key: data[key] for key in _PARTS if data.get(key) is not None}
    for key, change in data["blocks"][name].items():
        if change is None:
            merged.pop(key, None)
        elif isinstance(change, dict) and isinstance(merged.get(key), dict):
            both = {**merged[key], **change}
            merged[key] = {part: item for part, item in both.items() if item is not None}
        else:
            merged[key] = change
    places = {("blocks", name)[2:] + key[2:]: at for key, at in document.places.items()
              if key[:2] == ("blocks", name)}  # fmt: skip
    return validated(
        BlockForm,
        Document(
            file=document.file,
            data=merged,
            places=places,
            prefix=(*document.prefix, "blocks", name),
        ),
    )


def _order(form: ModelForm, document: Document) -> list[str]:
    """The block of each layer by name; empty for a uniform model."""
    if form.pattern is None:
        if form.blocks:
            raise ConfigError([document.problem(("blocks",), "say their order with `pattern`")])
        return []
    cycle = list(_cycle(form.pattern))
    known = list(form.blocks)
    problems: list[Problem] = [
        document.problem(("pattern",), unknown_name(name, known))
        for name in dict.fromkeys(cycle)
        if name not in form.blocks
    ]
    if problems:
        raise ConfigError(problems)
    return [cycle[index % len(cycle)] for index in range(form.layers)]


def _cycle(pattern: tuple[str, ...] | str) -> Iterator[str]:
    if isinstance(pattern, str):
        yield from pattern
        return
    for item in pattern:
        match = re.fullmatch(r"(.+?)\s+x\s*([1-9][0-9]{0,4})", item)
        name, times = (match[1], int(match[2])) if match else (item, 1)
        yield from (name for _ in range(times))


def _block(form: BlockForm, hidden: int) -> Block:
    mixer: Attention | LatentAttention | StateSpace | None = None
    if form.attention is not None:
        mixer = _attention(form.attention, hidden)
    elif form.latent_attention is not None:
        mixer = LatentAttention(**form.latent_attention.model_dump())
    elif form.state_space is not None:
        mixer = StateSpace(**form.state_space.model_dump())
    ffn: FeedForward | Experts | None = None
    if form.ffn is not None:
        ffn = FeedForward(**form.ffn.model_dump())
    elif form.experts is not None:
        ffn = Experts(**form.experts.model_dump())
    cross = None if form.cross_attention is None else _attention(form.cross_attention, hidden)
    parts = sum(part is not None for part in (mixer, ffn, cross))
    return Block(
        mixer=mixer,
        ffn=ffn,
        cross_attention=cross,
        norms=parts if form.norms is None else form.norms,
        norm_bias=form.norm_bias,
    )


def _attention(form: AttentionForm, hidden: int) -> Attention:
    given: Mapping[str, Any] = form.model_dump()
    return Attention(
        **{
            **given,
            "kv_heads": form.kv_heads or form.heads,
            "head_dim": form.head_dim or hidden // form.heads,
        }
    )


def _encoder(form: EncoderForm) -> Encoder:
    return Encoder(
        hidden=form.hidden,
        layers=(_block(form, form.hidden),) * form.layers,
        tokens=form.tokens,
        output_tokens=form.output_tokens,
        patch_inputs=form.patch_inputs,
        other_parameters=form.other_parameters,
        projector_parameters=form.projector_parameters,
    )
