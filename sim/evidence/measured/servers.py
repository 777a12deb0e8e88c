"""Servers: a model on a system under a runtime, prepared once and asked for many measured rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from sim.dtypes import Precision
from sim.engines.scheduler import Scheduler
from sim.errors import ConfigError, Infeasible
from sim.evidence.measured import replay
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.edge import runtime_of
from sim.evidence.measured.formats import FOLDS, Unsupported, fold_of, rows
from sim.evidence.measured.named import model_named, supported_device
from sim.evidence.measured.replay import Floats, Ints, Replayed
from sim.hardware import System
from sim.hardware.runtime import Habits, Runtime, applied
from sim.mapping.layout import Parallel
from sim.mapping.program import Program
from sim.scenario import Scenario
from sim.simulation.prepare import prepare
from sim.workload.traffic import Trace

MOST_TOKENS: Final = 4096
"""Prompt and answer of the longest request that activations must have room for."""


def scheduler_of(habits: Habits, token_budget: int | None = None) -> Scheduler:
    """The scheduler of a runtime, with another budget where a benchmark sets one."""
    budget = token_budget or habits.token_budget
    return Scheduler(
        kind=habits.kind,
        max_batch=habits.max_batch,
        token_budget=budget,
        max_prefill_tokens=budget,
        memory_utilization=habits.utilization * (1.0 - habits.held),
        kv_reserve=habits.kv_reserve,
        watermark=habits.watermark,
    )


def habits_of(runtime: Runtime) -> Habits:
    """Habits of a server; Unsupported for a runtime that is none."""
    if runtime.habits is None:
        raise Unsupported(f"runtime {runtime.name} is no server")
    return runtime.habits


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which server: text of a model, library name of a device, degrees, formats and runtime."""

    model: str
    device: str
    runtime: str
    tp: int = 1
    pp: int = 1
    precision: Precision = field(default_factory=Precision)
    max_batch: int | None = None
    token_budget: int | None = None


@dataclass(kw_only=True, eq=False)
class Server:
    """A prepared server; answers are remembered."""

    program: Program
    scheduler: Scheduler
    habits: Habits
    kv_B: float
    known: dict[tuple[object, ...], Replayed] = field(default_factory=dict)

    def clients(
        self, concurrency: int, prompt: int, output: int, *, spread: float = 0.0
    ) -> Replayed:
        """Requests of `concurrency` clients, as many as the habits say of each, of one length.

        With `spread`, lengths lie evenly between 1 - spread and 1 times that.
        """
        key = ("clients", concurrency, prompt, output, spread)
        if key not in self.known:
            count = concurrency * self.habits.requests
            random = np.random.default_rng(0)
            share = 1.0 - spread * random.random((2, count))
            self.known[key] = replay.of_clients(
                self.program,
                self.scheduler,
                self.kv_B,
                concurrency,
                np.maximum((prompt * share[0]).astype(np.int64), 1),
                np.maximum((output * share[1]).astype(np.int64), 1),
                turnaround_s=self.habits.turnaround_s + self.habits.request_s,
                stagger_s=self.habits.stagger_s,
            )
        return self._seen(self.known[key])

    def together(self, batch: int, prompt: int, output: int) -> Replayed:
        """`batch` equal requests that are all there at the start."""
        key = ("together", batch, prompt, output)
        if key not in self.known:
            self.known[key] = self.replay(
                np.zeros(batch), np.full(batch, prompt), np.full(batch, output)
            )
        return self._seen(self.known[key])

    def replay(self, arrival_s: Floats, prompts: Ints, outputs: Ints) -> Replayed:
        """Requests sent at their times."""
        return replay.of_trace(self.program, self.scheduler, self.kv_B, arrival_s, prompts, outputs)

    def _seen(self, found: Replayed) -> Replayed:
        """What clients saw of a run in which every request was answered."""
        if found.lost:
            raise Unsupported(f"{found.lost} requests are longer than the memory for KV")
        request_s = self.habits.request_s
        return replace(found, ttft_s=found.ttft_s + request_s, end_s=found.end_s + request_s)


@dataclass(eq=False)
class Servers:
    """Servers by what is asked, under one set of constants.

    `tried` has runtimes that go before those of the constants: what a fit tries.
    """

    constants: Constants
    folder: Path
    tried: dict[str, Runtime] = field(default_factory=dict)
    made: dict[tuple[Asked, Runtime], tuple[Program, Scheduler, float]] = field(
        default_factory=dict
    )
    ready: dict[tuple[Asked, Runtime], Server] = field(default_factory=dict)

    def __call__(self, asked: Asked) -> Server:
        """The server; raises Unsupported or Infeasible where there can't be one."""
        runtime = self.tried.get(asked.runtime) or runtime_of(self.constants, asked.runtime)
        if (asked, runtime) not in self.ready:
            habits = habits_of(runtime)
            # what a benchmark sets of the batch, and the host, change neither program nor memory
            program, scheduler, kv_B = self._made(
                replace(asked, max_batch=None),
                replace(runtime, host_step_s=None, host_sequence_s=None),
            )
            device = applied(program.system.device, runtime)
            self.ready[asked, runtime] = Server(
                program=replay.with_host(program, device.host_step_s, device.host_sequence_s),
                scheduler=replace(scheduler, max_batch=asked.max_batch or habits.max_batch),
                habits=habits,
                kv_B=kv_B,
            )
        return self.ready[asked, runtime]

    def _made(self, asked: Asked, runtime: Runtime) -> tuple[Program, Scheduler, float]:
        if (asked, runtime) not in self.made:
            habits = habits_of(runtime)
            scheduler = scheduler_of(habits, asked.token_budget)
            devices = asked.tp * asked.pp
            longest = np.full(1, MOST_TOKENS // 2)
            ready = prepare(
                Scenario(
                    name="measured",
                    model=model_named(asked.model, self.folder),
                    system=System(
                        name=f"{asked.device}-x{devices}",
                        device=applied(self.constants.device(asked.device), runtime),
                        count=devices,
                    ),
                    traffic=Trace(
                        name="measured", arrival_s=np.zeros(1), input_tokens=longest,
                        output_tokens=longest,
                    ),
                    precision=asked.precision,
                    parallel=Parallel(tp=asked.tp, pp=asked.pp, dp=1),
                    scheduler=scheduler,
                )
            )  # fmt: skip
            kv_B = ready.budget.kv_B - habits.reserved_B
            if kv_B <= 0.0:
                raise Unsupported(f"{asked.model} on {devices} {asked.device}: no memory for KV")
            self.made[asked, runtime] = ready.program, scheduler, kv_B
        return self.made[asked, runtime]


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One measured run: what was measured, by phase, and the question whose answer predicts it."""

    device: str
    dtype: str
    runtime: str
    measured: Mapping[str, float]
    ask: Callable[[Servers], Mapping[str, float]]
    choice: str = ""
    fold: str = ""
    model: str = ""
    tp: int = 1
    clients: bool = False
    """Whether clients wait for an answer before their next request, over HTTP."""
    better: Literal["low", "high"] = "low"


def unsupported(reason: str) -> Callable[[Servers], Mapping[str, float]]:
    """A question without an answer, for a `reason`."""

    def ask(_servers: Servers) -> Mapping[str, float]:
        raise Unsupported(reason)

    return ask


def answered(case: Case, servers: Servers) -> tuple[Mapping[str, float], str]:
    """Predictions of a case by phase, or none and the reason."""
    try:
        return case.ask(servers), ""
    except Unsupported as error:
        return {}, str(error)
    except Infeasible as error:
        return {}, f"does not fit: {error}"
    except ConfigError as error:
        return {}, error.problems[0].message


def case_rows(cases: Iterable[Case], servers: Servers) -> pd.DataFrame:
    """Rows of cases, one a phase, with what `servers` say; folds are lengths and layouts."""
    made, found = answered_rows(cases, servers, parts_of)
    return found.assign(
        fold=fold_of(pd.Series([case.fold for case in made], dtype=str)),
        better=[case.better for case in made],
        degrees=[parts_of(case)["degrees"] for case in made],
        models=[parts_of(case)["models"] for case in made],
    )


def answered_rows(
    cases: Iterable[Case], servers: Servers, parts: Callable[[Case], Mapping[str, int]]
) -> tuple[list[Case], pd.DataFrame]:
    """The case of each row, and rows of cases, one a phase that was measured.

    Without a prediction where constants are not for a case of its `parts` (`Constants.are_for`).
    """
    told: list[tuple[Case, str, float, float, str]] = []
    for case in cases:
        wanted = servers.constants.are_for(parts(case))
        found, reason = answered(case, servers) if wanted else ({}, "")
        for phase, measured in case.measured.items():
            if measured > 0.0:  # blank where it wasn't measured
                told.append((case, phase, measured, found.get(phase, np.nan), reason))
    made = [each[0] for each in told]
    return made, rows(
        [each[2] for each in told],
        [each[3] for each in told],
        device=[case.device for case in made],
        phase=[each[1] for each in told],
        dtype=[case.dtype for case in made],
        reason=[each[4] for each in told],
        choice=[f"{each[0].choice}|{each[1]}" if each[0].choice else "" for each in told],
    )


def parts_of(case: Case) -> dict[str, int]:
    """Part of the tensor-parallel degrees (a power of two each) and of the models, 0..FOLDS-1."""
    plain = case.model.split("/")[-1].lower()
    return {
        "degrees": (case.tp.bit_length() - 1) % FOLDS,
        "models": int(fold_of(pd.Series([plain], dtype=str))[0]),
    }


def latencies(found: Replayed) -> dict[str, float]:
    """Mean and 99th percentile of TTFT and TPOT in seconds, and when the last answer ended."""
    tpot = found.tpot_s[np.isfinite(found.tpot_s)]
    return {
        "ttft-mean": float(found.ttft_s.mean()),
        "ttft-p99": float(np.percentile(found.ttft_s, 99)),
        "tpot-mean": float(tpot.mean()) if len(tpot) else np.nan,
        "tpot-p99": float(np.percentile(tpot, 99)) if len(tpot) else np.nan,
        "makespan": found.end_s,
    }


def formats_of(name: str) -> Precision:
    """Number formats of a server that a table calls `name`: "fp8", "bf16" ...; "" is bf16."""
    known: Mapping[str, tuple[str, str, str]] = {
        "": ("bf16", "bf16", "bf16"),
        "bf16": ("bf16", "bf16", "bf16"),
        "fp16": ("fp16", "fp16", "fp16"),
        "fp8": ("fp8", "bf16", "fp8"),
        "fp8-kv": ("fp8", "fp8", "fp8"),
        "fp8-block": ("fp8-block", "bf16", "fp8"),
        "fp8-block-kv": ("fp8-block", "fp8", "fp8"),
        "nvfp4": ("nvfp4", "fp8", "nvfp4"),
        "fp4": ("nvfp4", "fp8", "nvfp4"),
        "int4": ("int4", "bf16", "bf16"),
        "mxfp4": ("mxfp4", "bf16", "bf16"),
    }
    if name not in known:
        raise Unsupported(f"number format {name}")
    weights, kv, activations = known[name]
    return Precision(weights=weights, kv=kv, activations=activations)


def lognormal(
    mean: float, deviation: float, most: int, count: int, seed: Sequence[int]
) -> npt.NDArray[np.int64]:
    """`count` log-normal lengths of a mean, none above `most`."""
    variance = np.log1p((deviation / mean) ** 2)
    random = np.random.default_rng(np.random.SeedSequence(list(seed)))
    drawn = np.exp(random.normal(np.log(mean) - variance / 2.0, np.sqrt(variance), count))
    drawn *= mean / np.minimum(drawn, most).mean()
    return np.clip(np.rint(drawn), 1, most).astype(np.int64)


def rows_of(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows of a table, their columns as attributes."""
    yield from frame.itertuples()


def device_known(text: str) -> tuple[str, str]:
    """Library name of a device and no reason, or the table's text and the reason why not."""
    try:
        return supported_device(text), ""
    except Unsupported as error:
        return text, str(error)


def run_of(
    reason: str, ask: Callable[[Servers], Mapping[str, float]]
) -> Callable[[Servers], Mapping[str, float]]:
    """`ask`, or what tells the `reason` why it can't be asked."""
    return unsupported(reason) if reason else ask


def number(value: Any) -> float:
    """A number of a table; 0 where it is blank."""
    return float(value) if pd.notna(value) else 0.0
