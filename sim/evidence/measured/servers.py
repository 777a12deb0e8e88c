"""Servers: a model on a system under a runtime, prepared once and asked for many measured rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from sim.dtypes import Precision
from sim.engines.scheduler import Scheduler
from sim.errors import ConfigError, Infeasible
from sim.evidence.measured import replay
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.formats import FOLDS, Better, Unsupported, fold_of, rows
from sim.evidence.measured.lookups import Row
from sim.evidence.measured.replay import Floats, Ints, Replayed
from sim.evidence.measured.spellings import model_named, spellings
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
class Deployment:
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

    def clients(self, concurrency: int, prompt: int, output: int) -> Replayed:
        """Requests of `concurrency` clients, as many as the habits say of each, of one length."""
        key = ("clients", concurrency, prompt, output)
        if key not in self.known:
            count = concurrency * self.habits.requests
            self.known[key] = replay.of_clients(
                self.program,
                self.scheduler,
                self.kv_B,
                concurrency,
                np.full(count, prompt),
                np.full(count, output),
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

    def _seen(self, replayed: Replayed) -> Replayed:
        """What clients saw of a run in which every request was answered."""
        if replayed.lost:
            raise Unsupported(f"{replayed.lost} requests are longer than the memory for KV")
        request_s = self.habits.request_s
        return replace(
            replayed, ttft_s=replayed.ttft_s + request_s, end_s=replayed.end_s + request_s
        )


@dataclass(eq=False)
class Servers:
    """Servers by their deployment, under one set of constants.

    `tried` has runtimes that go before those of the constants: what a fit tries.
    """

    constants: Constants
    folder: Path
    tried: dict[str, Runtime] = field(default_factory=dict)
    programs: dict[tuple[Deployment, Runtime], tuple[Program, Scheduler, float]] = field(
        default_factory=dict
    )
    prepared: dict[tuple[Deployment, Runtime], Server] = field(default_factory=dict)

    def __call__(self, deployment: Deployment) -> Server:
        """The server; raises Unsupported or Infeasible where there can't be one."""
        name = deployment.runtime
        runtime = self.tried.get(name) or self.constants.of_runtime(name)
        if (deployment, runtime) not in self.prepared:
            habits = habits_of(runtime)
            # what a benchmark sets of the batch, and the host, change neither program nor memory
            program, scheduler, kv_B = self._program(
                replace(deployment, max_batch=None),
                replace(runtime, host_step_s=None, host_sequence_s=None),
            )
            device = applied(program.system.device, runtime)
            self.prepared[deployment, runtime] = Server(
                program=replay.with_host(program, device.host_step_s, device.host_sequence_s),
                scheduler=replace(scheduler, max_batch=deployment.max_batch or habits.max_batch),
                habits=habits,
                kv_B=kv_B,
            )
        return self.prepared[deployment, runtime]

    def _program(
        self, deployment: Deployment, runtime: Runtime
    ) -> tuple[Program, Scheduler, float]:
        """Program, scheduler and memory for keys and values, prepared once."""
        if (deployment, runtime) in self.programs:
            return self.programs[deployment, runtime]
        habits = habits_of(runtime)
        scheduler = scheduler_of(habits, deployment.token_budget)
        name, devices = deployment.device, deployment.tp * deployment.pp
        longest = np.full(1, MOST_TOKENS // 2)
        prepared = prepare(
            Scenario(
                name="measured",
                model=model_named(deployment.model, self.folder),
                system=System(
                    name=f"{name}-x{devices}",
                    device=applied(self.constants.device(name), runtime),
                    count=devices,
                ),
                traffic=Trace(
                    name="measured", arrival_s=np.zeros(1), input_tokens=longest,
                    output_tokens=longest,
                ),
                precision=deployment.precision,
                parallel=Parallel(tp=deployment.tp, pp=deployment.pp, dp=1),
                scheduler=scheduler,
            )
        )  # fmt: skip
        kv_B = prepared.budget.kv_B - habits.reserved_B
        if kv_B <= 0.0:
            raise Unsupported(f"{deployment.model} on {devices} {name}: no memory for KV")
        self.programs[deployment, runtime] = prepared.program, scheduler, kv_B
        return self.programs[deployment, runtime]


Question = Callable[[Servers], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One measured run: what was measured, by phase, and the question whose answer predicts it.

    `parts` says which part of the models, and of the degrees where these are left out too, a row
    belongs to. `clients`: they wait for an answer before their next request, over HTTP.
    """

    device: str
    dtype: str
    runtime: str
    measured: Mapping[str, float]
    ask: Question
    choice: str = ""
    fold: str = ""
    parts: Mapping[str, int] = field(default_factory=dict)
    clients: bool = False
    better: Better = "low"


def unsupported(reason: str) -> Question:
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
    """Rows of cases, one a phase that was measured, with what `servers` say.

    Without a prediction where constants are not for a case of its parts (`Constants.are_for`).
    """
    phases: list[tuple[Case, str, float, float, str]] = []
    for case in cases:
        wanted = servers.constants.are_for(case.parts)
        answers, reason = answered(case, servers) if wanted else ({}, "")
        for phase, measured in case.measured.items():
            if measured > 0.0:  # blank where it wasn't measured
                phases.append((case, phase, measured, answers.get(phase, np.nan), reason))
    of = [case for case, *_ in phases]
    kinds = dict.fromkeys(kind for case in of for kind in case.parts)
    return rows(
        [measured for _, _, measured, _, _ in phases],
        [predicted for _, _, _, predicted, _ in phases],
        device=[case.device for case in of],
        phase=[phase for _, phase, *_ in phases],
        dtype=[case.dtype for case in of],
        reason=[reason for *_, reason in phases],
        fold=fold_of(pd.Series([case.fold for case in of], dtype=str)),
    ).assign(
        choice=[f"{case.choice}|{phase}" if case.choice else "" for case, phase, *_ in phases],
        better=[case.better for case in of],
        **{kind: [case.parts.get(kind, 0) for case in of] for kind in kinds},
    )


def parts_of(model: str, tp: int) -> dict[str, int]:
    """Part of the tensor-parallel degrees (a power of two each) and of the models, 0..FOLDS-1."""
    plain = model.split("/")[-1].lower()
    return {
        "degrees": (tp.bit_length() - 1) % FOLDS,
        "models": int(fold_of(pd.Series([plain], dtype=str))[0]),
    }


def latencies(replayed: Replayed) -> dict[str, float]:
    """Mean and 99th percentile of TTFT and TPOT in seconds, and when the last answer ended."""
    tpot = replayed.tpot_s[np.isfinite(replayed.tpot_s)]
    return {
        "ttft-mean": float(replayed.ttft_s.mean()),
        "ttft-p99": float(np.percentile(replayed.ttft_s, 99)),
        "tpot-mean": float(tpot.mean()) if len(tpot) else np.nan,
        "tpot-p99": float(np.percentile(tpot, 99)) if len(tpot) else np.nan,
        "makespan": replayed.end_s,
    }


def precision_of(name: str) -> Precision:
    """Number formats of a server that a table calls `name`: "fp8", "bf16" ...; "" is bf16."""
    known = spellings("servers").get(name)
    if known is None:
        raise Unsupported(f"number format {name}")
    weights, kv, activations = known
    return Precision(weights=weights, kv=kv, activations=activations)


def degree_of(row: Row) -> int:
    """Devices that share each product, whose dies are devices where software sees them so."""
    return 1 if row["piecewise"] else int(row["tp"] or 1) * int(row["dies"] or 1)


def deployment_of(row: Row) -> Deployment:
    """The server that a row of a table names.

    One that works `piecewise` takes `batch` tokens of a prompt at a time, on devices in a row; one
    for `whole_prompts` those of a batch at once.
    """
    budget, stages = row["token_budget"] or None, int(row["pp"] or 1)
    if row["piecewise"]:
        budget, stages = int(row["batch"]), int(row["tp"])
    elif row["whole_prompts"]:
        budget = int(row["batch"]) * int(row["prompt"])
    return Deployment(
        model=str(row["asked"] or row["model"]),
        device=str(row["device"]),
        runtime=str(row["runtime"]),
        tp=degree_of(row),
        pp=stages,
        precision=precision_of(str(row["formats"] or row["dtype"])),
        max_batch=row["max_batch"] or None,
        token_budget=budget,
    )


def lognormal(
    mean: float, deviation: float, most: int, count: int, seed: Sequence[int]
) -> npt.NDArray[np.int64]:
    """`count` log-normal lengths of a mean, none above `most`."""
    variance = np.log1p((deviation / mean) ** 2)
    random = np.random.default_rng(np.random.SeedSequence(list(seed)))
    drawn = np.exp(random.normal(np.log(mean) - variance / 2.0, np.sqrt(variance), count))
    drawn *= mean / np.minimum(drawn, most).mean()
    return np.clip(np.rint(drawn), 1, most).astype(np.int64)
