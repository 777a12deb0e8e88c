"""Kinds of built-in schedulers, and what else a scheduler may be told by name: tables of both.

A kind that the kernel's rules already cover is one row of KINDS; one with a rule of its own is
another `records` number for `cut` as well, and its `pick` in `kernel/requests.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sim.kernel.records import CHUNKED, LAYERED, WHOLE


@dataclass(frozen=True, kw_only=True)
class SchedulerKind:
    """How a kind forms iterations.

    `cut` is how prompts are cut (a number of `kernel.records`), `budget` the field of `Scheduler`
    with the most prompt tokens of an iteration. Decodes run beside prompts if it `mixes` them, and
    take of the budget with `decoders_first`. In a `static` batch nothing joins what runs.
    """

    title: str
    cut: int = WHOLE
    budget: str = "max_prefill_tokens"
    mixes: bool = True
    decoders_first: bool = False
    static: bool = False


KINDS: Final[Mapping[str, SchedulerKind]] = {
    "continuous": SchedulerKind(
        title="whole prompts join the running decodes in one mixed iteration (Orca)",
    ),
    "chunked-prefill": SchedulerKind(
        title="decodes first, prompts in chunks up to `token_budget` tokens an iteration "
        "(Sarathi, vLLM V1)",
        cut=CHUNKED,
        budget="token_budget",
        decoders_first=True,
    ),
    "layered-prefill": SchedulerKind(
        title="prompts of up to `max_prefill_tokens` pass one of up to `groups` groups of layers "
        "an iteration, beside the decodes, which pass all",
        cut=LAYERED,
    ),
    "prefill-first": SchedulerKind(
        title="whole prompts run alone, before any decode",
        mixes=False,
    ),
    "static": SchedulerKind(
        title="a batch is done before the next one begins",
        mixes=False,
        static=True,
    ),
}

CHOICES: Final[Mapping[str, Mapping[str, str]]] = {
    "kind": {name: kind.title for name, kind in KINDS.items()},
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
