"""Form of scenarios: what decides a run, as its document has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from sim.config.document import Document
from sim.config.dtype_form import DTypeForm
from sim.config.fleet_form import (
    DisaggregateForm,
    FailuresForm,
    FleetForm,
    SplitForm,
    SystemOf,
)
from sim.config.library import unknown
from sim.config.speculation_form import SpeculationForm
from sim.config.traffic_form import TrafficForm, traffic_of
from sim.dtypes import Precision
from sim.economics.ownership import Site
from sim.economics.practice import Basis, Practice
from sim.engines.fleet import Disaggregation, Fleet
from sim.engines.scheduler import Scheduler
from sim.errors import ConfigError, Key, Problem
from sim.hardware.runtime import Runtime
from sim.mapping.layout import Parallel, Split
from sim.operators import OPERATOR_CLASSES
from sim.quantities import Index, Text, one_of
from sim.scenario import Costing, Slo
from sim.techniques import TECHNIQUES
from sim.values import Named, Short, Through, build
from sim.workload.architecture import Architecture
from sim.workload.routing import Router
from sim.workload.speculation import Speculation
from sim.workload.traffic import Closed, Sessions, Traffic

Operator = Annotated[str, one_of(*OPERATOR_CLASSES)]


def technique_of(stated: Mapping[str, Any], document: Document, path: Key) -> Mapping[str, Any]:
    """A technique with its parameters, checked."""
    kind = str(stated.get("kind"))
    if kind not in TECHNIQUES:
        message = unknown("techniques", kind, TECHNIQUES)
        raise ConfigError([document.problem((*path, "kind"), message)])
    try:
        parameters = {key: value for key, value in stated.items() if key != "kind"}
        build(TECHNIQUES[kind].parameters, parameters)
    except ConfigError as error:
        raise ConfigError(
            [document.problem((*path, part.path or ""), part.message) for part in error.problems]
        ) from None
    return stated


def _plain(fleet: FleetForm | Fleet) -> bool:
    """Whether it is nothing but equal replicas, dealt in turn, that don't fail."""
    dealt = fleet.route == "round-robin" and len(fleet.pools) < 2 and fleet.autoscale is None
    if isinstance(fleet, Fleet):
        return dealt and not (fleet.outages or fleet.breakdowns or fleet.slowdowns)
    return dealt and fleet.failures == FailuresForm() and not fleet.slowdown


@dataclass(frozen=True, kw_only=True)
class CostForm:
    """Where and how the system is owned."""

    site: Annotated[Site, Named("sites")]
    """Where it stands: prices of power and building, and the grid's carbon."""
    practice: Annotated[Practice, Named("costs")]
    """How it is packaged, built, sold and used."""
    basis: Basis = "price"
    """What devices cost: their price, or what it costs to make them."""


@dataclass(frozen=True, kw_only=True)
class ScenarioForm:
    """Model + system + traffic + mapping + scheduler + techniques."""

    title: Text | None = None
    """Name for people."""
    name: Text | None = None
    """Name in results; that of the file if left out."""
    model: Annotated[Architecture, Named("models")]
    """What is served: a name, a path, a config.json, or a model written out."""
    system: SystemOf
    """What it runs on; where pools name systems of their own, there need be none."""
    dtype: Annotated[DTypeForm | Precision, Through(DTypeForm)] = field(default_factory=DTypeForm)
    """Number formats; those the model is published in if left out."""
    parallel: Parallel = field(default_factory=Parallel)
    """Degrees of parallelism; what is left out is chosen."""
    traffic: Annotated[Traffic, Through(Annotated[TrafficForm, Short("trace")], traffic_of)]
    """Requests: when they arrive, and how long they are."""
    scheduler: Scheduler = field(default_factory=Scheduler)
    """How iterations are formed and memory is spent."""
    router: Router | None = None
    """How tokens choose their experts; by the number of experts if left out."""
    runtime: Annotated[Runtime, Named("runtimes")] | None = None
    """A serving framework whose times go before what the device estimates."""
    placement: Mapping[Operator, Text] = field(default_factory=dict)
    """Processor by class of operators; the rest runs where it is fastest."""
    techniques: tuple[
        Annotated[Mapping[str, Any], Through(Mapping[str, Any], technique_of)], ...
    ] = ()
    """Rewrites of the model's graph, each a kind with its parameters."""
    slo: Slo = field(default_factory=Slo)
    """Bounds that a good request keeps."""
    cost: Annotated[CostForm | Costing, Through(CostForm)] | None = None
    """Where and how the system is owned; the usual site and practice if left out."""
    fleet: Annotated[FleetForm | Fleet, Through(Annotated[FleetForm, Short("pools")])] | None = None
    """Several replicas behind a router."""
    disaggregate: Annotated[DisaggregateForm | Disaggregation, Through(DisaggregateForm)] | None = (
        None
    )
    """Pools that prefill and decode apart."""
    split: Annotated[SplitForm | Split, Through(SplitForm)] | None = None
    """Routed experts on a system of their own."""
    speculation: Annotated[SpeculationForm | Speculation, Through(SpeculationForm)] | None = None
    """Tokens that a draft proposes and the model verifies."""
    seed: Index = 0
    """Of everything that is drawn."""

    def __post_init__(self) -> None:
        """ConfigError for parts that can't go together."""
        traffic = self.traffic
        closed = isinstance(traffic, Closed) or (isinstance(traffic, Sessions) and traffic.wait)
        path = message = ""
        if self.disaggregate is not None and self.fleet is not None:
            path, message = "disaggregate", "leave one of fleet and disaggregate out"
        elif self.split is not None and self.fleet is not None:
            path, message = "split", "a split is of one system: leave fleet out"
        elif self.disaggregate is not None and closed:
            path = "disaggregate"
            message = "pools apart need open traffic: a trace, poisson, or sessions that don't wait"
        elif self.fleet is not None and closed and not _plain(self.fleet):
            path = "fleet"
            message = (
                "clients of a closed loop, and sessions that wait, stay with their replica, of "
                "equal ones that don't fail: take a trace or poisson for the rest"
            )
        if message:
            raise ConfigError([Problem(path=path, message=message)])

    @staticmethod
    def amend(schema: dict[str, Any]) -> None:
        """Tell a JSON Schema that pools may name systems instead of the scenario.

        Sections have no `source` here: numbers of a scenario are the user's, or bring a key each.
        """
        for section in (schema, *schema["$defs"].values()):
            section["properties"].pop("source", None)
        schema["required"] = [name for name in schema["required"] if name != "system"]
        schema["anyOf"] = [{"required": [key]} for key in ("system", "fleet", "disaggregate")]
