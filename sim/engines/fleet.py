"""Fleet: several replicas behind a router, and pools that prefill and decode apart, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sim.errors import Key
from sim.hardware import Link, System
from sim.mapping.layout import Parallel

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
    written: Key = field(default=(), repr=False, compare=False)
    """Where a scenario's document has it."""


@dataclass(frozen=True, kw_only=True)
class Outage:
    """Replica number `replica` dies at `at_s` and is back, empty, `for_s` later."""

    replica: int
    at_s: float
    for_s: float


@dataclass(frozen=True, kw_only=True)
class Breakdowns:
    """Each replica dies after an exponential time of mean `mtbf_s`, for `repair_s`."""

    mtbf_s: float
    repair_s: float


@dataclass(frozen=True, kw_only=True)
class Slowdown:
    """The devices of replica number `replica` take `factor` times as long as they should."""

    replica: int
    factor: float


@dataclass(frozen=True, kw_only=True)
class Autoscale:
    """From `least` to `most` replicas, so that each has `target` requests in flight (or queued).

    Decided every `period_s`. Nothing changes while the mean is within `tolerance` of the target,
    and replicas stop only when none of the last `stabilization_s` wished for more. One that starts
    takes requests after `start_up_s`, and the time to load its weights at `load_B_per_s`, if given.

    Defaults are those of Kubernetes' Horizontal Pod Autoscaler (its documentation, "Algorithm
    details" and "Configurable scaling behavior": sync period 15 s, tolerance 0.1, downscale
    stabilization 300 s).
    """

    least: int
    most: int
    target: float
    start_up_s: float = 0.0
    load_B_per_s: float | None = None
    period_s: float = 15.0
    stabilization_s: float = 300.0
    tolerance: float = 0.1


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
