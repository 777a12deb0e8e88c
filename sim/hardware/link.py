"""Link: what joins devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from sim.hardware.kernels import Protocols
from sim.quantities import ByteEnergy, LinkRate, ShareOfPeak, Text, Time
from sim.values import Named, checked

Collective = Literal["auto", "ring", "tree", "direct"]


@checked
@dataclass(frozen=True, kw_only=True)
class Link:
    """A device's connection to its peers."""

    name: Text
    """What it is called."""
    bandwidth_B_per_s: LinkRate
    """Bytes a second in one direction."""
    latency_s: Time
    """Time of one hop."""
    efficiency: ShareOfPeak = 1.0
    """Share of the bandwidth that a long message reaches."""
    energy_J_per_B: ByteEnergy | None = None
    """Energy of a byte sent."""
    collective: Collective = "auto"
    """Algorithm of collectives: direct needs devices that all see each other (a switch or a full
    mesh); auto takes the faster of ring and tree for each message."""
    protocols: Annotated[Protocols | None, Named("protocols")] = None
    """Constants fitted to measured times, which then go before efficiency and latency."""
