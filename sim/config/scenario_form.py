"""Forms of scenarios."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from sim.config.dtype_form import DTypeForm
from sim.config.fields import (
    Count,
    Flag,
    Form,
    Index,
    OneOf,
    Positive,
    Share,
    Text,
    Time,
    wrong,
)
from sim.config.fleet_form import DisaggregateForm, FailuresForm, Fleet
from sim.config.offload_form import HostForm, TierForm
from sim.config.parallel_form import ParallelForm
from sim.config.policy_code import policy_name
from sim.config.speculation_form import SpeculationForm
from sim.config.split_form import SplitForm
from sim.config.traffic_form import Traffic, not_negative
from sim.engines.scheduler import Scheduler
from sim.engines.scheduler_kinds import CHOICES
from sim.operators import OPERATOR_CLASSES

Operator = Annotated[str, OneOf(names=OPERATOR_CLASSES)]


def _choice(name: str) -> OneOf:
    return OneOf(names=tuple(CHOICES[name]), listed="schedulers")


class SchedulerForm(Form):
    """How the engine forms iterations and spends KV memory."""

    kind: Annotated[str, _choice("kind")] = Scheduler.kind
    max_batch: Count = Scheduler.max_batch
    token_budget: Count = Scheduler.token_budget
    max_prefill_tokens: Count = Scheduler.max_prefill_tokens
    groups: Count = Scheduler.groups
    group_tokens: Count = Scheduler.group_tokens
    group_rule: Annotated[str, _choice("group_rule")] = Scheduler.group_rule
    order: Annotated[str, _choice("order")] = Scheduler.order
    deadline: Time | None = None
    deadline_per_token: Time | None = None
    memory_utilization: Share = Scheduler.memory_utilization
    kv_block: Count = Scheduler.kv_block
    kv_reserve: Annotated[str, _choice("kv_reserve")] = Scheduler.kv_reserve
    watermark: Share = Scheduler.watermark
    prefix_cache: Flag = Scheduler.prefix_cache
    prefix_blocks: Count | None = Scheduler.prefix_blocks
    preemption: Annotated[str, _choice("preemption")] = Scheduler.preemption
    host: HostForm | None = None
    kv_tiers: tuple[TierForm, ...] = ()
    kv_loads: Annotated[str, _choice("kv_loads")] = Scheduler.kv_loads
    policy: Annotated[str, BeforeValidator(policy_name)] | None = None
    """A scheduler of your own, `module:function`; it needs `sim run --allow-code`."""


class RouterForm(Form):
    """How tokens choose their experts."""

    kind: Literal["uniform", "zipf", "correlated", "coverage"]
    skew: Annotated[float, BeforeValidator(not_negative)] = 0.0
    correlation: Share = 0.0
    coverage: tuple[tuple[Positive, Share], ...] = ()
    """(tokens, share of experts touched) points."""
    draw: Literal["expected", "sampled"] = "expected"
    locality: Positive | None = None
    """Gamma shape of popularity within one prompt."""

    @model_validator(mode="after")
    def _points(self) -> RouterForm:
        if (self.kind == "coverage") != bool(self.coverage):
            raise wrong("kind coverage and `coverage: [[tokens, share], ...]` go together")
        if self.kind == "coverage" and self.draw == "sampled":
            raise wrong("a coverage table says what is expected: leave `draw` out")
        if self.locality is not None and self.draw == "sampled":
            raise wrong("locality is of expectations: leave `locality` or `draw` out")
        rising = list(zip(self.coverage, self.coverage[1:], strict=False))
        if any(right[0] <= left[0] or right[1] < left[1] for left, right in rising):
            raise wrong("coverage points must rise in tokens and not fall in share")
        return self


class SloForm(Form):
    """Bounds a good request keeps."""

    ttft: Time | None = None
    tbt: Time | None = None


def _reference(value: Any) -> Any:
    if not isinstance(value, str | dict):
        raise wrong("a name, a path, or the thing itself written inline is due")
    return value


Reference = Annotated[Any, BeforeValidator(_reference)]


class CostForm(Form):
    """Where and how the system is owned."""

    site: Reference = "default"
    practice: Reference = "default"
    basis: Literal["price", "cost"] = "price"


def _system_of_pools(schema: dict[str, Any]) -> None:
    """Where pools name their systems, the scenario needs none of its own."""
    schema["required"] = [name for name in schema["required"] if name != "system"]
    schema["anyOf"] = [{"required": [key]} for key in ("system", "fleet", "disaggregate")]


class ScenarioForm(Form):
    """Model + system + traffic + mapping + scheduler + techniques."""

    model_config = ConfigDict(json_schema_extra=_system_of_pools)

    title: Text | None = None
    name: Text | None = None
    model: Reference
    system: Reference
    dtype: DTypeForm = DTypeForm()
    parallel: ParallelForm = ParallelForm()
    traffic: Traffic
    scheduler: SchedulerForm = SchedulerForm()
    router: RouterForm | None = None
    runtime: Text | None = None
    """A serving framework whose times go before what the device estimates."""
    placement: dict[Operator, Text] = Field(default_factory=dict)
    techniques: tuple[dict[str, Any], ...] = ()
    slo: SloForm = SloForm()
    cost: CostForm = CostForm()
    fleet: Fleet | None = None
    disaggregate: DisaggregateForm | None = None
    split: SplitForm | None = None
    speculation: SpeculationForm | None = None
    seed: Index = 0

    @model_validator(mode="after")
    def _apart(self) -> ScenarioForm:
        sessions = self.traffic.sessions
        closed = self.traffic.closed is not None or (sessions is not None and sessions.wait)
        if self.disaggregate is not None and self.fleet is not None:
            raise wrong("leave one of fleet and disaggregate out", "disaggregate")
        if self.split is not None and self.fleet is not None:
            raise wrong("a split is of one system: leave fleet out", "split")
        if self.disaggregate is not None and closed:
            raise wrong(
                "pools apart need open traffic: a trace, poisson, or sessions that don't wait",
                "disaggregate",
            )
        if self.fleet is not None and closed:
            plain = self.fleet.route == "round-robin" and len(self.fleet.pools) < 2
            plain = plain and self.fleet.autoscale is None
            if not plain or self.fleet.failures != FailuresForm() or self.fleet.slowdown:
                raise wrong(
                    "clients of a closed loop, and sessions that wait, stay with their replica, of "
                    "equal ones that don't fail: take a trace or poisson for the rest",
                    "fleet",
                )
        return self
