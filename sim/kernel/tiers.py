"""Tiers below the prefix cache: where blocks go that it has no room for, and come back from.

A block is in one place: in the device's memory, in one tier, or nowhere. What drops out of memory
goes to the first tier, what is there for longest goes on to the next, and from the last one away.
`refs` of a block in tier n is `BELOW_MEMORY` - n; `older` and `newer` link the blocks of a tier as
they do idle ones. With the same blocks in the same order all tiers together are one long LRU list.
"""

from __future__ import annotations

import numpy as np

from sim.kernel import records as r
from sim.kernel.compiled import njit
from sim.kernel.state import Flow

ABSENT = -1
BELOW_MEMORY = -2


@njit
def go_down(flow: Flow, engine: r.Engine, policy: r.Policy, block: int) -> None:
    """A block that has dropped out of memory goes to the first tier, and others further down."""
    for tier in range(policy.tiers):
        flow.refs[block] = BELOW_MEMORY - tier
        newest = engine.tier_newest[tier]
        flow.older[block], flow.newer[block] = newest, -1
        if newest >= 0:
            flow.newer[newest] = block
        else:
            engine.tier_oldest[tier] = block
        engine.tier_newest[tier] = block
        engine.tier_blocks[tier] += 1
        engine.tier_in[tier] += 1
        if engine.tier_blocks[tier] * engine.block_B <= policy.tier_B[tier]:
            engine.tier_peak[tier] = max(engine.tier_peak[tier], engine.tier_blocks[tier])
            return
        block = engine.tier_oldest[tier]
        leave_tier(flow, engine, block)
    flow.refs[block] = ABSENT


@njit
def leave_tier(flow: Flow, engine: r.Engine, block: int) -> None:
    """Take a block out of its tier."""
    tier = BELOW_MEMORY - flow.refs[block]
    older, newer = flow.older[block], flow.newer[block]
    if older >= 0:
        flow.newer[older] = newer
    else:
        engine.tier_oldest[tier] = newer
    if newer >= 0:
        flow.older[newer] = older
    else:
        engine.tier_newest[tier] = older
    engine.tier_blocks[tier] -= 1


@njit
def load(flow: Flow, engine: r.Engine, policy: r.Policy, request: r.Request, known: int) -> None:
    """A request that is admitted loads those of its `known` first blocks that lie in tiers.

    Each tier takes its latency and what it sends, one tier after the other. The next iteration
    waits for that (`copies.held_up`), or the request alone, after those that load before it.
    """
    request.loaded = 0
    request.ready_s = 0.0
    load_s = 0.0
    for tier in range(policy.tiers):
        count = 0
        for index in range(known):
            if flow.refs[flow.ids[request.first_block + index]] == BELOW_MEMORY - tier:
                count += 1
        if count > 0:
            seconds = count * engine.block_B / policy.tier_B_per_s[tier]
            load_s += policy.tier_latency_s[tier] + seconds
            engine.tier_found[tier] += count
            request.loaded += count * engine.block_tokens
    if load_s == 0.0:
        return
    engine.loaded_s += load_s
    if policy.loads == r.ASYNC:
        engine.load_end_s = max(engine.load_end_s, engine.now_s) + load_s
        request.ready_s = engine.load_end_s
    else:
        engine.load_s += load_s


@njit
def wait_for_siblings(flow: Flow, engine: r.Engine, request: r.Request) -> None:
    """One of several answers waits for its prompt where another one is loading that."""
    for index in range(engine.running):
        other = flow.requests[flow.running[index]]
        if other.parent == request.parent and other.prefilled < other.target:
            request.ready_s = max(request.ready_s, other.ready_s)


@njit
def next_ready(flow: Flow, engine: r.Engine) -> float:
    """When the first of the prompts that are being loaded is there."""
    ready_s = np.inf
    for index in range(engine.running):
        each = flow.requests[flow.running[index]].ready_s
        if each > engine.now_s:
            ready_s = min(ready_s, each)
    return ready_s
