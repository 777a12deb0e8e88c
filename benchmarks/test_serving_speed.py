"""Engine iterations a second on the real Azure trace, against plain SimPy loops; and memory."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import plain_simpy
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from sim.config.catalogue import load_model, load_system
from sim.dtypes import Precision
from sim.engines.scheduler import Scheduler
from sim.engines.serving import Kind, Requests, fleet, serve_trace
from sim.engines.serving.outcome import Outcome
from sim.engines.serving.pool import OF_SYSTEM
from sim.mapping.assemblies import assemble
from sim.mapping.capacity import budget
from sim.mapping.layout import Parallel
from sim.mapping.parallelism import plan
from sim.mapping.program import Program
from sim.workload.layers import build_graph
from sim.workload.traffic import Trace
from sim.workload.traffic.readers import read_trace

SCHEDULER = Scheduler(kind="chunked-prefill", token_budget=512)
PEAK_MIB = 600


@pytest.fixture(scope="module")
def program() -> Program:
    graph, system = build_graph(load_model("llama-3.1-8b")), load_system("h100-x1")
    return assemble(graph, system, plan(graph, system, Parallel(tp=1)), Precision())


@pytest.fixture(scope="module")
def trace(azure_trace: Path) -> Trace:
    return read_trace(azure_trace)


def kv_B(program: Program) -> float:
    return budget(program, utilization=0.9, tokens=512, sequences=SCHEDULER.max_batch).kv_B


def serve(program: Program, trace: Trace) -> Outcome:
    kind = Kind(program=program, scheduler=SCHEDULER, kv_B=kv_B(program))
    (outcome,) = serve_trace(kind, Requests.of(kind, trace)).outcomes
    return outcome


def first(trace: Trace, requests: int) -> Trace:
    part = slice(requests)
    return replace(
        trace,
        arrival_s=trace.arrival_s[part],
        input_tokens=trace.input_tokens[part],
        output_tokens=trace.output_tokens[part],
    )


def test_reading_the_trace(benchmark: BenchmarkFixture, azure_trace: Path) -> None:
    trace = benchmark.pedantic(read_trace, args=(azure_trace,), rounds=3, warmup_rounds=1)
    assert len(trace.arrival_s) == 12_337


def test_azure(benchmark: BenchmarkFixture, program: Program, trace: Trace) -> None:
    outcome = benchmark.pedantic(serve, args=(program, trace), rounds=3, warmup_rounds=1)
    assert len(outcome.requests) == 12_337
    if benchmark.stats:
        rate = outcome.iterations / benchmark.stats.stats.min
        benchmark.extra_info["iterations_per_s"] = rate
        print(f"{outcome.iterations} iterations, {rate / 1e3:.0f} k/s")  # noqa: T201


def test_azure_against_loops_that_yield_every_iteration(
    program: Program, trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seconds an iteration: ours, ours stopped after each iteration, and a plain Python loop."""
    part = first(trace, 400)
    serve(program, part)
    begin = time.perf_counter()
    ours = serve(program, trace)
    ours_s = (time.perf_counter() - begin) / ours.iterations

    begin = time.perf_counter()
    plain = plain_simpy.serve(program, SCHEDULER, kv_B(program), part)
    plain_s = (time.perf_counter() - begin) / plain.iterations

    monkeypatch.setattr(fleet, "OF_SYSTEM", replace(OF_SYSTEM, iterations=1))
    begin = time.perf_counter()
    stopped = serve(program, part)
    stopped_s = (time.perf_counter() - begin) / stopped.iterations

    print(  # noqa: T201
        f"us an iteration: {ours_s * 1e6:.2f}, yielding each {stopped_s * 1e6:.1f} "
        f"({stopped_s / ours_s:.0f} x), plain {plain_s * 1e6:.1f} ({plain_s / ours_s:.0f} x)"
    )
    assert plain.iterations == stopped.iterations
    assert plain.now == pytest.approx(stopped.end_s, rel=1e-9)
    assert plain_s / ours_s >= 50.0


def test_peak_memory_of_the_azure_run(azure_trace: Path) -> None:
    """Peak resident memory of `sim run` with the whole trace, in a process of its own."""
    run = f"traffic={{trace: {azure_trace}}}"
    command = ["-m", "sim", "run", "llama-8b-azure-h100", "--set", run, "--json"]
    measure = (
        "import resource, subprocess, sys; "
        "subprocess.run([sys.executable, *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    peak = subprocess.run(
        [sys.executable, "-c", measure, *command], check=True, capture_output=True, text=True
    )
    mebibytes = int(peak.stdout) / 1024  # Linux counts KiB
    print(f"peak {mebibytes:.0f} MiB")  # noqa: T201
    assert 50 < mebibytes < PEAK_MIB
