"""The Metal-Embedding neuron is exact: it counts, and gets the dot product."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.hardware.hardwired.neuron import FP4_HALVES, cycles, dot, fits, histogram, ports


def plain(codes: np.ndarray, inputs: np.ndarray) -> int:
    """Multiply and add, in halves."""
    return int(sum(int(FP4_HALVES[code]) * int(x) for code, x in zip(codes, inputs, strict=True)))


def test_values_of_the_codes_are_those_of_e2m1() -> None:
    for code in range(16):
        sign, exponent, mantissa = code >> 3, (code >> 1) & 3, code & 1
        size = mantissa * 0.5 if exponent == 0 else (1.0 + 0.5 * mantissa) * 2.0 ** (exponent - 1)
        assert FP4_HALVES[code] == 2.0 * size * (-1 if sign else 1)


def test_every_weight_with_every_input() -> None:
    for code in range(16):
        for x in range(-128, 128):
            assert dot(np.array([code]), np.array([x])) == int(FP4_HALVES[code]) * x


@given(st.integers(0, 2**32 - 1))
def test_long_vectors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes, inputs = rng.integers(0, 16, 2880), rng.integers(-128, 128, 2880)
    assert dot(codes, inputs) == plain(codes, inputs)


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(-128, 127)), max_size=40))
def test_any_vectors(pairs: list[tuple[int, int]]) -> None:
    codes = np.array([code for code, _ in pairs], np.int64)
    inputs = np.array([x for _, x in pairs], np.int64)
    assert dot(codes, inputs) == plain(codes, inputs)


@pytest.mark.parametrize(("codes", "inputs"), [([16], [0]), ([-1], [0]), ([0], [128])])
def test_what_the_wires_cannot_carry_is_refused(codes: list[int], inputs: list[int]) -> None:
    with pytest.raises(ValueError, match="are"):
        dot(np.array(codes), np.array(inputs))


def test_regions_need_slack_for_uneven_histograms() -> None:
    even = np.repeat(np.arange(16), 180)
    assert histogram(even).tolist() == [180] * 16
    assert fits(even, ports(2880, 0.0))
    uneven = np.concatenate([even[1:], [15]])
    assert not fits(uneven, ports(2880, 0.0))
    assert fits(uneven, ports(2880, 0.01))


def test_a_bit_a_cycle() -> None:
    """Fig. 13: 35.2 cycles for Int8, a pipeline 27 deep."""
    assert cycles(8, 27) == pytest.approx(35.2, rel=0.03)
