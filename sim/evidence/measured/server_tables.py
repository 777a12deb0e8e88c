"""Server tables: what benchmarks of servers measured, as questions to `servers`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import pandas as pd

from sim.evidence.measured.constants import Constants
from sim.evidence.measured.energy import batch_energy, family_of, steady_energy
from sim.evidence.measured.formats import Format
from sim.evidence.measured.lookups import Row, number, rows_of
from sim.evidence.measured.server_traces import mlperf, replayed_cases, series_cases, trace
from sim.evidence.measured.servers import (
    Case,
    Servers,
    case_rows,
    degree_of,
    deployment_of,
    latencies,
    parts_of,
    unsupported,
)
from sim.evidence.measured.tables import Table

Answers = Mapping[str, float]
Numbers = Mapping[str, Any]


def predict(form: Format, table: Table, constants: Constants) -> pd.DataFrame:
    """Every row of a table under `constants`."""
    return case_rows(cases_of(form, table), Servers(constants, table.folder))


def cases_of(form: Format, table: Table) -> list[Case]:
    """Cases of a table, made once: a fit predicts them again and again."""
    if "cases" not in table.built:
        build = CASES.get(form.question, row_cases)
        table.built["cases"] = list(build(form, table))
    cases: list[Case] = table.built["cases"]
    return cases


def row_cases(form: Format, table: Table) -> Iterator[Case]:
    """A case for each row: deployment and lengths in its columns, and the form's question."""
    for found in rows_of(form, table):
        row = ADJUSTED[form.question](found, form.numbers) if form.question in ADJUSTED else found
        assert isinstance(form.measured, Mapping)
        phases = {phase: form.measured[phase] for phase in row["phases"] or form.measured}
        model, tp = str(row["model"]), degree_of(row)
        of_energy = {"models": family_of(model)} if form.family == "energy" else None
        yield Case(
            device=row["device"],
            dtype=str(row["dtype"]),
            runtime=str(row["runtime"]),
            measured={phase: number(row[f"measured {phase}"]) for phase in phases},
            ask=unsupported(row["reason"])
            if row["reason"]
            else partial(_answer, form=form, row=row, phases=phases),
            choice=row.text(form.choice),
            fold=row.text("|".join(f"{{{column}}}" for column in form.shape)),
            parts=of_energy or parts_of(model, tp),
            clients=form.question == "clients",
            better=row["better"] or form.better,
        )


def _answer(servers: Servers, *, form: Format, row: Row, phases: Mapping[str, str]) -> Answers:
    """Answers to a row's question by phase; times in the unit that the column's name tells."""
    answers = QUESTIONS[form.question](servers, row, form.numbers)
    return {
        phase: answers[phase] * (1e3 if column.endswith("_ms") else 1.0)
        for phase, column in phases.items()
    }


def silicon(row: Row, numbers: Numbers) -> Row:
    """A row of aiconfigurator's sample with the runtime, formats and batch that it had."""
    words = (row["quantised"], row["precision"])
    quantised = next((word.lower() for word in words if isinstance(word, str) and word), "")
    runtime, formats = str(row["backend"]), quantised
    reason = row["reason"]
    if runtime not in ("vllm", "trtllm", "sglang"):
        reason = reason or f"runtime {runtime}"
    if number(row["groups"]) > 1:
        reason = reason or "data-parallel attention"
    version = [int(part) for part in re.findall(r"\d+", str(row["version"]))[:2]]
    if runtime == "vllm" and version < numbers["asynchronous"]:
        runtime = "vllm-0.12"
    # rows of later releases state a batch alone, which their closed loops keep full
    clients = int(number(row["clients"]) or number(row["batch"]))
    max_batch = None
    if quantised == "fp8" and any(name in str(row["model"]).lower() for name in numbers["blocks"]):
        formats = "fp8-block"
    if runtime == "trtllm":
        # fp8 checkpoints come with an fp8 cache: without it, 64 clients of 4,096 tokens would
        # queue for memory on one H100, and they don't
        formats = f"{formats}-kv" if quantised == "fp8" else quantised
        # its engines are built for the clients of the run; those of the unquantised runs hold
        # one less: at any time one client waits, whose wait is E2E / concurrency
        max_batch = clients - (0 if quantised else 1)
    changed = {"runtime": runtime, "formats": formats, "dtype": quantised or "bf16",
               "quantised": quantised, "clients": clients, "max_batch": max_batch,
               "reason": reason}  # fmt: skip
    return Row(row | changed)


def clients(servers: Servers, row: Row, _numbers: Numbers) -> Answers:
    """Mean TTFT and TPOT of a closed loop."""
    server = servers(deployment_of(row))
    means = latencies(server.clients(row["clients"], int(row["prompt"]), int(row["output"])))
    return {"ttft": means["ttft-mean"], "tpot": means["tpot-mean"]}


def batch(servers: Servers, row: Row, _numbers: Numbers) -> Answers:
    """Requests that start together: end of the last; end of all with one token; mean TPOT.

    A `context` in thousands is prompt and answer together.
    """
    server, output = servers(deployment_of(row)), int(row["output"])
    context = str(row["context"]).rstrip("kK")
    prompt = int(context) * 1024 - output if context else int(row["prompt"])
    count = 1 if row["piecewise"] else int(row["batch"])
    answers = {}
    if "measured ttft" in row:
        answers["ttft"] = server.together(count, prompt, 1).end_s
    replayed = server.together(count, prompt, output)
    return answers | {
        "latency": replayed.end_s, "prompt": float(replayed.ttft_s.max()),
        "token": float(replayed.tpot_s.mean()),
    }  # fmt: skip


def rates(servers: Servers, row: Row, _numbers: Numbers) -> Answers:
    """Seconds of one query; tokens a second of prompts, of a full batch's answers, and of both."""
    server = servers(deployment_of(row))
    prompt, output, count, few = (row[name] for name in ("prompt", "output", "batch", "prefilled"))
    prefill = few * prompt / server.together(few, prompt, 1).end_s
    many = server.together(count, prompt, output).end_s
    return {
        "latency": server.together(1, prompt, output).end_s,
        "prefill-rate": prefill,
        "decode-rate": count * output / (many - count * prompt / prefill),
        "rate": count * (prompt + output) / many,
    }


def mlperf_row(row: Row, numbers: Numbers) -> Row:
    """A row of MLPerf with the devices of each replica, and how many replicas there are."""
    count = int(row["per_node"] * row["nodes"])
    ways = min(numbers["ways"], count)
    rate = "" if row["scenario"] == "Offline" else number(row["rate"])
    return Row(row | {"tp": ways, "replicas": count // ways, "rate": rate})


QUESTIONS: Final[Mapping[str, Callable[[Servers, Row, Numbers], Answers]]] = {
    "clients": clients,
    "batch": batch,
    "rates": rates,
    "MLPerf": mlperf,
    "trace": trace,
    "steady energy": steady_energy,
    "batch energy": batch_energy,
}
ADJUSTED: Final[Mapping[str, Callable[[Row, Numbers], Row]]] = {
    "clients": silicon,
    "MLPerf": mlperf_row,
}
"""What follows from several columns of a row before its question can be asked."""
CASES: Final[Mapping[str, Callable[[Format, Table], Iterator[Case]]]] = {
    "replay": replayed_cases,
    "series": series_cases,
}
"""Tables whose rows are of one run."""
