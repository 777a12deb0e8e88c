"""Does a fleet agree with plain runs wherever it has to?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import sim
from sim.engines.fleet import Slowdown
from sim.engines.serving import Requests
from sim.engines.serving.disaggregation import Transfer
from sim.engines.serving.fleet import Crew, Trouble
from sim.engines.serving.outcome import Served
from sim.engines.serving.pool import OF_FLEET
from sim.hardware import Link
from sim.mapping.transfer import cache_bytes
from sim.workload.traffic import Blocks, Trace
from tests.builders import serve_trace
from tests.fleets import (
    kind,
    ready,
    records_of,
    serve_disaggregated,
    serve_fleet,
    traffic,
)

KINDS = ("chunked-prefill", "layered-prefill", "continuous", "prefill-first", "static")
ENDLESS = Link(name="endless", bandwidth_B_per_s=1e30, latency_s=0.0)
BASE = {
    "model": "llama-3.1-8b",
    "system": "h100-x1",
    "traffic": {"poisson": {"rate": "20 /s", "requests": 120, "input": 700, "output": 40}},
    "scheduler": {"kind": "chunked-prefill"},
}


def plain(trace: Trace, **changes: Any) -> Served:
    own = kind(**changes)
    return serve_trace(own.program, own.scheduler, own.kv_B, trace)


@pytest.mark.parametrize("scheduler", KINDS)
@pytest.mark.parametrize("route", ["round-robin", "least-loaded", "by-length"])
def test_a_fleet_of_one_is_the_plain_run(scheduler: str, route: str) -> None:
    trace = traffic(1, 100, 60.0)
    changes = {"kind": scheduler, "kv_tokens": 3000}
    alone = plain(trace, **changes).outcomes[0]
    fleet = serve_fleet([kind(**changes)], [1], trace, route=route)[0].outcomes[0]
    # a router that looks at loads stops the engine at each arrival: sums come in other orders
    rtol = 1e-12 if route == "least-loaded" else 0.0
    for name in alone.requests.dtype.names:
        assert_allclose(fleet.requests[name], alone.requests[name], rtol=rtol, err_msg=name)
    assert_allclose(fleet.seconds, alone.seconds, rtol=1e-12)
    assert_allclose(fleet.joules, alone.joules, rtol=1e-12)
    for name in ("iterations", "preemptions", "prefill_tokens", "generated_tokens"):
        assert getattr(fleet, name) == getattr(alone, name), name
    assert fleet.end_s == pytest.approx(alone.end_s, rel=1e-12)
    assert fleet.gaps[:, 1].sum() == alone.gaps[:, 1].sum()


def test_prefix_caches_of_replicas_are_their_own() -> None:
    """One replica finds what a plain run finds; of two each only what it has seen itself."""
    trace = traffic(12, 60, 40.0, longest=400)
    random = np.random.default_rng(0)
    sizes = trace.input_tokens // 16 + 1
    ids = np.concatenate([random.integers(0, 4) * 100 + np.arange(size) for size in sizes])
    blocks = Blocks(ids=ids, starts=np.cumsum([0, *sizes]), tokens=16)
    trace = replace(trace, blocks=blocks)
    alone = plain(trace, prefix_cache=True).outcomes[0]
    (fleet,) = serve_fleet([kind(prefix_cache=True)], [1], trace)[0].outcomes
    assert fleet.cached_tokens == alone.cached_tokens > 0
    assert_array_equal(fleet.requests["first_s"], alone.requests["first_s"])
    two = serve_fleet([kind(prefix_cache=True)], [2], trace)[0].outcomes
    assert 0 < sum(outcome.cached_tokens for outcome in two) < alone.cached_tokens
    for half, outcome in enumerate(two):
        rows = slice(half, None, 2)
        part = replace(
            trace,
            arrival_s=trace.arrival_s[rows],
            input_tokens=trace.input_tokens[rows],
            output_tokens=trace.output_tokens[rows],
            blocks=blocks.of(rows),
        )
        assert outcome.cached_tokens == plain(part, prefix_cache=True).outcomes[0].cached_tokens


def test_prompts_that_begin_alike_meet_on_one_replica() -> None:
    """Eight conversations in turn on four replicas: each stays where it began, and work is even."""
    turns, talks = 12, 8
    rows = [[talk * 1000 + step for step in range(turn + 1)] for turn in range(turns)
            for talk in range(talks)]  # fmt: skip
    sizes = np.array([len(row) for row in rows])
    trace = Trace(
        name="talks",
        arrival_s=np.arange(len(rows)) * 0.5,
        input_tokens=sizes * 16,
        output_tokens=np.full(len(rows), 2),
        blocks=Blocks(
            ids=np.concatenate(rows), starts=np.concatenate([[0], np.cumsum(sizes)]), tokens=16
        ),
    )
    own = kind(prefix_cache=True)
    outcomes = serve_fleet([own], [4], trace, route="prefix")[0].outcomes
    homes: dict[int, set[int]] = {}
    for number, outcome in enumerate(outcomes):
        for request in outcome.requests:
            homes.setdefault(round(request["arrival_s"] / 0.5) % talks, set()).add(number)
    assert all(len(numbers) == 1 for numbers in homes.values())
    assert [len(outcome.requests) for outcome in outcomes] == [2 * turns] * 4
    in_turn = serve_fleet([own], [3], trace)[0].outcomes  # three: a talk wanders
    by_prefix = serve_fleet([own], [3], trace, route="prefix")[0].outcomes
    assert sum(o.cached_tokens for o in by_prefix) > 1.2 * sum(o.cached_tokens for o in in_turn)


def test_round_robin_is_data_parallelism_without_a_system_around_it() -> None:
    whole = sim.simulate(BASE, system="h100-x4", parallel={"tp": 1, "dp": 4})
    fleet = sim.simulate(BASE, sets=["fleet.replicas=4"])
    for name, value in whole.metrics.items():
        if value is None or name.startswith(("cost", "carbon")):
            continue  # four systems of one device, or one of four
        assert fleet.metrics[name] == pytest.approx(value, rel=1e-12), name
    assert fleet.bound == pytest.approx(whole.bound, rel=1e-12)
    assert fleet.requests.equals(whole.requests)
    assert fleet.breakdown["energy_J"]["by_class"] == pytest.approx(
        whole.breakdown["energy_J"]["by_class"], rel=1e-12
    )


def test_a_fleet_of_equal_pools_is_one_pool() -> None:
    trace = traffic(4, 150, 100.0)
    for route in ("round-robin", "least-loaded", "by-length"):
        one = serve_fleet([kind()], [4], trace, route=route)[0]
        two = serve_fleet([kind(), kind()], [1, 3], trace, route=route)[0]
        for left, right in zip(one.outcomes, two.outcomes, strict=True):
            assert_array_equal(left.requests, right.requests)


def test_the_least_loaded_replica_is_the_one_with_fewest_requests_not_ended() -> None:
    """Replayed: at each arrival, count what had arrived and not ended on each replica."""
    trace = traffic(6, 200, 150.0)
    served = serve_fleet([kind()], [3], trace, route="least-loaded")[0]
    records = [outcome.requests for outcome in served.outcomes]
    checked = 0
    for number, own in enumerate(records):
        for request in own:
            now = request["arrival_s"]
            if (trace.arrival_s == now).sum() > 1:
                continue  # of those at one moment the later ones see the earlier ones
            loads = [
                int(((each["arrival_s"] < now) & (each["last_s"] > now)).sum()) for each in records
            ]
            assert loads[number] == min(loads)
            checked += 1
    assert checked > 80


def test_prefill_alone_decides_the_first_token_of_pools_apart() -> None:
    trace = traffic(8, 100, 40.0)
    sizes = cache_bytes(ready().graph, ready().scenario.precision, trace.input_tokens)
    transfer = Transfer(prompt_B=sizes, layers=32, link=ENDLESS)
    apart, sent = serve_disaggregated((kind(), 100), (kind(), 100), trace, transfer)
    prompts = Trace(
        name="prompts",
        arrival_s=trace.arrival_s,
        input_tokens=trace.input_tokens,
        output_tokens=np.ones_like(trace.output_tokens),
    )
    alone = serve_fleet([kind()], [100], prompts)[0]
    assert_array_equal(records_of(apart)["first_s"], records_of(alone)["first_s"])
    assert_allclose(sent.exposed_s, 0.0, atol=1e-12)
    assert_allclose(sent.queue_s, 0.0, atol=1e-12)
    # a request alone on its replicas takes as long as on one that does both
    lone = serve_fleet([kind()], [100], trace)[0]
    assert_allclose(records_of(apart)["last_s"], records_of(lone)["last_s"], rtol=1e-9)


def test_what_is_sent_is_what_a_replica_keeps() -> None:
    """Llama 3.1 8B: keys and values of 8 heads of 128 in 32 layers, two bytes each."""
    tokens = np.array([1, 100, 4096])
    sizes = cache_bytes(ready().graph, ready().scenario.precision, tokens)
    assert_array_equal(sizes, 2 * 8 * 128 * 32 * 2 * tokens)
    # a system of four devices holds the same in four parts
    kept = ready("h100-x4").program.streams["kv_B"].sum() * 4
    assert sizes[0] == kept


def test_a_slow_replica_takes_as_much_longer_as_said() -> None:
    trace = traffic(9, 1, 1.0)
    usual = serve_fleet([kind()], [1], trace)[0].outcomes[0]
    slow = serve_fleet(
        [kind()], [1], trace, trouble=Trouble(slowdowns=(Slowdown(replica=0, factor=2.5),))
    )[0].outcomes[0]
    assert slow.host_s == usual.host_s > 0.0
    assert slow.busy_s - slow.host_s == pytest.approx(2.5 * (usual.busy_s - usual.host_s))


def test_many_gaps_are_kept_to_a_few_bits() -> None:
    trace = traffic(10, 200, 60.0)
    exact = serve_fleet([kind()], [1], trace)[0].outcomes[0].gaps
    room, own = replace(OF_FLEET, exact=100), kind()
    crew = Crew(kinds=[own], counts=[1], requests=Requests.of(own, trace), room=room)
    kept = crew.serve().outcomes[0].gaps
    assert len(kept) < 0.9 * len(exact)
    assert kept[:, 1].sum() == exact[:, 1].sum()
    one, other = (np.repeat(own[:, 0], own[:, 1].astype(int)) for own in (exact, kept))
    assert_allclose(np.sort(other), np.sort(one), rtol=2.0**-15)
