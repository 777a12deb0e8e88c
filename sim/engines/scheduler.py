"""Scheduler: how an engine forms iterations, as a value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Final

from sim.engines.offload import Host, Tier, wrong_tiers
from sim.engines.scheduler_kinds import CHOICES, KINDS, SchedulerKind
from sim.errors import ConfigError, Problem
from sim.kernel.records import TIERS
from sim.quantities import Count, Flag, Leaf, Share, Time, one_of, quantity
from sim.units import TIME
from sim.values import Key, checked

if TYPE_CHECKING:
    from sim.engines.policy import Iteration, View

    Policy = Callable[[View], Iteration]
else:
    Policy = Callable[[Any], Any]
"""A policy of the user's: from what it sees to what the engine does next."""


def _function(value: Any) -> Any:
    if not callable(value):
        message = "module:function is due, e.g. my_schedulers:shortest_first"
        raise ConfigError(f"{value!r}: {message}")
    return value


_FUNCTION: Final = Leaf(read=_function, schema={"type": "string"})


def _choice(name: str) -> Leaf:
    return one_of(*CHOICES[name], listed="schedulers")


ANY_TIME: Final = replace(quantity(TIME, zero=True), low=-math.inf)
"""A time; a number of Python's may be below 0."""


@checked
@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """How the engine forms iterations and spends KV memory."""

    kind: Annotated[str, _choice("kind")] = "continuous"
    """What an iteration consists of: see `sim list schedulers`."""
    max_batch: Count = 128
    """Most requests that run at once."""
    token_budget: Count = 512
    """Tokens of an iteration with chunked prompts."""
    max_prefill_tokens: Count = 8192
    """Prompt tokens of an iteration with whole prompts; one longer prompt goes alone."""
    groups: Count = 16
    """Most groups of layers of a layered prefill."""
    group_tokens: Count = 512
    """Prompt tokens for each group of layers of a layered prefill."""
    group_rule: Annotated[str, _choice("group_rule")] = "paper"
    """How many groups of layers a prompt gets."""
    order: Annotated[str, _choice("order")] = "arrival"
    """Who of the queue comes next."""
    deadline_s: Time = 0.0
    """When a request is due after its arrival, for the order of deadlines."""
    deadline_s_per_token: Annotated[float, ANY_TIME, Key("deadline_per_token")] = 0.0
    """What each token of the prompt adds to that; in Python it may take away."""
    memory_utilization: Share = 0.9
    """Share of the device's memory that is used."""
    kv_block: Count = 16
    """Tokens of keys and values that are allocated at a time."""
    kv_reserve: Annotated[str, _choice("kv_reserve")] = "paged"
    """What is reserved when a request is admitted."""
    watermark: Share = 0.01
    """Share of the blocks that stays free at admission."""
    prefix_cache: Flag = False
    """Whether blocks of prompts are kept for prompts that begin alike; the trace must name them."""
    prefix_blocks: Count | None = None
    """Most blocks that are kept; as many as memory allows if left out."""
    preemption: Annotated[str, _choice("preemption")] = "recompute"
    """What becomes of the cache of a preempted request."""
    host: Host | None = None
    """Memory that preempted caches are swapped to; what is left out is the default host's."""
    kv_tiers: tuple[Tier, ...] = ()
    """Memories for what drops out of the prefix cache, the fastest first."""
    kv_loads: Annotated[str, _choice("kv_loads")] = "async"
    """When prompts found in a tier are loaded."""
    policy: Annotated[Policy | None, _FUNCTION] = None
    """A scheduler of your own, `module:function`, which needs `sim run --allow-code`: decides
    instead of `kind`, which then only says how memory is spent."""

    def __post_init__(self) -> None:
        """ConfigError, with all of it, for what can't go together."""
        problems = wrong_tiers(self.kv_tiers, TIERS)
        if self.kv_tiers and not self.prefix_cache:
            problems.append(("kv_tiers", "they hold what drops out of a cache: prefix_cache true"))
        if self.preemption == "swap":
            if self.host is None:
                problems.append(("host", "swapped caches need one: memory, bandwidth, latency"))
            if self.kv_reserve == "full":
                problems.append(("preemption", "kv_reserve full never preempts: leave it out"))
        policy: object = self.policy
        if policy is not None and not callable(policy):
            message = f"{policy!r}: a function from a view to an iteration is due"
            problems.append(("policy", message))
        if problems:
            raise ConfigError([Problem(path=path, message=text) for path, text in problems])

    @property
    def rules(self) -> SchedulerKind:
        """The row of its kind."""
        return KINDS[self.kind]

    @property
    def prompt_tokens(self) -> int:
        """Most prompt tokens of an iteration, but that one longer prompt goes alone."""
        return int(getattr(self, self.rules.budget))
