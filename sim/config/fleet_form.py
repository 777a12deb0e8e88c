"""Forms of fleets and of pools that prefill and decode apart."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, model_validator

from sim import units
from sim.config.fields import (
    INLINE,
    NAMED_OR_INLINE,
    ByteEnergy,
    Count,
    Flag,
    Form,
    Index,
    LinkRate,
    Name,
    Number,
    OneOf,
    Positive,
    Quantity,
    Reading,
    Share,
    Time,
    wrong,
)
from sim.config.parallel_form import ParallelForm
from sim.engines.fleet import ROUTES, Autoscale

Routes = Annotated[str, OneOf(names=tuple(ROUTES), listed="schedulers")]
Efficiency = Annotated[Reading, Number(low=1e-6, high=1.0)]


def _system(value: Any) -> Any:
    if not isinstance(value, str | dict):
        raise wrong("a name, a path, or the system itself written inline is due")
    return value


class PoolForm(Form):
    """Equal replicas; the system and its layout are the scenario's where left out."""

    system: Annotated[Any, BeforeValidator(_system)] = None
    replicas: Count = 1
    parallel: ParallelForm | None = None


class OutageForm(Form):
    """One replica dies and comes back."""

    replica: Index
    at: Time
    for_: Time = Field(alias="for")


class FailuresForm(Form):
    """Outages that are known (or their list alone), or drawn ones."""

    events: tuple[OutageForm, ...] = ()
    mtbf: Time | None = None
    repair: Time | None = None

    @model_validator(mode="after")
    def _both(self) -> FailuresForm:
        if (self.mtbf is None) != (self.repair is None):
            raise wrong("mtbf and repair go together: how long a replica lasts, and is away")
        if self.mtbf is not None and self.repair is not None:
            if self.mtbf.value <= 0.0:
                raise wrong("a time above 0 is due", "mtbf")
            if self.mtbf.value <= self.repair.value:
                raise wrong("replicas would be away longer than they last", "repair")
        return self


class SlowdownForm(Form):
    """A replica whose devices take longer."""

    replica: Index
    factor: Annotated[float, BeforeValidator(lambda value: _factor(value))]


def _factor(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1.0 <= value < 1e6:
        raise wrong(f"{value!r}: how many times as long it takes is due, from 1 on")
    return float(value)


def _listed(name: str, given: Any) -> BeforeValidator:
    """A list alone stands for the mapping that has it under `name`; `given` is either's type."""
    return BeforeValidator(
        lambda value: {name: value} if isinstance(value, list) else value,
        json_schema_input_type=given,
    )


MOST_REPLICAS: Final = 10_000
LEAST_PERIOD_S: Final = 0.1


class AutoscaleForm(Form):
    """How many replicas of the scenario's system are on, as Kubernetes' HPA and KEDA decide it."""

    min: Count
    max: Count
    target: Positive
    """Requests in flight, queued or running, a replica."""
    start_up: Time | None = None
    load: LinkRate | None = None
    period: Annotated[Reading, Quantity(dimension=units.TIME)] | None = None
    stabilization: Time | None = None
    tolerance: Share = Autoscale.tolerance

    @model_validator(mode="after")
    def _ends(self) -> AutoscaleForm:
        if self.max > MOST_REPLICAS:
            raise wrong(f"{self.max} replicas are more than the {MOST_REPLICAS:,} that run", "max")
        if self.period is not None and self.period.value < LEAST_PERIOD_S:
            raise wrong(f"decisions come {LEAST_PERIOD_S} s apart at least", "period")
        if self.min > self.max:
            raise wrong(f"{self.min} is more than max: {self.max}", "min")
        if self.start_up is None and self.load is None:
            raise wrong(
                "how long a replica takes to start is due: start_up: 60 s, or load: 5 GB/s, at "
                "which its weights come, or both"
            )
        return self


class FleetForm(Form):
    """Replicas behind a router: `replicas` of the scenario's system, or `pools` (or their list).

    Or as many of the scenario's system as `autoscale` says.
    """

    replicas: Count | None = None
    autoscale: AutoscaleForm | None = None
    pools: tuple[PoolForm, ...] = ()
    route: Routes = "round-robin"
    failures: Annotated[FailuresForm, _listed("events", FailuresForm | tuple[OutageForm, ...])] = (
        FailuresForm()
    )
    slowdown: tuple[SlowdownForm, ...] = ()

    @model_validator(mode="after")
    def _one(self) -> FleetForm:
        given = (self.replicas is not None, bool(self.pools), self.autoscale is not None)
        if sum(given) != 1:
            raise wrong(
                "one of replicas (of the scenario's system), pools and autoscale (min, max, target "
                "...) is due"
            )
        if self.autoscale is not None and self.route == "by-length":
            raise wrong("by-length cuts lengths for a fixed number of replicas", "route")
        return self


class TransferForm(Form):
    """The link of one prefill replica to the decode pool."""

    bandwidth: LinkRate
    latency: Time
    efficiency: Efficiency | None = None
    energy: ByteEnergy | None = None


class DisaggregateForm(Form):
    """Prompts run in one pool, answers in another; caches go over a link between them."""

    prefill: PoolForm
    decode: PoolForm
    link: Annotated[Name | Annotated[TransferForm, INLINE], NAMED_OR_INLINE]
    overlap: Flag = True
    route: Routes = "round-robin"


Fleet = Annotated[FleetForm, _listed("pools", FleetForm | tuple[PoolForm, ...])]
