"""Scheduler: how an engine forms iterations, as a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from sim.engines.offload import Host, Tier, wrong_host, wrong_tiers
from sim.errors import ConfigError, Problem
from sim.kernel.records import TIERS

if TYPE_CHECKING:
    from sim.engines.policy import Iteration, View

Policy = Callable[["View"], "Iteration"]
"""A policy of the user's: from what it sees to what the engine does next."""

CHOICES: Final[Mapping[str, Mapping[str, str]]] = {
    "kind": {
        "continuous": "whole prompts join the running decodes in one mixed iteration (Orca)",
        "chunked-prefill": "decodes first, prompts in chunks up to `token_budget` tokens an "
        "iteration (Sarathi, vLLM V1)",
        "layered-prefill": "prompts of up to `max_prefill_tokens` pass one of up to `groups` "
        "groups of layers an iteration, beside the decodes, which pass all",
        "prefill-first": "whole prompts run alone, before any decode",
        "static": "a batch is done before the next one begins",
    },
    "order": {
        "arrival": "who came first",
        "shortest": "the shortest prompt",
        "deadline": "who is due first: `deadline`, and `deadline_per_token` of the prompt, after "
        "arrival",
        "priority": "the class with the smallest number, and of equal ones who came first (vLLM)",
    },
    "group_rule": {
        "paper": "a group of layers for every `group_tokens` prompt tokens, rounded up",
        "release": "the same, rounded to powers of two as the authors' code does",
    },
    "kv_reserve": {
        "paged": "memory grows with what is generated; preemption where it runs out",
        "full": "input and output tokens are reserved at admission",
    },
    "preemption": {
        "recompute": "a preempted cache is dropped, and computed again",
        "swap": "it goes to the `host`'s memory and back, where that has room and the prompt is "
        "whole (vLLM V0)",
    },
    "kv_loads": {
        "async": "prompts found in `kv_tiers` are loaded beside the iterations of others",
        "blocking": "before their own iteration, for which all in it wait",
        "layerwise": "in it, a layer while the one before computes",
    },
}
"""What a scheduler may be told by name, and what each name means: the one list of them."""
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
            if self.policy is not None:
                problems.append(("preemption", "a policy of your own preempts by recompute"))
        return problems

    @property
    def prompt_tokens(self) -> int:
        """Most prompt tokens of an iteration, but that one longer prompt goes alone."""
        chunked = self.kind == "chunked-prefill"
        return self.token_budget if chunked else self.max_prefill_tokens
