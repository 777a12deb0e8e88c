"""Typical batch: what one iteration of a replica works on under a scenario's traffic."""

from __future__ import annotations

import math
from typing import Any, Literal

from sim.engines.roofline import Batch, decode_batch, prefill_batch, step
from sim.engines.serving.replica import policy_record
from sim.errors import ConfigError, Problem
from sim.kernel import sequences as features
from sim.kernel.records import WHOLE
from sim.simulation.prepare import Prepared
from sim.workload.traffic import Closed

PhaseName = Literal["decode", "prefill"]


def typical_batch(
    prepared: Prepared, phase: PhaseName, sequences: int | None, context: int | None
) -> tuple[Batch, dict[str, Any]]:
    """A batch as a replica usually has it, or as asked for, and what it consists of in words."""
    for name, value in (("batch", sequences), ("context", context)):
        if value is not None and (not isinstance(value, int) or value < 1):
            message = f"{value}: a whole number, at least 1, is due"
            raise ConfigError([Problem(path=name, message=message)])
    requests = prepared.requests
    prompt = max(round(float(requests.input_tokens.mean())), 1) + prepared.extra_prompt
    output = max(round(float(requests.output_tokens.mean())), 1)
    if phase == "prefill":
        scheduler = prepared.scenario.scheduler
        limit = prompt if scheduler.rules.cut == WHOLE else scheduler.prompt_tokens
        tokens = context or min(prompt, limit)
        count = sequences or 1
        about = {"sequences": count, "prompt_tokens": tokens, "tokens": count * tokens}
        return prefill_batch(count, tokens), about
    cached = context or prompt + output // 2
    count = sequences or running_sequences(prepared, cached, output)
    ahead = prepared.program.ahead
    about = {"sequences": count, "context": cached, "tokens": count * (1 + ahead)}
    if ahead:
        about["drafted_tokens"] = count * ahead
    return decode_batch(count, cached), about


def running_sequences(prepared: Prepared, context: int, output: int) -> int:
    """Sequences one replica decodes at a time: what clients, arrivals, batch and memory allow.

    Open loop: Little's law, arrivals times the time that the steps of `output` tokens take, found
    by iteration.
    """
    program, scenario = prepared.program, prepared.scenario
    policy = policy_record(scenario.scheduler, prepared.budget.kv_B, program)
    held = features.kv_bytes(program.streams, policy[0], max(context - 1, 1), context)
    most = scenario.scheduler.max_batch
    if held > 0.0:
        most = min(most, max(int(prepared.budget.kv_B / held), 1))
    replicas = program.layout.dp
    if isinstance(scenario.traffic, Closed):
        clients = math.ceil(scenario.traffic.concurrency / replicas)
        return min(most, clients * scenario.traffic.samples)
    span = float(prepared.requests.arrival_s[-1])
    if span <= 0.0:
        return most
    rate = len(prepared.requests.arrival_s) / span / replicas
    count = 1
    for _ in range(64):
        seconds = step(program, decode_batch(count, context)).seconds
        wanted = min(max(math.ceil(rate * output / program.tokens_per_step * seconds), 1), most)
        if wanted <= count:
            return count
        count = wanted
    return count
