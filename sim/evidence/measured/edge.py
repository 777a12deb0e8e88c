"""Cases: single measurements of models on edge devices, predicted with the closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from sim.config import library
from sim.config.catalogue import load_device
from sim.config.runtime_form import load_runtime
from sim.dtypes import COMPUTE, Precision
from sim.engines.roofline import Batch, step
from sim.errors import ConfigError, Infeasible
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.formats import Better, Unsupported, fold_of, rows
from sim.evidence.measured.tables import Table
from sim.graph import Kind, Op, Phase
from sim.hardware import Device, System
from sim.hardware.records import fill_machine, processor_records
from sim.hardware.runtime import Runtime, applied
from sim.mapping.assemblies import assemble
from sim.mapping.layout import Parallel
from sim.mapping.parallelism import plan
from sim.mapping.program import Program
from sim.workload.architecture import Architecture
from sim.workload.layers import build_graph

Q4_0, Q8_0, Q4_K, Q5_K, Q6_K = 18 / 4, 34 / 4, 4.5, 5.5, 6.5625
"""Bits a weight of ggml's blocks: 18 and 34 bytes for 32 weights; 144, 176 and 210 for 256."""
FORMATS: Final = {
    "fp32": (32.0, 32.0),
    "f16": (16.0, 16.0),
    "bf16": (16.0, 16.0),
    "q8_0": (Q8_0, Q8_0),
    "q4_0": (Q4_0, Q6_K),
    "q4_0-qat": (Q4_0, Q8_0),
    "q4_k_m": (Q4_K, Q6_K),
    "q4f16": (4.5, 4.5),
    "int4-g32": (4.5, 8.0),
}
"""Bits a weight of layers and of the head, by format. A QAT file keeps its table in 8 bits."""
SHARE_AT_SIX: Final = 0.5
"""Of q4_k_m, half of the layers keep ffn_down and values in 6 bits; of 80 layers, values in 5."""
MANY_LAYERS: Final = 80


@dataclass(frozen=True, kw_only=True, eq=False)
class Timing:
    """One measured value and the iterations that are to be timed for it.

    `batches` come with how often each runs. `produced` is what they give, tokens or images, for
    a rate; None for a time. On `stages` devices in a row, whose host works for one after the
    other, the iterations of a prompt follow one another through them (`pipelined`). `choice` names
    the work, of which devices are the options.
    """

    measured: float
    device: str
    phase: str
    dtype: str
    runtime: str
    fold: str
    program: Program | None = None
    batches: tuple[tuple[Batch, float], ...] = ()
    produced: float | None = None
    stages: int = 1
    pipelined: bool = False
    reason: str = ""
    choice: str = ""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a model is run: library names of device and runtime, kind of processor, number formats.

    `arithmetic` of products, where it isn't the formats': llama.cpp quantises activations to 8
    bits, or accumulates in fp16, which is half that rate on every tensor core since Ampere: a
    share of int8 either way. `repeats_kv`: keys and values are read once for every query head.
    `expands`: the products of prompts first write their quantised weights in fp16.
    """

    device: str
    runtime: str
    dtype: str
    processor: str = "gpu"
    stages: int = 1
    arithmetic: str = ""
    repeats_kv: bool = False
    expands: bool = False


@dataclass(eq=False)
class Known:
    """Units and machine of devices under one set of constants, made once."""

    constants: Constants
    made: dict[tuple[str, str, str], tuple[npt.NDArray[np.void], Device]] = field(
        default_factory=dict
    )

    def program(self, case: Timing) -> Program:
        """The case's program with the runtime's numbers."""
        program = case.program
        assert program is not None
        device = program.system.device
        key = (device.name, device.processors[0].name, case.runtime)
        if key not in self.made:
            ready = applied(device, runtime_of(self.constants, case.runtime))
            self.made[key] = processor_records(ready), ready
        units, ready = self.made[key]
        machine = program.machine.copy()
        fill_machine(machine, ready)
        machine["host_step_s"] *= case.stages
        return replace(program, units=units, machine=machine)


def runtime_of(constants: Constants, name: str) -> Runtime:
    """A runtime: of the constants that are tried, of the file that has seen less, or as it is."""
    if name in constants.runtimes:
        return constants.runtimes[name]
    held_out = library.folder("runtimes") / "held-out" / f"{name}.without-{constants.without}.yaml"
    return load_runtime(str(held_out) if held_out.is_file() else name)


@cache
def device_on(name: str, kind: str) -> Device:
    """A device with its first processor of a kind alone; Unsupported where it has none."""
    try:
        device = load_device(name)
    except ConfigError as error:
        raise Unsupported(f"no device {name}") from error
    able = [each for each in device.processors if each.kind == kind]
    if not able:
        raise Unsupported(f"{device.title} has no processor of kind {kind}")
    return replace(device, processors=(able[0],), sources={})


def program_of(model: Architecture, setting: Setting) -> Program:
    """The program of a model in a setting, without the runtime's numbers."""
    device = device_on(setting.device, setting.processor)
    stages = setting.stages
    system = System(name=device.name, device=device, count=stages, devices_per_node=max(stages, 1))
    graph = build_graph(model)
    if setting.expands:
        graph = graph.rewrite(lambda op: _expanded(op, setting.dtype, len(model.layers)))
    wide = "fp32" if setting.dtype == "fp32" else "fp16"
    try:
        layout = plan(graph, system, Parallel(tp=1, pp=stages, dp=1))
        program = assemble(
            graph, system, layout, Precision(weights=wide, kv=wide, activations=wide)
        )
    except (ConfigError, Infeasible) as error:
        raise Unsupported(str(error)) from error
    _requantise(program, setting, len(model.layers))
    return program


def _requantise(program: Program, setting: Setting, layers: int) -> None:
    """Bytes of weights as the setting's format has them; arithmetic and cache as it uses them."""
    wide = 32.0 if setting.dtype == "fp32" else 16.0
    for op, record in zip(program.table.graph.ops, program.table.records, strict=True):
        if op.kind == Kind.MATMUL:
            record["weight_B"] *= bits(setting.dtype, op, layers) / wide
            if setting.arithmetic:
                record["arithmetic"] = COMPUTE.index(setting.arithmetic)
        if op.kind == Kind.ATTENTION and setting.repeats_kv:
            record["kv_B_per_cached"] *= max(op.heads / max(op.kv_heads, 1), 1.0)


def _expanded(op: Op, dtype: str, layers: int) -> tuple[Op, ...]:
    """`op`, behind one that reads its weights, writes them in fp16, and reads them for it."""
    if op.kind != Kind.MATMUL or op.phase != Phase.ALL:
        return (op,)
    moved = bits(dtype, op, layers) / 16.0 + 2.0
    return (
        Op(
            name=f"{op.name}_expansion", kind=Kind.VECTOR, operator_class="norm", owned=False,
            layers=op.layers, stream=op.stream, phase=Phase.PREFILL, weights=op.weights * moved,
            layer_indices=op.layer_indices,
        ),
        op,
    )  # fmt: skip


def bits(dtype: str, op: Op, layers: int) -> float:
    """Mean bits of a weight of `op` in a format of a model with so many layers."""
    inner, head = FORMATS[dtype]
    if op.name == "lm_head":
        return head
    if dtype != "q4_k_m":
        return inner
    if op.name == "ffn_down":
        return inner + SHARE_AT_SIX * (Q6_K - inner)
    if op.name == "qkv":
        values = op.kv_width / 2 / (op.width + op.kv_width)
        at_values = Q5_K if layers >= MANY_LAYERS else inner + SHARE_AT_SIX * (Q6_K - inner)
        return inner + values * (at_values - inner)
    return inner


def seconds_of(case: Timing, known: Known) -> float:
    """Predicted seconds of a case; NaN for one without a program."""
    if case.program is None:
        return float("nan")
    program = known.program(case)
    times = [(step(program, batch).seconds, count) for batch, count in case.batches]
    total = sum(seconds * count for seconds, count in times)
    if case.pipelined and case.stages > 1:
        return (total + (case.stages - 1) * times[0][0]) / case.stages
    return total


def predicted(cases: Sequence[Timing], constants: Constants) -> npt.NDArray[np.float64]:
    """What each case's value is predicted to be: a rate, or seconds."""
    known = Known(constants)
    seconds = np.array([seconds_of(case, known) for case in cases])
    made = np.array([np.nan if case.produced is None else case.produced for case in cases])
    return np.where(np.isnan(made), seconds, made / seconds)


def cases_in(table: Table, build: Callable[[Table], list[Timing]]) -> list[Timing]:
    """The cases of a table, built once: a fit predicts them again and again."""
    if "cases" not in table.built:
        table.built["cases"] = build(table)
    cases: list[Timing] = table.built["cases"]
    return cases


def case_rows(
    cases: Sequence[Timing], constants: Constants, *, better: Better, scale: float = 1.0
) -> pd.DataFrame:
    """Rows of predictions, the predicted values times `scale` in the unit of the table."""
    values = predicted(cases, constants) * scale
    missing = ["" if case.program is not None else case.reason for case in cases]
    return rows(
        [case.measured for case in cases],
        values,
        device=[case.device for case in cases],
        phase=[case.phase for case in cases],
        dtype=[case.dtype for case in cases],
        reason=missing,
        choice=[case.choice for case in cases],
        better=better,
        fold=fold_of(pd.Series([case.fold for case in cases])),
    )


def prompts(tokens: int, most: int, past: int = 0, sequences: int = 1) -> list[tuple[Batch, float]]:
    """Iterations that process prompts of `tokens` behind `past`, `most` tokens at a time."""
    total = past + tokens
    together = max(min(most // tokens, sequences), 1)
    found: list[tuple[Batch, float]] = []
    for begin in range(past, total, most):
        chunk = min(most, total - begin)
        batch = Batch(prompts=((total, begin, chunk),) * together)
        found.append((batch, sequences / together))
    return found
