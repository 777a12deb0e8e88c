"""Compiled serving with speculation equals the plain one, request by request."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import drafted, served, trace
from hypothesis import given, settings
from hypothesis import strategies as st
from test_serving_reference import (
    compare,
    compare_preempted_and_rejected,
    schedulers,
    sequence_bytes,
    traces,
)

from sim.engines.offload import Host
from sim.engines.roofline import Batch, step
from sim.engines.scheduler import Scheduler
from sim.kernel.records import CACHED, DECODE, LOG_COLUMNS
from sim.workload.routing import Router
from sim.workload.traffic import Trace

HOST = Host(memory_B=2.0**20, bandwidth_B_per_s=1e9, latency_s=1e-5, energy_J_per_B=0.0)
KINDS = ("chunked-prefill", "continuous", "prefill-first", "static")
PROGRAMS = {
    "dense": drafted("dense", on="two units"),
    "one token": drafted("dense", tokens=1),
    "windows": drafted("sliding", "chunked-window", 4, (0.9, 0.5, 0.0, 1.0)),
    "mtp": drafted("moe", "mtp", 2, on="PIM", count=4, ep=2),
    "self": drafted("dense", "self", 5),
    "latent": drafted("mla", "mtp", 1, 0.9),
    "groups": drafted("moe", "mtp", 2, count=4, attention_dp=2, ep=4),
    "shared experts": drafted("moe", "mtp", 2, on="PIM", count=4, ep=2, coprocessing="pe"),
    "alike": drafted("moe", "self", 2, router=Router(kind="zipf", skew=1.0, locality=0.4)),
}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(
    requests=traces(),
    name=st.sampled_from(sorted(PROGRAMS)),
    room=st.floats(0.3, 3.0),
    scheduler=schedulers(order=st.sampled_from(("arrival", "shortest"))),
    swap=st.booleans(),
)
def test_compiled_speculation_equals_reference(
    kind: str, requests: Trace, name: str, room: float, scheduler: Scheduler, swap: bool
) -> None:
    of = PROGRAMS[name]
    scheduler = replace(scheduler, kind=kind)  # type: ignore[arg-type]
    if swap and scheduler.kv_reserve == "paged":
        scheduler = replace(scheduler, preemption="swap", host=HOST)
    compare(of, scheduler, np.floor(sequence_bytes(of, 65) * room), requests)


@pytest.mark.parametrize("kind", KINDS)
def test_preemption_and_rejection_happen_and_agree(kind: str) -> None:
    compare_preempted_and_rejected(PROGRAMS["dense"], kind)


@pytest.mark.parametrize("name", ["dense", "one token", "mtp", "self", "latent", "groups"])
def test_closed_form_equals_events(name: str) -> None:
    """A prompt, then steps one by one, each at the context that the last one left."""
    of = PROGRAMS[name]
    requests = trace((0.0, 20, 30))
    got = served(of, Scheduler(), 2.0**30, requests, log=100)
    features = got.log[:, LOG_COLUMNS:].reshape(len(got.log), 2, len(of.streams), 4, 4)
    contexts = features[1:, 0, 0, DECODE, CACHED].astype(int) - of.ahead
    steps = [step(of, Batch(prompts=((20, 0, 20),)))]
    steps += [step(of, Batch(decodes=((20, int(context) - 20),))) for context in contexts]
    assert got.iterations == len(steps)
    assert got.log[:, 1].tolist() == pytest.approx([each.seconds for each in steps], rel=1e-9)
    assert got.log[:, 4].tolist() == pytest.approx([each.joules for each in steps], rel=1e-9)
