"""Parts that families share: attention, windows, formats, and a decoder around its blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

from sim.workload.architecture import Architecture, Attention, Block
from sim.workload.hugging_face.keys import Config

DTYPES: Final[Mapping[str, str]] = {
    "float32": "fp32", "float": "fp32", "fp32": "fp32", "bfloat16": "bf16", "bf16": "bf16",
    "float16": "fp16", "half": "fp16", "fp16": "fp16", "float8_e4m3fn": "fp8", "fp8": "fp8",
}  # fmt: skip
"""Our word for a number format, by the names that files use (without "torch.")."""

QUANTISED: Final[Mapping[tuple[str, int], str]] = {
    ("int", 4): "int4", ("int", 8): "int8", ("float", 8): "fp8", ("float", 4): "nvfp4",
}  # fmt: skip
"""Our word for a quantised format, by type and bits."""

METHODS: Final[Mapping[str, str]] = {
    "fp8": "float", "fbgemm_fp8": "float", "gptq": "int", "awq": "int",
    "bitsandbytes": "int", "compressed-tensors": "int", "modelopt": "float",
}  # fmt: skip
"""Type of number that each quantisation method stores, unless the file says another."""


def attention(
    config: Config,
    *,
    window: int | None = None,
    local: Literal["sliding", "chunked"] = "sliding",
    bias: bool | None = None,
    output_bias: bool | None = None,
    qk_norm: bool = False,
    sinks: bool = False,
) -> Attention:
    """Attention with the heads of `config`; biases default to its `attention_bias`."""
    hidden, heads = config.whole("hidden"), config.whole("heads")
    kv_heads = config.whole("kv_heads", heads)
    config.divides("kv_heads", "heads", "key-value heads")
    if not config.has("head_dim"):
        config.divides("heads", "hidden", "heads")
    biased = config.flag("attention_bias", False) if bias is None else bias
    return Attention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=config.whole("head_dim", max(hidden // heads, 1)),
        window=window,
        local=local,
        bias=biased,
        output_bias=biased if output_bias is None else output_bias,
        qk_norm=qk_norm,
        sinks=sinks,
    )


def top_k_of(config: Config) -> int:
    """Experts a token is sent to; nothing is said of their number where that is wrong itself."""
    before = len(config.problems)
    top_k, count = config.whole("top_k"), config.whole("experts")
    if top_k > count and len(config.problems) == before:
        config.wrong("top_k", f"{top_k} of only {count} experts")
    return min(top_k, count)


FULL, SLIDING, CHUNKED = "full_attention", "sliding_attention", "chunked_attention"
"""Kinds of attention in the key `layer_types`."""


def layer_types(config: Config, default: Callable[[int], str]) -> list[str]:
    """The kind of attention of each layer: what the file lists, else what `default` gives."""
    count = config.layers()
    listed = config.items("layer_types")
    if listed is None:
        return [default(index) for index in range(count)]
    unknown = [each for each in listed if each not in (FULL, SLIDING, CHUNKED)]
    if unknown:
        config.wrong("layer_types", f"{unknown[0]!r}: {FULL}, {SLIDING} or {CHUNKED} is due")
    elif len(listed) != count:
        config.wrong("layer_types", f"{len(listed)} entries for {count} layers")
    else:
        return listed
    return [FULL] * count


def windows(config: Config, default: Callable[[int], str] | None = None) -> list[int | None]:
    """The window of each layer, None where it attends to everything.

    Without `layer_types` and `default`, `max_window_layers` layers are full and the rest windowed;
    `use_sliding_window` false makes all of them full (Qwen).
    """
    first = config.whole("max_window_layers", 0, least=0)
    kinds = layer_types(config, default or (lambda index: FULL if index < first else SLIDING))
    window = config.whole("window") if config.has("window") else None
    if not config.flag("use_sliding_window", True):
        window = None
    elif window is None and config.has("layer_types") and SLIDING in kinds:
        config.wrong("window", "is missing: layer_types has sliding layers")
    return [window if kind == SLIDING else None for kind in kinds]


def dtype(config: Config, default: str = "bf16") -> str:
    """Format the weights are published in: quantised, as stored, or the family's `default`."""
    quantised = config.part("quantization_config")
    method = quantised.text("quant_method")
    if quantised.data and method not in EXPERTS_ONLY:
        return _quantised(quantised, method)
    name = config.text("dtype").removeprefix("torch.")
    if name and name not in DTYPES:
        config.wrong("dtype", f"'{name}' is not known; known: {', '.join(DTYPES)}")
    return DTYPES.get(name, default)


def _quantised(config: Config, method: str) -> str:
    """Format of weights that a `quantization_config` describes."""
    if method not in METHODS:
        known = ", ".join((*METHODS, *EXPERTS_ONLY))
        config.wrong("quant_method", f"{method!r} is not known; known: {known}")
        return "bf16"
    kind, bits = METHODS[method], config.whole("bits", 8)
    if config.flag("load_in_4bit", False) or "FP4" in config.text("quant_algo"):
        bits = 4
    weights = config.part("config_groups").part("group_0").part("weights")
    kind, bits = weights.text("type", kind), weights.whole("num_bits", bits)
    if (kind, bits) not in QUANTISED:
        config.wrong("bits", f"{bits}-bit {kind} weights are not known; 4 or 8 bits are")
    return QUANTISED.get((kind, bits), "bf16")


EXPERTS_ONLY: Final = ("mxfp4",)
"""Methods that quantise routed experts and nothing else (gpt-oss)."""


def expert_dtype(config: Config) -> str | None:
    """Format of the routed experts where only they are quantised."""
    method = config.part("quantization_config").text("quant_method")
    return method if method in EXPERTS_ONLY else None


def decoder(
    config: Config,
    name: str,
    blocks: tuple[Block, ...],
    *,
    tied: bool | None = None,
    vocabulary: int | None = None,
    published: Config | None = None,
    default_dtype: str = "bf16",
) -> Architecture:
    """A decoder-only model of these layers.

    `published` is the part of the file that has the number formats, where it isn't `config`.
    """
    published = published or config
    return Architecture(
        name=name,
        title=name,
        hidden=config.whole("hidden"),
        vocabulary=config.whole("vocabulary") if vocabulary is None else vocabulary,
        layers=blocks,
        tied_embeddings=config.flag("tie_word_embeddings", False) if tied is None else tied,
        weights_dtype=dtype(published, default_dtype),
        quantised_experts_dtype=expert_dtype(published),
        max_context=config.context(),
        source=f"config.json of {name}",
    )
