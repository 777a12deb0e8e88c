"""Parts that families share: attention, windows, formats, and a decoder around its blocks."""

from __future__ import annotations

from typing import Literal

from sim.workload.architecture import Architecture, Attention, Block
from sim.workload.hugging_face.keys import Config

_DTYPES = {
    "float32": "fp32",
    "bfloat16": "bf16",
    "float16": "fp16",
    "float8_e4m3fn": "fp8",
}


def attention(
    config: Config,
    *,
    window: int | None = None,
    local: Literal["sliding", "chunked"] = "sliding",
    bias: bool | None = None,
    output_bias: bool | None = None,
    qk_norm: bool = False,
    sinks: bool = False,
    default_head_dim: int | None = None,
) -> Attention:
    """Attention with the heads of `config`; biases default to its `attention_bias`."""
    hidden, heads = config.whole("hidden"), config.whole("heads")
    kv_heads = config.whole("kv_heads", heads)
    config.divides(kv_heads, heads, config.find("kv_heads")[0], "key-value heads")
    if not config.has("head_dim") and default_head_dim is None:
        config.divides(heads, hidden, config.find("heads")[0], "heads")
    biased = config.flag("attention_bias", False) if bias is None else bias
    return Attention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=config.whole("head_dim", default_head_dim or max(hidden // heads, 1)),
        window=window,
        local=local,
        bias=biased,
        output_bias=biased if output_bias is None else output_bias,
        qk_norm=qk_norm,
        sinks=sinks,
    )


def windows(config: Config) -> list[int | None]:
    """The window of each layer, None where it attends to everything."""
    count = min(config.whole("layers"), 10_000)
    if config.whole("layers") > count:
        config.wrong(config.find("layers")[0], f"more than {count} layers")
    window = config.whole("window") if config.has("window") else None
    kinds = config.items("layer_types")
    if kinds is not None:
        if len(kinds) != count:
            config.wrong("layer_types", f"{len(kinds)} entries for {count} layers")
        sliding = [each == "sliding_attention" for each in kinds]
        if any(sliding) and window is None:
            config.wrong("sliding_window", "is missing: layer_types has sliding layers")
        return [window if each else None for each in sliding]
    if not config.flag("use_sliding_window", True):
        window = None
    full = config.whole("max_window_layers", 0, least=0) if config.has("use_sliding_window") else 0
    return [window if index >= full else None for index in range(count)]


def dtype(config: Config) -> str:
    """Format the weights are published in; 8-bit where the file says they are quantised so."""
    quantised = config.part("quantization_config")
    method = quantised.text("quant_method")
    if method == "fp8":
        return "fp8"
    return _DTYPES.get(config.text("dtype"), "bf16")


def expert_dtype(config: Config) -> str | None:
    """Format of the experts where only they are quantised (gpt-oss)."""
    method = config.part("quantization_config").text("quant_method")
    return method if method in ("mxfp4", "nvfp4") else None


def decoder(
    config: Config,
    name: str,
    blocks: tuple[Block, ...],
    *,
    tied: bool | None = None,
    vocabulary: int | None = None,
    position_parameters: int = 0,
    final_norm_bias: bool = False,
    experts_dtype: str | None = None,
) -> Architecture:
    """A decoder-only model of these layers."""
    return Architecture(
        name=name,
        title=name,
        hidden=config.whole("hidden"),
        vocabulary=config.whole("vocabulary") if vocabulary is None else vocabulary,
        layers=blocks,
        tied_embeddings=config.flag("tie_word_embeddings", False) if tied is None else tied,
        position_parameters=position_parameters,
        final_norm_bias=final_norm_bias,
        weights_dtype=dtype(config),
        quantised_experts_dtype=experts_dtype,
        max_context=config.whole("context") if config.has("context") else None,
        source=f"config.json of {name}",
    )
