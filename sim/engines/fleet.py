"""Fleet: several replicas behind a router, and pools that prefill and decode apart, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sim.hardware import Link, System
from sim.mapping.layout import Parallel

Route = Literal["round-robin", "least-loaded", "by-length", "prefix"]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """`replicas` of one system, each laid out as `parallel` says."""

    system: System
    replicas: int = 1
    parallel: Parallel = field(default_factory=Parallel)


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
class Fleet:
    """Pools that all do the same work, and which replica gets a request.

    "round-robin" deals in turn; "least-loaded" gives to the replica with the fewest requests that
    have not ended; "by-length" gives each replica prompts of a range of lengths, cut so that all
    get as many prompt tokens; "prefix" gives where prompts add least to what replicas have to
    compute, of blocks that they weren't sent before. Replicas are numbered over all pools from 0;
    one is one copy of the model, of which a system may hold several (`parallel.dp`).
    """

    pools: tuple[Pool, ...]
    route: Route = "round-robin"
    outages: tuple[Outage, ...] = ()
    breakdowns: Breakdowns | None = None
    slowdowns: tuple[Slowdown, ...] = ()


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
    route: Route = "round-robin"
