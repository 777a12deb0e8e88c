"""What swapping and tiers conserve: requests, tokens, bytes, seconds and joules, in fleets too."""

from __future__ import annotations

import numpy as np
import pytest
from builders import SCHEDULERS, program, served
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import TRACES

from sim.engines.fleet import Outage
from sim.engines.offload import Host, Tier
from sim.engines.scheduler import Scheduler
from sim.engines.serving import Kind, Requests
from sim.engines.serving.fleet import Crew, Trouble
from sim.kernel.records import DONE, LOADS, REJECTED
from sim.workload.traffic import Blocks, Trace
from tests.fleets import check_conserved, kind, records_of, serve_fleet

PROGRAMS = {
    name: program(name, "PIM") for name in ("dense", "sliding", "moe", "hybrid", "encoder-decoder")
}
hosts = st.builds(
    Host,
    memory_B=st.sampled_from((1e4, 1e5, 1e9)),
    bandwidth_B_per_s=st.sampled_from((1e8, 1e10)),
    latency_s=st.sampled_from((0.0, 1e-5)),
    energy_J_per_B=st.just(1e-11),
    overlap=st.booleans(),
)


@settings(max_examples=60)
@given(
    name=st.sampled_from(sorted(PROGRAMS)),
    how=st.sampled_from(SCHEDULERS),
    max_batch=st.integers(1, 16),
    block=st.sampled_from((1, 16)),
    order=st.sampled_from(("arrival", "shortest", "deadline")),
    host=hosts,
    requests=TRACES,
    room=st.floats(0.5, 3.0),
)
def test_swapping_loses_nothing(
    name: str,
    how: str,
    max_batch: int,
    block: int,
    order: str,
    host: Host,
    requests: Trace,
    room: float,
) -> None:
    of = PROGRAMS[name]
    kv_B = (of.streams["kv_B"].sum() * 180 + of.state_B) * room
    scheduler = Scheduler(
        kind=how,  # type: ignore[arg-type]
        max_batch=max_batch, kv_block=block, token_budget=64,
        order=order,  # type: ignore[arg-type]
        preemption="swap", host=host,
    )  # fmt: skip
    got = served(of, scheduler, kv_B, requests, log=20_000)
    made, copies = got.requests, got.copies
    done = made["status"] == DONE
    assert (done | (made["status"] == REJECTED)).all()
    assert (made["generated"] == np.where(done, made["output"], 0)).all()
    assert (made["kv_B"] == 0.0).all()
    assert (made["host_B"] == 0.0).all()
    assert got.kv_peak_B <= got.kv_capacity_B
    assert copies.host_peak_B <= host.memory_B
    assert copies.in_B == pytest.approx(copies.out_B, rel=1e-12)
    assert copies.joules == pytest.approx((copies.in_B + copies.out_B) * 1e-11, rel=1e-12)
    if copies.swaps == got.preemptions:
        assert got.prefill_tokens == made["input"][done].sum()
    gaps = made["output"][done].sum() - done.sum()
    assert got.gaps[:, 1].sum() == gaps
    total = (made["last_s"][done] - made["first_s"][done]).sum()
    assert (got.gaps[:, 0] * got.gaps[:, 1]).sum() == pytest.approx(total, rel=1e-9)
    assert got.seconds.sum() + got.host_s + copies.wait_s == pytest.approx(got.busy_s, rel=1e-9)
    assert got.log[:, 1].sum() == pytest.approx(got.busy_s, rel=1e-9)
    static = of.machine["static_W"][0] * of.machine["devices"][0] * got.busy_s
    spent = got.operator_joules - copies.joules
    assert got.log[:, 4].sum() == pytest.approx(spent + static, rel=1e-9)


def conversations(seed: int, requests: int, rate: float) -> Trace:
    """Prompts of up to 12 blocks that begin with one of four texts."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 12, requests)
    texts = random.integers(0, 4, requests) * 100
    return Trace(
        name="talk",
        arrival_s=np.cumsum(random.exponential(1.0 / rate, requests)),
        input_tokens=lengths * 16 + random.integers(1, 16, requests),
        output_tokens=random.integers(1, 40, requests),
        blocks=Blocks(
            ids=np.concatenate(
                [text + np.arange(n) for text, n in zip(texts, lengths, strict=True)]
            ),
            starts=np.concatenate([[0], np.cumsum(lengths)]),
            tokens=16,
        ),
    )


def offloading(kv_tokens: int, tier_tokens: tuple[int, int], loads: str = "async") -> Kind:
    """A kind of replicas that swaps, with two tiers below its prefix cache."""
    plain = kind(kv_tokens=kv_tokens, prefix_cache=True)
    token_B = float(plain.program.streams["kv_B"].sum())
    tiers = tuple(
        Tier(name=name, size_B=tokens * token_B, bandwidth_B_per_s=1e10, latency_s=1e-5)
        for name, tokens in zip(("dram", "ssd"), tier_tokens, strict=True)
    )
    host = Host(memory_B=400 * token_B, bandwidth_B_per_s=5e10, latency_s=1e-5)
    return kind(
        kv_tokens=kv_tokens, prefix_cache=True, preemption="swap", host=host, kv_tiers=tiers,
        kv_loads=loads,
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    rate=st.sampled_from([20.0, 200.0]),
    route=st.sampled_from(("round-robin", "least-loaded", "prefix")),
    kv_tokens=st.sampled_from([300, 700]),
    tiers=st.sampled_from([(16, 16), (160, 64), (640, 3200)]),
    loads=st.sampled_from(LOADS),
    outages=st.lists(
        st.builds(
            Outage, replica=st.integers(0, 2), at_s=st.floats(0.0, 2.0), for_s=st.floats(0.0, 0.5)
        ),
        max_size=6,
    ),
)
def test_fleets_that_fail_lose_caches_and_no_request(
    seed: int,
    rate: float,
    route: str,
    kv_tokens: int,
    tiers: tuple[int, int],
    loads: str,
    outages: list[Outage],
) -> None:
    traffic = conversations(seed, 60, rate)
    own = offloading(kv_tokens, tiers, loads)
    result, _, _ = serve_fleet(
        [own], [3], traffic, route=route, trouble=Trouble(outages=tuple(outages), seed=seed)
    )
    check_conserved(result, traffic)
    records = records_of(result)
    assert (records["host_B"] == 0.0).all()
    assert (records["loaded"] <= records["cached"]).all()
    for outcome in result.outcomes:
        assert outcome.kv_peak_B <= outcome.kv_capacity_B * (1.0 + 1e-12)
        for use, tier in zip(outcome.copies.tiers, own.scheduler.kv_tiers, strict=True):
            assert use.peak_B <= tier.size_B


def test_a_replica_that_dies_has_nothing_left_in_its_tiers_or_its_host() -> None:
    own = offloading(300, (640, 3200))
    traffic = conversations(5, 80, 200.0)
    assert traffic.blocks is not None
    crew = Crew(kinds=[own], counts=[1], requests=Requests.of(own, traffic))
    (pool,), table = crew.pools, crew.table
    crew._arrive(np.arange(80))
    # advanced until a cache is swapped out, and blocks lie in a tier
    for at_s in np.arange(0.01, 5.0, 0.005):
        crew.advance(float(at_s))
        state = pool.states[0]
        if state["swapped"] > 0 and state["tier_blocks"][0] > 0:
            break
    assert state["swapped"] > 0
    assert table["host_B"].sum() == pytest.approx(state["host_used_B"])
    for tier in range(2):
        assert state["tier_blocks"][tier] == (pool.flows.refs[0] == -2 - tier).sum()
    dropped = pool.drop(0)
    assert len(dropped) > 0
    assert (table["host_B"] == 0.0).all()
    assert (pool.flows.refs == -1).all()
    for name in ("swapped", "host_used_B", "copy_s", "load_s", "idle_blocks", "cached_blocks"):
        assert state[name] == 0
    assert (state["tier_blocks"] == 0).all()
    assert (state["tier_oldest"] == -1).all()
    pool.hand_over(0, dropped, float(state["now_s"]))
    pool.advance(np.inf)
    assert np.isin(table["status"], (DONE, REJECTED)).all()
