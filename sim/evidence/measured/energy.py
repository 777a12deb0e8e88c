"""Energy: joules a token and watts that servers of GPUs drew, as questions to `servers`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
import pandas as pd

from sim.engines.serving.simulation import Served, serve_closed, serve_trace
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.formats import Format
from sim.evidence.measured.server_tables import ARGONNE, argonne_device
from sim.evidence.measured.servers import (
    Asked,
    Case,
    Server,
    Servers,
    answered_rows,
    device_known,
    formats_of,
    rows_of,
    run_of,
)
from sim.evidence.measured.tables import Table
from sim.hardware import Device
from sim.hardware.records import fill_machine, processor_records
from sim.mapping.program import Program
from sim.results.metrics import Measurement
from sim.results.statistics import spread
from sim.scenario import Slo
from sim.workload.traffic import Closed, Constant, Trace

PROMPTS: Final[Mapping[str, int]] = {"lm-arena-chat": 300, "gpqa": 250, "sourcegraph-fim": 300}
"""Prompt tokens by task of ML.ENERGY, whose tables have none: what chats and multiple-choice
questions with their instructions take, assumed and not checked against the data sets. No row we
have is of sourcegraph-fim. A prompt is a small part of a request."""
RUNTIME: Final = "vllm-0.12"
"""The tables don't say which vLLM ran. Of our two, this one is nearer to the rates of the same rows
(median 10 % against 15 %), so it was chosen on them."""
FAMILIES: Final = ("llama", "qwen", "gemma")
"""Models that are left out together; what is none of these is the fourth part."""
ENERGIES: Final = ("J_per_flop", "weights_J_per_B", "kv_J_per_B", "activations_J_per_B")


def server_of(servers: Servers, asked: Asked) -> Server:
    """The server with the energies that the constants of `servers` say now.

    A fit tries energies on servers that are prepared already: their times stay.
    """
    server = servers(asked)
    device = servers.constants.device(asked.device)
    return replace(server, program=with_energies(server.program, device), known={})


def with_energies(program: Program, device: Device) -> Program:
    """`program` with energies and static power of `device`, whose times it keeps."""
    units, machine, own = program.units.copy(), program.machine.copy(), program.machine.copy()
    found = processor_records(device)
    for name in ENERGIES:
        units[name] = found[name]
    fill_machine(own, device)
    machine["static_W"], machine["limit_W"] = own["static_W"], own["limit_W"]
    return replace(program, units=units, machine=machine)


def metered(server: Server, served: Served) -> dict[str, float]:
    """Watts of all devices and joules a generated token, from what the engine counted."""
    window, machine = served.window, server.program.machine[0]
    seconds = window.until_s - window.from_s
    static_W = float(machine["static_W"] * machine["devices"])
    joules = window.operator_joules + static_W * seconds
    return {"power": joules / seconds, "energy": joules / window.generated_tokens}


# --- ML.ENERGY: closed loops at the batch that ran -----------------------------------------------


def mlenergy_cases(table: Table) -> Iterator[Case]:
    """ML.ENERGY's runs: joules a generated token, watts of all GPUs, median ms between tokens."""
    for row in rows_of(table.frame):
        device, reason = device_known(str(row.gpu_model))
        task = str(row.task)
        if task not in PROMPTS:
            reason = reason or f"prompts of {task} are not known"
        if int(row.num_gpus) != int(row.tensor_parallel):
            reason = reason or "data-parallel attention"
        yield Case(
            device=device,
            dtype=str(row.weight_precision),
            runtime=RUNTIME,
            measured={
                "energy": float(row.energy_per_token_joules),
                "power": float(row.avg_power_watts),
                "itl": float(row.median_itl_ms),
            },
            ask=run_of(reason, partial(
                _steady, model=str(row.model_id), device=device, tp=int(row.num_gpus),
                dtype=_dtype(str(row.weight_precision)), batch=float(row.avg_batch_size),
                prompt=PROMPTS.get(task, 0), output=float(row.avg_output_len),
            )),
            choice=f"{task}|{row.model_id}|{row.num_gpus}",
            fold=str(row.model_id),
        )  # fmt: skip


def _dtype(name: str) -> str:
    return {"bfloat16": "bf16", "float16": "fp16"}.get(name, name)


def _steady(
    servers: Servers, *, model: str, device: str, tp: int, dtype: str,
    batch: float, prompt: int, output: float,
) -> Mapping[str, float]:  # fmt: skip
    """As many clients as ran on average, from requests at any progress, for one turn of each."""
    server = server_of(
        servers,
        Asked(model=model, device=device, runtime=RUNTIME, tp=tp, precision=formats_of(dtype)),
    )
    clients = max(round(batch), 1)
    length = Constant(tokens=1)
    loop = Closed(
        concurrency=clients, requests=clients, input=length, output=length, start="steady"
    )
    served = serve_closed(
        server.program, server.scheduler, server.kv_B, loop, np.full(2 * clients, prompt),
        np.full(2 * clients, round(output)), 0,
    )  # fmt: skip
    requests = served.outcomes[0].requests
    gap_s = spread(*Measurement(served=served, requests=requests, slo=Slo()).gaps)["p50"]
    assert gap_s is not None
    return {**metered(server, served), "itl": gap_s * 1e3}


# --- batches that start together ------------------------------------------------------------------


def _together(server: Server, batch: int, prompt: int, output: int) -> Served:
    trace = Trace(
        name="measured", arrival_s=np.zeros(batch), input_tokens=np.full(batch, prompt),
        output_tokens=np.full(batch, output),
    )  # fmt: skip
    return serve_trace(server.program, server.scheduler, server.kv_B, trace)


def argonne_power_cases(table: Table) -> Iterator[Case]:
    """Argonne's batches: seconds; watts, and joules a token of prompt and answer, of the GPU alone.

    Power of whole nodes counts idle GPUs, which nothing here runs: of those rows only times count.
    """
    for row in rows_of(table.frame):
        device, reason = argonne_device(str(row.hardware))
        runtime = ARGONNE.get(str(row.framework), "")
        reason = reason or ("" if runtime else f"runtime {row.framework}")
        measured = {"latency": float(row.latency_s)}
        if str(row.power_scope) == "device":
            measured |= {"power": float(row.avg_power_w), "energy": float(row.energy_j_per_token)}
        yield Case(
            device=device,
            dtype="fp16",
            runtime=runtime,
            measured=measured,
            ask=run_of(reason, partial(
                _batch, model=str(row.model), device=device, runtime=runtime,
                tp=int(row.num_devices), batch=int(row.batch), length=int(row.io_len),
            )),
            choice=f"{row.framework}|{row.model}",
            fold=str(row.model),
        )  # fmt: skip


def _batch(
    servers: Servers, *, model: str, device: str, runtime: str, tp: int,
    batch: int, length: int,
) -> Mapping[str, float]:  # fmt: skip
    server = server_of(
        servers,
        Asked(model=model, device=device, runtime=runtime, tp=tp, precision=formats_of("fp16")),
    )
    served = _together(server, batch, length, length)
    found = metered(server, served)
    seconds = served.window.until_s - served.window.from_s
    per_token = found["power"] * seconds / (2 * batch * length)
    return {"latency": seconds, "power": found["power"], "energy": per_token}


def splitwise_power_cases(table: Table) -> Iterator[Case]:
    """Splitwise's batches: mean power of a run as a share of the rated power."""
    for row in rows_of(table.frame):
        device, reason = device_known(str(row.hardware))
        yield Case(
            device=device,
            dtype="fp16",
            runtime="vllm-2023",
            measured={"power-share": float(row.avg_power_frac)},
            ask=run_of(reason, partial(
                _share, model=str(row.model), device=device, tp=int(row.tensor_parallel),
                batch=int(row.batch_size), prompt=int(row.prompt_size),
                output=int(row.token_size),
            )),
            fold=str(row.model),
        )  # fmt: skip


def _share(
    servers: Servers, *, model: str, device: str, tp: int, batch: int,
    prompt: int, output: int,
) -> Mapping[str, float]:  # fmt: skip
    server = server_of(
        servers,
        Asked(
            model=model, device=device, runtime="vllm-2023", tp=tp, precision=formats_of("fp16"),
            token_budget=batch * prompt,
        ),
    )  # fmt: skip
    machine = server.program.machine[0]
    rated_W = float(machine["limit_W"] * machine["devices"])
    served = _together(server, batch, prompt, output)
    return {"power-share": metered(server, served)["power"] / rated_W}


# --- rows -----------------------------------------------------------------------------------------


def part_of(model: str) -> int:
    """Which of the parts a model is left out with: its family's."""
    name = model.split("/")[-1].lower()
    return next((n for n, each in enumerate(FAMILIES) if name.startswith(each)), len(FAMILIES))


def energy_rows(cases: Iterable[Case], servers: Servers) -> pd.DataFrame:
    """Rows of cases, one a phase, with what `servers` say; folds are families of models."""
    made, found = answered_rows(cases, servers, lambda case: {"models": part_of(case.fold)})
    return found.assign(fold=[part_of(case.fold) for case in made])


def cases_of(table: Table) -> list[Case]:
    """Cases of a table that has power in it, made once."""
    if "energy" not in table.built:
        name = f"{table.dataset}/{table.name}"
        build = next(each for pattern, _, each in _KINDS if re.fullmatch(pattern, name))
        table.built["energy"] = list(build(table))
    made: list[Case] = table.built["energy"]
    return made


def predict(table: Table, constants: Constants) -> pd.DataFrame:
    """Every row of a table: times and energies under `constants`."""
    return energy_rows(cases_of(table), Servers(constants, table.folder))


_KINDS: Final[tuple[tuple[str, tuple[str, ...], Callable[[Table], Iterator[Case]]], ...]] = (
    (r"energy/mlenergy_.+", (
        "task", "model_id", "weight_precision", "gpu_model", "num_gpus", "tensor_parallel",
        "avg_batch_size", "avg_output_len", "median_itl_ms", "avg_power_watts",
        "energy_per_token_joules",
    ), mlenergy_cases),
    (r"energy/argonne_power_.+", (
        "hardware", "num_devices", "framework", "model", "io_len", "batch", "latency_s",
        "avg_power_w", "energy_j_per_token", "power_scope",
    ), argonne_power_cases),
    (r"e2e/splitwise_.+", (
        "model", "hardware", "tensor_parallel", "prompt_size", "batch_size", "token_size",
        "avg_power_frac",
    ), splitwise_power_cases),
)  # fmt: skip
FORMATS: Final = tuple(
    Format(family="energy", pattern=pattern, columns=columns, predict=predict, unit="J/tok, W")
    for pattern, columns, _ in _KINDS
)
