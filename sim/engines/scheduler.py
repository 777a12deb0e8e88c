"""Scheduler: how an engine forms iterations, as a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from sim.engines.offload import Host, Tier, wrong_host, wrong_tiers
from sim.engines.scheduler_kinds import CHOICES, KINDS, SchedulerKind
from sim.errors import ConfigError, Problem
from sim.kernel.records import TIERS

if TYPE_CHECKING:
    from sim.engines.policy import Iteration, View

Policy = Callable[["View"], "Iteration"]
"""A policy of the user's: from what it sees to what the engine does next."""

COUNTS: Final = (
    "max_batch", "token_budget", "max_prefill_tokens", "groups", "group_tokens", "kv_block",
)  # fmt: skip
SHARES: Final = ("memory_utilization", "watermark")


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """How the engine forms iterations and spends KV memory.

    `kind`, `order` of the queue, `group_rule` and others are as CHOICES says; deadlines are
    `deadline_s` and `deadline_s_per_token` of the prompt after arrival. `max_batch` caps running
    requests; `memory_utilization` is the share of device memory used; `kv_block` tokens are
    allocated at a time; `watermark` of the blocks stays free at admission. `prefix_cache` keeps
    blocks of prompts for prompts that begin alike, `prefix_blocks` at most (None: as memory
    allows); the trace must name them. What drops out of it goes to the first of `kv_tiers`, from
    there to the next; prompts found there are always loaded.
    """

    kind: str = "continuous"
    max_batch: int = 128
    token_budget: int = 512
    max_prefill_tokens: int = 8192
    groups: int = 16
    group_tokens: int = 512
    group_rule: str = "paper"
    order: str = "arrival"
    deadline_s: float = 0.0
    deadline_s_per_token: float = 0.0
    memory_utilization: float = 0.9
    kv_block: int = 16
    kv_reserve: str = "paged"
    watermark: float = 0.01
    prefix_cache: bool = False
    prefix_blocks: int | None = None
    preemption: str = "recompute"
    host: Host | None = None
    kv_tiers: tuple[Tier, ...] = ()
    kv_loads: str = "async"
    policy: Policy | None = None
    """Decides instead of `kind`, which then only says how memory is spent."""

    def __post_init__(self) -> None:
        """Raises ConfigError, with all that is wrong: a bad number would serve nothing for ever."""
        problems = [
            f"{name}: {getattr(self, name)!r} is not known; known: {', '.join(known)} "
            "(`sim list schedulers`)"
            for name, known in CHOICES.items()
            if getattr(self, name) not in known
        ]
        for name in COUNTS:
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
                problems.append(f"{name}: {value!r}: a whole number, at least 1, is due")
        for name in SHARES:
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
                problems.append(f"{name}: {value!r}: a share from 0 to 1 is due")
        if self.prefix_blocks is not None and self.prefix_blocks < 1:
            problems.append(f"prefix_blocks: {self.prefix_blocks!r}: at least 1 is due")
        problems += [f"{path}: {message}" for path, message in self._wrong_offload()]
        policy: object = self.policy
        if policy is not None and not callable(policy):
            problems.append(f"policy: {policy!r}: a function from a view to an iteration is due")
        if problems:
            found = [text.partition(": ") for text in problems]
            raise ConfigError(
                [Problem(path=f"scheduler.{name}", message=message) for name, _, message in found]
            )

    def _wrong_offload(self) -> list[tuple[str, str]]:
        """What is wrong with what goes beyond the device's memory, or can't go together."""
        problems = wrong_tiers(self.kv_tiers, TIERS)
        if self.host is not None:
            problems += wrong_host(self.host)
        if self.kv_tiers and not self.prefix_cache:
            problems.append(("kv_tiers", "they hold what drops out of a cache: prefix_cache true"))
        if self.preemption == "swap":
            if self.host is None:
                problems.append(("host", "swapped caches need one: memory, bandwidth, latency"))
            if self.kv_reserve == "full":
                problems.append(("preemption", "kv_reserve full never preempts: leave it out"))
        return problems

    @property
    def rules(self) -> SchedulerKind:
        """The row of its kind."""
        return KINDS[self.kind]

    @property
    def prompt_tokens(self) -> int:
        """Most prompt tokens of an iteration, but that one longer prompt goes alone."""
        return int(getattr(self, self.rules.budget))
