"""Do replicas come and go by the rule, and is each request served once whoever is on?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim
from sim.engines.fleet import Autoscale, Breakdowns, Outage
from sim.engines.serving.autoscaling import OFF, UP, Autoscaler, Scaling
from sim.engines.serving.fleet import Trouble
from sim.engines.serving.outcome import Served
from sim.workload.traffic import Blocks, Trace
from tests.fleets import (
    check_conserved,
    kind,
    records_of,
    serve_autoscaled,
    serve_fleet,
    traffic,
)

RULE = Autoscale(
    least=1, most=4, target=4.0, start_up_s=0.5, period_s=0.25, stabilization_s=1.0, tolerance=0.1
)
ROUTES = ("round-robin", "least-loaded", "prefix")
BASE: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "system": "h100-x1",
    "traffic": {"poisson": {"rate": "40 /s", "requests": 300, "input": 700, "output": 40}},
    "scheduler": {"kind": "chunked-prefill"},
    "slo": {"ttft": "1 s"},
}


def bursts(seed: int, requests: int, rate: float, apart_s: float) -> Trace:
    """Traffic in two bursts with a lull between them."""
    trace = traffic(seed, requests, rate)
    late = np.arange(requests) >= requests // 2
    return replace(trace, arrival_s=trace.arrival_s + apart_s * late)


def check_spans(scaling: Scaling, served: Served, rule: Autoscale) -> None:
    """Each replica is on once at a time, and whenever it serves; never too many or too few."""
    for number, outcome in enumerate(served.outcomes):
        own = scaling.spans[scaling.spans[:, 0] == number][:, 1:]
        own = own[np.argsort(own[:, 0])]
        assert (own[:, 0] <= own[:, 1]).all()
        assert (own[1:, 0] >= own[:-1, 1]).all()
        for request in outcome.requests:
            if np.isfinite(request["last_s"]):
                within = (own[:, 0] <= request["last_s"]) & (request["last_s"] <= own[:, 1])
                assert within.any(), (number, request["last_s"], own)
        assert (outcome.end_s == 0.0) or len(own)
    at, on, up = scaling.changes.T
    assert (np.diff(at) > 0.0).all()
    assert (on <= rule.most).all()
    assert (up >= rule.least).all()
    assert (up <= on).all()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rate=st.sampled_from((50.0, 400.0)),
    route=st.sampled_from(ROUTES[:2]),
    least=st.integers(1, 3),
    more=st.integers(0, 3),
    target=st.sampled_from((1.0, 3.0, 9.5)),
    start_up=st.sampled_from((0.0, 0.07, 0.9)),
    period=st.sampled_from((0.02, 0.3)),
    stabilization=st.sampled_from((0.0, 0.5)),
    mtbf=st.sampled_from((None, 0.6)),
    dies=st.booleans(),
)
def test_nothing_is_lost_while_replicas_come_go_and_die(
    seed: int,
    rate: float,
    route: str,
    least: int,
    more: int,
    target: float,
    start_up: float,
    period: float,
    stabilization: float,
    mtbf: float | None,
    dies: bool,
) -> None:
    rule = Autoscale(
        least=least, most=least + more, target=target, start_up_s=start_up, period_s=period,
        stabilization_s=stabilization,
    )  # fmt: skip
    trouble = Trouble(
        outages=(Outage(replica=0, at_s=0.1, for_s=0.2),) if dies else (),
        breakdowns=None if mtbf is None else Breakdowns(mtbf_s=mtbf, repair_s=0.1),
        seed=seed,
    )
    trace = bursts(seed, 60, rate, 2.0)
    served, faults, _, scaling = serve_autoscaled(kind(), rule, trace, route=route, trouble=trouble)
    check_conserved(served, trace)
    check_spans(scaling, served, rule)
    assert scaling.starts - scaling.stops <= more
    assert scaling.on_s(0.0, served.window.until_s).sum() >= least * served.window.until_s - 1e-9
    assert dies <= (faults.failures[0] >= 1)
    again = serve_autoscaled(kind(), rule, trace, route=route, trouble=trouble)
    assert records_of(again[0]).tobytes() == records_of(served).tobytes()
    assert again[3].changes.tobytes() == scaling.changes.tobytes()


@pytest.mark.parametrize("route", ["round-robin", "least-loaded"])
@pytest.mark.parametrize("outages", [(), (Outage(replica=1, at_s=0.1, for_s=0.3),)])
def test_as_few_as_many_is_the_fixed_fleet(route: str, outages: tuple[Outage, ...]) -> None:
    trace = traffic(3, 120, 200.0)
    trouble = Trouble(outages=outages)
    rule = replace(RULE, least=3, most=3)
    fixed, *_ = serve_fleet([kind()], [3], trace, route=route, trouble=trouble)
    scaled, _, _, scaling = serve_autoscaled(kind(), rule, trace, route=route, trouble=trouble)
    for one, other in zip(fixed.outcomes, scaled.outcomes, strict=True):
        assert one.requests.tobytes() == other.requests.tobytes()
        assert one.gaps.tobytes() == other.gaps.tobytes()
        assert one.joules.tobytes() == other.joules.tobytes()
    assert (scaling.starts, scaling.stops) == (0, 0)


def test_as_few_as_many_has_the_result_of_the_fixed_fleet() -> None:
    fixed = sim.simulate(BASE | {"fleet": {"replicas": 2}}).to_json()
    rule = {"min": 2, "max": 2, "target": 4, "start_up": "1 s"}
    scaled = sim.simulate(BASE | {"fleet": {"autoscale": rule}}).to_json()
    about = scaled["fleet"].pop("autoscale")
    assert about["replicas_mean"] == 2.0
    for row in scaled["fleet"]["replicas"]:
        row.pop("on_s")
    for document in (fixed, scaled):
        document.pop("provenance")
    assert scaled == fixed


def test_replicas_at_once_keep_up_with_a_ramp_at_least_as_well() -> None:
    random = np.random.default_rng(5)
    gaps = 1.0 / np.linspace(10.0, 400.0, 400)
    trace = Trace(
        name="ramp",
        arrival_s=np.cumsum(gaps),
        input_tokens=random.integers(300, 900, 400),
        output_tokens=random.integers(20, 60, 400),
    )
    tails = []
    for start_up_s, period_s in ((0.0, 0.01), (0.5, 0.01), (0.5, 0.5), (2.0, 0.5)):
        rule = replace(RULE, most=16, start_up_s=start_up_s, period_s=period_s)
        served, _, _, scaling = serve_autoscaled(kind(), rule, trace, route="least-loaded")
        records = records_of(served)
        assert scaling.starts > 0
        tails.append(np.percentile(records["first_s"] - records["arrival_s"], [50, 90, 99]))
    assert (np.diff(np.array(tails), axis=0) > 0.0).all(), tails


def test_replicas_that_are_on_pay_static_power_and_no_others() -> None:
    rule = {"min": 1, "max": 4, "target": 8, "start_up": "1 s", "period": "0.5 s"}
    run = sim.simulate(BASE | {"fleet": {"autoscale": rule}})
    found = run.to_json()
    about = found["fleet"]["autoscale"]
    on_s = 3600.0 * about["replica_hours"]
    span_s = run.served.window.until_s - run.served.window.from_s
    assert span_s < on_s < 4 * span_s
    assert about["replicas_max"] == 4
    operators = sum(outcome.operator_joules for outcome in run.served.outcomes)
    static_W = run.scenario.system.device.static_W
    assert found["metrics"]["energy_J"] == pytest.approx(operators + static_W * on_s)
    rows = found["fleet"]["replicas"]
    assert sum(row["on_s"] for row in rows) == pytest.approx(on_s)
    assert sum(row["energy_J"] for row in rows) == pytest.approx(found["metrics"]["energy_J"])
    by_class = found["breakdown"]["energy_J"]["by_class"]
    assert sum(by_class.values()) == pytest.approx(found["metrics"]["energy_J"])
    # what a token costs: that of the mean number of systems, at their mean power
    fixed = sim.simulate(BASE | {"fleet": {"replicas": 4}})
    assert run.owned is not None
    assert fixed.owned is not None
    for name in ("capex_usd", "embodied_kgCO2e"):
        each = fixed.owned.ledger.totals[name][1] / 4
        assert run.owned.ledger.totals[name][1] == pytest.approx(each * on_s / span_s)
    series = about["series"]
    assert series[0] == {"at_s": 0.0, "on": 1, "serving": 1}
    assert [each["at_s"] for each in series] == sorted(each["at_s"] for each in series)
    lasts = [*(each["at_s"] for each in series[1:]), run.served.window.until_s]
    first = run.served.window.from_s
    area = sum(
        each["on"] * (max(last, first) - max(each["at_s"], first))
        for each, last in zip(series, lasts, strict=True)
    )
    assert area == pytest.approx(on_s)


def test_weights_take_time_to_load() -> None:
    rule = {"min": 1, "max": 4, "target": 8, "period": "0.5 s"}
    both = {"start_up": "1 s", "load": "40 GB/s"}
    found = sim.simulate(BASE | {"fleet": {"autoscale": rule | both}}).to_json()
    weights_B = found["memory"]["weights_B"]
    assert found["fleet"]["autoscale"]["start_up_s"] == pytest.approx(1.0 + weights_B / 40e9)


def test_the_rule_by_hand() -> None:
    """Kubernetes' documentation: ceil of the metric over the target, tolerance, stabilization."""
    scaler = Autoscaler(rule=replace(RULE, most=10, target=10.0, stabilization_s=30.0))
    nobody = np.zeros(10, bool)
    assert scaler.wanted(0.0, 11) == 1  # a tenth above the target is tolerated
    assert scaler.wanted(15.0, 12) == 2
    scaler.start(1, 15.0, nobody)
    assert scaler.wanted(16.0, 35) == 4
    scaler.start(2, 16.0, nobody)
    assert scaler.ready(1, 15.5)
    assert not scaler.ready(2, 16.25)  # it has not loaded yet
    assert scaler.ready(2, 16.5)
    assert scaler.wanted(20.0, 5) == 4  # four were wished for 4 s ago
    assert scaler.wanted(45.9, 25) == 4
    assert scaler.wanted(46.1, 5) == 3  # since then three at most
    assert scaler.wanted(300.0, 5_000) == 10  # there are no more
    scaler.stop(2, 46.1, nobody)  # the one that starts yet first, then the youngest
    assert scaler.state[:4].tolist() == [UP, UP, 3, OFF]
    scaler.drained(2, 40.0)
    assert scaler.scaling().spans.tolist()[:2] == [[3.0, 16.0, 46.1], [2.0, 16.0, 46.1]]
    assert not scaler.ready(3, 47.0)
    dead = nobody.copy()
    dead[0] = True
    scaler.stop(1, 50.0, dead)  # those that are away before others
    assert scaler.state[:2].tolist() == [3, UP]


def test_replicas_that_start_share_the_work_of_prefixes() -> None:
    """A router by prefix does not give a new replica all that the others had until then."""
    count = 400
    sizes = np.full(count, 10)
    trace = Trace(
        name="one by one",
        arrival_s=np.arange(count) * 0.01,
        input_tokens=sizes * 16,
        output_tokens=np.full(count, 20),
        blocks=Blocks(
            ids=np.arange(count * 10), starts=np.concatenate([[0], np.cumsum(sizes)]), tokens=16
        ),
    )
    rule = replace(RULE, most=2, target=0.5, start_up_s=1.0)
    own = kind(prefix_cache=True)
    served, _, _, scaling = serve_autoscaled(own, rule, trace, route="prefix")
    check_conserved(served, trace)
    late = [outcome.requests["arrival_s"] > 1.5 for outcome in served.outcomes]
    given_ = [int(each.sum()) for each in late]
    assert scaling.starts >= 1
    assert abs(given_[0] - given_[1]) <= 2
