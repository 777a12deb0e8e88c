"""Small fleets that tests share: kinds of replicas, traffic, and what must hold of any run."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from sim.config.scenarios import load_scenario
from sim.engines.fleet import Autoscale
from sim.engines.serving import Kind, Requests, conversations, disaggregation
from sim.engines.serving.autoscaling import Autoscaler, Scaling
from sim.engines.serving.fleet import Crew, Faults
from sim.engines.serving.outcome import Served
from sim.kernel.records import DONE, REJECTED
from sim.scenario import Scheduler
from sim.simulation.prepare import Prepared, prepare
from sim.workload.traffic import Trace


@cache
def ready(system: str = "h100-x1") -> Prepared:
    """A model on `system`, prepared once."""
    return prepare(
        load_scenario(
            {
                "model": "llama-3.1-8b",
                "system": system,
                "traffic": {"poisson": {"rate": "1 /s", "requests": 1, "input": 8, "output": 2}},
                "scheduler": {"kind": "chunked-prefill", "max_batch": 8, "token_budget": 256},
            }
        )
    )


def kind(system: str = "h100-x1", *, kv_tokens: int | None = None, **changes: Any) -> Kind:
    """A kind of replicas with room for `kv_tokens` cached tokens, its scheduler changed."""
    prepared = ready(system)
    scheduler: Scheduler = replace(prepared.scenario.scheduler, watermark=0.0, **changes)
    kv_B = prepared.budget.kv_B
    if kv_tokens is not None:
        kv_B = float(prepared.program.streams["kv_B"].sum()) * kv_tokens
    return Kind(program=prepared.program, scheduler=scheduler, kv_B=kv_B)


def serve_fleet(
    kinds: list[Kind], counts: list[int], trace: Trace, **more: Any
) -> tuple[Served, Faults, int]:
    """What a crew does with a trace, what failed, and how many requests were tried again."""
    crew = Crew(kinds=kinds, counts=counts, requests=Requests.of(kinds[0], trace), **more)
    served, faults = crew.serve(), crew.faults()
    return served, faults, faults.retried


def serve_autoscaled(
    own: Kind, rule: Autoscale, trace: Trace, **more: Any
) -> tuple[Served, Faults, int, Scaling]:
    """As `serve_fleet`, on the replicas that `rule` keeps on, and when they were."""
    scaler = Autoscaler(rule=rule)
    return *serve_fleet([own], [rule.most], trace, scaler=scaler, **more), scaler.scaling()


def serve_following(own: Kind, trace: Trace, systems: int = 1) -> Served:
    """As `conversations.serve_following`, of a trace."""
    return conversations.serve_following(own, Requests.of(own, trace), systems=systems)


def serve_disaggregated(
    prefill: tuple[Kind, int], decode: tuple[Kind, int], trace: Trace, transfer: Any, **more: Any
) -> Any:
    """As `disaggregation.serve_disaggregated`, of a trace."""
    requests = Requests.of(prefill[0], trace)
    return disaggregation.serve_disaggregated(prefill, decode, requests, transfer, **more)


def traffic(seed: int, requests: int, rate: float, longest: int = 600) -> Trace:
    """Random requests, some at the same moment."""
    random = np.random.default_rng(seed)
    gaps = random.exponential(1.0 / rate, requests) * (random.random(requests) < 0.8)
    return Trace(
        name="random",
        arrival_s=np.cumsum(gaps) - gaps[0],
        input_tokens=random.integers(1, longest, requests),
        output_tokens=random.integers(1, 40, requests),
    )


def records_of(served: Served) -> np.ndarray[Any, Any]:
    """Requests of all replicas, in order of arrival and length."""
    records = np.concatenate([outcome.requests for outcome in served.outcomes])
    return records[np.lexsort((records["output"], records["input"], records["arrival_s"]))]


def check_conserved(served: Served, trace: Trace) -> None:
    """Each request ends once, with all of its tokens; every gap is counted."""
    records = records_of(served)
    order = np.lexsort((trace.output_tokens, trace.input_tokens, trace.arrival_s))
    assert np.array_equal(records["arrival_s"], trace.arrival_s[order])
    assert np.array_equal(records["input"], trace.input_tokens[order])
    assert np.array_equal(records["output"], trace.output_tokens[order])
    assert np.isin(records["status"], (DONE, REJECTED)).all()
    done = records[records["status"] == DONE]
    assert np.array_equal(done["generated"], done["output"])
    assert (done["arrival_s"] <= done["admitted_s"]).all()
    assert (done["admitted_s"] < done["first_s"]).all()
    assert (done["first_s"] <= done["last_s"]).all()
    preempted = sum(outcome.preemptions for outcome in served.outcomes)
    assert preempted == records["preemptions"].sum()
    assert served.window.generated_tokens == records["generated"].sum()
    gaps = sum(float(outcome.gaps[:, 1].sum()) for outcome in served.outcomes)
    assert gaps == np.maximum(records["generated"] - 1, 0).sum()
    between = sum(float(outcome.gaps.prod(axis=1).sum()) for outcome in served.outcomes)
    got = records[records["generated"] > 0]
    assert np.isclose(between, (got["last_s"] - got["first_s"]).sum(), rtol=1e-9)
    assert all((outcome.gaps[:, 0] >= 0.0).all() for outcome in served.outcomes)
