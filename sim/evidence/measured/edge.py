"""Cases: single measurements of models on edge devices, predicted with the closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pandas as pd

from sim.config.catalogue import load_device
from sim.dtypes import COMPUTE, Precision
from sim.engines.roofline import Batch, step
from sim.errors import ConfigError, Infeasible
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.formats import Better, Unsupported, fold_of, rows
from sim.evidence.measured.spellings import spellings
from sim.graph import Kind, Op, Phase
from sim.hardware import Device, System
from sim.hardware.records import fill_machine, processor_records
from sim.hardware.runtime import applied
from sim.mapping.assemblies import assemble
from sim.mapping.layout import Parallel
from sim.mapping.parallelism import plan
from sim.mapping.program import Program
from sim.workload.architecture import Architecture
from sim.workload.layers import build_graph

Batches = tuple[tuple[Batch, float], ...]


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
    batches: Batches = ()
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
    devices: dict[tuple[str, str, str], tuple[npt.NDArray[np.void], Device]] = field(
        default_factory=dict
    )

    def program(self, case: Timing) -> Program:
        """The case's program with the runtime's numbers."""
        program = case.program
        assert program is not None
        device = program.system.device
        key = (device.name, device.processors[0].name, case.runtime)
        if key not in self.devices:
            device = applied(device, self.constants.of_runtime(case.runtime))
            self.devices[key] = processor_records(device), device
        units, device = self.devices[key]
        machine = program.machine.copy()
        fill_machine(machine, device)
        machine["host_step_s"] *= case.stages
        return replace(program, units=units, machine=machine)


@cache
def device_on(name: str, kind: str) -> Device:
    """A device with its first processor of a kind alone; Unsupported where it has none."""
    try:
        device = load_device(name)
    except ConfigError as error:
        raise Unsupported(f"no device {name}") from error
    able = [processor for processor in device.processors if processor.kind == kind]
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
    known = spellings("bits")
    inner, head = known[dtype]
    if op.name == "lm_head":
        return float(head)
    mixed, extra = known["mixed"], 0.0
    half_wide = mixed["share"] * (mixed["wide"] - inner)
    if dtype == "q4_k_m" and op.name == "ffn_down":
        extra = half_wide
    if dtype == "q4_k_m" and op.name == "qkv":
        values = op.kv_width / 2 / (op.width + op.kv_width)
        extra = values * (mixed["values"] - inner if layers >= mixed["layers"] else half_wide)
    return float(inner + extra)


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
    counts = np.array([np.nan if case.produced is None else case.produced for case in cases])
    return np.where(np.isnan(counts), seconds, counts / seconds)


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
        fold=fold_of(pd.Series([case.fold for case in cases])),
    ).assign(choice=[case.choice for case in cases], better=better)


def prompts(tokens: int, most: int, past: int = 0, sequences: int = 1) -> list[tuple[Batch, float]]:
    """Iterations that process prompts of `tokens` behind `past`, `most` tokens at a time."""
    total = past + tokens
    together = max(min(most // tokens, sequences), 1)
    batches: list[tuple[Batch, float]] = []
    for begin in range(past, total, most):
        chunk = min(most, total - begin)
        batch = Batch(prompts=((total, begin, chunk),) * together)
        batches.append((batch, sequences / together))
    return batches
