"""Layout: degrees of parallelism, asked for and settled."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """How a model is spread: tensor, pipeline, expert and data parallelism.

    None lets the mapping choose: tensor parallel over the devices of a node as far as heads
    divide, data-parallel replicas with the rest. `ep` ranks share the experts inside one
    tensor-parallel group; each expert is then tensor-split over tp / ep devices.
    """

    tp: int | None = None
    pp: int = 1
    ep: int = 1
    dp: int | None = None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Degrees of tensor, pipeline, expert and data parallelism that fit the system."""

    tp: int
    pp: int
    ep: int
    dp: int

    @property
    def devices(self) -> int:
        """Devices of one replica."""
        return self.tp * self.pp
