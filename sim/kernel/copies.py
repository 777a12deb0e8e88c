"""Copies between a device and its host: caches swapped out and in, and iterations that wait.

A cache that is swapped out waits at the head of the queue, before all that has none: in the order
of admission, as first come is first served. Those in host memory are counted in `swapped`.
"""

from __future__ import annotations

from sim.kernel import records as r
from sim.kernel.compiled import njit
from sim.kernel.prefix import make_room
from sim.kernel.sequences import kv_bytes
from sim.kernel.state import Flow


@njit
def queue_again(
    request: r.Request, number: int, held_B: float, flow: Flow, engine: r.Engine, policy: r.Policy
) -> None:
    """A preempted request, which held `held_B`, goes to the head of the queue.

    Its cache goes to the host where it is to be swapped and there is room; else it is dropped, and
    with the prompt all tokens so far are computed again (vLLM's recompute preemption). A prompt
    that isn't whole yet is dropped too.
    """
    whole = request.prefilled == request.target
    engine.head -= 1
    if policy.swap == 1 and whole and engine.host_used_B + held_B <= policy.host_B:
        flow.waiting[engine.head] = number
        request.host_B = held_B
        engine.swapped += 1
        engine.swaps += 1
        engine.swapped_B += held_B
        engine.host_used_B += held_B
        engine.host_peak_B = max(engine.host_peak_B, engine.host_used_B)
        engine.copy_s += policy.host_latency_s + held_B / policy.host_B_per_s
        return
    request.target = request.input + request.generated
    request.prefilled = request.layer = request.on_way = 0
    for index in range(engine.head, engine.head + engine.swapped):
        flow.waiting[index] = flow.waiting[index + 1]
    flow.waiting[engine.head + engine.swapped] = number


@njit
def swap_in(flow: Flow, engine: r.Engine, streams: r.Streams, policy: r.Policy) -> int:
    """Resume what was swapped out, as far as memory above the watermark goes; returns how many."""
    count = 0
    if policy.static == 1 and engine.running > 0:
        return count
    while engine.swapped > 0 and engine.running < policy.max_batch:
        number = flow.waiting[engine.head]
        request = flow.requests[number]
        context = request.input + request.generated + policy.ahead
        need = kv_bytes(streams, policy, request.input, context)
        spare = policy.watermark_B if engine.running > 0 else 0.0
        if engine.kv_used_B + need > policy.capacity_B - spare:
            break
        engine.head += 1
        engine.swapped -= 1
        engine.copy_s += policy.host_latency_s + request.host_B / policy.host_B_per_s
        engine.returned_B += request.host_B
        engine.host_used_B -= request.host_B
        if engine.swapped == 0:
            engine.host_used_B = 0.0  # what rounding left
        request.host_B = 0.0
        request.status = r.RUNNING
        request.kv_B = need
        engine.kv_used_B += need
        flow.running[engine.running] = number
        engine.running += 1
        count += 1
    if engine.idle_blocks > 0:
        make_room(flow, engine, policy)
    engine.kv_peak_B = max(engine.kv_peak_B, engine.kv_used_B)
    return count


@njit
def held_up(engine: r.Engine, policy: r.Policy, seconds: float, passed: int, layers: int) -> float:
    """Seconds by which copies make an iteration of `seconds` longer; those due are done then.

    Its prompts pass `passed` of the model's `layers` and wait for that part of their loads. Swaps
    come before the iteration, or go beside it; loads before it too, or layer by layer: while one
    layer computes the next one is loaded, and the slower of the two sets the pace.
    """
    copy_s = engine.copy_s
    engine.copy_s = 0.0
    if policy.hides_copies == 1:
        copy_s = max(copy_s - seconds, 0.0)
    load_s = engine.load_s * passed / layers
    if load_s > 0.0 and policy.loads == r.LAYERWISE:
        load_s = max(load_s - seconds * (1.0 - 1.0 / passed), load_s / passed)
    engine.swap_wait_s += copy_s
    engine.load_wait_s += load_s
    return copy_s + load_s
