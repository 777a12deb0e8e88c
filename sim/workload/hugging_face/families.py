"""Families of decoder-only models: one small function each, from keys to an Architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sim.workload.architecture import (
    Architecture,
    Block,
    Experts,
    FeedForward,
    LatentAttention,
    StateSpace,
)
from sim.workload.hugging_face.encoders import bert, gemma3, llava, t5, vit, whisper
from sim.workload.hugging_face.keys import Config
from sim.workload.hugging_face.parts import attention, decoder, expert_dtype, windows


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


def qwen2(config: Config, name: str) -> Architecture:
    """Qwen2 and 2.5: biases on queries, keys and values only."""
    blocks = tuple(
        Block(
            mixer=attention(config, window=window, bias=True, output_bias=False),
            ffn=FeedForward(intermediate=config.whole("intermediate")),
        )
        for window in windows(config)
    )
    return decoder(config, name, blocks)


def qwen3(config: Config, name: str) -> Architecture:
    """Qwen3 dense: queries and keys are normalised per head."""
    blocks = tuple(
        Block(
            mixer=attention(config, window=window, qk_norm=True),
            ffn=FeedForward(intermediate=config.whole("intermediate")),
        )
        for window in windows(config)
    )
    return decoder(config, name, blocks)


def qwen_moe(config: Config, name: str) -> Architecture:
    """Qwen2-MoE and Qwen3-MoE: experts in every `decoder_sparse_step`-th layer."""
    third = config.text("model_type").startswith("qwen3")
    step = config.whole("decoder_sparse_step", 1)
    dense = set(config.items("mlp_only_layers") or ())
    shared = config.whole("shared_expert_intermediate_size", 0, least=0)
    experts = Experts(
        count=config.whole("experts"),
        top_k=_top_k(config),
        intermediate=config.whole("expert_intermediate"),
        shared_intermediate=shared,
        shared_gate=shared > 0,
    )
    mixer = attention(config, qk_norm=third, bias=None if third else True, output_bias=False)
    blocks = tuple(
        Block(
            mixer=mixer,
            ffn=experts
            if index not in dense and (index + 1) % step == 0
            else FeedForward(intermediate=config.whole("intermediate")),
        )
        for index in range(_layers(config))
    )
    return decoder(config, name, blocks)


def _layers(config: Config) -> int:
    """Number of layers, at most what a model can have: it is a loop's length."""
    count = config.whole("layers")
    if count > 10_000:
        config.wrong(config.find("layers")[0], f"{count}: no model has so many layers")
        return 1
    return count


def _top_k(config: Config) -> int:
    top_k, count = config.whole("top_k"), config.whole("experts")
    if top_k > count:
        config.wrong(config.find("top_k")[0], f"{top_k} of only {count} experts")
        return count
    return top_k


def mixtral(config: Config, name: str) -> Architecture:
    """Mixtral: experts in every layer."""
    experts = Experts(
        count=config.whole("experts"),
        top_k=_top_k(config),
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
        top_k=_top_k(config),
        intermediate=config.whole("intermediate"),
    )
    block = Block(mixer=attention(config), ffn=experts, norms=4)
    return decoder(config, name, (block,) * _layers(config), tied=True)


def gpt_oss(config: Config, name: str) -> Architecture:
    """gpt-oss: alternating windows, sinks, biases everywhere, experts published in MXFP4."""
    experts = Experts(
        count=config.whole("experts"),
        top_k=_top_k(config),
        intermediate=config.whole("intermediate"),
        bias=True,
        router_bias=True,
    )
    blocks = tuple(
        Block(mixer=attention(config, window=window, bias=True, sinks=True), ffn=experts)
        for window in windows(config)
    )
    return decoder(config, name, blocks, experts_dtype=expert_dtype(config))


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
        top_k=_top_k(config),
        intermediate=width,
        shared_intermediate=width * config.whole("shared_experts", 0, least=0),
    )
    dense = FeedForward(intermediate=config.whole("intermediate"))
    first = config.whole("dense_layers", 0, least=0)
    every = config.whole("moe_layer_freq", 1)
    blocks = tuple(
        Block(mixer=mixer, ffn=experts if index >= first and index % every == 0 else dense)
        for index in range(_layers(config))
    )
    return decoder(config, name, blocks)


def llama4(config: Config, name: str) -> Architecture:
    """Llama 4 (text): three layers of chunked attention to one of full, experts interleaved."""
    text = config.part("text_config") if "text_config" in config.data else config
    chunk = text.whole("attention_chunk_size", 8192)
    step = text.whole("interleave_moe_layer_step", 1)
    width = text.whole("intermediate")
    experts = Experts(
        count=text.whole("experts"),
        top_k=_top_k(text),
        intermediate=width,
        shared_intermediate=width,
    )
    dense = FeedForward(intermediate=text.whole("intermediate_size_mlp", width))
    blocks = tuple(
        Block(
            mixer=attention(
                text,
                window=None if (index + 1) % FULL_EVERY == 0 else chunk,
                local="chunked",
            ),
            ffn=experts if (index + 1) % step == 0 else dense,
        )
        for index in range(_layers(text))
    )
    return decoder(text, name, blocks)


FULL_EVERY: Final = 4
"""Llama 4 leaves every fourth layer without positions and lets it attend to everything."""


def gemma2(config: Config, name: str) -> Architecture:
    """Gemma 2: windows in every other layer, a norm before and after each part, tied embeddings."""
    window = config.whole("window", 4096)
    dense = FeedForward(intermediate=config.whole("intermediate"))
    head_dim = None if config.has("head_dim") else 256
    blocks = tuple(
        Block(
            mixer=attention(
                config, window=window if index % 2 == 0 else None, default_head_dim=head_dim
            ),
            ffn=dense,
            norms=4,
        )
        for index in range(_layers(config))
    )
    return decoder(config, name, blocks, tied=config.flag("tie_word_embeddings", True))


def opt(config: Config, name: str) -> Architecture:
    """OPT: learned positions (two more than the context), LayerNorm, biases, tied embeddings."""
    return _classic(config, name, extra_positions=2)


def gpt2(config: Config, name: str) -> Architecture:
    """GPT-2: learned positions, LayerNorm, biases, tied embeddings."""
    return _classic(config, name, extra_positions=0)


def gpt3(config: Config, name: str) -> Architecture:
    """GPT-3 as calculon describes it: layers only where a file has no vocabulary."""
    return _classic(config, name, extra_positions=0)


def _classic(config: Config, name: str, extra_positions: int) -> Architecture:
    hidden = config.whole("hidden")
    vocabulary = config.whole("vocabulary", 0, least=0)
    context = config.whole("context", 0, least=0)
    block = Block(
        mixer=attention(config, bias=True, output_bias=True),
        ffn=FeedForward(
            intermediate=config.whole("intermediate", 4 * hidden), gated=False, bias=True
        ),
        norm_bias=True,
    )
    positions = (context + extra_positions) * hidden if vocabulary and context else 0
    return decoder(
        config,
        name,
        (block,) * _layers(config),
        tied=config.flag("tie_word_embeddings", True),
        vocabulary=vocabulary,
        position_parameters=positions,
        final_norm_bias=True,
    )


def mamba(config: Config, name: str) -> Architecture:
    """Mamba: a selective state space in every layer, no attention, tied embeddings."""
    block = Block(mixer=_mamba1(config, config.whole("state_size", 16)), norms=1)
    return decoder(
        config,
        name,
        (block,) * _layers(config),
        tied=config.flag("tie_word_embeddings", True),
    )


def _mamba1(config: Config, state: int) -> StateSpace:
    hidden = config.whole("hidden")
    return StateSpace(
        version=1,
        inner=config.whole("intermediate", hidden * config.whole("expand", 2)),
        state=state,
        conv=config.whole("conv_kernel", 4),
        dt_rank=config.whole("time_step_rank", -(-hidden // 16)),
        conv_bias=config.flag("use_conv_bias", True),
        proj_bias=config.flag("use_bias", False),
    )


def jamba(config: Config, name: str) -> Architecture:
    """Jamba: attention in one of eight layers, experts in every other, Mamba in the rest."""
    hidden = config.whole("hidden")
    mixer = StateSpace(
        version=1,
        inner=hidden * config.whole("mamba_expand", 2),
        state=config.whole("mamba_d_state", 16),
        conv=config.whole("mamba_d_conv", 4),
        dt_rank=config.whole("mamba_dt_rank", -(-hidden // 16)),
        inner_norms=True,
        conv_bias=config.flag("mamba_conv_bias", True),
        proj_bias=config.flag("mamba_proj_bias", False),
    )
    width = config.whole("intermediate")
    dense = FeedForward(intermediate=width)
    experts = Experts(count=config.whole("experts"), top_k=_top_k(config), intermediate=width)
    attend = (config.whole("attn_layer_period", 8), config.whole("attn_layer_offset", 4, least=0))
    route = (
        config.whole("expert_layer_period", 2),
        config.whole("expert_layer_offset", 1, least=0),
    )
    blocks = tuple(
        Block(
            mixer=attention(config) if _turn(index, attend) else mixer,
            ffn=experts if _turn(index, route) else dense,
        )
        for index in range(_layers(config))
    )
    return decoder(config, name, blocks)


def _turn(index: int, period_offset: tuple[int, int]) -> bool:
    period, offset = period_offset
    return index % period == offset


def nemotron_h(config: Config, name: str) -> Architecture:
    """Nemotron-H: a pattern of Mamba-2 (M), attention (*) and feed-forward (-) layers."""
    state_space = StateSpace(
        version=2,
        inner=config.whole("mamba_num_heads") * config.whole("mamba_head_dim"),
        state=config.whole("ssm_state_size"),
        conv=config.whole("conv_kernel", 4),
        heads=config.whole("mamba_num_heads"),
        groups=config.whole("n_groups", 1),
        conv_bias=config.flag("use_conv_bias", True),
        proj_bias=config.flag("mamba_proj_bias", False),
    )
    kinds = {
        "M": Block(mixer=state_space, norms=1),
        "*": Block(mixer=attention(config), norms=1),
        "-": Block(
            ffn=FeedForward(
                intermediate=config.whole("intermediate"),
                gated=False,
                bias=config.flag("mlp_bias", False),
            ),
            norms=1,
        ),
    }
    pattern = config.text("hybrid_override_pattern")
    unknown = sorted(set(pattern) - set(kinds))
    if unknown or not pattern:
        config.wrong("hybrid_override_pattern", f"letters M, * and - are due, not {unknown}")
        return decoder(config, name, ())
    if config.has("layers") and len(pattern) != _layers(config):
        config.wrong(
            "hybrid_override_pattern", f"{len(pattern)} letters for {_layers(config)} layers"
        )
    return decoder(config, name, tuple(kinds[letter] for letter in pattern))


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
