"""Fleet: several replicas behind a router, and pools that prefill and decode apart, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final

from sim.errors import ConfigError, Problem
from sim.errors import Key as Path
from sim.hardware import Link, System
from sim.mapping.layout import Parallel
from sim.quantities import Count, Index, Leaf, LinkRate, Positive, Share, Time, quantity
from sim.units import TIME
from sim.values import Key, checked

ROUTES: Final[Mapping[str, str]] = {
    "round-robin": "in turn",
    "least-loaded": "the replica with the fewest requests that have not ended",
    "by-length": "each replica gets prompts of a range of lengths, cut so that all get as many "
    "prompt tokens",
    "prefix": "where the prompt adds least to what a replica has to compute, of blocks that it "
    "wasn't sent before",
}
"""Which replica of a fleet gets a request, and what each name means: the one list of them."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """`replicas` of one system, each laid out as `parallel` says."""

    system: System
    replicas: int = 1
    parallel: Parallel = field(default_factory=Parallel)
    written: Path = field(default=(), repr=False, compare=False)
    """Where a scenario's document has it."""


@checked
@dataclass(frozen=True, kw_only=True)
class Outage:
    """A replica that dies and comes back empty."""

    replica: Index
    """Its number, over all pools from 0."""
    at_s: Time
    """When it dies."""
    for_s: Time
    """How long it is away."""


@checked
@dataclass(frozen=True, kw_only=True)
class Breakdowns:
    """Replicas that die at random."""

    mtbf_s: Time
    """Mean of the exponential time that a replica lasts."""
    repair_s: Time
    """How long it is away."""

    def __post_init__(self) -> None:
        """ConfigError for replicas that don't last as long as they are away."""
        if self.mtbf_s <= 0.0:
            raise ConfigError([Problem(path="mtbf", message="a time above 0 is due")])
        if self.mtbf_s <= self.repair_s:
            message = "replicas would be away longer than they last"
            raise ConfigError([Problem(path="repair", message=message)])


def _slower(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1.0 <= value < 1e6:
        raise ConfigError(f"{value!r}: how many times as long it takes is due, from 1 on")
    return float(value)


_SLOWER: Final = Leaf(read=_slower, schema={"type": "number", "minimum": 1})


@checked
@dataclass(frozen=True, kw_only=True)
class Slowdown:
    """A replica whose devices take longer than they should."""

    replica: Index
    """Its number, over all pools from 0."""
    factor: Annotated[float, _SLOWER]
    """How many times as long they take."""


MOST_REPLICAS: Final = 10_000
LEAST_PERIOD_S: Final = 0.1
_TIME: Final = quantity(TIME)


def _period(value: Any) -> float:
    seconds: float = _TIME.read(value)
    if seconds < LEAST_PERIOD_S:
        raise ConfigError(f"decisions come {LEAST_PERIOD_S} s apart at least")
    return seconds


_PERIOD: Final = replace(_TIME, read=_period)
"""A document's, from LEAST_PERIOD_S on; a number of Python's may be any time."""


@checked
@dataclass(frozen=True, kw_only=True)
class Autoscale:
    """How many replicas are on, as Kubernetes' HPA and KEDA decide it.

    Defaults are those of Kubernetes' Horizontal Pod Autoscaler (its documentation, "Algorithm
    details" and "Configurable scaling behavior": sync period 15 s, tolerance 0.1, downscale
    stabilization 300 s).
    """

    least: Annotated[Count, Key("min")]
    """Fewest replicas."""
    most: Annotated[Count, Key("max")]
    """Most replicas."""
    target: Positive
    """Requests in flight, queued or running, a replica."""
    start_up_s: Time = 0.0
    """Time before a replica that starts takes requests."""
    load_B_per_s: LinkRate | None = None
    """Rate at which its weights are loaded after that; they are there if left out."""
    period_s: Annotated[float, _PERIOD] = 15.0
    """Time between decisions."""
    stabilization_s: Time = 300.0
    """Replicas stop only when no decision of so long wished for more."""
    tolerance: Share = 0.1
    """Share by which the mean may miss the target before anything changes."""

    def __post_init__(self) -> None:
        """ConfigError for numbers that can't go together."""
        path = message = ""
        if self.most > MOST_REPLICAS:
            path = "max"
            message = f"{self.most} replicas are more than the {MOST_REPLICAS:,} that run"
        elif self.least > self.most:
            path, message = "min", f"{self.least} is more than max: {self.most}"
        if message:
            raise ConfigError([Problem(path=path, message=message)])


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Pools that all do the same work; `route` says which replica gets a request (ROUTES).

    Replicas are numbered over all pools from 0; one is one copy of the model, of which a system may
    hold several (`parallel.dp`).
    """

    pools: tuple[Pool, ...]
    route: str = "round-robin"
    outages: tuple[Outage, ...] = ()
    breakdowns: Breakdowns | None = None
    slowdowns: tuple[Slowdown, ...] = ()
    autoscale: Autoscale | None = None
    """Of the only pool, whose replicas are the most there can be; None: all are always on."""


@dataclass(frozen=True, kw_only=True)
class Disaggregation:
    """Prompts run in one pool, and what they left in the cache goes over `link` to another one.

    Each prefill replica has a link of its own, which sends one prompt after the other. With
    `overlap` a layer is sent once the prefill has passed it, else nothing before the last one.
    """

    prefill: Pool
    decode: Pool
    link: Link
    overlap: bool = True
    route: str = "round-robin"
