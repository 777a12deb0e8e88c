"""Scheduler: how an engine forms iterations, as a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sim.engines.policy import Iteration, View

Policy = Callable[["View"], "Iteration"]
"""A policy of the user's: from what it sees to what the engine does next."""

Kind = Literal["chunked-prefill", "layered-prefill", "continuous", "prefill-first", "static"]
Order = Literal["arrival", "shortest", "deadline"]


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """How the engine forms iterations and spends KV memory.

    kind "chunked-prefill": decode first, prompts in chunks up to `token_budget` tokens (Sarathi,
    vLLM V1). "layered-prefill": prompts of up to `max_prefill_tokens` pass one of up to `groups`
    groups of layers an iteration, beside the decodes, which pass all; one group for every
    `group_tokens` prompt tokens ("paper"), rounded as the authors' code does ("release").
    "continuous": whole prompts join the running decodes in one mixed iteration (Orca).
    "prefill-first": whole prompts run alone, before any decode. "static": a batch is done before
    the next one begins.
    `order` of the queue: by arrival, by prompt length, or by deadline, which is `deadline_s` and
    `deadline_s_per_token` of the prompt after arrival.
    `max_batch` caps running requests; `memory_utilization` is the share of device memory used;
    `kv_block` tokens are allocated at a time; `kv_reserve` "full" reserves input + output tokens
    at admission, "paged" grows and preempts by recompute; `watermark` of the blocks stays free at
    admission. `prefix_cache` keeps blocks of prompts for prompts that begin alike, `prefix_blocks`
    at most (None: as memory allows); the trace must name them.
    """

    kind: Kind = "continuous"
    max_batch: int = 128
    token_budget: int = 512
    max_prefill_tokens: int = 8192
    groups: int = 16
    group_tokens: int = 512
    group_rule: Literal["paper", "release"] = "paper"
    order: Order = "arrival"
    deadline_s: float = 0.0
    deadline_s_per_token: float = 0.0
    memory_utilization: float = 0.9
    kv_block: int = 16
    kv_reserve: Literal["paged", "full"] = "paged"
    watermark: float = 0.01
    prefix_cache: bool = False
    prefix_blocks: int | None = None
    policy: Policy | None = None
    """Decides instead of `kind`, which then only says how memory is spent."""

    @property
    def prompt_tokens(self) -> int:
        """Most prompt tokens of an iteration, but that one longer prompt goes alone."""
        chunked = self.kind == "chunked-prefill"
        return self.token_budget if chunked else self.max_prefill_tokens
