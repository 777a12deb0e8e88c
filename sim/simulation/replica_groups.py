"""Parts of a run: replicas of one kind of system, what they did, drew and cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sim.engines.serving.engine import Outcome
from sim.hardware import System
from sim.simulation.prepare import Prepared

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """`systems` equal systems and the `outcomes` of their replicas; `role` is its pool, if any."""

    prepared: Prepared
    systems: int
    outcomes: tuple[Outcome, ...]
    role: str = ""
    on_share: float = 1.0
    """How much of the time its systems are on and paid for, on average."""
    fewest: int | None = None
    """Of systems that come and go, how many are always there."""

    @property
    def system(self) -> System:
        """What it is made of."""
        return self.prepared.program.system

    @cached_property
    def seconds(self) -> Floats:
        """Seconds [op, processor, bound] of all replicas; the last processor stands for links."""
        return np.asarray(sum(outcome.seconds for outcome in self.outcomes))

    @cached_property
    def joules(self) -> Floats:
        """Joules [op, processor, part] of all replicas, without static power."""
        return np.asarray(sum(outcome.joules for outcome in self.outcomes))

    @property
    def processors(self) -> list[str]:
        """Names of the processors of a device, and of the links."""
        return [each.name for each in self.system.device.processors] + ["link"]

    @property
    def devices(self) -> int:
        """Devices of all its systems."""
        return self.system.count * self.systems

    @property
    def static_W(self) -> float:
        """Power of its systems that are on, in the mean, whatever runs; NaN where not known."""
        static = self.system.device.static_W
        return math.nan if static is None else static * self.devices * self.on_share

    @property
    def paid(self) -> float:
        """Systems that are on, in the mean."""
        return self.systems * self.on_share

    @property
    def title(self) -> str:
        """How many there are: "3 h100-x1", "1 to 16 h100-x1"."""
        count = f"{self.systems}" if self.fewest is None else f"{self.fewest} to {self.systems}"
        return f"{count} {self.system.name}"

    @property
    def in_microbatches(self) -> bool:
        """Whether an iteration is cut: by a pipeline, or between attention and experts apart."""
        return self.prepared.program.layout.pp > 1 or self.prepared.program.split is not None

    @property
    def busy_s(self) -> float:
        """Seconds of all replicas within iterations."""
        return sum(outcome.busy_s for outcome in self.outcomes)

    @property
    def operator_joules(self) -> float:
        """What operators of all replicas used."""
        return sum(outcome.operator_joules for outcome in self.outcomes)


def titles(parts: Sequence[Part]) -> str:
    """What ran: "h100-x1", "3 h100-x1", "2 h100-x1 (prefill) and 1 duplex-x4 (decode)"."""
    if len(parts) == 1 and parts[0].systems == 1:
        return parts[0].system.name
    words = [part.title + (f" ({part.role})" if part.role else "") for part in parts]
    return " and ".join(words)
