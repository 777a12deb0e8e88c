"""Outcomes: what happened when a scenario ran, by groups of replicas that are alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sim.engines.fleet import Autoscale
from sim.engines.serving.autoscaling import Scaling
from sim.engines.serving.disaggregation import Transfers
from sim.engines.serving.fleet import Faults
from sim.engines.serving.outcome import Outcome, Served
from sim.hardware import System
from sim.simulation.prepare import Prepared

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ReplicaGroup:
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

    @property
    def name(self) -> str:
        """Its title, and its pool if it is one of several."""
        return self.title + (f" ({self.role})" if self.role else "")


@dataclass(frozen=True, kw_only=True, eq=False)
class FleetEvents:
    """What a fleet did beyond serving: failures and requests retried, or caches sent."""

    route: str
    faults: Faults | None = None
    transfers: Transfers | None = None
    transfer_J: float = 0.0
    rule: Autoscale | None = None
    scaling: Scaling | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcomes:
    """What happened in a run: what all replicas did, and in which groups they are."""

    served: Served
    groups: tuple[ReplicaGroup, ...]
    fleet: FleetEvents | None = None
    """What went on between replicas of a fleet or pools apart; None of one system."""

    @property
    def replicas(self) -> Sequence[Outcome]:
        """What each replica did, group by group."""
        return self.served.outcomes

    @property
    def window_s(self) -> float:
        """Length of the measured window."""
        return self.served.window.until_s - self.served.window.from_s

    @property
    def whole_s(self) -> float:
        """From the first arrival to the end of measuring, warm-up included."""
        return self.served.window.until_s - float(self.requests["arrival_s"].min())

    @property
    def busy_s(self) -> float:
        """Seconds of all replicas within iterations."""
        return sum(group.busy_s for group in self.groups)

    @property
    def iterations(self) -> int:
        """Iterations of all replicas."""
        return sum(replica.iterations for replica in self.replicas)

    @property
    def static_W(self) -> float:
        """Power of all systems while on, whatever runs; NaN where not known."""
        return sum(group.static_W for group in self.groups)

    @property
    def power_W(self) -> float | None:
        """Mean power of all systems inside the measured window; None where not known."""
        if self.window_s <= 0.0:
            return None
        power_W = self.served.window.operator_joules / self.window_s + self.static_W
        return power_W if math.isfinite(power_W) else None

    @property
    def lead(self) -> ReplicaGroup:
        """The group that stands for the scenario: of pools apart the one that decodes."""
        return next(group for group in self.groups if group.role != "prefill")

    @cached_property
    def requests(self) -> npt.NDArray[np.void]:
        """Requests of all replicas, in order of arrival."""
        tables = [replica.requests for replica in self.replicas]
        arrivals = np.concatenate([table["arrival_s"] for table in tables])
        records = np.empty(len(arrivals), tables[0].dtype)
        places = np.empty(len(arrivals), np.int64)
        places[np.argsort(arrivals, kind="stable")] = np.arange(len(arrivals))
        first = 0
        for table in tables:  # one by one: a fleet's may be most of the memory
            records[places[first : first + len(table)]] = table
            first += len(table)
        return records

    @property
    def title(self) -> str:
        """What ran: "h100-x1", "3 h100-x1", "2 h100-x1 (prefill) and 1 duplex-x4 (decode)"."""
        if len(self.groups) == 1 and self.groups[0].systems == 1:
            return self.groups[0].system.name
        return " and ".join(group.name for group in self.groups)

    def unit_name(self, group: ReplicaGroup, unit: str) -> str:
        """Name of a processor of `group`: with its system, where there are several."""
        several = len({each.system.name for each in self.groups}) > 1
        return f"{group.system.name} {unit}" if several else unit
