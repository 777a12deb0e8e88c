"""Link: what joins devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sim.hardware.kernels import Protocols

Collective = Literal["auto", "ring", "tree", "direct"]


@dataclass(frozen=True, kw_only=True)
class Link:
    """A device's connection to its peers: bandwidth of one direction and latency of one hop.

    `efficiency` is the share of bandwidth a long message reaches. `collective` picks the
    algorithm: `direct` needs devices that all see each other (a switch or a full mesh); `auto`
    takes the faster of ring and tree for each message.
    """

    name: str
    bandwidth_B_per_s: float
    latency_s: float
    efficiency: float = 1.0
    energy_J_per_B: float | None = None
    collective: Collective = "auto"
    protocols: Protocols | None = None
    """Fitted to measured times, which then decide."""
