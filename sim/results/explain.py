"""Explain: for every operator of one iteration, what it asks for, which unit runs it and why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from sim.config.replacements import Replacements
from sim.config.scenarios import load_scenario
from sim.dtypes import COMPUTE
from sim.engines.roofline import (
    Step,
    asked_for,
    drafting,
    step,
)
from sim.errors import ConfigError, Problem
from sim.graph import Kind, Op, breakdown_class
from sim.kernel.laws import pipeline_waits
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
from sim.results.bands.band import Band
from sim.results.bands.bands import bands_of_step
from sim.results.blocks import Block
from sim.results.constants import constants
from sim.results.provenance import provenance
from sim.results.statistics import finite
from sim.results.typical_batch import PhaseName, typical_batch
from sim.scenario import Scenario
from sim.simulation.prepare import Prepared, prepare

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Explanation:
    """One iteration of one replica, operator by operator.

    `batch` says what it works on; `rows` has one mapping an operator that has work, of one device
    and all layers.
    """

    prepared: Prepared
    phase: PhaseName
    batch: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]
    step: Step

    @property
    def seconds(self) -> float:
        """Time of the whole iteration."""
        return self.step.seconds

    @property
    def host_s(self) -> float:
        """Time of the host in it."""
        return self.step.host_s

    @property
    def microbatches(self) -> float:
        """Parts that a pipeline, or two sides, cut the batch into."""
        return self.step.microbatches

    @property
    def joules(self) -> float:
        """Energy of the whole replica; NaN where not known."""
        return self.step.joules

    @cached_property
    def bands(self) -> Mapping[str, Band]:
        """How far "iteration_s" and, where known, "energy_J" may be off."""
        prefill = self.phase == "prefill"
        runtime = self.prepared.scenario.runtime
        return bands_of_step(self.prepared.program, runtime, self.step, prefill=prefill)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Of expert-parallel ranks, and of experts apart from attention, where there are any."""
        blocks = (
            expert_ranks_of_step(self.prepared.program, self.step),
            sides_of_step(self.prepared, self.step),
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
    batch, about = typical_batch(prepared, phase, sequences, context)
    iteration = step(prepared.program, batch)
    if phase == "decode":
        prepared = replace(prepared, program=drafting(prepared.program))
    return Explanation(
        prepared=prepared,
        phase=phase,
        batch=about,
        rows=tuple(_rows(prepared, iteration)),
        step=iteration,
    )


def _rows(prepared: Prepared, iteration: Step) -> Iterator[dict[str, Any]]:
    program = prepared.program
    demands, costs = asked_for(program, iteration)
    for index, op in enumerate(program.table.graph.ops):
        if iteration.rows[index, BUSY_S] > 0.0:
            demand = demands[index] * op.layers
            yield operator_row(prepared, iteration, index, op, demand, costs[index])


def operator_row(
    prepared: Prepared, iteration: Step, index: int, op: Op, demand: Floats, costs: Floats
) -> dict[str, Any]:
    """Operator `index` of an iteration, as `sim explain --json` gives it.

    `demand` [4] are its flops and bytes of all layers, `costs` [processor, part] of one layer.
    """
    execution = _Execution(
        prepared=prepared, step=iteration, index=index, op=op, demand=demand, costs=costs
    )
    return execution.row()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Execution:
    """An operator of an iteration: `demand` [4] of all layers, `costs` [processor, part] of one."""

    prepared: Prepared
    step: Step
    index: int
    op: Op
    demand: Floats
    costs: Floats

    @property
    def record(self) -> np.void:
        """The operator as the kernel has it."""
        record: np.void = self.prepared.program.table.records[self.index]
        return record

    @property
    def chosen(self) -> int:
        """Number of the processor that runs it; negative on links."""
        return int(self.step.chosen[self.index, UNIT])

    @property
    def names(self) -> list[str]:
        """Names of the processors."""
        return [unit.name for unit in self.prepared.program.system.device.processors]

    @property
    def bound(self) -> str:
        """What it waits for."""
        return BOUNDS[int(self.step.chosen[self.index, BOUND])]

    @property
    def op_per_B(self) -> float:
        """Operations a byte; NaN where nothing moves."""
        moved_B = float(self.demand[1:].sum())
        return float(self.demand[0]) / moved_B if moved_B > 0.0 else math.nan

    @property
    def able(self) -> list[int]:
        """Processors that can run it."""
        return [
            number
            for number in range(len(self.names))
            if not math.isnan(self.costs[number, COST_COMPUTE_S])
        ]

    @cached_property
    def ridges(self) -> dict[str, float]:
        """Ridge point of each processor that can run it, in Op/B."""
        units, arithmetic = self.prepared.program.units, int(self.record["arithmetic"])
        return {
            self.names[number]: _ridge(units[number], arithmetic, self.demand)
            for number in self.able
        }

    @cached_property
    def seconds(self) -> dict[str, float]:
        """Time of all layers on each processor that can run it."""
        parts = (COST_COMPUTE_S, COST_MEMORY_S, COST_LAUNCH_S)
        times = {number: self.costs[number, parts] for number in self.able}
        return {
            self.names[number]: float(max(compute_s, memory_s) + launch_s) * self.op.layers
            for number, (compute_s, memory_s, launch_s) in times.items()
        }

    def row(self) -> dict[str, Any]:
        """The operator as `sim explain --json` gives it."""
        op, record, rows = self.op, self.record, self.step.rows[self.index]
        tokens = float(self.step.features[int(record["stream"]), int(record["phase"]), 0])
        link = self.chosen < 0
        counted: dict[str, Any] = dict.fromkeys(
            ("arithmetic", "flops", "weight_B", "kv_B", "activation_B")
        )
        times: dict[str, float | None] = {"compute_s": None, "memory_s": None}
        if not link and op.kind != Kind.PIPELINE:
            arithmetic = _arithmetic_name(int(record["arithmetic"]))
            counted = dict(zip(counted, (arithmetic, *map(float, self.demand)), strict=True))
            costs = self.costs[self.chosen, (COST_COMPUTE_S, COST_MEMORY_S)] * op.layers
            times = dict(zip(times, map(float, costs), strict=True))
        message_B = float(record["message_B_per_token"] * tokens) * op.layers
        return {
            "operator": op.name,
            "class": breakdown_class(op),
            "layers": op.layers,
            "tokens": tokens,
            **counted,
            "message_B": message_B if link else None,
            "op_per_B": finite(self.op_per_B),
            "ridge_op_per_B": self.ridges,
            "unit_s": self.seconds,
            "unit": "link" if link else self.names[self.chosen],
            "bound": self.bound,
            "why": self.why(),
            **times,
            "launch_s": float(rows[LAUNCH_S]),
            "time_s": float(rows[SECONDS]),
            "busy_s": float(rows[BUSY_S]),
            "energy_J": finite(float(rows[JOULES].sum())),
        }

    def why(self) -> str:
        """The reason for the choice of the processor, in words."""
        op, program = self.op, self.prepared.program
        if self.chosen < 0:
            return self._why_link()
        name = self.names[self.chosen]
        if op.kind == Kind.PIPELINE:
            return _why_line(self.record, self.step.features, program.graph.layers)
        where = f"{self.op_per_B:.3g} Op/B at a ridge of {self.ridges[name]:.3g}"
        where += f": {self.bound}-bound"
        if op.kind == Kind.EXPERTS and op.concurrent:
            rows = self.step.rows[self.index]
            share = 100.0 * float(rows[PAIR_SHARE])
            hidden = "" if rows[SECONDS] > 0.0 else ", while the other unit is waited for"
            return f"has {share:.3g} % of the token-expert pairs{hidden}; {where}"
        if int(self.record["pinned"]) >= 0:
            return f"placement pins {op.operator_class} to {name}"
        if len(self.names) == 1:
            return where
        others = {other: seconds for other, seconds in self.seconds.items() if other != name}
        if not others:
            return f"only {name} runs {op.operator_class}; {where}"
        rival = min(others, key=lambda other: others[other])
        ratio = others[rival] / self.seconds[name]
        digits = 2 if ratio >= 1.1 else 3
        return f"{ratio:.{digits}g}x faster than {rival}; {where}"

    def _why_link(self) -> str:
        """Which link it takes, and between whom."""
        op, system, split = self.op, self.prepared.program.system, self.prepared.program.split
        if op.side and split is not None:
            return f"to the other side over {split.link.name}, busiest device"
        link = system.network if op.across_nodes else system.device.link
        return f"{op.collective} over {op.group} devices on {link.name if link else 'no link'}"


def _ridge(unit: np.void, arithmetic: int, asked: Floats) -> float:
    """Op/B above which the unit's peak, not its memory, is the limit.

    Where weights, KV and activations lie in memories of their own, of the bytes `asked` for.
    """
    speeds = (unit[f"{kind}_B_per_s"] for kind in ("weights", "kv", "activations"))
    seconds = sum(size / speed for size, speed in zip(asked[1:], speeds, strict=True))
    return float(unit["flop_per_s"][arithmetic] * seconds / asked[1:].sum())


def _arithmetic_name(arithmetic: int) -> str:
    return "vector" if arithmetic == VECTOR else COMPUTE[arithmetic]


WAITS = (
    "a token alone takes longer",
    "the slowest stage paces them",
    "attention paces them",
    "the busiest link paces them",
    "keys and values from HBM pace them",
)
"""What tokens in a pipeline wait for longest, in the order of `kernel.laws.PipelineWaits`."""


def _why_line(record: np.void, features: Floats, layers: int) -> str:
    """What the tokens in a pipeline wait for; `features` [stream, phase, feature]."""
    phase = int(record["phase"])
    seen, windowed = features[int(record["stream"])], features[int(record["windowed"])]
    tokens, pairs = float(seen[phase, TOKENS]), float(seen[phase, PAIRS])
    answers = float(seen[LOGITS, TOKENS])
    waits = pipeline_waits(
        record["pipeline"], tokens, pairs, float(windowed[phase, PAIRS]), answers
    )
    reason = WAITS[waits.index(max(waits))]
    return f"{tokens:g} tokens one behind the other through {layers} layers: {reason}"
