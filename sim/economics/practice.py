"""Practice: packaging, boards, volume and ownership, each number as [cheap, base, dear]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from sim.economics.ownership import Site
from sim.economics.process import Process
from sim.units import Sourced

Floats = npt.NDArray[np.float64]
Basis = Literal["price", "cost"]
"""What devices are taken to cost their owner: list price or cost with a markup, or cost alone."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Practice:
    """How devices are usually made, sold and run; a device may say otherwise.

    `design_shares` splits the design of a chip among architecture, verification, physical design
    and licences. `stack_silicon_USD_per_mm2` is silicon added to the die under a memory stack.
    `respins` are full sets of a product's own masks made anew before it works. `spares` and
    `maintenance_per_year` are shares of what the system cost.
    """

    yield_law: str
    edge_mm: float
    scribe_mm: float
    package_USD_per_mm2: Mapping[str, Floats]
    test_USD_per_mm2: Floats
    assembly_yield: Floats
    stack_silicon_USD_per_mm2: Floats
    board_USD: Floats
    small_board_USD: Floats
    design_shares: Mapping[str, float]
    respins: Floats
    units: Floats
    markup: Floats
    spares: Floats
    maintenance_per_year: Floats
    years: Floats
    utilisation: Floats
    package_kg: Floats
    board_kg: Floats
    small_board_kg: Floats
    sources: Mapping[str, Sourced] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Costs:
    """Everything a ledger needs beside the system itself."""

    process: Process
    site: Site
    practice: Practice
    basis: Basis = "price"
