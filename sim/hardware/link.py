"""Link: what joins devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Collective = Literal["auto", "ring", "tree", "direct"]


@dataclass(frozen=True, kw_only=True)
class Link:
    """A device's connection to its peers: bandwidth of one direction and latency of one hop.

    `efficiency` is the share of bandwidth a long message reaches. `collective` picks the
    algorithm; `auto` takes the fastest for each message.
    """

    name: str
    bandwidth_B_per_s: float
    latency_s: float
    efficiency: float = 1.0
    energy_J_per_B: float | None = None
    collective: Collective = "auto"
