"""Families with an encoder: text (T5, BERT), audio (Whisper), images (ViT, LLaVA, Gemma 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from sim.workload.architecture import (
    Architecture,
    Attention,
    Block,
    Encoder,
    FeedForward,
)
from sim.workload.hugging_face.keys import Config
from sim.workload.hugging_face.parts import attention, decoder, dtype

LLAVA_TEXT: Final[Mapping[str, Any]] = {
    "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32000,
}  # fmt: skip
"""Defaults of Hugging Face's LlamaConfig, which LLaVA's files leave out."""

GEMMA3_TEXT: Final[Mapping[str, Any]] = {
    "head_dim": 256, "vocab_size": 262208, "sliding_window": 4096, "sliding_window_pattern": 6,
    "max_position_embeddings": 131072,
}  # fmt: skip
"""Defaults of Hugging Face's Gemma3TextConfig, which its files leave out."""


def t5(config: Config, name: str) -> Architecture:
    """T5 and ByT5: relative position tables in the first layer, inner width of heads x d_kv."""
    hidden, heads = config.whole("hidden"), config.whole("heads")
    head_dim = config.whole("head_dim", 64)
    mixer = Attention(heads=heads, kv_heads=heads, head_dim=head_dim)
    feed = FeedForward(
        intermediate=config.whole("intermediate"),
        gated=config.text("feed_forward_proj", "relu").startswith("gated"),
    )
    layers = config.whole("layers")
    tables = 2 * config.whole("relative_attention_num_buckets", 32) * heads
    return Architecture(
        name=name,
        title=name,
        hidden=hidden,
        vocabulary=config.whole("vocabulary"),
        layers=(Block(mixer=mixer, cross_attention=mixer, ffn=feed, norms=3),)
        * config.whole("num_decoder_layers", layers),
        encoder=Encoder(hidden=hidden, layers=(Block(mixer=mixer, ffn=feed),) * layers),
        tied_embeddings=config.flag("tie_word_embeddings", True),
        position_parameters=tables,
        extra_norms=1,
        weights_dtype=dtype(config),
        max_context=config.whole("context") if config.has("context") else None,
        source=f"config.json of {name}",
    )


def whisper(config: Config, name: str) -> Architecture:
    """Whisper: two convolutions to half the audio frames, then encoder and decoder of LayerNorms.

    Reads OpenAI's and MLX's key names and Hugging Face's.
    """
    native = "n_audio_state" in config.data
    hidden = config.whole("n_audio_state" if native else "d_model")
    heads = config.whole("n_audio_head" if native else "encoder_attention_heads")
    config.divides(heads, hidden, "n_audio_head" if native else "encoder_attention_heads", "heads")
    mels = config.whole("n_mels" if native else "num_mel_bins", 80)
    frames = config.whole("n_audio_ctx" if native else "max_source_positions", 1500)
    context = config.whole("n_text_ctx" if native else "max_target_positions", 448)
    mixer = Attention(
        heads=heads, kv_heads=heads, head_dim=max(hidden // heads, 1), bias=True, output_bias=True
    )
    feed = FeedForward(
        intermediate=config.whole("encoder_ffn_dim", 4 * hidden), gated=False, bias=True
    )
    stem = 3 * mels * hidden + hidden + 3 * hidden * hidden + hidden
    own = Block(mixer=mixer, ffn=feed, norm_bias=True)
    crossed = Block(mixer=mixer, cross_attention=mixer, ffn=feed, norms=3, norm_bias=True)
    return Architecture(
        name=name,
        title=name,
        hidden=hidden,
        vocabulary=config.whole("vocabulary"),
        layers=(crossed,) * config.whole("n_text_layer" if native else "decoder_layers"),
        encoder=Encoder(
            hidden=hidden,
            layers=(own,) * config.whole("n_audio_layer" if native else "encoder_layers"),
            tokens=frames,
            other_parameters=stem + 2 * hidden,
        ),
        tied_embeddings=True,
        position_parameters=context * hidden,
        final_norm_bias=True,
        weights_dtype=dtype(config) if config.has("dtype") else "fp16",
        max_context=context,
        source=f"config.json of {name}",
    )


def bert(config: Config, name: str) -> Architecture:
    """BERT: an encoder of text with learned positions and segments, and a pooled output."""
    hidden = config.whole("hidden")
    block = Block(
        mixer=attention(config, bias=True, output_bias=True),
        ffn=FeedForward(intermediate=config.whole("intermediate"), gated=False, bias=True),
        norm_bias=True,
    )
    context = config.whole("context", 512)
    embedded = (context + config.whole("type_vocab_size", 2)) * hidden + 2 * hidden
    return Architecture(
        name=name,
        title=name,
        hidden=hidden,
        vocabulary=config.whole("vocabulary"),
        layers=(),
        encoder=Encoder(hidden=hidden, layers=(block,) * config.whole("layers")),
        position_parameters=embedded,
        head_outputs=hidden,
        head_bias=True,
        weights_dtype=dtype(config),
        max_context=context,
        source=f"config.json of {name}",
    )


def _tower(config: Config, *, default_patch: int = 16) -> tuple[Encoder, int]:
    """A vision transformer and its number of patches, without class token or positions."""
    hidden = config.whole("hidden", 768)
    size = config.whole("image_size", 224)
    patch = config.whole("patch_size", default_patch)
    heads = config.whole("heads", 12)
    config.divides(patch, size, f"{config.path and ''}image_size", "pixels of a patch")
    config.divides(heads, hidden, config.find("heads")[0], "heads")
    mixer = Attention(
        heads=heads, kv_heads=heads, head_dim=max(hidden // heads, 1), bias=True, output_bias=True
    )
    feed = FeedForward(
        intermediate=config.whole("intermediate", 4 * hidden), gated=False, bias=True
    )
    block = Block(mixer=mixer, ffn=feed, norm_bias=True)
    channels = config.whole("num_channels", 3)
    return (
        Encoder(
            hidden=hidden,
            layers=(block,) * config.whole("layers", 12),
            patch_inputs=channels * patch * patch,
        ),
        (size // patch) ** 2,
    )


def vit(config: Config, name: str) -> Architecture:
    """ViT for image classification: a class token, learned positions, one head."""
    encoder, patches = _tower(config)
    hidden = encoder.hidden
    # class token, positions, bias of the patch projection, final norm
    other = hidden + (patches + 1) * hidden + hidden + 2 * hidden
    return Architecture(
        name=name,
        title=name,
        hidden=hidden,
        vocabulary=0,
        layers=(),
        encoder=replace(encoder, tokens=patches + 1, other_parameters=other),
        head_outputs=config.whole("num_labels", 1000),
        head_bias=True,
        weights_dtype=dtype(config),
        source=f"config.json of {name}",
    )


def llava(config: Config, name: str) -> Architecture:
    """LLaVA-1.5: CLIP's tower, a projector of two layers, and a Llama that reads its tokens."""
    text = config.part("text_config", LLAVA_TEXT)
    block = Block(mixer=attention(text), ffn=FeedForward(intermediate=text.whole("intermediate")))
    model = decoder(text, name, (block,) * text.whole("layers"))
    encoder, patches = _tower(config.part("vision_config"), default_patch=14)
    hidden = encoder.hidden
    # class token, positions, norms before and after the tower (CLIP projects without bias)
    other = hidden + (patches + 1) * hidden + 4 * hidden
    projector = (hidden + 1) * model.hidden + (model.hidden + 1) * model.hidden
    return replace(
        model,
        encoder=replace(
            encoder,
            tokens=patches + 1,
            output_tokens=patches,
            other_parameters=other,
            projector_parameters=projector,
        ),
        weights_dtype=dtype(config),
    )


def gemma3(config: Config, name: str) -> Architecture:
    """Gemma 3: five windowed layers to one full, norms on queries and keys, SigLIP's tower."""
    text = config.part("text_config", GEMMA3_TEXT) if "text_config" in config.data else config
    text.defaults = GEMMA3_TEXT
    window, pattern = text.whole("window"), text.whole("sliding_window_pattern")
    dense = FeedForward(intermediate=text.whole("intermediate"))
    blocks = tuple(
        Block(
            mixer=attention(
                text, window=None if (index + 1) % pattern == 0 else window, qk_norm=True
            ),
            ffn=dense,
            norms=4,
        )
        for index in range(min(text.whole("layers"), 10_000))
    )
    model = decoder(text, name, blocks, tied=text.flag("tie_word_embeddings", True))
    model = replace(model, weights_dtype=dtype(config))
    if "vision_config" not in config.data:
        return model
    encoder, patches = _tower(config.part("vision_config"), default_patch=14)
    hidden = encoder.hidden
    # positions, bias of the patch projection, norm after the tower, norm before the projector
    other = patches * hidden + hidden + 2 * hidden + hidden
    return replace(
        model,
        encoder=replace(
            encoder,
            tokens=patches,
            output_tokens=config.whole("mm_tokens_per_image", 256),
            other_parameters=other,
            projector_parameters=hidden * model.hidden,
        ),
    )
