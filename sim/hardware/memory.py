"""Memory: where bytes live and how fast one device reaches them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from sim.quantities import Bandwidth, Bounded, ByteEnergy, Index, Price, Size, Text
from sim.units import HIDDEN
from sim.values import Key, checked


@checked
@dataclass(frozen=True, kw_only=True)
class Memory:
    """One memory of a device, e.g. the HBM stacks of a GPU taken together."""

    name: Annotated[str, HIDDEN]
    technology: Text | None = None
    """Its kind, by name or path: gives energy, price, carbon and stacks where left out."""
    capacity_B: Size | None = None
    """What it holds."""
    bandwidth_B_per_s: Bandwidth | None = None
    """Bytes a second that it streams at most."""
    energy_J_per_B: ByteEnergy | None = None
    """Energy of a byte read or written."""
    price_USD_per_GB: Annotated[Price | None, Key("price")] = None
    """What a GB (10^9 bytes) costs."""
    carbon_kg_per_GB: Annotated[Bounded | None, Key("carbon")] = None
    """kgCO2e embodied in a GB."""
    stacks: Index = 0
    """Stacks of dies beside the device's own, 0 where memory is not stacked."""
