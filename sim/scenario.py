"""Scenario: everything that decides a simulation, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sim.dtypes import Precision
from sim.economics.ownership import Site
from sim.economics.practice import Basis, Practice
from sim.engines.fleet import Disaggregation, Fleet, Pool
from sim.engines.scheduler import Scheduler
from sim.errors import Places
from sim.hardware import System
from sim.hardware.runtime import Runtime
from sim.mapping.layout import Parallel, Split
from sim.quantities import Time
from sim.units import Source, Sourced
from sim.values import checked
from sim.workload.architecture import Architecture
from sim.workload.routing import Router
from sim.workload.speculation import Speculation
from sim.workload.traffic import Traffic

__all__ = ["Costing", "Parallel", "Precision", "Scenario", "Scheduler", "Slo"]


@checked
@dataclass(frozen=True, kw_only=True)
class Slo:
    """Service-level objective: bounds that a good request keeps."""

    ttft_s: Time | None = None
    """Longest time to the first token."""
    tbt_s: Time | None = None
    """Longest gap between tokens."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Costing:
    """Where and how the system is owned, and whether devices have their price or their cost."""

    site: Site
    practice: Practice
    basis: Basis = "price"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Model + traffic + system + mapping + scheduler + techniques.

    `router` None takes the default for the model's experts (`routing.default_router`).
    `placement` pins operator classes to a processor by name; what it doesn't name runs where it is
    fastest. `digest` identifies the resolved input; `sources` says where each number comes from,
    and `bibliography` describes exactly those sources.
    """

    name: str
    model: Architecture
    system: System
    traffic: Traffic
    precision: Precision = field(default_factory=Precision)
    parallel: Parallel = field(default_factory=Parallel)
    scheduler: Scheduler = field(default_factory=Scheduler)
    router: Router | None = None
    runtime: Runtime | None = None
    """Whose times the system's devices have; None: what they estimate themselves."""
    placement: Mapping[str, str] = field(default_factory=dict)
    techniques: tuple[Mapping[str, Any], ...] = ()
    slo: Slo = field(default_factory=Slo)
    cost: Costing | None = None
    """None: the usual site and practice."""
    fleet: Fleet | None = None
    disaggregate: Disaggregation | None = None
    """Either has pools of its own, instead of `system` and `parallel`."""
    split: Split | None = None
    """Where routed experts run, if not on `system`."""
    speculation: Speculation | None = None
    seed: int = 0
    digest: str | None = None
    sources: Mapping[str, Sourced] = field(default_factory=dict)
    bibliography: Mapping[str, Source] = field(default_factory=dict)
    places: Places = field(default_factory=dict, repr=False, compare=False)
    """Where its keys were written, for what is found wrong later."""

    @property
    def pools(self) -> tuple[Pool, ...]:
        """All replicas by pool, the one that stands for the scenario first."""
        if self.disaggregate is not None:
            return self.disaggregate.decode, self.disaggregate.prefill
        if self.fleet is not None:
            return self.fleet.pools
        return (Pool(system=self.system, parallel=self.parallel),)
