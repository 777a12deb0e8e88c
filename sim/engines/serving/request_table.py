"""Asking: requests as the kernel knows them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from sim.engines.scheduler import Scheduler
from sim.kernel.records import REQUEST
from sim.workload.traffic import Blocks

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]


def requests_of(
    scheduler: Scheduler,
    arrival_s: Floats,
    prompts: Numbers,
    outputs: Numbers,
    blocks: Blocks | None = None,
    priority: Numbers | None = None,
    parent: Numbers | None = None,
) -> Records:
    """Requests as the kernel knows them, one a row, in order of arrival.

    Where the scheduler keeps prefixes they know their `blocks`, of which whole ones can be shared;
    the last token of an answer is never computed, so no block ends with it. Without a `priority`
    all are of class 0; without a `parent` none is one of several answers.
    """
    made = np.zeros(len(arrival_s), REQUEST)
    made["arrival_s"], made["input"], made["output"] = arrival_s, prompts, outputs
    made["target"] = prompts
    if priority is not None:
        made["priority"] = priority
    if parent is not None:
        made["parent"] = parent
    if scheduler.order == "shortest":
        made["urgency"] = prompts
    elif scheduler.order == "deadline":
        due = scheduler.deadline_s + scheduler.deadline_s_per_token * prompts
        made["urgency"] = arrival_s + due
    elif scheduler.order == "priority":
        made["urgency"] = made["priority"]
    made["admitted_s"] = made["first_s"] = made["last_s"] = math.nan
    if scheduler.prefix_cache and blocks is not None:
        named = np.diff(blocks.starts)
        made["first_block"] = blocks.starts[:-1]
        made["blocks"] = np.minimum(named, prompts // blocks.tokens)
        made["all_blocks"] = made["blocks"]
        if blocks.answers:
            made["all_blocks"] = np.minimum(named, (prompts + outputs - 1) // blocks.tokens)
    return made
