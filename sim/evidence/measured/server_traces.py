"""Server tables of many requests: MLPerf, and traces replayed request by request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from sim.evidence.measured.formats import Format, Unsupported
from sim.evidence.measured.lookups import Row, rows_of
from sim.evidence.measured.replay import Replayed
from sim.evidence.measured.servers import (
    Case,
    Servers,
    deployment_of,
    latencies,
    lognormal,
    parts_of,
)
from sim.evidence.measured.tables import Table


def mlperf(servers: Servers, row: Row, numbers: Mapping[str, Any]) -> Mapping[str, float]:
    """Tokens a second of all requests at once, or latencies at a `rate`, of equal replicas."""
    server = servers(deployment_of(row))
    rate, replicas = row["rate"], row["replicas"]
    key = ("mlperf", row["asked"], rate and round(rate / replicas, 3))
    if key not in server.known:
        count, most = numbers["requests"], numbers["most"]
        prompt, answer = row["prompt"], row["output"]
        prompts = lognormal(prompt, prompt, most, count, (1,))
        outputs = lognormal(answer, 0.8 * answer, most, count, (2,))
        arrivals = np.zeros(count)
        if rate != "":
            gaps = np.random.default_rng(3).standard_exponential(count)
            arrivals = np.cumsum(gaps) / (rate / replicas)
        server.known[key] = server.replay(arrivals, prompts, outputs)
    replayed = server.known[key]
    if rate != "":
        return latencies(replayed)
    ends = np.sort(replayed.last_s)
    first, last = ends[len(ends) // 4], ends[len(ends) // 2]
    between = (replayed.last_s > first) & (replayed.last_s <= last)
    tokens = float(replayed.output_tokens[between].sum())
    return {"offline-rate": tokens / (last - first) * replicas}


def trace(servers: Servers, row: Row, _numbers: Mapping[str, Any]) -> Mapping[str, float]:
    """Mean TTFT and TPOT of one of `replicas` that take turns with the requests of a trace."""
    path = servers.folder / "traces" / f"apex_llama_{row['workload']}.csv"
    if not path.is_file():
        raise Unsupported(f"no trace {path.name}")
    frame = pd.read_csv(path)
    outputs = frame["actual_generated_tokens"].fillna(frame["trace_generated_tokens"])
    part = slice(int(row["which"] or 0), None, int(row["replicas"] or 1))
    means = latencies(
        servers(deployment_of(row)).replay(
            frame["arrival_s"].to_numpy(float)[part],
            frame["context_tokens"].to_numpy(np.int64)[part],
            np.maximum(outputs.to_numpy(np.int64)[part], 1),
        )
    )
    return {"ttft": means["ttft-mean"], "tpot": means["tpot-mean"]}


def _replayed(servers: Servers, row: Row, requests: pd.DataFrame) -> Replayed:
    """The run of `requests` by the deployment of `row`, once for each server."""
    if row["reason"]:
        raise Unsupported(row["reason"])
    server = servers(deployment_of(row))
    key = ("replay", id(requests))
    if key not in server.known:
        server.known[key] = server.replay(
            requests["queued_s"].to_numpy(float),
            requests["input_tokens"].to_numpy(np.int64),
            requests["output_tokens"].to_numpy(np.int64),
        )
    return server.known[key]


def replayed_cases(form: Format, table: Table) -> Iterator[Case]:
    """A server replayed request by request: seconds, of the run and of each request."""
    frame = table.frame.sort_values("queued_s", kind="stable")
    row = next(rows_of(form, table))
    ttft = (frame["first_token_s"] - frame["queued_s"]).to_numpy(float)
    span = frame["last_token_s"] - frame["first_token_s"]
    tpot = (span / (frame["output_tokens"] - 1)).to_numpy(float)
    case = partial(_case, row=row, table=table)
    yield case(
        measured={
            "ttft-mean": float(ttft.mean()), "ttft-p99": float(np.percentile(ttft, 99)),
            "tpot-mean": float(tpot.mean()), "tpot-p99": float(np.percentile(tpot, 99)),
            "makespan": float(frame["last_token_s"].max()),
        },
        ask=lambda servers: latencies(_replayed(servers, row, frame)),
    )  # fmt: skip
    for place in range(len(frame)):
        yield case(
            measured={"ttft-request": ttft[place], "tpot-request": tpot[place]},
            ask=partial(_request, row=row, requests=frame, place=place),
        )


def _case(*, row: Row, table: Table, **others: Any) -> Case:
    return Case(
        device=row["device"], dtype=row["dtype"], runtime=row["runtime"], fold=table.name,
        parts=parts_of("", 1), **others,
    )  # fmt: skip


def _request(
    servers: Servers, *, row: Row, requests: pd.DataFrame, place: int
) -> Mapping[str, float]:
    replayed = _replayed(servers, row, requests)
    ttft_s, tpot_s = float(replayed.ttft_s[place]), float(replayed.tpot_s[place])
    return {"ttft-request": ttft_s, "tpot-request": tpot_s}


def series_cases(form: Format, table: Table) -> Iterator[Case]:
    """The same run second by second: tokens generated a second, and requests running."""
    path = table.beside(table.name.removesuffix("_timeseries"))
    if path is None:
        raise Unsupported("the table of requests is not beside it")
    requests = pd.read_csv(path).sort_values("queued_s", kind="stable")
    for row in rows_of(form, table):
        measured = {phase: float(row[f"measured {phase}"]) for phase in ("gen-rate", "running")}
        ask = partial(_second, row=row, requests=requests, until_s=float(row["until_s"]))
        yield _case(row=row, table=table, measured=measured, ask=ask, better="high")


def _second(
    servers: Servers, *, row: Row, requests: pd.DataFrame, until_s: float
) -> Mapping[str, float]:
    """Tokens a second of the second before, spread evenly over each answer, and those running."""
    replayed = _replayed(servers, row, requests)
    first_s, last_s = replayed.first_s, replayed.last_s
    span = np.maximum(last_s - first_s, 1e-9)
    inside = np.minimum(last_s, until_s) - np.maximum(first_s, until_s - 1.0)
    tokens = float((np.maximum(inside, 0.0) / span * (replayed.output_tokens - 1)).sum())
    running = float(((first_s <= until_s) & (last_s > until_s)).sum())
    return {"gen-rate": tokens, "running": running}
