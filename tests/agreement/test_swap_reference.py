"""Preemption by swap: the compiled loop equals the plain one, and hand-computed copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import SCHEDULERS, program, served, trace
from hypothesis import given, settings
from hypothesis import strategies as st
from test_serving_reference import PROGRAMS, compare, sequence_bytes, traces

from sim.engines.offload import Host
from sim.engines.scheduler import Scheduler
from sim.errors import ConfigError
from sim.kernel.records import DONE
from sim.workload.traffic import Trace

HOST = Host(memory_B=2.0**40, bandwidth_B_per_s=1e9, latency_s=1e-5, energy_J_per_B=2e-11)
CROWDED = trace((0.0, 10, 30), (0.0, 12, 30), (1e-4, 8, 25), (2e-4, 70, 5), (3e-4, 9, 20))
"""Three of them grow beyond 64 tokens together, one never fits."""


@pytest.mark.parametrize("kind", SCHEDULERS)
@settings(max_examples=60)
@given(
    requests=traces(),
    name=st.sampled_from(("dense", "sliding", "moe", "pipeline", "hybrid", "encoder-decoder")),
    max_batch=st.integers(1, 6),
    budget=st.sampled_from((8, 17, 64)),
    block=st.sampled_from((1, 4, 16)),
    room=st.floats(0.3, 1.5),
    watermark=st.sampled_from((0.0, 0.01, 0.2)),
    order=st.sampled_from(("arrival", "shortest")),
    host=st.sampled_from((0.3, 0.8, 100.0)),
    rate=st.sampled_from((1e7, 1e9)),
    overlap=st.booleans(),
)
def test_swapping_equals_the_plain_loop(
    kind: str,
    requests: Trace,
    name: str,
    max_batch: int,
    budget: int,
    block: int,
    room: float,
    watermark: float,
    order: str,
    host: float,
    rate: float,
    overlap: bool,
) -> None:
    of = PROGRAMS[name]
    whole = sequence_bytes(of, 65)
    scheduler = Scheduler(
        kind=kind,  # type: ignore[arg-type]
        max_batch=max_batch,
        token_budget=budget,
        max_prefill_tokens=budget,
        kv_block=block,
        watermark=watermark,
        order=order,  # type: ignore[arg-type]
        groups=3,
        group_tokens=9,
        preemption="swap",
        host=replace(
            HOST, memory_B=whole * host, bandwidth_B_per_s=rate, overlap=overlap,
            energy_J_per_B=0.0,
        ),
    )  # fmt: skip
    got = compare(of, scheduler, np.floor(whole * room), requests)
    copies = got.copies
    assert copies.in_B == copies.out_B
    assert copies.swaps <= got.preemptions
    assert copies.host_peak_B <= whole * host
    assert (got.requests["host_B"] == 0.0).all()


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_swapped_caches_are_not_computed_again(kind: str) -> None:
    of = program("dense")
    scheduler = Scheduler(
        kind=kind, kv_block=4, token_budget=24, watermark=0.0, preemption="swap", host=HOST  # type: ignore[arg-type]
    )  # fmt: skip
    got = compare(of, replace(scheduler, host=replace(HOST, energy_J_per_B=0.0)),
                  sequence_bytes(of, 64), CROWDED)  # fmt: skip
    assert got.preemptions == got.copies.swaps > 0
    done = got.requests["status"] == DONE
    assert got.prefill_tokens == got.requests["input"][done].sum()
    fast = replace(HOST, bandwidth_B_per_s=np.inf, latency_s=0.0)
    free = served(of, replace(scheduler, host=fast), sequence_bytes(of, 64), CROWDED)
    copies = free.copies
    moved_B = copies.out_B + copies.in_B
    assert copies.swap_wait_s == 0.0
    assert copies.joules == pytest.approx(moved_B * HOST.energy_J_per_B)
    assert free.operator_joules == pytest.approx(free.joules.sum() + copies.joules)


def test_a_swap_takes_its_time_before_the_iteration_or_beside_it() -> None:
    """One cache goes and comes back: two copies of 32 tokens, by hand."""
    of = program("dense")
    token_B = sequence_bytes(of, 1)
    requests = trace((0.0, 20, 12), (0.0, 20, 12))
    scheduler = Scheduler(
        kind="continuous", kv_block=4, watermark=0.0, preemption="swap", host=HOST
    )
    got = served(of, scheduler, 56 * token_B, requests)
    # both grow to 28 tokens; for the 29th of the first the second goes, and comes back at the end
    assert got.copies.swaps == 1
    assert got.copies.out_B == 28 * token_B
    one_s = HOST.latency_s + 28 * token_B / HOST.bandwidth_B_per_s
    assert got.copies.swap_wait_s == pytest.approx(2.0 * one_s)
    hidden = served(
        of, replace(scheduler, host=replace(HOST, overlap=True)), 56 * token_B, requests
    )
    assert hidden.copies.swap_wait_s == pytest.approx(0.0)  # iterations are longer than that
    assert got.busy_s == pytest.approx(hidden.busy_s + 2.0 * one_s)


@settings(max_examples=30)
@given(requests=traces(), rates=st.tuples(st.floats(6, 10), st.floats(6, 10)))
def test_a_slower_link_never_makes_a_run_of_one_burst_shorter(
    requests: Trace, rates: tuple[float, float]
) -> None:
    """All at once, so that the same iterations follow whatever they take."""
    of = program("dense")
    burst = replace(requests, arrival_s=np.zeros(len(requests.arrival_s)))
    spent = []
    for rate in sorted(rates):
        host = replace(HOST, bandwidth_B_per_s=10.0**rate)
        scheduler = Scheduler(kv_block=1, watermark=0.0, preemption="swap", host=host)
        spent.append(served(of, scheduler, sequence_bytes(of, 65), burst).busy_s)
    assert spent[0] >= spent[1] * (1.0 - 1e-12)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="swapped caches need one"):
        Scheduler(preemption="swap")
    with pytest.raises(ConfigError, match="never preempts"):
        Scheduler(preemption="swap", host=HOST, kv_reserve="full")
    with pytest.raises(ConfigError, match="bandwidth_B_per_s: 0"):
        Host(size_B=1e9, bandwidth_B_per_s=0.0, latency_s=0.0)
