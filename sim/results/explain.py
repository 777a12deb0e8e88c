"""Explain: for every operator of one iteration, what it asks for, which unit runs it and why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
import numpy.typing as npt

from sim.config.replacements import Replacements
from sim.config.scenarios import load_scenario
from sim.dtypes import COMPUTE
from sim.engines.roofline import (
    Batch,
    Step,
    asked_for,
    decode_batch,
    drafting,
    prefill_batch,
    step,
)
from sim.engines.serving.replica import CUT, policy_record
from sim.errors import ConfigError, Problem
from sim.graph import Kind, Op, breakdown_class
from sim.kernel import sequences
from sim.kernel.records import (
    BOUND,
    BUSY_S,
    COST_COMPUTE_S,
    COST_LAUNCH_S,
    COST_MEMORY_S,
    JOULES,
    LAUNCH_S,
    LOGITS,
    PAIR_SHARE,
    PAIRS,
    SECONDS,
    TOKENS,
    UNIT,
    VECTOR,
)
from sim.notebook import html_table
from sim.results.accounts.breakdown import BOUNDS
from sim.results.accounts.expert_ranks import expert_ranks_of_step
from sim.results.accounts.sides import sides_of_step
from sim.results.bands.bands import Band, bands_of_step
from sim.results.blocks import Block
from sim.results.constants import constants
from sim.results.provenance import provenance
from sim.results.statistics import finite
from sim.scenario import Scenario
from sim.simulation.prepare import Prepared, prepare
from sim.workload.traffic import Closed

Floats = npt.NDArray[np.float64]
PhaseName = Literal["decode", "prefill"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Explanation:
    """One iteration of one replica, operator by operator.

    `batch` says what it works on; `rows` one mapping an operator that has work, of one device and
    all layers; `seconds` and `joules` of the whole iteration and replica; `constants` the device
    numbers the times rest on, with their sources.
    """

    prepared: Prepared
    phase: PhaseName
    batch: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]
    seconds: float
    host_s: float
    joules: float
    microbatches: float
    done: Step

    @cached_property
    def bands(self) -> Mapping[str, Band]:
        """How far "iteration_s" and, where known, "energy_J" may be off."""
        prefill = self.phase == "prefill"
        runtime = self.prepared.scenario.runtime
        return bands_of_step(self.prepared.program, runtime, self.done, prefill=prefill)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Of expert-parallel ranks, and of experts apart from attention, where there are any."""
        blocks = (
            expert_ranks_of_step(self.prepared.program, self.done),
            sides_of_step(self.prepared, self.done),
        )
        return tuple(block for block in blocks if block is not None)

    def __repr__(self) -> str:
        """One line: a notebook shows this."""
        scenario = self.prepared.scenario
        return f"<Explanation {scenario.name}, {self.phase}: {dict(self.batch)}, {self.seconds} s>"

    def _repr_html_(self) -> str:
        names = ("operator", "unit", "bound", "layers", "time_s", "energy_J", "why")
        title = f"{self.prepared.scenario.name}, one {self.phase} iteration: {self.seconds:.4g} s"
        return html_table(title, names, [[row[name] for name in names] for row in self.rows])

    def to_json(self) -> dict[str, Any]:
        """The explanation as plain values."""
        scenario = self.prepared.scenario
        return {
            "scenario": scenario.name,
            "model": scenario.model.name,
            "system": self.prepared.program.system.name,
            "phase": self.phase,
            "batch": dict(self.batch),
            "iteration_s": self.seconds,
            "host_s": self.host_s,
            "energy_J": finite(self.joules),
            "bands": {name: band.to_json() for name, band in self.bands.items()},
            "operators": [dict(row) for row in self.rows],
            **{block.name: block.values for block in self.blocks},
            "constants": constants(scenario),
            "provenance": provenance(scenario),
        }


def explain(
    scenario: str | Path | Mapping[str, Any] | Scenario,
    *,
    phase: PhaseName = "decode",
    sequences: int | None = None,
    context: int | None = None,
    sets: Sequence[str] = (),
    **replacements: Unpack[Replacements],
) -> Explanation:
    """One iteration of the engine of `scenario` (given as to `simulate`) in `phase`, explained.

    `sequences` (default: about as many as the traffic keeps running) and `context` (default: the
    mean prompt, for decode plus half the mean output) set the batch.
    """
    prepared = prepare(load_scenario(scenario, sets=sets, **replacements))
    return explain_prepared(prepared, phase=phase, sequences=sequences, context=context)


def explain_prepared(
    prepared: Prepared,
    *,
    phase: PhaseName,
    sequences: int | None = None,
    context: int | None = None,
) -> Explanation:
    """As `explain`, of a scenario already prepared."""
    model = prepared.scenario.model
    if phase not in ("decode", "prefill"):
        raise ConfigError([Problem(path="phase", message=f"{phase!r}: decode or prefill is due")])
    if phase == "decode" and not model.layers:
        raise ConfigError(f"{model.name} has no decoder: write --phase prefill")
    batch, about = _batch(prepared, phase, sequences, context)
    done = step(prepared.program, batch)
    if phase == "decode":
        prepared = replace(prepared, program=drafting(prepared.program))
    return Explanation(
        prepared=prepared,
        phase=phase,
        batch=about,
        rows=tuple(_rows(prepared, done)),
        seconds=done.seconds,
        host_s=done.host_s,
        joules=done.joules,
        microbatches=done.microbatches,
        done=done,
    )


def _batch(
    prepared: Prepared, phase: PhaseName, sequences: int | None, context: int | None
) -> tuple[Batch, dict[str, Any]]:
    for name, value in (("batch", sequences), ("context", context)):
        if value is not None and (not isinstance(value, int) or value < 1):
            message = f"{value}: a whole number, at least 1, is due"
            raise ConfigError([Problem(path=name, message=message)])
    requests = prepared.requests
    prompt = max(round(float(requests.input_tokens.mean())), 1) + prepared.extra_prompt
    output = max(round(float(requests.output_tokens.mean())), 1)
    if phase == "prefill":
        scheduler = prepared.scenario.scheduler
        limit = scheduler.prompt_tokens if scheduler.kind in CUT else prompt
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
    held = sequences.kv_bytes(program.streams, policy[0], max(context - 1, 1), context)
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


def _rows(prepared: Prepared, done: Step) -> Iterator[dict[str, Any]]:
    program = prepared.program
    demands, costs = asked_for(program, done)
    for index, op in enumerate(program.table.graph.ops):
        if done.rows[index, BUSY_S] > 0.0:
            yield operator_row(prepared, done, index, op, demands[index] * op.layers, costs[index])


def operator_row(
    prepared: Prepared, done: Step, index: int, op: Op, asked: Floats, costs: Floats
) -> dict[str, Any]:
    """Operator `index` of an iteration, as `sim explain --json` gives it.

    `asked` [4] are its flops and bytes of all layers, `costs` [processor, part] of one layer.
    """
    program = prepared.program
    record = program.table.records[index]
    chosen = int(done.chosen[index, UNIT])
    names = [each.name for each in prepared.program.system.device.processors]
    flops, moved = float(asked[0]), float(asked[1:].sum())
    intensity = flops / moved if moved > 0.0 else math.nan
    ridges = {
        name: _ridge(program.units[number], int(record["arithmetic"]), asked)
        for number, name in enumerate(names)
        if not math.isnan(costs[number, COST_COMPUTE_S])
    }
    totals = {
        name: float(
            max(costs[number, COST_COMPUTE_S], costs[number, COST_MEMORY_S])
            + costs[number, COST_LAUNCH_S]
        )
        * op.layers
        for number, name in enumerate(names)
        if not math.isnan(costs[number, COST_COMPUTE_S])
    }
    features = done.features[int(record["stream"]), int(record["phase"])]
    link = chosen < 0
    uncounted = link or op.kind == Kind.PIPELINE
    bound = BOUNDS[int(done.chosen[index, BOUND])]
    return {
        "operator": op.name,
        "class": breakdown_class(op),
        "layers": op.layers,
        "tokens": float(features[0]),
        "arithmetic": None if uncounted else _arithmetic_name(int(record["arithmetic"])),
        "flops": None if uncounted else flops,
        "weight_B": None if uncounted else float(asked[1]),
        "kv_B": None if uncounted else float(asked[2]),
        "activation_B": None if uncounted else float(asked[3]),
        "message_B": float(record["message_B_per_token"] * features[0]) * op.layers
        if link
        else None,
        "op_per_B": finite(intensity),
        "ridge_op_per_B": ridges,
        "unit_s": totals,
        "unit": "link" if link else names[chosen],
        "bound": bound,
        "why": _why(prepared, done, index, op, chosen, intensity, ridges, totals, bound),
        "compute_s": None if uncounted else float(costs[chosen, COST_COMPUTE_S]) * op.layers,
        "memory_s": None if uncounted else float(costs[chosen, COST_MEMORY_S]) * op.layers,
        "launch_s": float(done.rows[index, LAUNCH_S]),
        "time_s": float(done.rows[index, SECONDS]),
        "busy_s": float(done.rows[index, BUSY_S]),
        "energy_J": finite(float(done.rows[index, JOULES].sum())),
    }


def _ridge(unit: np.void, arithmetic: int, asked: Floats) -> float:
    """Op/B above which the unit's peak, not its memory, is the limit.

    Where weights, KV and activations lie in memories of their own, of the bytes `asked` for.
    """
    speeds = (unit[f"{kind}_B_per_s"] for kind in ("weights", "kv", "activations"))
    seconds = sum(size / speed for size, speed in zip(asked[1:], speeds, strict=True))
    return float(unit["flop_per_s"][arithmetic] * seconds / asked[1:].sum())


def _arithmetic_name(arithmetic: int) -> str:
    return "vector" if arithmetic == VECTOR else COMPUTE[arithmetic]


def _why_line(record: np.void, features: Floats, layers: int) -> str:
    """What the tokens in a pipeline wait for; `features` [stream, phase, feature]."""
    phase = int(record["phase"])
    own, windowed = features[int(record["stream"])], features[int(record["windowed"])][phase, PAIRS]
    tokens, pairs = float(own[phase, TOKENS]), float(own[phase, PAIRS])
    pair_s = float(record["pair_s"])
    line_s = pair_s * (record["in_line"] * pairs + record["in_line_windowed"] * windowed)
    stage_s = pair_s * max(record["stage"] * pairs, record["stage_windowed"] * windowed)
    cached = record["held"] * pairs + record["held_windowed"] * windowed
    waits = {
        "a token alone takes longer": record["latency_s"] + line_s / tokens,
        "the slowest stage paces them": record["slot_s"] * tokens,
        "attention paces them": max(stage_s, record["shared"] * line_s),
        "the busiest link paces them": record["link_s"] * tokens
        + record["answer_s"] * own[LOGITS, TOKENS],
        "keys and values from HBM pace them": record["spill_s"]
        * max(cached - float(record["on_chip_pairs"]), 0.0),
    }
    reason = max(waits, key=lambda name: float(waits[name]))
    return f"{tokens:g} tokens one behind the other through {layers} layers: {reason}"


def _why(
    prepared: Prepared,
    done: Step,
    index: int,
    op: Op,
    chosen: int,
    intensity: float,
    ridges: Mapping[str, float],
    totals: Mapping[str, float],
    bound: str,
) -> str:
    """The reason for the choice, in words."""
    record = prepared.program.table.records[index]
    device = prepared.program.system.device
    if chosen < 0:
        system, split = prepared.program.system, prepared.program.split
        link = system.network if op.across_nodes else device.link
        if op.side and split is not None:
            return f"to the other side over {split.link.name}, busiest device"
        return f"{op.collective} over {op.group} devices on {link.name if link else 'no link'}"
    name = device.processors[chosen].name
    if op.kind == Kind.PIPELINE:
        return _why_line(record, done.features, prepared.program.graph.layers)
    where = f"{intensity:.3g} Op/B at a ridge of {ridges[name]:.3g}: {bound}-bound"
    if op.kind == Kind.EXPERTS and op.concurrent:
        share = float(done.rows[index, PAIR_SHARE])
        hidden = "" if done.rows[index, SECONDS] > 0.0 else ", while the other unit is waited for"
        return f"has {100.0 * share:.3g} % of the token-expert pairs{hidden}; {where}"
    if int(record["pinned"]) >= 0:
        return f"placement pins {op.operator_class} to {name}"
    if len(device.processors) == 1:
        return where
    others = {other: seconds for other, seconds in totals.items() if other != name}
    if not others:
        return f"only {name} runs {op.operator_class}; {where}"
    rival = min(others, key=lambda other: others[other])
    ratio = others[rival] / totals[name]
    digits = 2 if ratio >= 1.1 else 3
    return f"{ratio:.{digits}g}x faster than {rival}; {where}"
