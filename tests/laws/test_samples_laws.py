"""What several answers to a prompt conserve, and that they share the prompt once it is computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.engines.fleet import Outage
from sim.engines.offload import Tier
from sim.engines.scheduler import Scheduler
from sim.engines.serving import Requests, serve_closed
from sim.engines.serving.disaggregation import Transfer
from sim.engines.serving.fleet import Crew, Trouble
from sim.engines.serving.outcome import Served
from sim.hardware import Link
from sim.kernel.records import DONE, LOADS, REJECTED
from sim.mapping.transfer import cache_bytes
from sim.workload.traffic import Blocks, Closed, Gaussian, Sessions, Trace
from sim.workload.traffic.arrivals import requests_of
from sim.workload.traffic.samples import fan_out, with_blocks
from tests.builders import drafted, serve_trace
from tests.fleets import (
    check_conserved,
    kind,
    ready,
    records_of,
    serve_disaggregated,
    serve_fleet,
    serve_following,
    traffic,
)

ROUTES = ("round-robin", "least-loaded", "by-length", "prefix")
KINDS = ("chunked-prefill", "layered-prefill", "continuous", "prefill-first", "static")
ANSWERS = Gaussian(mean=20.0, std=10.0)
LINK = Link(name="link", bandwidth_B_per_s=5e9, latency_s=1e-4)


def several(seed: int, requests: int, samples: int, rate: float = 50.0) -> Trace:
    return with_blocks(fan_out(traffic(seed, requests, rate), samples, ANSWERS, seed))


def homes(served: Served) -> dict[int, set[int]]:
    """Replicas on which answers to each request ended."""
    found: dict[int, set[int]] = {}
    for number, outcome in enumerate(served.outcomes):
        for parent in outcome.requests["parent"].tolist():
            found.setdefault(parent, set()).add(number)
    return found


def check_prompt_comes_first(served: Served) -> None:
    """No answer that found its prompt begins before someone computed that; without preemption."""
    for outcome in served.outcomes:
        records = outcome.requests[outcome.requests["status"] == DONE]
        for parent in np.unique(records["parent"]):
            own = records[records["parent"] == parent]
            if not own["preemptions"].any():
                computed = own["first_s"][own["cached"] == own["cached"].min()].min()
                assert (own["first_s"] >= computed).all()


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    samples=st.integers(2, 5),
    route=st.sampled_from(ROUTES),
    how=st.sampled_from(KINDS),
    cache=st.booleans(),
    kv_tokens=st.sampled_from([700, 3000, None]),
    kv_reserve=st.sampled_from(["paged", "full"]),
    order=st.sampled_from(["arrival", "shortest"]),
    max_batch=st.sampled_from([1, 3, 8]),
    outages=st.lists(
        st.builds(
            Outage, replica=st.integers(0, 2), at_s=st.floats(0.0, 1.0), for_s=st.floats(0.0, 0.5)
        ),
        max_size=4,
    ),
)
def test_answers_end_once_on_one_replica(
    seed: int, samples: int, route: str, how: str, cache: bool, kv_tokens: int | None,
    kv_reserve: str, order: str, max_batch: int, outages: list[Outage],
) -> None:  # fmt: skip
    trace = several(seed, 25, samples)
    if route == "prefix" and not cache:
        route = "round-robin"
    own = kind(
        kind=how, prefix_cache=cache, kv_tokens=kv_tokens, kv_reserve=kv_reserve, order=order,
        max_batch=max_batch,
    )  # fmt: skip
    trouble = Trouble(outages=tuple(outages))
    served, _, _ = serve_fleet([own], [3], trace, route=route, trouble=trouble)
    check_conserved(served, trace)
    assert set(homes(served)) == set(range(1, 26))
    if not outages:  # some of its answers may have ended where it was before
        assert all(len(where) == 1 for where in homes(served).values())
    for outcome in served.outcomes:
        assert (outcome.requests["shared"] == 0).all()
        assert (outcome.requests["kv_B"] == 0.0).all()
        assert outcome.kv_peak_B <= outcome.kv_capacity_B * (1.0 + 1e-12)
    check_prompt_comes_first(served)
    again, _, _ = serve_fleet([own], [3], trace, route=route, trouble=trouble)
    assert records_of(again).tobytes() == records_of(served).tobytes()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    samples=st.integers(2, 5),
    how=st.sampled_from(KINDS),
    replicas=st.integers(1, 3),
    route=st.sampled_from(ROUTES),
)
def test_with_room_each_prompt_is_computed_once(
    seed: int, samples: int, how: str, replicas: int, route: str
) -> None:
    trace = several(seed, 20, samples)
    own = kind(kind=how, prefix_cache=True)
    served, _, _ = serve_fleet([own], [replicas], trace, route=route)
    prompts = trace.input_tokens[::samples]
    further = (prompts - (prompts - 1) // 16 * 16) * (samples - 1)
    computed = sum(outcome.prefill_tokens for outcome in served.outcomes)
    assert computed == prompts.sum() + further.sum()
    alone, _, _ = serve_fleet([kind(kind=how)], [replicas], trace, route=route.replace(
        "prefix", "round-robin"))  # fmt: skip
    assert sum(outcome.prefill_tokens for outcome in alone.outcomes) == samples * prompts.sum()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    samples=st.integers(2, 4),
    how=st.sampled_from(KINDS),
    loads=st.sampled_from(LOADS),
    most=st.sampled_from([8, 20, 40]),
    rate=st.sampled_from([1e7, 1e9]),
    budget=st.sampled_from([64, 512]),
)
def test_prompts_that_are_loaded_come_first_too(
    seed: int, samples: int, how: str, loads: str, most: int, rate: float, budget: int
) -> None:
    """The same few prompts again and again, of which the cache below has most."""
    random = np.random.default_rng(seed)
    texts, count = random.integers(0, 3, 24), 24
    prompts = np.array([200, 330, 470])[texts]
    blocks = Blocks(
        ids=np.concatenate([text * 100 + np.arange(prompt // 16) for text, prompt in
                            zip(texts, prompts, strict=True)]),
        starts=np.concatenate([[0], np.cumsum(prompts // 16)]),
        tokens=16,
    )  # fmt: skip
    trace = Trace(
        name="again", arrival_s=np.cumsum(random.exponential(0.1, count)), input_tokens=prompts,
        output_tokens=random.integers(1, 20, count), blocks=blocks,
    )  # fmt: skip
    trace = fan_out(trace, samples, ANSWERS, seed)
    tier = Tier(
        name="dram", size_B=1e12, bandwidth_B_per_s=rate, latency_s=1e-3, energy_J_per_B=1e-11
    )
    own = kind(
        kind=how, prefix_cache=True, prefix_blocks=most, kv_tiers=(tier,), kv_loads=loads,
        token_budget=budget, max_prefill_tokens=budget,
    )  # fmt: skip
    served = serve_trace(own.program, own.scheduler, own.kv_B, trace)
    check_conserved(served, trace)
    (outcome,) = served.outcomes
    records = outcome.requests
    token_B = float(own.program.streams["kv_B"].sum())
    for first in records[(records["loaded"] > 0) & (records["preemptions"] == 0)]:
        mine = (records["parent"] == first["parent"]) & (records["preemptions"] == 0)
        mine &= records["admitted_s"] >= first["admitted_s"]
        there_s = first["admitted_s"] + 1e-3 + first["loaded"] * token_B / rate
        assert (records["first_s"][mine] >= there_s * (1.0 - 1e-9)).all()
    check_prompt_comes_first(served)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    samples=st.integers(2, 4),
    clients=st.integers(1, 4),
    systems=st.integers(1, 2),
    cache=st.booleans(),
    kv_tokens=st.sampled_from([1500, None]),
)
def test_clients_wait_for_all_answers(
    seed: int, samples: int, clients: int, systems: int, cache: bool, kv_tokens: int | None
) -> None:
    loop = Closed(
        concurrency=clients, requests=12, input=Gaussian(mean=200.0, std=100.0), output=ANSWERS,
        start="cold", samples=samples,
    )  # fmt: skip
    drawn = with_blocks(requests_of(replace(loop, requests=12 + clients), seed))
    own = kind(prefix_cache=cache, kv_tokens=kv_tokens)
    served = serve_closed(own, Requests.of(own, drawn), loop, seed=seed, systems=systems)
    assert all(len(where) == 1 for where in homes(served).values())
    records = np.concatenate([outcome.requests for outcome in served.outcomes])
    over = np.isin(records["status"], (DONE, REJECTED))
    spans, ended = [], 0
    for parent in np.unique(records["parent"]):
        mine = records["parent"] == parent
        assert mine.sum() == samples
        assert len(set(records["arrival_s"][mine])) == 1
        last = np.fmax.reduce(records["last_s"][mine]) if over[mine].all() else np.inf
        ended += bool(over[mine].all())
        spans.append((float(records["arrival_s"][mine][0]), last))
    assert ended >= 12
    for at, _ in spans:  # as many requests at a time as there are clients, never more
        assert sum(begun <= at < end * (1.0 - 1e-12) for begun, end in spans) <= clients


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    samples=st.integers(2, 4),
    systems=st.integers(1, 2),
    cache=st.booleans(),
)
def test_the_next_turn_comes_after_all_answers(
    seed: int, samples: int, systems: int, cache: bool
) -> None:
    talks = Sessions(
        rate_per_s=20.0, sessions=8, turns=Gaussian(mean=3.0, std=1.5), shared=64, templates=2,
        input=Gaussian(mean=60.0, std=30.0), output=ANSWERS, think_s=0.3, wait=True,
        samples=samples,
    )  # fmt: skip
    trace = requests_of(talks, seed)
    assert trace.follows is not None
    own = kind(prefix_cache=cache)
    served = serve_following(own, trace, systems)
    assert all(len(where) == 1 for where in homes(served).values())
    records = np.concatenate([outcome.requests for outcome in served.outcomes])
    records = records[np.argsort(records["parent"], kind="stable")]
    ends = records["last_s"].reshape(-1, samples).max(axis=1)
    before = trace.follows.previous[::samples] // samples
    later = np.flatnonzero(trace.follows.previous[::samples] >= 0)
    due = ends[before[later]] + trace.follows.think_s[::samples][later]
    assert np.allclose(records["arrival_s"][::samples][later], due, rtol=1e-12)
    assert len(records) == len(trace.arrival_s)
    assert (records["status"] == DONE).all()


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("cache", [False, True])
def test_pools_apart_send_the_cache_of_each_answer(route: str, cache: bool) -> None:
    trace = several(5, 30, 3)
    sizes = cache_bytes(ready().graph, ready().scenario.precision, trace.input_tokens)
    first = kind(prefix_cache=cache)
    if route == "prefix" and not cache:
        return
    transfer = Transfer(prompt_B=sizes, layers=32, link=LINK)
    served, sent = serve_disaggregated((first, 2), (kind(), 2), trace, transfer, route=route)
    check_conserved(served, trace)
    assert len(sent.sender) == (trace.output_tokens > 1).sum()
    records = records_of(served)
    assert np.bincount(records["parent"])[1:].tolist() == [3] * 30
    prompts = trace.input_tokens[::3]
    computed = sum(outcome.prefill_tokens for outcome in served.outcomes)
    once = prompts.sum() + 2 * (prompts - (prompts - 1) // 16 * 16).sum()
    assert computed == (once if cache else 3 * prompts.sum())


def test_a_cache_is_empty_and_whole_at_the_end() -> None:
    """Nobody uses a block any more; those of prompts are there, those of answers never were."""
    trace = several(3, 20, 4)
    own = kind(prefix_cache=True)
    crew = Crew(kinds=[own], counts=[1], requests=Requests.of(own, trace))
    crew.serve()
    (pool,) = crew.pools
    state = pool.states[0]
    assert state["kv_used_B"] == 0.0
    assert (pool.flows.refs[0] == 0).all()
    assert state["cached_blocks"] == state["idle_blocks"] == (trace.input_tokens[::4] // 16).sum()


@pytest.mark.parametrize("how", ["chunked-prefill", "continuous", "static"])
def test_drafts_of_each_answer_are_its_own(how: str) -> None:
    of = drafted("dense")
    trace = with_blocks(fan_out(traffic(1, 20, 2000.0, longest=60), 3, ANSWERS, 1))
    scheduler = Scheduler(kind=how, watermark=0.0, prefix_cache=True)
    (got,) = serve_trace(of, scheduler, 2.0**40, trace).outcomes
    assert (got.requests["status"] == DONE).all()
    assert got.generated_tokens == trace.output_tokens.sum()
    assert len(set(got.requests["draw"].tolist())) == len(trace.arrival_s)
