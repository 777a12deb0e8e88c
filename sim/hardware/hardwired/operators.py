"""A vector times a matrix of FP4 weights, three ways: cycles, area and energy (HNLPU, section 4).

MA: weights in SRAM, read by multiply-accumulate units. CE (cell-embedding): a constant multiplier a
weight and a tree of adders. ME (Metal-Embedding): inputs bit by bit through counters, weights as
wires. Fig. 12 and 13 compare them for 1,024 inputs, 128 outputs and Int8 activations; how cycles
grow with inputs and bits is our reading of the section, the rest of them is calibrated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from sim.hardware.hardwired.neuron import cycles as serial_cycles

NATIVE_BITS: Final = 8
"""Activation bits of the benchmark: energy is a MAC's at so many, and one pass of an MA's units."""


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One design. `fixed_cycles` is the part of its pipeline that no size or format changes.

    `area_per_weight` counts 64 KB SRAMs, `J_per_MAC` is at 8 activation bits; `macs` are the units
    of an MA, which the others have one of for every weight.
    """

    design: Literal["MA", "CE", "ME"]
    fixed_cycles: float
    area_per_weight: float
    J_per_MAC: float
    macs: int = 0

    def cycles(self, inputs: int, outputs: int, bits: int) -> float:
        """Clock cycles of one product with `bits` an activation.

        MA: weights over MACs, once for every 8 bits. CE: the levels of an adder tree. ME: the bits
        one by one, behind such a tree.
        """
        levels = math.ceil(math.log2(max(inputs, 1)))
        if self.design == "MA":
            passes = math.ceil(bits / NATIVE_BITS)
            return math.ceil(inputs * outputs / self.macs) * passes + self.fixed_cycles
        if self.design == "CE":
            return levels + self.fixed_cycles
        return serial_cycles(bits, levels + self.fixed_cycles)

    def area(self, inputs: int, outputs: int) -> float:
        """Area in 64 KB SRAMs (of the MA its SRAM alone, as the paper counts)."""
        return inputs * outputs * self.area_per_weight

    def energy_J(self, inputs: int, outputs: int, bits: int) -> float:
        """Joules of one product: in proportion to weights and bits."""
        return inputs * outputs * self.J_per_MAC * bits / NATIVE_BITS


def leakage_J(area_mm2: float, W_per_mm2: float, cycles: float, clock_Hz: float) -> float:
    """Joules that `area_mm2` leaks while a product takes `cycles`.

    Independent of the energy a MAC: static power density, area and time alone.
    """
    return area_mm2 * W_per_mm2 * cycles / clock_Hz
