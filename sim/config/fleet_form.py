"""Forms of fleets, of pools that prefill and decode apart, and of experts apart from attention."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from sim.engines.fleet import ROUTES, Autoscale, Breakdowns, Outage, Slowdown
from sim.errors import ConfigError, Problem
from sim.hardware import Link, System
from sim.mapping.layout import Parallel, Split
from sim.quantities import ByteEnergy, Count, Flag, LinkRate, ShareOfPeak, Text, Time, one_of
from sim.values import Named, Short

Route = Annotated[str, one_of(*ROUTES, listed="schedulers")]
SystemOf = Annotated[System, Named("systems")]


@dataclass(frozen=True, kw_only=True)
class PoolForm:
    """Equal replicas."""

    system: SystemOf | None = None
    """System of a replica; the scenario's if left out."""
    replicas: Count = 1
    """How many there are."""
    parallel: Parallel | None = None
    """Layout of a replica; the scenario's if left out."""


@dataclass(frozen=True, kw_only=True)
class FailuresForm:
    """Outages that are known (or their list alone), or drawn ones."""

    events: tuple[Outage, ...] = ()
    """Outages that are known."""
    mtbf_s: Time | None = None
    """Mean of the exponential time that a replica lasts."""
    repair_s: Time | None = None
    """How long it is away then."""

    def __post_init__(self) -> None:
        """ConfigError for one of mtbf and repair alone, or what there can't be."""
        if (self.mtbf_s is None) != (self.repair_s is None):
            raise ConfigError("mtbf and repair go together: how long a replica lasts, and is away")
        self.breakdowns()

    def breakdowns(self) -> Breakdowns | None:
        """Drawn outages, if there are any."""
        if self.mtbf_s is None or self.repair_s is None:
            return None
        return Breakdowns(mtbf_s=self.mtbf_s, repair_s=self.repair_s)


@dataclass(frozen=True, kw_only=True)
class FleetForm:
    """Replicas behind a router: equal ones, as many as autoscaling says, or pools."""

    replicas: Count | None = None
    """Replicas of the scenario's system."""
    autoscale: Autoscale | None = None
    """How many replicas of the scenario's system are on."""
    pools: tuple[PoolForm, ...] = ()
    """Pools of equal replicas; their list alone stands for the fleet."""
    route: Route = "round-robin"
    """Which replica a request goes to."""
    failures: Annotated[FailuresForm, Short("events")] = field(default_factory=FailuresForm)
    """Replicas that die and come back."""
    slowdown: tuple[Slowdown, ...] = ()
    """Replicas that are slower than they should be."""

    def __post_init__(self) -> None:
        """ConfigError for several kinds of fleets at once, or none."""
        stated = (self.replicas is not None, bool(self.pools), self.autoscale is not None)
        if sum(stated) != 1:
            raise ConfigError(
                "one of replicas (of the scenario's system), pools and autoscale (min, max, target "
                "...) is due"
            )
        if self.autoscale is not None and self.route == "by-length":
            message = "by-length cuts lengths for a fixed number of replicas"
            raise ConfigError([Problem(path="route", message=message)])


@dataclass(frozen=True, kw_only=True)
class TransferForm:
    """A link that is written out, of one port."""

    bandwidth_B_per_s: LinkRate
    """Rate of one direction."""
    latency_s: Time
    """Time before the first byte."""
    efficiency: ShareOfPeak = 1.0
    """Share of the rate that a long message reaches."""
    energy_J_per_B: ByteEnergy | None = None
    """Energy of a byte; unknown if left out."""

    def link(self) -> Link:
        """The link itself."""
        return Link(
            name="transfer",
            bandwidth_B_per_s=self.bandwidth_B_per_s,
            latency_s=self.latency_s,
            efficiency=self.efficiency,
            energy_J_per_B=self.energy_J_per_B,
        )


@dataclass(frozen=True, kw_only=True)
class DisaggregateForm:
    """Prompts run in one pool, answers in another; caches go over a link between them."""

    prefill: PoolForm
    """Where prompts run."""
    decode: PoolForm
    """Where answers are generated."""
    link: TransferForm | Text
    """Link of a prefill replica to the decode pool: written out, or a name of its system's."""
    overlap: Flag = True
    """Whether a layer is sent once the prefill has passed it, instead of all after the last."""
    route: Route = "round-robin"
    """Which replica a request goes to."""


@dataclass(frozen=True, kw_only=True)
class SplitForm:
    """Routed experts run on a system of their own, all else on the scenario's."""

    experts: SystemOf
    """System of the routed experts."""
    link: TransferForm
    """Link of a device to the other side."""
    microbatches: Count = Split.microbatches
    """Parts of an iteration that go back and forth."""

    def split(self) -> Split:
        """The split itself."""
        return Split(system=self.experts, link=self.link.link(), microbatches=self.microbatches)
