"""Memory: where bytes live and how fast one device reaches them."""

from __future__ import annotations

from dataclasses import dataclass

from sim.hardware.making import Ends


@dataclass(frozen=True, kw_only=True)
class Memory:
    """One memory of a device, e.g. the HBM stacks of a GPU taken together."""

    name: str
    capacity_B: float | None
    bandwidth_B_per_s: float | None
    energy_J_per_B: float | None = None
    technology: str | None = None
    price_USD_per_GB: Ends | None = None
    """A GB is 10^9 bytes."""
    carbon_kg_per_GB: Ends | None = None
    stacks: int = 0
    """Stacks of dies beside the device's own, 0 where memory is not stacked."""
