"""Parts of serving that meet: what one of them keeps must not trip another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from builders import drafted
from fleets import serve_following

from sim.engines.scheduler import Scheduler
from sim.engines.serving import Kind
from sim.errors import ConfigError
from sim.kernel.records import DONE
from sim.results.simulate import simulate
from sim.workload.traffic import Constant, Sessions
from sim.workload.traffic.arrivals import requests_of

DRAM = {"name": "dram", "size": "200 GB", "bandwidth": "50 GB/s", "latency": "10 us"}
CACHED: dict[str, Any] = {"prefix_cache": True, "kv_tiers": [DRAM]}


def talks(turns: int, prompt: int, answer: int, **more: Any) -> dict[str, Any]:
    named = {"turns": turns, "input": prompt, "output": answer, "shared": 0, "think": "5 s"}
    return {"sessions": {"rate": "4 /s", "sessions": 20, **named, **more}}


def test_a_static_batch_goes_on_with_prompts_that_are_loaded_again() -> None:
    """A preempted request has tokens of its own, which are no reason to pick nobody."""
    run = simulate(
        {
            "model": "llama-3.1-8b", "system": "h100-x1", "traffic": talks(2, 300, 600),
            "scheduler": {"kind": "static", "memory_utilization": 0.207, "watermark": 0, **CACHED},
        }
    )  # fmt: skip
    assert (run.records["status"] == DONE).all()
    assert run.served.outcomes[0].preemptions > 0
    assert run.records["loaded"].sum() > 0


def test_sessions_that_wait_draw_alike_on_any_number_of_replicas() -> None:
    talks = Sessions(
        rate_per_s=20.0, sessions=6, turns=Constant(tokens=2), shared=0, templates=1,
        input=Constant(tokens=30), output=Constant(tokens=10), think_s=0.1, wait=True,
    )  # fmt: skip
    trace = requests_of(talks, 1)
    trace = replace(trace, priority=np.arange(len(trace.arrival_s)), blocks=None)
    found, own = [], Kind(program=drafted(), scheduler=Scheduler(), kv_B=2.0**30)
    for systems in (1, 2):
        served = serve_following(own, trace, systems)
        made = np.concatenate([each.requests for each in served.outcomes])
        found.append(made["draw"][np.argsort(made["priority"])].tolist())
    assert found[0] == found[1]
    assert len(set(found[0])) == len(trace.arrival_s)


def started(system: Any, **more: Any) -> float:
    run = simulate(
        "llama-8b-autoscaled", system=system, **more,
        sets=["traffic.limit=20", "fleet.autoscale.max=2", "fleet.autoscale.start_up=null"],
    )  # fmt: skip
    assert "fleet" in run.accounts
    return float(run.accounts["fleet"]["autoscale"]["start_up_s"])


def test_a_replica_loads_weights_only_where_it_runs() -> None:
    alone = started("h100-x1")
    assert started("h100-x8", parallel={"tp": 1, "dp": 1}) == pytest.approx(alone, rel=1e-12)


def test_what_prefill_found_in_tiers_is_told_of_pools_apart() -> None:
    run = simulate(
        {
            "model": "llama-3.1-8b",
            "traffic": talks(4, 1500, 100, rate="1 /s", sessions=40, shared=500, think="20 s"),
            "disaggregate": {
                "prefill": {"system": "h100-x1"}, "decode": {"system": "h100-x1"},
                "link": {"bandwidth": "50 GB/s", "latency": "10 us"},
            },
            "scheduler": {"kind": "chunked-prefill", "memory_utilization": 0.26, **CACHED},
        }
    )  # fmt: skip
    assert "prefix_cache" in run.accounts
    assert run.accounts["prefix_cache"]["loaded_requests"] > 0
    assert run.records["loaded"].sum() > 0


@pytest.mark.parametrize("kind", ["layered-prefill", "chunked-prefill"])
def test_operators_add_up_where_their_tokens_are_no_whole_number(kind: str) -> None:
    """Such operators aren't remembered; with layers in groups two parts of an iteration meet."""
    run = simulate(
        "llama-8b-azure-h100",
        sets=["traffic.limit=100", "traffic.rate_scale=4"],
        techniques=[{"kind": "token-pruning", "layer": 15, "keep": 0.3333}],
        scheduler={"kind": kind},
    )  # fmt: skip
    (got,) = run.served.outcomes
    assert got.seconds.sum() + got.host_s == pytest.approx(got.busy_s, rel=1e-9)


@pytest.mark.parametrize("order", ["arrival", "priority"])
def test_overload_is_told_whoever_goes_first(order: str) -> None:
    run = simulate("llama-8b-priorities", sets=[f"scheduler.order={order}"])
    assert any("faster than they are served" in each for each in run.cautions)


@pytest.mark.parametrize(
    ("scenario", "change", "told"),
    [
        ("llama-8b-priorities", {"traffic": {"trace": "azure-like-2k", "priorities": {10**22: 1}}},
         "whole number"),
        ("llama-8b-priorities", {"traffic": {"trace": "azure-like-2k", "priorities": {"--1": 1}}},
         "whole number"),
        ("llama-8b-autoscaled", {"sets": ["fleet.autoscale.max=100000"]}, "10,000"),
        ("llama-8b-autoscaled", {"sets": ["fleet.autoscale.period=1 ms"]}, "0.1 s"),
        ("llama-70b-closed-speculation", {"sets": ["speculation.draft=llama-3.2-1bb"]},
         "speculation.draft"),
        ("mixtral-8x22b-split", {"placement": {"experts": "gpu"}}, "experts-gpu does"),
        ("llama-8b-azure-h100", {"sets": ["system.device.processors.gpu.kernels=nvidia-hoper"]},
         "did you mean 'nvidia-hopper'?"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told(scenario: str, change: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        simulate(scenario, **change)
    assert told in str(error.value)
