"""Scheduler: how an engine forms iterations, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """How the engine forms iterations and spends KV memory.

    kind "chunked-prefill": decode first, prompts in chunks up to `token_budget` tokens.
    "continuous": whole prompts join the running decodes in one mixed iteration (Orca).
    "prefill-first": whole prompts run alone, before any decode.
    `max_batch` caps running requests; `memory_utilization` is the share of device memory used;
    `kv_block` tokens are allocated at a time; `kv_reserve` "full" reserves input + output tokens
    at admission, "paged" grows and preempts by recompute; `watermark` of the blocks stays free at
    admission.
    """

    kind: Literal["chunked-prefill", "continuous", "prefill-first"] = "continuous"
    max_batch: int = 128
    token_budget: int = 512
    max_prefill_tokens: int = 8192
    memory_utilization: float = 0.9
    kv_block: int = 16
    kv_reserve: Literal["paged", "full"] = "paged"
    watermark: float = 0.01
