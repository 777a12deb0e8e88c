"""Prefix cache: blocks of prompts that stay in memory for prompts that begin alike.

A block is in use by some running requests, or idle, or not there. Idle ones take the memory that
nothing else needs, and the one idle for longest goes first. `refs` counts users, -1: not there,
less: below, in a tier (`tiers`); `older` and `newer` link idle blocks in the order they became so.
A prompt's blocks are there from its admission on: what follows it reads them as they are written.
"""

from __future__ import annotations

from sim.kernel import records as r
from sim.kernel.compiled import njit
from sim.kernel.state import Flow
from sim.kernel.tiers import ABSENT, go_down, leave_tier, load, wait_for_siblings


@njit
def known_blocks(flow: Flow, engine: r.Engine, policy: r.Policy, request: r.Request) -> int:
    """Blocks at the start of a request's prompt that are there; its last token is never known.

    Those in tiers count as far as the cache has room for them.
    """
    most = min(request.blocks, (request.target - 1) // engine.block_tokens)
    in_use = engine.cached_blocks - engine.idle_blocks
    for index in range(most):
        users = flow.refs[flow.ids[request.first_block + index]]
        if users == ABSENT:
            return index
        if users <= 0:
            in_use += 1
            if in_use > policy.prefix_blocks:
                return index
    return most


@njit
def idle_among(flow: Flow, request: r.Request, count: int) -> int:
    """How many of the first `count` blocks of a request, all there, nobody uses."""
    idle = 0
    for index in range(count):
        if flow.refs[flow.ids[request.first_block + index]] <= 0:
            idle += 1
    return idle


@njit
def unlink(flow: Flow, engine: r.Engine, block: int) -> None:
    """Take an idle block out of the order."""
    older, newer = flow.older[block], flow.newer[block]
    if older >= 0:
        flow.newer[older] = newer
    else:
        engine.oldest = newer
    if newer >= 0:
        flow.older[newer] = older
    else:
        engine.newest = older
    engine.idle_blocks -= 1


@njit
def drop_oldest(flow: Flow, engine: r.Engine, policy: r.Policy) -> None:
    """The block that is idle for longest goes."""
    block = engine.oldest
    unlink(flow, engine, block)
    flow.refs[block] = ABSENT
    engine.cached_blocks -= 1
    engine.dropped_blocks += 1
    if policy.tiers > 0:
        go_down(flow, engine, policy, block)


@njit
def make_room(flow: Flow, engine: r.Engine, policy: r.Policy) -> None:
    """Drop idle blocks where memory in use needs theirs."""
    while (
        engine.idle_blocks > 0
        and engine.kv_used_B + engine.idle_blocks * engine.block_B > policy.capacity_B
    ):
        drop_oldest(flow, engine, policy)


@njit
def take(flow: Flow, engine: r.Engine, policy: r.Policy, block: int) -> bool:
    """A request uses a block, which is put there if it isn't; False where there is no room.

    Not more than `prefix_blocks` are there at a time; what is in use can't make room for them.
    """
    if flow.refs[block] < 0:
        full = engine.cached_blocks >= policy.prefix_blocks
        if full and engine.idle_blocks == 0:
            return False
        if flow.refs[block] < ABSENT:
            leave_tier(flow, engine, block)
        if full:
            drop_oldest(flow, engine, policy)
        flow.refs[block] = 0
        engine.cached_blocks += 1
    elif flow.refs[block] == 0:
        unlink(flow, engine, block)
    if flow.refs[block] == 0:
        engine.kv_used_B += engine.block_B
    flow.refs[block] += 1
    return True


@njit
def share(flow: Flow, engine: r.Engine, policy: r.Policy, request: r.Request, known: int) -> None:
    """An admitted request takes `known` blocks, and leaves its further whole ones for others."""
    if policy.tiers > 0:
        load(flow, engine, policy, request, known)
        if policy.loads == r.ASYNC and request.parent > 0:
            wait_for_siblings(flow, engine, request)
    count = 0
    while count < request.blocks:
        if not take(flow, engine, policy, flow.ids[request.first_block + count]):
            break
        count += 1
    request.shared = count
    request.cached = known * engine.block_tokens
    request.prefilled = request.cached
    engine.cached_tokens += request.cached
    engine.asked_tokens += request.target


@njit
def leave_answer(flow: Flow, engine: r.Engine, policy: r.Policy, request: r.Request) -> None:
    """A request that ends leaves the blocks of its answer too, for what comes after it."""
    while request.blocks <= request.shared < request.all_blocks:
        if not take(flow, engine, policy, flow.ids[request.first_block + request.shared]):
            break
        request.shared += 1


@njit
def release(flow: Flow, engine: r.Engine, request: r.Request, computed: int) -> None:
    """A request leaves its blocks, the last first, so that the start of a prompt stays longest.

    Of a prompt that was preempted on the way only the first `computed` are any use to others.
    """
    for index in range(request.shared - 1, -1, -1):
        block = flow.ids[request.first_block + index]
        flow.refs[block] -= 1
        if flow.refs[block] == 0:
            engine.kv_used_B -= engine.block_B
            if index >= computed:
                flow.refs[block] = ABSENT
                engine.cached_blocks -= 1
                continue
            flow.older[block], flow.newer[block] = engine.newest, -1
            if engine.newest >= 0:
                flow.newer[engine.newest] = block
            else:
                engine.oldest = block
            engine.newest = block
            engine.idle_blocks += 1
    request.shared = 0
