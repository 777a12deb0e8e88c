"""The Metal-Embedding neuron: a dot product by counting, exact for FP4 weights and Int8 inputs.

HNLPU (arXiv 2508.16151), section 4: inputs that meet the same weight value are wired to one
region. Bit by bit, least significant first, each region counts its ones; sixteen constant
multipliers and an adder tree turn the counts into the bit's part of the sum.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

FP4_HALVES: Final[Ints] = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12])
"""Values of the 16 codes of E2M1 (sign, two exponent bits, one of mantissa), in halves."""
BITS: Final = 8


def dot(codes: npt.NDArray[np.integer], inputs: npt.NDArray[np.integer]) -> int:
    """Dot product in halves of weights given as FP4 `codes` and Int8 `inputs`, both shape [n].

    ValueError for a code outside 0..15 or an input outside -128..127. Block scales (MXFP4) are not
    in it: a scale for 32 weights would have to shift the inputs of its region, which the paper does
    not discuss; the neuron refuses nothing, it has no place for them.
    """
    weights, values = np.asarray(codes), np.asarray(inputs, np.int64)
    if weights.size and not (weights.min() >= 0 and weights.max() < FP4_HALVES.size):
        raise ValueError("codes are 0..15")
    if values.size and not (values.min() >= -128 and values.max() <= 127):
        raise ValueError("inputs are -128..127")
    total = 0
    for bit in range(BITS):
        ones = (values >> bit) & 1  # two's complement: the last bit counts negative
        counts = np.bincount(weights, weights=ones, minlength=FP4_HALVES.size).astype(np.int64)
        part = int(np.dot(counts, FP4_HALVES))
        total += (-part if bit == BITS - 1 else part) << bit
    return total


def histogram(codes: npt.NDArray[np.integer]) -> Ints:
    """Inputs each of the 16 regions must take, shape [16]."""
    return np.bincount(np.asarray(codes), minlength=FP4_HALVES.size).astype(np.int64)


def fits(codes: npt.NDArray[np.integer], ports: npt.NDArray[np.integer]) -> bool:
    """Whether a neuron whose regions have `ports` [16] inputs can be wired for `codes`."""
    return bool((histogram(codes) <= np.asarray(ports)).all())


def ports(inputs: int, slack: float) -> Ints:
    """Equal regions for `inputs` weights with `slack` (0.5: half as many again) spare ports."""
    return np.full(FP4_HALVES.size, int(np.ceil(inputs / FP4_HALVES.size * (1.0 + slack))))


def cycles(bits: int, depth: float) -> float:
    """Cycles of one product: a bit a cycle behind a pipeline of `depth` stages."""
    return bits + depth
