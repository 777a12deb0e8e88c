"""Iterations a second by scheduler, a policy in Python among them, and how cost grows."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from sim.config.catalogue import load_model, load_system
from sim.dtypes import Precision
from sim.engines.policy import Iteration, Prompt, View
from sim.engines.scheduler import Scheduler
from sim.engines.serving import Kind, Requests, serve_trace
from sim.engines.serving.outcome import Outcome
from sim.mapping.assemblies import assemble
from sim.mapping.capacity import budget
from sim.mapping.layout import Parallel
from sim.mapping.parallelism import plan
from sim.mapping.program import Choices, Program
from sim.workload.layers import build_graph
from sim.workload.speculation import Speculation, draft_graph
from sim.workload.traffic import Trace
from sim.workload.traffic.readers import read_trace

BUDGET = 512


def chunked(view: View) -> Iteration:
    """The chunked scheduler, in Python."""
    left, free_B = BUDGET - len(view.decoding), view.free_B
    places = view.max_batch - len(view.running)
    prompts = []
    for number in view.prefilling:
        own = view.requests[number]
        tokens = min(left, int(own["target"] - own["prefilled"]))
        if tokens > 0:
            prompts.append(Prompt(int(number), tokens))
            left -= tokens
    for number in view.waiting:
        need_B = view.need_B(number)
        if left <= 0 or places <= 0 or need_B > free_B:
            break
        prompts.append(Prompt(int(number), min(left, int(view.requests[number]["target"]))))
        left -= prompts[-1].tokens
        places -= 1
        free_B -= need_B
    return Iteration(view.decoding, prompts)


SCHEDULERS = {
    "chunked": Scheduler(kind="chunked-prefill", token_budget=BUDGET),
    "layered": Scheduler(kind="layered-prefill"),
    "continuous": Scheduler(kind="continuous"),
    "in Python": Scheduler(kind="chunked-prefill", policy=chunked, watermark=0.0),
}


@pytest.fixture(scope="module")
def program() -> Program:
    graph, system = build_graph(load_model("llama-3.1-8b")), load_system("h100-x1")
    return assemble(graph, system, plan(graph, system, Parallel(tp=1)), Precision())


def serve(program: Program, scheduler: Scheduler, trace: Trace) -> Outcome:
    kv_B = budget(program, utilization=0.9, tokens=8192, sequences=scheduler.max_batch).kv_B
    kind = Kind(program=program, scheduler=scheduler, kv_B=kv_B)
    (outcome,) = serve_trace(kind, Requests.of(kind, trace)).outcomes
    return outcome


@pytest.mark.parametrize("name", SCHEDULERS)
def test_azure_by_scheduler(
    benchmark: BenchmarkFixture, program: Program, azure_trace: Path, name: str
) -> None:
    trace = read_trace(azure_trace)
    if name == "in Python":
        trace = trace.of(slice(2000))
    outcome = benchmark.pedantic(
        serve, args=(program, SCHEDULERS[name], trace), rounds=3, warmup_rounds=1
    )
    assert outcome.generated_tokens == trace.output_tokens.sum()
    if benchmark.stats:
        seconds = benchmark.stats.stats.min
        benchmark.extra_info["iterations_per_s"] = outcome.iterations / seconds
        print(  # noqa: T201
            f"{name}: {outcome.iterations / seconds / 1e3:.0f} k iterations/s, "
            f"{len(trace.arrival_s) / seconds / 1e3:.1f} k requests/s"
        )


def test_azure_with_speculation(benchmark: BenchmarkFixture, azure_trace: Path) -> None:
    """Every step by itself, for what comes out of it is drawn."""
    model, system = load_model("llama-3.1-8b"), load_system("h100-x1")
    graph, tokens = build_graph(model), 4
    speculation = Speculation(
        draft=load_model("llama-3.2-1b"), tokens=tokens, acceptance=(0.7,) * tokens
    )
    program = assemble(
        graph, system, plan(graph, system, Parallel(tp=1)), Precision(),
        Choices(speculation=speculation, draft=draft_graph(model, speculation)),
    )  # fmt: skip
    trace = read_trace(azure_trace)
    outcome = benchmark.pedantic(
        serve, args=(program, SCHEDULERS["chunked"], trace), rounds=3, warmup_rounds=1
    )
    assert outcome.generated_tokens == trace.output_tokens.sum()
    if benchmark.stats:
        rate = outcome.iterations / benchmark.stats.stats.min
        print(f"speculation: {rate / 1e3:.0f} k iterations/s")  # noqa: T201


def test_cost_grows_with_the_requests(program: Program, azure_trace: Path) -> None:
    """A request of a million costs no more than twice one of ten thousand."""
    part = read_trace(azure_trace).of(slice(10_000))
    span = float(part.arrival_s[-1]) + 1.0
    costs = {}
    for times in (1, 10, 100):
        arrivals = np.concatenate([part.arrival_s + span * again for again in range(times)])
        trace = replace(
            part,
            arrival_s=arrivals,
            input_tokens=np.tile(part.input_tokens, times),
            output_tokens=np.tile(part.output_tokens, times),
        )
        begin = time.process_time()
        outcome = serve(program, SCHEDULERS["chunked"], trace)
        costs[len(arrivals)] = (time.process_time() - begin) / len(arrivals)
        assert len(outcome.requests) == len(arrivals)
    print(", ".join(f"{n:,}: {cost * 1e6:.1f} us a request" for n, cost in costs.items()))  # noqa: T201
    assert costs[1_000_000] <= 2.0 * costs[10_000]
