"""Is each request served once, whatever route, failures and pools it meets, and no replica idle?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sim.engines.fleet import Breakdowns, Outage, Slowdown
from sim.engines.serving import Requests
from sim.engines.serving.disaggregation import Transfer, sent
from sim.engines.serving.fleet import Crew, Trouble
from sim.hardware import Link
from sim.kernel.records import DONE, REJECTED
from sim.mapping.transfer import cache_bytes
from sim.workload.traffic import Blocks, Trace
from tests.fleets import (
    check_conserved,
    kind,
    ready,
    records_of,
    serve_disaggregated,
    serve_fleet,
    traffic,
)

ROUTES = ("round-robin", "least-loaded", "by-length")
KINDS = ("chunked-prefill", "layered-prefill", "continuous", "prefill-first", "static")
LINK = Link(name="link", bandwidth_B_per_s=5e9, latency_s=1e-4)

outages = st.lists(
    st.builds(
        Outage, replica=st.integers(0, 2), at_s=st.floats(0.0, 1.0), for_s=st.floats(0.0, 0.5)
    ),
    max_size=6,
)
kinds = st.builds(
    kind,
    kind=st.sampled_from(KINDS),
    kv_tokens=st.sampled_from([700, 2000, None]),
    kv_reserve=st.sampled_from(["paged", "full"]),
    order=st.sampled_from(["arrival", "shortest"]),
    max_batch=st.sampled_from([1, 8]),
)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    rate=st.sampled_from([20.0, 200.0]),
    route=st.sampled_from(ROUTES),
    own=kinds,
    outages=outages,
    mtbf=st.sampled_from([None, 0.2, 2.0]),
    slow=st.sampled_from([1.0, 3.0]),
)
def test_every_request_ends_once(
    seed: int, rate: float, route: str, own, outages, mtbf: float | None, slow: float
) -> None:
    trace = traffic(seed, 60, rate)
    trouble = Trouble(
        outages=tuple(outages),
        breakdowns=None if mtbf is None else Breakdowns(mtbf_s=mtbf, repair_s=0.05),
        slowdowns=(Slowdown(replica=1, factor=slow),),
        seed=seed,
    )
    served, faults, retried = serve_fleet([own], [3], trace, route=route, trouble=trouble)
    check_conserved(served, trace)
    assert retried <= faults.retries.sum()
    assert (faults.retries[faults.failures == 0] == 0).all()
    lost = sum(outcome.prefill_tokens for outcome in served.outcomes)
    assert lost >= records_of(served)["input"][records_of(served)["status"] == DONE].sum()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    rate=st.sampled_from([20.0, 200.0]),
    route=st.sampled_from(ROUTES),
    first=kinds,
    second=kinds,
    overlap=st.booleans(),
)
def test_pools_apart_serve_every_request_once(
    seed: int, rate: float, route: str, first, second, overlap: bool
) -> None:
    trace = traffic(seed, 50, rate)
    sizes = cache_bytes(ready().graph, ready().scenario.precision, trace.input_tokens)
    transfer = Transfer(prompt_B=sizes, layers=32, link=LINK, overlap=overlap)
    served, sent_ = serve_disaggregated((first, 2), (second, 2), trace, transfer, route=route)
    check_conserved(served, trace)
    went = trace.output_tokens > 1
    assert len(sent_.sender) <= went.sum()
    assert (sent_.exposed_s >= LINK.latency_s).all()
    assert (sent_.queue_s[np.isfinite(sent_.queue_s)] >= 0.0).all()
    prefill, decode = served.outcomes[:2], served.outcomes[2:]
    begun = int((records_of(served)["generated"] > 0).sum())
    assert sum(outcome.generated_tokens for outcome in prefill) == begun
    # what the decode pool prefills is what it preempted
    again = sum(outcome.prefill_tokens for outcome in decode)
    assert (again > 0) == (sum(outcome.preemptions for outcome in decode) > 0)


@pytest.mark.parametrize("route", ROUTES)
def test_no_replica_is_idle_while_its_queue_holds_a_request(route: str) -> None:
    """Advanced to any moment, what is queued has arrived before only where the batch is full."""
    own = kind(max_batch=2, kind="continuous")
    trace = traffic(3, 80, 100.0)
    crew = Crew(kinds=[own], counts=[3], requests=Requests.of(own, trace), route=route)
    (pool,) = crew.pools
    cuts = np.linspace(0.01, trace.arrival_s[-1] + 1.0, 50)
    done = 0
    for at_s in cuts:
        last = int(np.searchsorted(trace.arrival_s, at_s))
        crew._arrive(np.arange(done, last))
        done = last
        crew.advance(float(at_s))
        for number, state in enumerate(pool.states):
            queued = pool.flows.waiting[number, state["head"] : state["tail"]]
            here = (crew.table["arrival_s"][queued] <= at_s).sum()
            assert not here or state["running"] > 0 or state["now_s"] > at_s
            assert here == 0 or state["running"] == 2 or state["now_s"] > at_s


def test_the_same_seed_gives_the_same_run() -> None:
    trouble = Trouble(breakdowns=Breakdowns(mtbf_s=0.5, repair_s=0.1), seed=7)
    trace = traffic(5, 100, 50.0)
    runs = [
        serve_fleet([kind()], [4], trace, route="least-loaded", trouble=trouble) for _ in range(2)
    ]
    assert runs[0][1].failures.sum() > 0
    assert runs[0][2] == runs[1][2] > 0
    for one, other in zip(runs[0][0].outcomes, runs[1][0].outcomes, strict=True):
        assert one.requests.tobytes() == other.requests.tobytes()
        assert_array_equal(one.gaps, other.gaps)


def test_a_dead_replicas_requests_go_on_from_the_tokens_they_have() -> None:
    trace = traffic(11, 12, 1000.0)
    free, _, _ = serve_fleet([kind()], [2], trace)
    at_s = float(np.median(records_of(free)["first_s"]))
    died = Trouble(outages=(Outage(replica=0, at_s=at_s, for_s=1e6),))
    served, faults, retried = serve_fleet([kind()], [2], trace, trouble=died)
    check_conserved(served, trace)
    assert_array_equal(faults.failures, [1, 0])
    assert faults.retries[0] == retried > 0
    assert len(served.outcomes[1].requests) + len(served.outcomes[0].requests) == 12
    assert (served.outcomes[0].requests["last_s"] < at_s + 0.1).all()
    # tokens are streamed once: each is generated by one of the two
    given_ = sum(outcome.generated_tokens for outcome in served.outcomes)
    assert given_ == trace.output_tokens.sum()


def test_requests_wait_where_all_replicas_are_dead() -> None:
    trace = traffic(2, 10, 1000.0)
    died = Trouble(outages=(Outage(replica=0, at_s=0.0, for_s=5.0),))
    served, _, _ = serve_fleet([kind()], [1], trace, trouble=died)
    check_conserved(served, trace)
    assert records_of(served)["admitted_s"].min() >= 5.0


def test_a_replica_that_died_has_lost_its_prefix_cache() -> None:
    """The same prompt again and again: known to a replica from its second one on."""
    count = 8
    trace = Trace(
        name="again",
        arrival_s=np.arange(count) * 10.0,
        input_tokens=np.full(count, 160),
        output_tokens=np.full(count, 3),
        blocks=Blocks(
            ids=np.tile(np.arange(10), count), starts=np.arange(count + 1) * 10, tokens=16
        ),
    )
    died = Trouble(outages=(Outage(replica=0, at_s=35.0, for_s=1.0),))
    own = kind(prefix_cache=True)
    found = [
        serve_fleet([own], [1], trace, trouble=trouble)[0].outcomes[0].cached_tokens
        for trouble in (Trouble(), died)
    ]
    assert found == [7 * 144, 6 * 144]  # a prompt's last token is always computed


def test_a_replica_that_is_back_is_not_flooded() -> None:
    """A router by prefix has it share the work from then on, whatever others did meanwhile."""
    count = 400
    trace = Trace(
        name="one by one",
        arrival_s=np.arange(count) * 0.01,
        input_tokens=np.full(count, 160),
        output_tokens=np.full(count, 20),
        blocks=Blocks(ids=np.arange(count * 10), starts=np.arange(count + 1) * 10, tokens=16),
    )
    died = Trouble(outages=(Outage(replica=0, at_s=0.5, for_s=1.5),))
    own = kind(prefix_cache=True)
    served, _, _ = serve_fleet([own], [2], trace, route="prefix", trouble=died)
    check_conserved(served, trace)
    late = [int((each.requests["arrival_s"] > 2.1).sum()) for each in served.outcomes]
    assert abs(late[0] - late[1]) <= 2


def test_a_request_that_fits_nowhere_is_rejected_once() -> None:
    trace = traffic(2, 30, 100.0)
    served, _, _ = serve_fleet([kind(kv_tokens=320)], [2], trace)
    check_conserved(served, trace)
    records = records_of(served)
    fits = -(-(records["input"] + records["output"]) // 16) * 16 <= 320
    assert_array_equal(records["status"] == DONE, fits)
    assert_array_equal(records["status"] == REJECTED, ~fits)
    assert not fits.all()


def test_links_send_in_turn_and_hide_all_but_the_last_layer() -> None:
    link = Link(name="link", bandwidth_B_per_s=100.0, latency_s=0.5)
    begun, done = np.array([0.0, 0.0]), np.array([8.0, 8.0])
    # 4 layers take 2 s each; 40 B a layer take 0.4 s: the last one is there 0.4 s after the prompt
    once = sent(link, np.array([160.0]), 4, begun[:1], done[:1], overlap=True)
    assert once[0] == pytest.approx(8.0 + 0.4 + 0.5)
    # 400 B a layer take 4 s: the link never waits after the first layer
    slow = sent(link, np.array([1600.0]), 4, begun[:1], done[:1], overlap=True)
    assert slow[0] == pytest.approx(2.0 + 16.0 + 0.5)
    # the second one waits for the first
    two = sent(link, np.array([1600.0, 160.0]), 4, begun, done, overlap=True)
    assert two[1] == pytest.approx(18.0 + 1.6 + 0.5)
    # all after the prompt
    plain = sent(link, np.array([160.0, 160.0]), 4, begun, done, overlap=False)
    assert plain == pytest.approx([8.0 + 1.6 + 0.5, 8.0 + 3.2 + 0.5])
