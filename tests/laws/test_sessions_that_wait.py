"""Does the next turn of a session come after its answer, and is every turn served once?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import sim
from sim.workload.traffic import Constant, Gaussian, Sessions
from sim.workload.traffic.arrivals import requests_of
from tests.builders import serve_trace
from tests.fleets import check_conserved, kind, records_of, serve_following

TALKS = Sessions(
    rate_per_s=20.0, sessions=12, turns=Gaussian(mean=3.0, std=1.5), shared=64, templates=2,
    input=Gaussian(mean=60.0, std=30.0), output=Gaussian(mean=20.0, std=10.0), think_s=0.3,
    wait=True,
)  # fmt: skip
BASE: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "system": "h100-x1",
    "scheduler": {"kind": "chunked-prefill"},
    "traffic": {
        "sessions": {"rate": "5 /s", "sessions": 20, "turns": 4, "input": 60, "output": 30,
                     "think": "1 s", "wait": True}
    },
}  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    systems=st.integers(1, 3),
    think=st.sampled_from((0.0, 0.02, 1.0)),
    cache=st.booleans(),
    kv_tokens=st.sampled_from((600, 100_000)),
)
def test_turns_come_after_their_answers_and_none_is_lost(
    seed: int, systems: int, think: float, cache: bool, kv_tokens: int
) -> None:
    trace = requests_of(replace(TALKS, think_s=think), seed)
    assert trace.follows is not None
    # to know each turn again: its class is its row
    trace = replace(trace, priority=np.arange(len(trace.arrival_s)))
    own = kind(prefix_cache=cache, kv_tokens=kv_tokens)
    served = serve_following(own, trace, systems=systems)
    records = np.concatenate([outcome.requests for outcome in served.outcomes])
    records = records[np.argsort(records["priority"])]
    assert records["priority"].tolist() == list(range(len(trace.arrival_s)))
    first = trace.follows.previous < 0
    assert_allclose(records["arrival_s"][first], trace.arrival_s[first], rtol=1e-12)
    # a rejected request ends when it is told, which is not recorded
    before = records[trace.follows.previous[~first]]
    done = before["generated"] == before["output"]
    due = before["last_s"][done] + trace.follows.think_s[~first][done]
    assert_allclose(records["arrival_s"][~first][done], due, rtol=1e-12, atol=1e-12)
    check_conserved(served, replace(trace, arrival_s=_sorted(records), **_lengths(records)))
    home = np.concatenate(
        [np.full(len(each.requests), number) for number, each in enumerate(served.outcomes)]
    )[np.argsort(np.concatenate([each.requests["priority"] for each in served.outcomes]))]
    assert (home[~first] == home[trace.follows.previous[~first]]).all()
    again = serve_following(own, trace, systems=systems)
    assert records_of(again).tobytes() == records_of(served).tobytes()


def _sorted(records: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.sort(records["arrival_s"])


def _lengths(records: np.ndarray[Any, Any]) -> dict[str, Any]:
    order = np.argsort(records["arrival_s"], kind="stable")
    return {
        "input_tokens": records["input"][order],
        "output_tokens": records["output"][order],
    }


def test_sessions_of_one_turn_are_open_traffic() -> None:
    trace = requests_of(replace(TALKS, turns=Constant(tokens=1), sessions=60), 3)
    own = kind()
    waiting = serve_following(own, trace).outcomes[0]
    plain = serve_trace(own.program, own.scheduler, own.kv_B, trace).outcomes[0]
    for name in ("arrival_s", "admitted_s", "first_s", "last_s", "max_gap_s"):
        assert_allclose(waiting.requests[name], plain.requests[name], rtol=1e-9, err_msg=name)
    assert waiting.generated_tokens == plain.generated_tokens


def test_a_slow_system_slows_its_users_down() -> None:
    fast = sim.simulate(BASE)
    slow = sim.simulate(BASE, sets=["system.device.memories.hbm.bandwidth=0.3 TB/s"])
    for run in (fast, slow):
        assert run.to_json()["requests"]["completed"] == 80
    assert slow.metrics["tpot_s"]["p50"] > 3 * fast.metrics["tpot_s"]["p50"]
    assert slow.requests["arrival_s"].max() > fast.requests["arrival_s"].max()
    # in an open loop they come when they come
    sets = ["traffic.sessions.wait=false"]
    still = sim.simulate(BASE, sets=sets)
    late = sim.simulate(BASE, sets=[*sets, "system.device.memories.hbm.bandwidth=0.3 TB/s"])
    assert still.requests["arrival_s"].equals(late.requests["arrival_s"])
    # at most so many at once as there are sessions, whatever the system
    assert _most_at_once(slow) <= 20


def _most_at_once(run: sim.Run) -> int:
    requests = run.requests
    begun, over = requests["arrival_s"], requests["arrival_s"] + requests["e2e_s"]
    times = np.concatenate([begun, over])
    steps = np.concatenate([np.ones(len(begun)), -np.ones(len(over))])
    return int(np.cumsum(steps[np.lexsort((steps, times))]).max())


def test_equal_replicas_share_the_sessions() -> None:
    run = sim.simulate(BASE | {"fleet": {"replicas": 2}})
    assert [row["completed"] for row in run.to_json()["fleet"]["replicas"]] == [40, 40]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["traffic.sessions.pace=20 ms"], "with `wait` the answer's own end counts"),
        (["fleet={replicas: 2, route: least-loaded}"], "sessions that wait, stay with"),
        (["fleet={autoscale: {min: 1, max: 2, target: 4, start_up: 1 s}}"], "sessions that wait"),
        (["traffic.sessions.wait=maybe"], "true or false is due"),
    ],
)
def test_what_does_not_go_with_it_is_told(changes: list[str], words: str) -> None:
    with pytest.raises(sim.ConfigError) as error:
        sim.simulate(BASE, sets=changes)
    assert words in str(error.value)
    assert len(error.value.problems) == 1
