"""Server tables of many requests: MLPerf, and traces replayed request by request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from sim.evidence.measured.formats import Unsupported
from sim.evidence.measured.replay import Replayed
from sim.evidence.measured.servers import (
    Asked,
    Case,
    Servers,
    device_known,
    formats_of,
    latencies,
    lognormal,
    number,
    rows_of,
    run_of,
    unsupported,
)
from sim.evidence.measured.tables import Table

Cases = Iterator[Case]
Replay = Callable[[Servers], Replayed]
MLPERF: Final[Mapping[str, tuple[str, float, float]]] = {
    "llama2-70b": ("llama-2-70b", 294.0, 294.45),
    "mixtral-8x7b": ("mixtral-8x7b", 275.0, 145.9),
}
"""Model, mean prompt and mean answer: OpenOrca's, and with GSM8K and MBXP a third each.

Answers are the tokens a sample that the rules ask for; prompts were not read in any source.
"""
MLPERF_MOST: Final = 1024
MLPERF_BATCH: Final = 1024
MLPERF_REQUESTS: Final = 4 * MLPERF_BATCH


# --- MLPerf -------------------------------------------------------------------------------------


def mlperf_cases(table: Table) -> Cases:
    """MLPerf inference: tokens a second offline, latencies in ms at the scheduled rate."""
    for row in rows_of(table.frame):
        device, reason = device_known(str(row.accelerator))
        known = next((each for name, each in MLPERF.items() if name in str(row.benchmark)), None)
        if known is None:
            reason = reason or f"benchmark {row.benchmark}"
        offline = str(row.scenario) == "Offline"
        measured = {"offline-rate": number(row.tokens_per_s)} if offline else {
            "ttft-mean": number(row.mean_ttft_ms), "ttft-p99": number(row.p99_ttft_ms),
            "tpot-mean": number(row.mean_tpot_ms), "tpot-p99": number(row.p99_tpot_ms),
        }  # fmt: skip
        if known is None and not offline:
            measured = {"latency-mean": number(row.mean_latency_ms)}
        yield Case(
            device=device, dtype="fp8", runtime="trtllm-mlperf", measured=measured,
            ask=run_of(
                reason,
                partial(
                    _mlperf, known=known or ("", 0.0, 0.0), device=device,
                    count=int(row.accel_per_node * row.nodes),
                    rate=None if offline else number(row.scheduled_samples_per_s),
                ),
            ),
            fold=str(row.benchmark),
            model=str(row.benchmark),
            tp=min(2, int(row.accel_per_node * row.nodes)),
            better="high" if offline else "low",
        )  # fmt: skip


def _mlperf(
    servers: Servers, *, known: tuple[str, float, float], device: str, count: int,
    rate: float | None,
) -> Mapping[str, float]:  # fmt: skip
    model, prompt, answer = known
    ways = min(2, count)
    server = servers(
        Asked(
            model=model, device=device, runtime="trtllm-mlperf", tp=ways,
            precision=formats_of("fp8-kv"), max_batch=MLPERF_BATCH,
        )
    )  # fmt: skip
    replicas = count // ways
    key = ("mlperf", model, rate and round(rate / replicas, 3))
    if key not in server.known:
        prompts = lognormal(prompt, prompt, MLPERF_MOST, MLPERF_REQUESTS, (1,))
        outputs = lognormal(answer, 0.8 * answer, MLPERF_MOST, MLPERF_REQUESTS, (2,))
        arrivals = np.zeros(MLPERF_REQUESTS)
        if rate is not None:
            gaps = np.random.default_rng(3).standard_exponential(MLPERF_REQUESTS)
            arrivals = np.cumsum(gaps) / (rate / replicas)
        server.known[key] = server.replay(arrivals, prompts, outputs)
    found = server.known[key]
    if rate is not None:
        return {name: 1e3 * value for name, value in latencies(found).items()}
    ends = np.sort(found.last_s)
    first, last = ends[len(ends) // 4], ends[len(ends) // 2]
    between = (found.last_s > first) & (found.last_s <= last)
    tokens = float(found.output_tokens[between].sum())
    return {"offline-rate": tokens / (last - first) * replicas}


# --- traces -------------------------------------------------------------------------------------


def apex_cases(table: Table) -> Cases:
    """APEX's vLLM runs of a trace on H100s, DP replicas apart: mean TTFT and TPOT in seconds."""
    for row in rows_of(table.frame):
        name = str(row.run)
        layout = re.search(r"_(?:(\d+)DP)?(\d+)TP(?:_fp8)?(?:_(\d+))?$", name)
        device, reason = device_known("h100-sxm")
        if "mistral" in name:
            reason = "exact model unknown"
        elif str(row.engine) != "vllm" or layout is None:
            reason = f"run {name}"
        trace = table.folder / "traces" / f"apex_llama_{row.workload}.csv"
        ask = unsupported(reason)
        if not reason and layout is not None:
            replicas, ways = int(layout[1] or 1), int(layout[2])
            ask = partial(
                _apex, device=device, trace=trace, replicas=replicas, ways=ways,
                which=int(layout[3] or 0), dtype="fp8-kv" if "fp8" in name else "bf16",
            )  # fmt: skip
        yield Case(
            device=device, dtype="fp8" if "fp8" in name else "bf16", runtime="vllm-2024",
            measured={"ttft": float(row.mean_ttft_s), "tpot": float(row.mean_tpot_s)},
            ask=ask, fold=name, model="llama-3.1-70b", tp=int(layout[2]) if layout else 1,
        )  # fmt: skip


def _apex(
    servers: Servers, *, device: str, trace: Path, replicas: int, ways: int, which: int, dtype: str
) -> Mapping[str, float]:
    if not trace.is_file():
        raise Unsupported(f"no trace {trace.name}")
    frame = pd.read_csv(trace)
    actual = frame["actual_generated_tokens"].fillna(frame["trace_generated_tokens"])
    part = slice(which, None, replicas)
    server = servers(
        Asked(
            model="llama-3.1-70b", device=device, runtime="vllm-2024", tp=ways,
            precision=formats_of(dtype),
        )
    )  # fmt: skip
    found = latencies(
        server.replay(
            frame["arrival_s"].to_numpy(float)[part],
            frame["context_tokens"].to_numpy(np.int64)[part],
            np.maximum(actual.to_numpy(np.int64)[part], 1),
        )
    )
    return {"ttft": found["ttft-mean"], "tpot": found["tpot-mean"]}


def _unnamed(name: str) -> Replay:
    def replay(_servers: Servers) -> Replayed:
        raise Unsupported(f"no device and model in the name {name}")

    return replay


def _replayed(table: Table, requests: pd.DataFrame) -> tuple[str, Replay]:
    """Device of a vLLM serving table, and the function that replays its requests."""
    named = re.fullmatch(r"vllm_serving_([^_]+)_(.+?)(?:_tp(\d+))?(?:_timeseries)?", table.name)
    if named is None:
        return table.name, _unnamed(table.name)
    device, reason = device_known(named[1])

    def replay(servers: Servers) -> Replayed:
        if reason:
            raise Unsupported(reason)
        server = servers(
            Asked(
                model=named[2], device=device, runtime="vllm", tp=int(named[3] or 1),
                precision=formats_of("bf16"),
                max_batch=256, token_budget=2048,
            )
        )  # fmt: skip
        key = ("replay", table.name.removesuffix("_timeseries"))
        if key not in server.known:
            server.known[key] = server.replay(
                requests["queued_s"].to_numpy(float),
                requests["input_tokens"].to_numpy(np.int64),
                requests["output_tokens"].to_numpy(np.int64),
            )
        return server.known[key]

    return device, replay


def serving_cases(table: Table) -> Cases:
    """A vLLM server replayed request by request: seconds, of the run and of each request."""
    frame = table.frame.sort_values("queued_s", kind="stable")
    device, replay = _replayed(table, frame)
    ttft = (frame["first_token_s"] - frame["queued_s"]).to_numpy(float)
    tpot = (
        (frame["last_token_s"] - frame["first_token_s"]) / (frame["output_tokens"] - 1)
    ).to_numpy(float)
    yield Case(
        device=device, dtype="bf16", runtime="vllm",
        measured={
            "ttft-mean": float(ttft.mean()), "ttft-p99": float(np.percentile(ttft, 99)),
            "tpot-mean": float(tpot.mean()), "tpot-p99": float(np.percentile(tpot, 99)),
            "makespan": float(frame["last_token_s"].max()),
        },
        ask=lambda servers: latencies(replay(servers)),
        fold=table.name,
    )  # fmt: skip
    for place in range(len(frame)):
        yield Case(
            device=device, dtype="bf16", runtime="vllm",
            measured={"ttft-request": ttft[place], "tpot-request": tpot[place]},
            ask=partial(_request, replay=replay, place=place),
            fold=table.name,
        )  # fmt: skip


def _request(servers: Servers, *, replay: Replay, place: int) -> Mapping[str, float]:
    found = replay(servers)
    return {
        "ttft-request": float(found.ttft_s[place]), "tpot-request": float(found.tpot_s[place])
    }  # fmt: skip


def timeseries_cases(table: Table) -> Cases:
    """The same run second by second: tokens generated a second, and requests running."""
    path = table.beside(table.name.removesuffix("_timeseries"))
    if path is None:
        raise Unsupported("the table of requests is not beside it")
    requests = pd.read_csv(path).sort_values("queued_s", kind="stable")
    device, replay = _replayed(table, requests)
    for row in rows_of(table.frame):
        yield Case(
            device=device, dtype="bf16", runtime="vllm",
            measured={"gen-rate": float(row.gen_throughput), "running": float(row.running)},
            ask=partial(_at, replay=replay, until_s=float(row.t)),
            fold=table.name, better="high",
        )  # fmt: skip


def _at(servers: Servers, *, replay: Replay, until_s: float) -> Mapping[str, float]:
    """Tokens a second of the second before, spread evenly over each answer, and those running."""
    found = replay(servers)
    span = np.maximum(found.last_s - found.first_s, 1e-9)
    inside = np.minimum(found.last_s, until_s) - np.maximum(found.first_s, until_s - 1.0)
    tokens = float((np.maximum(inside, 0.0) / span * (found.output_tokens - 1)).sum())
    running = float(((found.first_s <= until_s) & (found.last_s > until_s)).sum())
    return {"gen-rate": tokens, "running": running}
