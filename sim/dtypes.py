"""Number formats: how many bits an element takes in memory, and which arithmetic it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from sim.quantities import Count, one_of
from sim.values import checked

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


CODES: Final[dict[str, float]] = {"int2": 2.0, "int3": 3.0, "int4": 4.0, "int8": 8.0, "fp8": 8.0}
"""Bits of the codes that keys and values may have in groups."""

SCALES: Final[tuple[str, ...]] = ("fp32", "fp16", "bf16", "fp8", "int8")
"""Formats that scales and zero points of groups may have."""


@checked
@dataclass(frozen=True, kw_only=True)
class Grouped:
    """Keys and values as codes, every `group` of them with a scale and perhaps a zero point.

    KIVI (arXiv 2402.02750) has codes of 2 or 4 bits in groups of 32 with both.
    """

    codes: Annotated[str, one_of(*CODES)]
    """Format of the codes."""
    group: Count
    """Elements that share a scale."""
    scale: Annotated[str, one_of(*SCALES)] = "fp16"
    """Format of a group's scale."""
    zero: Annotated[str, one_of(*SCALES)] | None = None
    """Format of a group's zero point; there is none if left out."""

    @property
    def bits(self) -> float:
        """Bits per stored element, scale and zero point counted."""
        shared = BITS[self.scale] + (BITS[self.zero] if self.zero else 0.0)
        return CODES[self.codes] + shared / self.group

    def __str__(self) -> str:
        """As a result names it."""
        zero = f", zero {self.zero}" if self.zero else ""
        return f"{self.codes} in groups of {self.group}, scale {self.scale}{zero}"


def bytes_per_element(dtype: str | Grouped) -> float:
    """Bytes one element of `dtype` takes in memory, block scales counted."""
    return (dtype.bits if isinstance(dtype, Grouped) else BITS[dtype]) / 8.0


def conversions(kv: str | Grouped) -> float:
    """Vector operations for an element of the cache that is converted before it is multiplied.

    A conversion and a product with the scale, two more to unpack codes of less than 8 bits (shift
    and mask), one more to subtract a zero point. 0 for formats of 16 bits and more.
    """
    if isinstance(kv, Grouped):
        return 2.0 + 2.0 * (CODES[kv.codes] < 8.0) + (kv.zero is not None)
    return 0.0 if BITS[kv] >= 16.0 else 2.0 + 2.0 * (BITS[kv] < 8.0)


def arithmetic(weights: str | Grouped, activations: str) -> str:
    """Matrix arithmetic for a product of two formats: the wider of the two decides.

    4-bit weights with 16-bit activations are expanded and multiplied in fp16; 8-bit times 8-bit
    runs in the 8-bit unit where the processor has one. What lies in groups is expanded to 16 bits.
    """
    if isinstance(weights, Grouped):
        return "fp32" if BITS[activations] > 16.0 else "fp16"
    wider = weights if BITS[weights] > BITS[activations] else activations
    return _ARITHMETIC[wider]


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Number formats of weights, KV cache and activations; `experts` overrides expert weights."""

    weights: str = "fp16"
    kv: str | Grouped = "fp16"
    activations: str = "fp16"
    experts: str | None = None
