"""Families of decoder-only models: one small function each, from keys to an Architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from sim.workload.architecture import (
    Architecture,
    Block,
    Experts,
    FeedForward,
    LatentAttention,
)
from sim.workload.hugging_face.encoders import bert, gemma3, llava, t5, vit, whisper
from sim.workload.hugging_face.keys import Config
from sim.workload.hugging_face.parts import (
    CHUNKED,
    FULL,
    SLIDING,
    attention,
    decoder,
    layer_types,
    top_k_of,
    windows,
)
from sim.workload.hugging_face.state_space import jamba, mamba, nemotron_h


def llama(config: Config, name: str) -> Architecture:
    """Llama 1 to 3, Mistral, Phi-3 and whatever has their shape."""
    blocks = tuple(
        Block(
            mixer=attention(config, window=window),
            ffn=FeedForward(
                intermediate=config.whole("intermediate"), bias=config.flag("mlp_bias", False)
            ),
        )
        for window in windows(config)
    )
    return decoder(config, name, blocks)


QWEN: Final[Mapping[str, Any]] = {
    "use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28,
}  # fmt: skip
"""Defaults of Hugging Face's Qwen2Config and those after it, which files may leave out."""


def _qwen(config: Config) -> Config:
    return replace(config, defaults=QWEN)


def qwen2(config: Config, name: str) -> Architecture:
    """Qwen2 and 2.5: biases on queries, keys and values only."""
    blocks = tuple(
        Block(
            mixer=attention(config, window=window, bias=True, output_bias=False),
            ffn=FeedForward(intermediate=config.whole("intermediate")),
        )
        for window in windows(_qwen(config))
    )
    return decoder(config, name, blocks)


def qwen3(config: Config, name: str) -> Architecture:
    """Qwen3 dense: queries and keys are normalised per head."""
    blocks = tuple(
        Block(
            mixer=attention(config, window=window, qk_norm=True),
            ffn=FeedForward(intermediate=config.whole("intermediate")),
        )
        for window in windows(_qwen(config))
    )
    return decoder(config, name, blocks)


def qwen_moe(config: Config, name: str) -> Architecture:
    """Qwen2-MoE and Qwen3-MoE: experts in every `decoder_sparse_step`-th layer."""
    third = config.text("model_type").startswith("qwen3")
    step = config.whole("decoder_sparse_step", 1)
    dense = set(config.wholes("mlp_only_layers") or ())
    shared = config.whole("shared_expert_intermediate_size", 0, least=0)
    experts = Experts(
        count=config.whole("experts"),
        top_k=top_k_of(config),
        intermediate=config.whole("expert_intermediate"),
        shared_intermediate=shared,
        shared_gate=shared > 0,
    )
    bias = None if third else config.flag("qkv_bias", True)
    output_bias = None if third else False
    blocks = tuple(
        Block(
            mixer=attention(
                config, window=window, qk_norm=third, bias=bias, output_bias=output_bias
            ),
            ffn=experts
            if index not in dense and (index + 1) % step == 0
            else FeedForward(intermediate=config.whole("intermediate")),
        )
        for index, window in enumerate(windows(_qwen(config)))
    )
    return decoder(config, name, blocks)


def mixtral(config: Config, name: str) -> Architecture:
    """Mixtral: experts in every layer."""
    experts = Experts(
        count=config.whole("experts"),
        top_k=top_k_of(config),
        intermediate=config.whole("intermediate"),
    )
    blocks = tuple(
        Block(mixer=attention(config, window=window), ffn=experts) for window in windows(config)
    )
    return decoder(config, name, blocks)


def grok1(config: Config, name: str) -> Architecture:
    """Grok-1: a norm before and after each part."""
    experts = Experts(
        count=config.whole("experts"),
        top_k=top_k_of(config),
        intermediate=config.whole("intermediate"),
    )
    block = Block(mixer=attention(config), ffn=experts, norms=4)
    return decoder(config, name, (block,) * config.layers(), tied=True)


def gpt_oss(config: Config, name: str) -> Architecture:
    """gpt-oss: alternating windows, sinks, biases everywhere, experts published in MXFP4."""
    experts = Experts(
        count=config.whole("experts"),
        top_k=top_k_of(config),
        intermediate=config.whole("intermediate"),
        bias=True,
        router_bias=True,
    )
    blocks = tuple(
        Block(mixer=attention(config, window=window, bias=True, sinks=True), ffn=experts)
        for window in windows(config, lambda index: FULL if index % 2 else SLIDING)
    )
    return decoder(config, name, blocks)


def deepseek(config: Config, name: str) -> Architecture:
    """DeepSeek-V2, V2-Lite, V3, Kimi-K2: latent attention, dense layers first, shared experts."""
    mixer = LatentAttention(
        heads=config.whole("heads"),
        q_rank=config.whole("q_lora_rank") if config.has("q_lora_rank") else None,
        kv_rank=config.whole("kv_lora_rank"),
        nope_dim=config.whole("qk_nope_head_dim"),
        rope_dim=config.whole("qk_rope_head_dim"),
        v_dim=config.whole("v_head_dim"),
    )
    width = config.whole("expert_intermediate")
    experts = Experts(
        count=config.whole("experts"),
        top_k=top_k_of(config),
        intermediate=width,
        shared_intermediate=width * config.whole("shared_experts", 0, least=0),
    )
    dense = FeedForward(intermediate=config.whole("intermediate"))
    first = config.whole("dense_layers", 0, least=0)
    every = config.whole("moe_layer_freq", 1)
    blocks = tuple(
        Block(mixer=mixer, ffn=experts if index >= first and index % every == 0 else dense)
        for index in range(config.layers())
    )
    return decoder(config, name, blocks)


def llama4(config: Config, name: str) -> Architecture:
    """Llama 4 (text part): three layers of chunked attention to one of full, experts interleaved.

    Queries and keys are normalised without weights, so nothing is counted for it.
    """
    text = config.part("text_config") if "text_config" in config.data else config
    chunk = text.whole("attention_chunk_size", 8192)
    every = text.whole("no_rope_layer_interval", 4)
    kinds = layer_types(text, lambda index: CHUNKED if (index + 1) % every else FULL)
    step = text.whole("interleave_moe_layer_step", 1)
    routed = text.wholes("moe_layers")
    width = text.whole("intermediate")
    experts = Experts(
        count=text.whole("experts"),
        top_k=top_k_of(text),
        intermediate=width,
        shared_intermediate=width,
    )
    dense = FeedForward(intermediate=text.whole("intermediate_size_mlp", width))
    chosen = set(range(step - 1, len(kinds), step) if routed is None else routed)
    blocks = tuple(
        Block(
            mixer=attention(text, window=None if kind == FULL else chunk, local="chunked"),
            ffn=experts if index in chosen else dense,
        )
        for index, kind in enumerate(kinds)
    )
    return decoder(text, name, blocks, published=config)


GEMMA: Final[Mapping[str, Any]] = {"head_dim": 256, "sliding_window": 4096}
"""Defaults of Hugging Face's GemmaConfig and Gemma2Config, which files may leave out."""


def gemma(config: Config, name: str) -> Architecture:
    """Gemma 1: Llama's shape with tied embeddings."""
    block = Block(
        mixer=attention(replace(config, defaults=GEMMA)),
        ffn=FeedForward(intermediate=config.whole("intermediate")),
    )
    tied = config.flag("tie_word_embeddings", True)
    return decoder(config, name, (block,) * config.layers(), tied=tied)


def gemma2(config: Config, name: str) -> Architecture:
    """Gemma 2: windows in every other layer, a norm before and after each part, tied embeddings."""
    full = replace(config, defaults=GEMMA)
    blocks = tuple(
        Block(
            mixer=attention(full, window=window),
            ffn=FeedForward(intermediate=config.whole("intermediate")),
            norms=4,
        )
        for window in windows(full, lambda index: FULL if index % 2 else SLIDING)
    )
    return decoder(config, name, blocks, tied=config.flag("tie_word_embeddings", True))


def opt(config: Config, name: str) -> Architecture:
    """OPT: learned positions (two more than the context), LayerNorm, biases, tied embeddings."""
    hidden = config.whole("hidden")
    if config.whole("word_embed_proj_dim", hidden) != hidden:  # OPT-350m
        config.wrong("word_embed_proj_dim", "projected embeddings are not supported")
    return _classic(config, name, extra_positions=2, default_dtype="fp16")


def gpt2(config: Config, name: str) -> Architecture:
    """GPT-2: learned positions, LayerNorm, biases, tied embeddings."""
    return _classic(config, name, extra_positions=0, default_dtype="fp32")


def gpt3(config: Config, name: str) -> Architecture:
    """GPT-3 as calculon describes it: layers only where a file has no vocabulary."""
    return _classic(config, name, extra_positions=0, default_dtype="fp16")


def _classic(
    config: Config, name: str, *, extra_positions: int, default_dtype: str
) -> Architecture:
    hidden = config.whole("hidden")
    vocabulary = config.whole("vocabulary", 0, least=0)
    context = config.context() or 0
    block = Block(
        mixer=attention(config, bias=True, output_bias=True),
        ffn=FeedForward(
            intermediate=config.whole("intermediate", 4 * hidden), gated=False, bias=True
        ),
        norm_bias=True,
    )
    positions = (context + extra_positions) * hidden if vocabulary and context else 0
    model = decoder(
        config,
        name,
        (block,) * config.layers(),
        tied=config.flag("tie_word_embeddings", True),
        vocabulary=vocabulary,
        default_dtype=default_dtype,
    )
    return replace(model, position_parameters=positions, final_norm_bias=True)


FAMILIES: Final[Mapping[str, Callable[[Config, str], Architecture]]] = {
    "llama": llama,
    "mistral": llama,
    "phi3": llama,
    "qwen2": qwen2,
    "qwen2_moe": qwen_moe,
    "qwen3": qwen3,
    "qwen3_moe": qwen_moe,
    "mixtral": mixtral,
    "grok1": grok1,
    "grok-1": grok1,
    "gpt_oss": gpt_oss,
    "deepseek_v2": deepseek,
    "deepseek_v3": deepseek,
    "kimi_k2": deepseek,
    "llama4": llama4,
    "gemma": gemma,
    "gemma2": gemma2,
    "gemma3": gemma3,
    "opt": opt,
    "gpt2": gpt2,
    "gpt3": gpt3,
    "mamba": mamba,
    "jamba": jamba,
    "nemotron_h": nemotron_h,
    "t5": t5,
    "whisper": whisper,
    "bert": bert,
    "vit": vit,
    "llava": llava,
}
"""Every family, by its `model_type`."""
