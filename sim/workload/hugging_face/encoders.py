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
from sim.workload.hugging_face.parts import FULL, SLIDING, attention, decoder, dtype, windows

LLAVA_TEXT: Final[Mapping[str, Any]] = {
    "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32000,
}  # fmt: skip
"""Defaults of Hugging Face's LlamaConfig, which LLaVA's files leave out."""

GEMMA3_TEXT: Final[Mapping[str, Any]] = {
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262208,
    "sliding_window": 4096, "sliding_window_pattern": 6, "max_position_embeddings": 131072,
}  # fmt: skip
"""Defaults of Hugging Face's Gemma3TextConfig, which its files leave out."""

VISION: Final[Mapping[str, Any]] = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 224,
    "patch_size": 16, "num_channels": 3,
}  # fmt: skip
"""Defaults that Hugging Face's ViTConfig and SiglipVisionConfig share."""

CLIP: Final[Mapping[str, Any]] = {**VISION, "patch_size": 32}
"""Defaults of Hugging Face's CLIPVisionConfig."""


def t5(config: Config, name: str) -> Architecture:
    """T5 and ByT5: relative position tables in the first layer, inner width of heads x d_kv."""
    hidden, heads = config.whole("hidden"), config.whole("heads")
    head_dim = config.whole("head_dim", 64)
    mixer = Attention(heads=heads, kv_heads=heads, head_dim=head_dim)
    feed = FeedForward(
        intermediate=config.whole("intermediate"),
        gated=config.text("feed_forward_proj", "relu").startswith("gated"),
    )
    layers = config.layers()
    tables = 2 * config.whole("relative_attention_num_buckets", 32) * heads
    return Architecture(
        name=name,
        title=name,
        hidden=hidden,
        vocabulary=config.whole("vocabulary"),
        layers=(Block(mixer=mixer, cross_attention=mixer, ffn=feed, norms=3),)
        * config.layers("num_decoder_layers", layers),
        encoder=Encoder(hidden=hidden, layers=(Block(mixer=mixer, ffn=feed),) * layers),
        tied_embeddings=config.flag("tie_word_embeddings", True),
        position_parameters=tables,
        extra_norms=1,
        weights_dtype=dtype(config, "fp32"),
        max_context=config.context(),
        source=f"config.json of {name}",
    )


def whisper(config: Config, name: str) -> Architecture:
    """Whisper: two convolutions to half the audio frames, then encoder and decoder of LayerNorms.

    Reads OpenAI's and MLX's key names and Hugging Face's. The convolutions (kernel 3) count as one
    projection of 3 x (mel bins + hidden) values a token.
    """
    hidden, heads = config.whole("audio_hidden"), config.whole("audio_heads")
    config.divides("audio_heads", "audio_hidden", "heads")
    mels = config.whole("mel_bins", 80)
    context = config.whole("text_context", 448)
    mixer = Attention(
        heads=heads, kv_heads=heads, head_dim=max(hidden // heads, 1), bias=True, output_bias=True
    )
    feed = FeedForward(
        intermediate=config.whole("encoder_ffn_dim", 4 * hidden), gated=False, bias=True
    )
    own = Block(mixer=mixer, ffn=feed, norm_bias=True)
    crossed = Block(mixer=mixer, cross_attention=mixer, ffn=feed, norms=3, norm_bias=True)
    return Architecture(
        name=name,
        title=name,
        hidden=hidden,
        vocabulary=config.whole("vocabulary"),
        layers=(crossed,) * config.layers("text_layers"),
        encoder=Encoder(
            hidden=hidden,
            layers=(own,) * config.layers("audio_layers"),
            tokens=config.whole("audio_frames", 1500),
            patch_inputs=3 * (mels + hidden),
            other_parameters=4 * hidden,  # biases of both convolutions, final norm
        ),
        tied_embeddings=True,
        position_parameters=context * hidden,
        final_norm_bias=True,
        weights_dtype=dtype(config, "fp16"),
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
        encoder=Encoder(hidden=hidden, layers=(block,) * config.layers()),
        position_parameters=embedded,
        head_outputs=hidden,
        head_bias=True,
        weights_dtype=dtype(config, "fp32"),
        max_context=context,
        source=f"config.json of {name}",
    )


def _tower(config: Config) -> tuple[Encoder, int]:
    """A vision transformer and its number of patches, without class token or positions."""
    hidden, heads = config.whole("hidden"), config.whole("heads")
    size, patch = config.whole("image_size"), config.whole("patch_size")
    if patch > size:
        config.wrong("patch_size", f"{patch} pixels of an image of {size}")
    config.divides("heads", "hidden", "heads")
    mixer = Attention(
        heads=heads, kv_heads=heads, head_dim=max(hidden // heads, 1), bias=True, output_bias=True
    )
    feed = FeedForward(
        intermediate=config.whole("intermediate", 4 * hidden), gated=False, bias=True
    )
    block = Block(mixer=mixer, ffn=feed, norm_bias=True)
    channels = config.whole("num_channels")
    return (
        Encoder(
            hidden=hidden,
            layers=(block,) * config.layers(),
            patch_inputs=channels * patch * patch,
        ),
        (size // patch) ** 2,
    )


def vit(config: Config, name: str) -> Architecture:
    """ViT for image classification: a class token, learned positions, one head."""
    encoder, patches = _tower(replace(config, defaults=VISION))
    hidden = encoder.hidden
    labels = config.part("id2label").data
    # class token, positions, bias of the patch projection, final norm
    other = hidden + (patches + 1) * hidden + hidden + 2 * hidden
    return Architecture(
        name=name,
        title=name,
        hidden=hidden,
        vocabulary=0,
        layers=(),
        encoder=replace(encoder, tokens=patches + 1, other_parameters=other),
        head_outputs=config.whole("num_labels", len(labels) or 1000),
        head_bias=True,
        weights_dtype=dtype(config, "fp32"),
        source=f"config.json of {name}",
    )


def llava(config: Config, name: str) -> Architecture:
    """LLaVA-1.5: CLIP's tower, a projector of two layers, and a Llama that reads its tokens."""
    text = config.part("text_config", LLAVA_TEXT)
    block = Block(mixer=attention(text), ffn=FeedForward(intermediate=text.whole("intermediate")))
    model = decoder(text, name, (block,) * text.layers(), published=config)
    encoder, patches = _tower(config.part("vision_config", CLIP))
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
    )


def gemma3(config: Config, name: str) -> Architecture:
    """Gemma 3: five windowed layers to one full, norms on queries and keys, SigLIP's tower."""
    text = config.part("text_config") if "text_config" in config.data else config
    text = replace(text, defaults=GEMMA3_TEXT)
    every = text.whole("sliding_window_pattern")
    blocks = tuple(
        Block(
            mixer=attention(text, window=window, qk_norm=True),
            ffn=FeedForward(intermediate=text.whole("intermediate")),
            norms=4,
        )
        for window in windows(text, lambda index: SLIDING if (index + 1) % every else FULL)
    )
    tied = text.flag("tie_word_embeddings", True)
    model = decoder(text, name, blocks, tied=tied, published=config)
    if "vision_config" not in config.data:
        return model
    encoder, patches = _tower(config.part("vision_config", VISION))
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
