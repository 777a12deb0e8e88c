"""Number formats: how many bits an element takes in memory, and which arithmetic it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

DType = Literal["fp32", "fp16", "bf16", "fp8", "fp8-block", "int8", "int4", "mxfp4", "nvfp4"]

BITS: Final[dict[str, float]] = {
    "fp32": 32.0,
    "fp16": 16.0,
    "bf16": 16.0,
    "fp8": 8.0,
    "fp8-block": 8.0 + 32.0 / 128.0**2,  # one fp32 scale per block of 128 x 128 (DeepSeek-V3)
    "int8": 8.0,
    "int4": 4.0 + 16.0 / 128.0,  # one fp16 scale per group of 128 (GPTQ, AWQ)
    "mxfp4": 4.0 + 8.0 / 32.0,  # one e8m0 scale per block of 32 (OCP Microscaling v1.0)
    "nvfp4": 4.0 + 8.0 / 16.0,  # one e4m3 scale per block of 16 (NVIDIA Blackwell)
}
"""Bits per stored element, block scales counted."""

BLOCKS: Final[frozenset[str]] = frozenset({"fp8-block"})
"""8-bit formats whose scales go by blocks of weights, which take products of their own."""

COMPUTE: Final[tuple[str, ...]] = ("fp32", "fp16", "fp8", "int8", "fp4")
"""Matrix arithmetics a processor may have a peak for, in the order of the kernel's slots."""

FALLBACK: Final[dict[str, tuple[str, ...]]] = {
    "fp32": (),
    "fp16": ("fp32",),
    "fp8": ("fp16", "fp32"),
    "int8": ("fp16", "fp32"),
    "fp4": ("fp8", "fp16", "fp32"),
}
"""Wider arithmetic that takes over, best first, where a processor lacks a native unit."""

_ARITHMETIC: Final[dict[str, str]] = {
    "fp32": "fp32",
    "fp16": "fp16",
    "bf16": "fp16",
    "fp8": "fp8",
    "fp8-block": "fp8",
    "int8": "int8",
    "nvfp4": "fp4",
    "mxfp4": "fp4",
    "int4": "fp16",
}


def bytes_per_element(dtype: str) -> float:
    """Bytes one element of `dtype` takes in memory, block scales counted."""
    return BITS[dtype] / 8.0


def arithmetic(weights: str, activations: str) -> str:
    """Matrix arithmetic for a product of two formats: the wider of the two decides.

    4-bit weights with 16-bit activations are expanded and multiplied in fp16; 8-bit times 8-bit
    runs in the 8-bit unit where the processor has one.
    """
    wider = weights if BITS[weights] > BITS[activations] else activations
    return _ARITHMETIC[wider]


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Number formats of weights, KV cache and activations; `experts` overrides expert weights."""

    weights: str = "fp16"
    kv: str = "fp16"
    activations: str = "fp16"
    experts: str | None = None
