"""Are requests of the class that was asked for, served and counted by class?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fleets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.errors import ConfigError
from sim.kernel.records import DONE
from sim.results.simulate import simulate
from sim.workload.traffic import Closed, Constant, Poisson, Sessions, Trace
from sim.workload.traffic.arrivals import requests_of, select
from sim.workload.traffic.readers import read_trace, write_trace

FIXED = {"input": Constant(tokens=8), "output": Constant(tokens=2)}


def written(folder: Path, name: str, text: str) -> Trace:
    (folder / name).write_text(text, encoding="utf-8")
    return read_trace(folder / name)


def test_a_column_of_a_csv_is_read_and_written(tmp_path: Path) -> None:
    text = "arrival_s,context_tokens,generated_tokens,Priority\n0,5,2,1\n1,6,2,-3\n2,7,0,4\n"
    trace = written(tmp_path, "some.csv", text)
    assert trace.priority is not None
    assert trace.priority.tolist() == [1, -3]  # the third was not served
    write_trace(trace, tmp_path / "again.csv")
    again = read_trace(tmp_path / "again.csv")
    assert again.priority is not None
    assert again.priority.tolist() == [1, -3]
    part = select(trace, limit=1)
    assert part.priority is not None
    assert part.priority.tolist() == [1]


def test_a_field_of_json_lines_is_read(tmp_path: Path) -> None:
    row = '{"timestamp": %d, "input_length": 5, "output_length": 2, "priority": %d}\n'
    trace = written(tmp_path, "some.jsonl", row % (0, 2) + row % (10, 0))
    assert trace.priority is not None
    assert trace.priority.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "near.csv",
            "arrival_s,context_tokens,generated_tokens,priorty\n0,5,2,1\n",
            "no column for the priorities: 'priorty' is not known, did you mean 'priority'?",
        ),
        (
            "half.csv",
            "arrival_s,context_tokens,generated_tokens,priority\n0,5,2,0.5\n",
            "half.csv:2: priority: 0.5: a whole number is due, the smaller the more urgent",
        ),
        (
            "gap.jsonl",
            '{"timestamp": 0, "input_length": 5, "output_length": 2, "priority": 1}\n'
            '{"timestamp": 1, "input_length": 5, "output_length": 2}\n',
            "priority: is missing",
        ),
        (
            "near.jsonl",
            '{"timestamp": 0, "input_length": 5, "output_length": 2, "prioritee": 1}\n',
            "no field for the priorities: 'prioritee' is not known, did you mean 'priority'?",
        ),
    ],
)
def test_what_is_no_priority_is_told(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        written(tmp_path, name, text)
    assert len(error.value.problems) == 1
    assert said in str(error.value.problems[0])


def test_shares_are_drawn_and_leave_everything_else_alone() -> None:
    plain = Poisson(rate_per_s=1.0, requests=20_000, **FIXED)
    mixed = requests_of(replace(plain, priorities=((1, 0.8), (0, 0.2))), 3)
    assert mixed.priority is not None
    share = float((mixed.priority == 0).mean())
    assert abs(share - 0.2) < 4 * (0.2 * 0.8 / 20_000) ** 0.5
    assert np.array_equal(mixed.arrival_s, requests_of(plain, 3).arrival_s)
    assert requests_of(plain, 3).priority is None
    # common random numbers: a larger share adds to the class, and takes nobody out
    more = requests_of(replace(plain, priorities=((0, 0.5), (1, 0.5))), 3)
    assert more.priority is not None
    assert (more.priority[mixed.priority == 0] == 0).all()
    loop = Closed(concurrency=2, requests=50, priorities=((7, 1.0),), **FIXED)
    assert np.array_equal(requests_of(loop, 0).priority, np.full(50, 7))


def test_a_session_keeps_its_class() -> None:
    sessions = Sessions(
        rate_per_s=1.0, sessions=60, turns=Constant(tokens=4), shared=0, input=Constant(tokens=64),
        output=Constant(tokens=64), priorities=((0, 0.5), (1, 0.5)),
    )  # fmt: skip
    made = requests_of(sessions, 1)
    assert made.priority is not None
    assert made.blocks is not None
    first = made.blocks.ids[made.blocks.starts[:-1]]  # no two sessions have a block in common
    assert len(np.unique(first)) == 60
    for own in np.unique(first):
        assert len(set(made.priority[first == own].tolist())) == 1
    assert 0 < int((made.priority == 0).sum()) < len(first)


def test_shares_that_are_none_are_told() -> None:
    with pytest.raises(ConfigError, match=r"shares add up to 0\.5: 1 is due"):
        simulate("llama-8b-priorities", sets=["traffic.priorities={0: 0.5}"])
    with pytest.raises(ConfigError, match="whole number, the smaller the more urgent"):
        simulate("llama-8b-priorities", sets=["traffic.priorities={high: 1}"])


def test_a_mix_for_a_trace_that_has_its_own_is_told(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("arrival_s,context_tokens,generated_tokens,priority\n0,5,2,1\n")
    with pytest.raises(ConfigError, match="leave `priorities` out"):
        simulate("llama-8b-priorities", sets=[f"traffic.trace={path}"])


def test_an_order_by_priorities_that_are_not_there_is_told() -> None:
    with pytest.raises(ConfigError) as error:
        simulate("llama-8b-azure-h100", sets=["scheduler.order=priority", "traffic.limit=3"])
    (problem,) = error.value.problems
    assert problem.path == "scheduler.order"
    assert "give the trace a column 'priority'" in problem.message
    assert "traffic.priorities: {0: 0.2, 1: 0.8}" in problem.message


def test_classes_add_up_and_the_urgent_one_waits_least() -> None:
    sets = ["traffic.limit=300", "traffic.rate_scale=12"]
    run = simulate("llama-8b-priorities", sets=sets)
    document = run.to_json()
    first, second = document["priorities"]
    assert (first["priority"], second["priority"]) == (0, 1)
    for name in ("arrived", "completed", "rejected"):
        assert first[name] + second[name] == document["requests"][name]
    total = document["metrics"]["goodput_req_per_s"]
    assert first["goodput_req_per_s"] + second["goodput_req_per_s"] == pytest.approx(total)
    frame = run.requests
    for row in (first, second):
        own = frame[frame["priority"] == row["priority"]]
        assert row["ttft_s"]["p50"] == pytest.approx(own["ttft_s"].median())
        several = own[own["output_tokens"] > 1]
        gaps = (several["tpot_s"] * (several["output_tokens"] - 1)).sum()
        assert row["tbt_mean_s"] == pytest.approx(gaps / (several["output_tokens"] - 1).sum())
        assert row["worst_gap_s"]["max"] == several["max_tbt_s"].max()
    assert first["ttft_s"]["p99"] < 0.1 * second["ttft_s"]["p50"]
    same = simulate("llama-8b-priorities", sets=[*sets, "scheduler.order=arrival"])
    assert "priorities" in same.accounts  # seen, though nobody looks at them
    assert same.accounts["priorities"][0]["ttft_s"]["p50"] > 10 * first["ttft_s"]["p50"]
    plain = simulate("llama-8b-azure-h100", sets=["traffic.limit=3"])
    assert "priorities" not in plain.to_json()
    assert "priority" not in plain.requests


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    route=st.sampled_from(("round-robin", "least-loaded", "by-length")),
    classes=st.lists(st.integers(-2, 2), min_size=1, max_size=3),
)
def test_every_class_is_served_once_and_one_class_is_no_order(
    seed: int, route: str, classes: list[int]
) -> None:
    trace = fleets.traffic(seed, 40, 400.0)
    mixed = replace(trace, priority=np.resize(np.array(classes), 40))
    own = fleets.kind(order="priority")
    served, _, _ = fleets.serve_fleet([own], [2], mixed, route=route)  # type: ignore[arg-type]
    fleets.check_conserved(served, mixed)
    records = np.concatenate([each.requests for each in served.outcomes])
    assert (records["status"] == DONE).all()
    assert sorted(records["priority"].tolist()) == sorted(np.resize(classes, 40).tolist())
    if len(set(classes)) == 1:
        plain, _, _ = fleets.serve_fleet([fleets.kind()], [2], trace, route=route)  # type: ignore[arg-type]
        for one, other in zip(served.outcomes, plain.outcomes, strict=True):
            for name in ("arrival_s", "admitted_s", "first_s", "last_s", "max_gap_s"):
                assert one.requests[name].tobytes() == other.requests[name].tobytes(), name
