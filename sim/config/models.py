"""Models: from a document in the form of `model_form` to an Architecture."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sim.config.document import Document
from sim.config.model_form import AttentionForm, BlockForm, EncoderForm, ModelForm
from sim.config.validate import validated
from sim.errors import ConfigError, Problem
from sim.quantities import unknown_name
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

_PARTS = tuple(BlockForm.model_fields)


def to_architecture(document: Document) -> Architecture:
    """The architecture that `document` describes; ConfigError with all that is wrong."""
    form = validated(ModelForm, document)
    problems: list[Problem] = []
    blocks: dict[str, Block] = {}
    for name in form.blocks:
        try:
            own = _named_block(document, name)
            kind = validated(BlockForm, own)
        except ConfigError as error:
            problems += error.problems
        else:
            blocks[name] = _block(kind, form.hidden)
            problems += _undivided(kind, form.hidden, own)
    if not form.blocks:
        problems += _undivided(form, form.hidden, document)
    if form.encoder is not None:
        problems += _undivided(form.encoder, form.encoder.hidden, document.under(("encoder",)))
    try:
        order = _order(form, document)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    if problems:
        raise ConfigError(problems)
    layers = tuple(blocks[name] for name in order)
    if not order:
        layers = (_block(form, form.hidden),) * form.layers
    _check_cross_attention(form, layers, document)
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


def _undivided(form: BlockForm, hidden: int, document: Document) -> Iterator[Problem]:
    """Attention of `form` whose heads neither divide `hidden` nor have a width of their own."""
    for name in ("attention", "cross_attention"):
        part = getattr(form, name)
        if part is not None and part.head_dim is None and hidden % part.heads:
            yield document.problem(
                (name, "heads"),
                f"{part.heads} heads do not divide hidden {hidden}: state head_dim",
            )


def _check_cross_attention(form: ModelForm, layers: tuple[Block, ...], document: Document) -> None:
    """ConfigError where cross-attention has no encoder of the model's width to attend to."""
    if all(block.cross_attention is None for block in layers):
        return
    if form.encoder is None:
        raise ConfigError([document.problem(("cross_attention",), "needs an encoder")])
    if form.encoder.hidden != form.hidden:
        message = f"cross-attention needs the decoder's width {form.hidden}"
        raise ConfigError([document.problem(("encoder", "hidden"), message)])


def _named_block(document: Document, name: str) -> Document:
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
    places = {key: at for key, at in document.places.items() if key and key[0] in _PARTS}
    places |= {key[2:]: at for key, at in document.places.items() if key[:2] == ("blocks", name)}
    return Document(
        file=document.file,
        data=merged,
        places=places,
        prefix=(*document.prefix, "blocks", name),
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
