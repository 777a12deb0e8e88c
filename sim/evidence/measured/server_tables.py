"""Server tables: what benchmarks of servers measured, as questions to `servers`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import pandas as pd

from sim.evidence.measured.constants import Constants
from sim.evidence.measured.formats import Format, Unsupported
from sim.evidence.measured.server_traces import (
    apex_cases,
    mlperf_cases,
    serving_cases,
    timeseries_cases,
)
from sim.evidence.measured.servers import (
    Asked,
    Case,
    Servers,
    case_rows,
    device_known,
    formats_of,
    latencies,
    number,
    rows_of,
    run_of,
)
from sim.evidence.measured.tables import Table

Cases = Iterator[Case]
IN_BLOCKS: Final = ("qwen3", "deepseek")
"""Models whose owners publish fp8 weights with a scale a block of 128 x 128 (their config.json)."""
ASYNC_VLLM: Final = (0, 14)
"""vLLM from which the host schedules the next iteration during the last one by default."""
CENT_OUTPUT: Final = 3584
CENT_DEVICES: Final = {"Llama2-7B": 1, "Llama2-13B": 2, "Llama2-70B": 4}
"""A100s by model: what the summary's board power divides into (292 W each)."""
CENT_BATCH: Final = 128


# --- silicon: closed loops at a concurrency ---------------------------------------------------


def silicon_cases(table: Table) -> Cases:
    """Aiconfigurator's sample of servers measured at a concurrency: mean TTFT and TPOT in ms."""
    frame = table.frame
    for row in rows_of(frame):
        device, reason = device_known(str(row.system))
        quantised = _text(row.gemm_quant_mode) or _text(row.precision)
        runtime = str(row.backend)
        if runtime not in ("vllm", "trtllm", "sglang"):
            reason = reason or f"runtime {runtime}"
        groups = number(row.attention_dp_size)
        if groups > 1:
            reason = reason or "data-parallel attention"
        if runtime == "vllm" and _version(row.backend_version) < ASYNC_VLLM:
            runtime = "vllm-0.12"
        # rows of later releases state a batch alone, which their closed loops keep full
        clients = int(number(row.concurrency) or number(row.batch_size))
        max_batch, dtype = None, quantised
        if quantised == "fp8" and any(name in str(row.model_path).lower() for name in IN_BLOCKS):
            dtype = "fp8-block"
        if runtime == "trtllm":
            # fp8 checkpoints come with an fp8 cache: without it, 64 clients of 4,096 tokens would
            # queue for memory on one H100, and they don't
            dtype = f"{dtype}-kv" if quantised == "fp8" else quantised
            # its engines are built for the clients of the run; those of the unquantised runs hold
            # one less: at any time one client waits, whose wait is E2E / concurrency
            max_batch = clients - (0 if quantised else 1)
        what = f"{row.model_path}|{row.backend}|{row.isl}|{row.osl}|{clients}|{quantised}"
        yield Case(
            device=device,
            dtype=quantised or "bf16",
            runtime=runtime,
            measured={"ttft": float(row.silicon_ttft_ms), "tpot": float(row.silicon_tpot_ms)},
            ask=run_of(reason,
                partial(
                    _closed,
                    model=str(row.model_path), device=device, runtime=runtime, dtype=dtype,
                    tp=int(row.tp_size), pp=int(row.pp_size), max_batch=max_batch,
                    clients=clients, isl=int(row.isl), osl=int(row.osl),
                ),
            ),
            choice=what,
            fold=f"{row.isl}|{row.osl}|{row.tp_size}",
            model=str(row.model_path),
            tp=int(row.tp_size),
            clients=True,
        )  # fmt: skip


def _closed(
    servers: Servers, *, model: str, device: str, runtime: str, dtype: str, tp: int, pp: int,
    max_batch: int | None, clients: int, isl: int, osl: int,
) -> Mapping[str, float]:  # fmt: skip
    server = servers(
        Asked(
            model=model, device=device, runtime=runtime, tp=tp, pp=pp,
            precision=formats_of(dtype), max_batch=max_batch,
        )
    )  # fmt: skip
    found = latencies(server.clients(clients, isl, osl))
    return {"ttft": found["ttft-mean"] * 1e3, "tpot": found["tpot-mean"] * 1e3}


def _version(text: Any) -> tuple[int, ...]:
    """The first two numbers of a version; none of an unknown one."""
    return tuple(int(each) for each in re.findall(r"\d+", str(text))[:2])


def _text(value: Any) -> str:
    return value.lower() if isinstance(value, str) else ""


# --- static batches -----------------------------------------------------------------------------


ARGONNE: Final = {
    "vLLM": "vllm-2024", "TensorRT-LLM": "trtllm-2024", "Deepspeed-MII": "deepspeed-mii",
    "llama.cpp": "llama-cpp-cuda",
}  # fmt: skip
"""Runtimes of early 2024, when Argonne measured."""


DIES: Final = 2
"""Dies of a MI250."""


def argonne_device(text: str) -> tuple[str, str]:
    """Argonne's A100s are Polaris's, of 40 GB; a die of a MI250, to software a GPU, is a MI210.

    70B models in fp16 run on two of its MI250s, which two dies of 64 GB could not hold.
    """
    if text == "Nvidia A100 GPU":
        return "a100-sxm-40gb", ""
    return device_known(text.replace("MI250", "MI210"))


def argonne_cases(table: Table) -> Cases:
    """Argonne's batches of equal prompts and answers: seconds to the end of the last answer."""
    for row in rows_of(table.frame):
        yield _argonne(
            row, {"latency": float(row.latency_s)}, [("latency", int(row.io_len), int(row.io_len))]
        )


def argonne_ttft_cases(table: Table) -> Cases:
    """The same with answers of one token, and of 1,024."""
    for row in rows_of(table.frame):
        measured = {"ttft": float(row.ttft_s), "latency": float(row.end_latency_s)}
        yield _argonne(
            row, measured, [("ttft", int(row.in_len), 1), ("latency", int(row.in_len), 1024)]
        )


def _argonne(row: Any, measured: Mapping[str, float], runs: list[tuple[str, int, int]]) -> Case:
    device, reason = argonne_device(str(row.hardware))
    runtime = ARGONNE.get(str(row.framework), "")
    if runtime == "vllm-2024" and str(row.hardware).startswith("AMD"):
        runtime = "vllm-rocm-2024"
    reason = reason or ("" if runtime else f"runtime {row.framework}")
    batch, count = int(row.batch), int(row.num_devices)
    # llama.cpp's "batch" is how many tokens of one prompt it takes at a time; devices share layers
    piecewise = runtime.startswith("llama-cpp")
    if "MI250" in str(row.hardware) and not piecewise:
        count *= DIES

    def ask(servers: Servers) -> Mapping[str, float]:
        server = servers(
            Asked(
                model=str(row.model), device=device, runtime=runtime,
                tp=1 if piecewise else count, pp=count if piecewise else 1,
                precision=formats_of("fp16"), token_budget=batch if piecewise else None,
            )
        )  # fmt: skip
        return {
            phase: server.together(1 if piecewise else batch, prompt, output).end_s
            for phase, prompt, output in runs
        }

    return Case(
        device=device, dtype="fp16", runtime=runtime, measured=measured,
        ask=run_of(reason, ask),
        choice=f"{row.framework}|{row.model}|{runs}|{batch}|{row.hardware}",
        fold=f"{runs}|{count}",
        model=str(row.model),
        tp=1 if piecewise else count,
    )  # fmt: skip


def splitwise_cases(table: Table) -> Cases:
    """Splitwise's batches: milliseconds of the prompt phase and of a token after it."""
    for row in rows_of(table.frame):
        device, reason = device_known(str(row.hardware))
        yield Case(
            device=device,
            dtype="fp16",
            runtime="vllm-2023",
            measured={"prompt": float(row.prompt_ms), "token": float(row.token_ms)},
            ask=run_of(reason,
                partial(
                    _static, model=str(row.model), device=device, tp=int(row.tensor_parallel),
                    batch=int(row.batch_size), prompt=int(row.prompt_size),
                    output=int(row.token_size),
                ),
            ),
            fold=f"{row.prompt_size}|{row.batch_size}|{row.tensor_parallel}",
            model=str(row.model),
            tp=int(row.tensor_parallel),
        )  # fmt: skip


def _static(
    servers: Servers, *, model: str, device: str, tp: int, batch: int, prompt: int, output: int
) -> Mapping[str, float]:
    server = servers(
        Asked(
            model=model, device=device, runtime="vllm-2023", tp=tp, precision=formats_of("fp16"),
            token_budget=batch * prompt,
        )
    )  # fmt: skip
    found = server.together(batch, prompt, output)
    return {"prompt": float(found.ttft_s.max()) * 1e3, "token": float(found.tpot_s.mean()) * 1e3}


# --- CENT's GPU baseline ------------------------------------------------------------------------


def cent_context_cases(table: Table) -> Cases:
    """Llama 2 70B on four A100s by context: seconds of a batch, and queries a minute."""
    device = "a100-sxm-80gb"
    for row in rows_of(table.frame):
        context = int(str(row.context).rstrip("kK")) * 1024
        batch = int(row.batch)

        def ask(servers: Servers, batch: int = batch, context: int = context) -> dict[str, float]:
            seconds = _cent(servers, 4, "llama-2-70b", batch, context)
            return {"latency": seconds}

        yield Case(
            device=device, dtype="fp16", runtime="vllm-2024",
            measured={"latency": float(row.query_latency_s)}, ask=ask, fold=f"{context}|{batch}",
            model="llama-2-70b", tp=4,
        )  # fmt: skip


def _cent(servers: Servers, count: int, model: str, batch: int, context: int) -> float:
    server = servers(
        Asked(
            model=model, device="a100-sxm-80gb", runtime="vllm-2024", tp=count,
            precision=formats_of("fp16"),
        )
    )  # fmt: skip
    return server.together(batch, context - CENT_OUTPUT, CENT_OUTPUT).end_s


def cent_summary_cases(table: Table) -> Cases:
    """CENT's baseline of three models: latency of one query, and rates of a full batch."""
    for row in rows_of(table.frame):
        name = str(row.Model)
        count = CENT_DEVICES.get(name)

        def ask(servers: Servers, name: str = name, count: int | None = count) -> dict[str, float]:
            if count is None:
                raise Unsupported(f"devices of {name} are not known")
            server = servers(
                Asked(
                    model=name.replace("Llama2", "llama-2"), device="a100-sxm-80gb",
                    runtime="vllm-2024", tp=count, precision=formats_of("fp16"),
                )
            )  # fmt: skip
            prompts = server.together(8, 512, 1).end_s
            many = server.together(CENT_BATCH, 512, CENT_OUTPUT).end_s
            prefill = 8 * 512 / prompts
            return {
                "latency": server.together(1, 512, CENT_OUTPUT).end_s,
                "prefill-rate": prefill,
                "decode-rate": CENT_BATCH * CENT_OUTPUT / (many - CENT_BATCH * 512 / prefill),
                "rate": CENT_BATCH * (512 + CENT_OUTPUT) / many,
            }

        yield Case(
            device="a100-sxm-80gb", dtype="fp16", runtime="vllm-2024",
            measured={
                "latency": float(row[2]), "prefill-rate": float(row.prefill_tok_s),
                "decode-rate": float(row.decoding_tok_s), "rate": float(row.end2end_tok_s),
            },
            ask=ask, fold=name, model=name.replace("Llama2", "llama-2"), tp=count or 1,
        )  # fmt: skip


def predictor(build: Callable[[Table], Iterable[Case]]) -> Callable[[Table, Constants], Any]:
    """The prediction of a table whose cases `build` makes."""

    def predict(table: Table, constants: Constants) -> pd.DataFrame:
        if "cases" not in table.built:
            table.built["cases"] = list(build(table))
        return case_rows(table.built["cases"], Servers(constants, table.folder))

    return predict


def cases_of(table: Table) -> list[Case]:
    """Cases of a table of servers; none of another kind of table."""
    name = f"{table.dataset}/{table.name}"
    build = next((each for pattern, each in BUILDERS.items() if re.fullmatch(pattern, name)), None)
    return list(build(table)) if build else []


_KINDS: Final[tuple[tuple[str, str, tuple[str, ...], Callable[[Table], Cases], str], ...]] = (
    ("silicon", r"e2e/silicon_agg_.+", (
        "backend", "backend_version", "model_path", "system", "precision", "isl", "osl",
        "gemm_quant_mode", "batch_size", "concurrency", "tp_size", "pp_size", "attention_dp_size",
        "silicon_ttft_ms", "silicon_tpot_ms",
    ), silicon_cases, "ms"),
    ("argonne", r"e2e/argonne_throughput.*", (
        "hardware", "num_devices", "framework", "model", "io_len", "batch", "latency_s",
    ), argonne_cases, "s"),
    ("argonne", r"e2e/argonne_ttft.*", (
        "hardware", "num_devices", "framework", "model", "in_len", "batch", "ttft_s",
        "end_latency_s",
    ), argonne_ttft_cases, "s"),
    ("splitwise", r"e2e/splitwise_.+", (
        "model", "hardware", "tensor_parallel", "prompt_size", "batch_size", "token_size",
        "prompt_ms", "token_ms",
    ), splitwise_cases, "ms"),
    ("mlperf", r"e2e/mlperf_inference_.+", (
        "benchmark", "scenario", "accelerator", "accel_per_node", "nodes", "tokens_per_s",
        "scheduled_samples_per_s", "mean_latency_ms", "mean_ttft_ms", "p99_ttft_ms",
        "mean_tpot_ms", "p99_tpot_ms",
    ), mlperf_cases, "tok/s, ms"),
    ("apex", r"e2e/apex_plus_.+", (
        "engine", "run", "workload", "mean_ttft_s", "mean_tpot_s",
    ), apex_cases, "s"),
    ("vllm-series", r"e2e/vllm_serving_.+_timeseries", (
        "t", "gen_throughput", "running",
    ), timeseries_cases, "tok/s, requests"),
    ("vllm-replay", r"e2e/vllm_serving_.+(?<!_timeseries)", (
        "input_tokens", "output_tokens", "queued_s", "first_token_s", "last_token_s",
    ), serving_cases, "s"),
    ("cent", r"pim/cent_gpu_.+_context", ("context", "batch", "query_latency_s"),
     cent_context_cases, "s"),
    ("cent", r"pim/cent_gpu_summary", (
        "Model", "End-to-end Latency (s)", "prefill_tok_s", "decoding_tok_s", "end2end_tok_s",
    ), cent_summary_cases, "s, tok/s"),
)  # fmt: skip
FORMATS: Final = tuple(
    Format(family=family, pattern=pattern, columns=columns, predict=predictor(build), unit=unit)
    for family, pattern, columns, build, unit in _KINDS
)
BUILDERS: Final = {pattern: build for _, pattern, _, build, _ in _KINDS}
