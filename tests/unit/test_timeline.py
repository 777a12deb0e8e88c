"""Timelines: valid trace events, of the whole run, that sum up to its breakdown."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import program, served, trace

from sim.cli import main
from sim.cli.output import check_writable
from sim.config.scenarios import load_scenario
from sim.engines.scheduler import Scheduler
from sim.engines.serving import fleet
from sim.engines.serving.pool import OF_SYSTEM
from sim.errors import ConfigError
from sim.report.timeline import write_timeline
from sim.results import timeline as timeline_module
from sim.results.operator_trace import operator_trace
from sim.results.timeline import Timeline, recorded
from sim.simulation.prepare import prepare

Event = dict[str, Any]

COMMON = {"name", "ph", "ts", "pid", "tid"}
REQUIRED = {"X": {"dur", "cat", "args"}, "b": {"cat", "id2"}, "e": {"cat", "id2"}, "M": {"args"}}
METADATA = {
    "process_name": "name",
    "process_labels": "labels",
    "process_sort_index": "sort_index",
    "thread_name": "name",
    "thread_sort_index": "sort_index",
}

DENSE, MOE, METAL = "llama-8b-azure-h100", "mixtral-azure-duplex", "gpt-oss-azure-hnlpu"
CASES = {
    "one device": (DENSE, ()),
    "replicas": (DENSE, ("system=h100-x4", "parallel={tp: 2, dp: 2}")),
    "stages": (DENSE, ("system=h100-x3", "parallel={tp: 1, pp: 3}", "traffic.rate_scale=40")),
    "two units": (MOE, ()),
    "shared experts": (MOE, ("system.coprocessing=pe", "traffic.rate_scale=20")),
    "shared and tensor-split": (
        MOE,
        (
            "system=duplex-x8",
            "system.coprocessing=pe+et",
            "parallel={tp: 4, attention_dp: 2, ep: 2}",
        ),
    ),
    "in metal": (METAL, ()),
    "closed loop": (
        "llama-70b-closed-h100",
        ("traffic.closed.concurrency=8", "traffic.closed.requests=20"),
    ),
    "little memory": (
        DENSE,
        (
            "scheduler.memory_utilization=0.224",
            "traffic.rate_scale=200",
            "scheduler.kv_reserve=paged",
        ),
    ),
    "encoder": ("encoder-ethos-u55", ()),
    "speculation": (
        DENSE,
        ("speculation={draft: llama-3.2-1b, tokens: 3, acceptance: 0.7}", "traffic.rate_scale=20"),
    ),
}


def made(case: str, limit: int = 20, window_s: tuple[float, float] | None = None) -> Timeline:
    scenario, sets = CASES[case]
    short = (f"traffic.limit={limit}",) if "azure" in scenario else ()
    return recorded(prepare(load_scenario(scenario, sets=[*sets, *short])), window_s=window_s)


def ns(microseconds: float) -> int:
    """As Perfetto's importer reads it; whole by design."""
    assert abs(microseconds * 1e3 - round(microseconds * 1e3)) < 1e-2
    return round(microseconds * 1e3)


def check_events(events: Iterable[Event]) -> None:
    """Assert that `events` follow the trace-event format as far as they use it."""
    slices: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    open_spans: dict[tuple[int, str, str], list[Event]] = defaultdict(list)
    named, used = set(), set()
    for event in events:
        assert set(event) >= COMMON | REQUIRED[event["ph"]], event
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert event["ts"] >= 0.0
        track = event["pid"], event["tid"]
        if event["ph"] == "M":
            assert set(event["args"]) == {METADATA[event["name"]]}
            named |= {track} if event["name"] == "thread_name" else set()
            continue
        used.add(track)
        if event["ph"] == "X":
            assert event["dur"] >= 0.0
            slices[track].append((ns(event["ts"]), ns(event["dur"])))
            continue
        spans = open_spans[event["pid"], event["cat"], event["id2"]["local"]]
        if event["ph"] == "b":
            assert not spans or event["ts"] >= spans[-1]["ts"]
            spans.append(event)
        else:
            begun = spans.pop()
            assert begun["name"] == event["name"]
            assert begun["ts"] <= event["ts"]
    assert used <= named
    assert not any(open_spans.values())
    for track in slices.values():
        # to nest would do; these don't even overlap
        for (start, length), (following, _) in pairwise(track):
            assert start + length <= following


def tracks(events: Iterable[Event]) -> dict[str, list[Event]]:
    """Complete events by the name of their track, of all processes."""
    names: dict[int, str] = {}
    found: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event["name"] == "thread_name":
            names[event["tid"]] = event["args"]["name"]
        elif event["ph"] == "X":
            found[names[event["tid"]]].append(event)
    return found


def durations_s(events: Iterable[Event]) -> float:
    return sum(event["dur"] for event in events) * 1e-6


def added_s(events: Iterable[Event]) -> float:
    return sum(event["args"]["seconds"] for event in events)


def test_a_run_of_300_requests_validates_and_sums_up(tmp_path: Path) -> None:
    path = tmp_path / "run.json.gz"
    arguments = ["run", MOE, "--set", "traffic.limit=300", "--timeline", str(path), "-o"]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, str(tmp_path)])
    assert stopped.value.code == 0
    document = json.loads(gzip.decompress(path.read_bytes()))
    assert document["displayTimeUnit"] == "ms"
    check_events(document["traceEvents"])
    result = json.loads((tmp_path / "result.json").read_text())
    found = tracks(document["traceEvents"])
    time = result["breakdown"]["time_s"]
    for name, seconds in time["by_processor"].items():
        assert durations_s(found[name]) == pytest.approx(seconds, rel=1e-6)
        assert added_s(found[name]) == pytest.approx(seconds, rel=1e-9)
    assert durations_s(found["host"]) == pytest.approx(time["by_class"]["host"], rel=1e-6)
    busy = result["breakdown"]["busy_s"]
    assert durations_s(found["iterations"]) == pytest.approx(busy, rel=1e-6)
    assert len(found["iterations"]) == result["mapping"]["iterations"]
    begun = [each for each in document["traceEvents"] if each["ph"] == "b"]
    assert sum(event["name"] == "request" for event in begun) == 300


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_run_validates_and_sums_up(case: str) -> None:
    timeline = made(case)
    run, events = timeline.run, list(timeline.events())
    check_events(events)
    found = tracks(events)
    time = run.breakdown["time_s"]
    for name, seconds in time["by_processor"].items():
        assert added_s(found[name]) == pytest.approx(seconds, rel=1e-9)
    by_class: Counter[str] = Counter()
    for name, track in found.items():
        for event in track if name != "iterations" else ():
            by_class[event["cat"]] += event["args"]["seconds"]
    for name, seconds in time["by_class"].items():
        assert by_class[name] == pytest.approx(
            seconds, rel=1e-6, abs=1e-9 * run.breakdown["busy_s"]
        )
    assert durations_s(found["iterations"]) == pytest.approx(run.breakdown["busy_s"], rel=1e-6)
    assert len(found["iterations"]) == run.to_json()["mapping"]["iterations"]
    assert len({event["pid"] for event in events}) == run.prepared.program.layout.dp
    if case == "stages":
        assert added_s(found["pipeline"]) > 0.0


@pytest.mark.parametrize("case", ["shared experts", "stages", "in metal"])
def test_slices_lie_within_their_iteration(case: str) -> None:
    found = tracks(made(case).events())
    spans = [(ns(each["ts"]), ns(each["ts"]) + ns(each["dur"])) for each in found["iterations"]]
    for name, track in found.items():
        at = 0
        for event in track:
            start, end = ns(event["ts"]), ns(event["ts"]) + ns(event["dur"])
            while spans[at][1] <= start:
                at += 1
            assert spans[at][0] - 1 <= start, name
            assert end <= spans[at][1] + 1, name


def test_slices_of_units_that_work_together_last_as_long_as_these_are_busy() -> None:
    timeline = made("shared experts")
    found = tracks(timeline.events())
    busy: Counter[str] = Counter()
    for row in operator_trace(timeline.run.prepared, 10**6):
        busy[row["processor"]] += row["busy_s"]
    added = timeline.run.breakdown["time_s"]["by_processor"]
    for name, seconds in busy.items():
        assert durations_s(found[name]) == pytest.approx(seconds, rel=1e-5)
    assert busy["logic-pim"] > 1.001 * added["logic-pim"]
    assert busy["link"] == pytest.approx(added["link"])
    hidden = [each for each in found["logic-pim"] if each["args"]["seconds"] == 0.0]
    assert any("while the other unit is waited for" in each["args"]["why"] for each in hidden)


def test_slices_say_which_unit_and_why() -> None:
    found = tracks(made("two units").events())
    experts = [each for each in found["logic-pim"] if each["name"] == "experts_up"]
    about = experts[-1]["args"]
    assert about["unit"] == "logic-pim"
    assert about["bound"] == "memory"
    assert re.search(r"x faster than xpu; .* Op/B at a ridge of 8: memory-bound", about["why"])
    assert f"{about['op_per_B']:.3g} Op/B" in about["why"]
    assert "over 4 devices on nvlink-4" in found["link"][0]["args"]["why"]
    assert {each["name"] for each in found["iterations"]} <= {"prefill", "mixed", "decode"}
    metal = tracks(made("in metal").events())["hn-array"]
    for event in metal:
        assert event["args"]["why"].startswith(f"{_tokens(event)} tokens one behind the other")


def _tokens(event: Event) -> str:
    return str(event["args"]["why"]).split(" ", 1)[0]


@pytest.mark.parametrize("case", ["replicas", "closed loop", "little memory"])
def test_requests_have_the_spans_of_the_table_of_requests(case: str) -> None:
    timeline = made(case, limit=60)
    table = timeline.run.requests
    spans: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    about: dict[int, Event] = {}
    for event in timeline.events():
        if event["ph"] in "be":
            number = int(event["id2"]["local"], 16)
            spans[number][event["name"]].append(event["ts"] * 1e-6)
            about |= {number: event["args"]} if "args" in event else {}
    assert set(spans) == set(table.index)
    assert case != "little memory" or table["preemptions"].sum() > 0
    assert case != "closed loop" or {"completed", "unfinished"} == set(table["status"])
    for number, row in table.iterrows():
        own, args = spans[int(str(number))], about[int(str(number))]
        assert args["request"] == number
        for name in ("input_tokens", "output_tokens", "status", "preemptions"):
            assert args[name] == row[name]
        assert own["request"][0] == pytest.approx(row["arrival_s"], abs=1e-9)
        if row["status"] == "completed" and row["e2e_s"] == row["e2e_s"]:
            assert own["request"][1] - own["request"][0] == pytest.approx(row["e2e_s"], abs=3e-9)
            assert own["prefill"][1] == pytest.approx(row["arrival_s"] + row["ttft_s"], abs=3e-9)
            waited = own["queue"][1] - own["queue"][0] if own["queue"] else 0.0
            assert waited == pytest.approx(row["queue_s"], abs=3e-9)


def test_a_rejected_request_is_a_span_without_length(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("arrival_s,context_tokens,generated_tokens\n0,100,5\n1,2000000,10\n")
    timeline = recorded(prepare(load_scenario(DENSE, traffic={"trace": str(path)})))
    events = list(timeline.events())
    check_events(events)
    spans = [each for each in events if each["ph"] in "be" and each["id2"] == {"local": "0x1"}]
    assert [(each["name"], each["ph"], each["ts"]) for each in spans] == [
        ("request", "b", 1e6),
        ("request", "e", 1e6),
    ]
    assert spans[0]["args"]["status"] == "rejected"


def test_a_window_has_the_slices_of_the_whole_run_within_it() -> None:
    whole, window = tracks(made("replicas").events()), (2.0, 4.5)
    part = made("replicas", window_s=window)
    check_events(part.events())
    found = tracks(part.events())
    inside = [
        each
        for each in whole["iterations"]
        if each["ts"] < window[1] * 1e6 and each["ts"] + each["dur"] > window[0] * 1e6
    ]
    assert 0 < len(inside) < len(whole["iterations"])
    assert found["iterations"] == inside
    by_start = {(each["pid"], each["ts"]): each for each in whole["gpu"]}
    assert all(by_start[each["pid"], each["ts"]] == each for each in found["gpu"])
    begun = [each for each in part.events() if each["ph"] == "b" and each["name"] == "request"]
    assert 0 < len(begun) < 20
    assert part.about()["window_s"] == [2.0, 4.5]


@pytest.mark.parametrize("window", [(3.0, 2.0), (-1.0, 2.0), (1.0, 1.0), (float("nan"), 2.0)])
def test_a_window_that_is_none_is_refused(window: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="0 <= FROM < TO"):
        made("one device", window_s=window)


def test_a_window_after_the_run_is_refused() -> None:
    with pytest.raises(ConfigError, match="the run ends at"):
        made("one device", window_s=(1e6, 2e6))


@pytest.mark.parametrize("window", [None, (2.0, 9.0)])
def test_too_many_events_are_refused_with_a_window_that_fits(
    window: tuple[float, float] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline_module, "MOST_EVENTS", 2000)
    with pytest.raises(ConfigError, match=r"--timeline-window .* fits") as refused:
        made("replicas", window_s=window)
    found = re.search(r"--timeline-window (\S+) (\S+) fits", str(refused.value))
    assert found
    fits = float(found[1]), float(found[2])
    assert fits[0] == (window or (0.0, 0.0))[0]
    events = [each for each in made("replicas", window_s=fits).events() if each["ph"] != "M"]
    assert 1500 < len(events) <= 2000


@pytest.mark.parametrize("name", ["run.json", "run.json.gz"])
def test_equal_runs_give_equal_bytes(name: str, tmp_path: Path) -> None:
    first, again = tmp_path / name, tmp_path / f"again-{name}"
    timeline = made("two units", limit=5)
    count = write_timeline(timeline, first)
    assert count == len(list(timeline.events()))
    write_timeline(made("two units", limit=5), again)
    assert first.read_bytes() == again.read_bytes()
    text = first.read_bytes()
    assert name.endswith(".gz") == text.startswith(b"\x1f\x8b")
    document = json.loads(gzip.decompress(text) if name.endswith(".gz") else text)
    assert document["traceEvents"] == list(timeline.events())
    assert document["otherData"]["digest"] == timeline.run.scenario.digest


def test_a_log_does_not_change_the_run() -> None:
    timeline = made("two units")
    bare = recorded(timeline.run.prepared, window_s=(0.5, 1.0)).run
    assert timeline.run.to_json() == bare.to_json()


def test_a_log_is_kept_over_many_calls_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = trace((0.0, 30, 50), (0.0, 20, 90), (0.004, 10, 200))
    whole = served(program(), Scheduler(), 1e6, requests, log=10_000)
    monkeypatch.setattr(fleet, "OF_SYSTEM", replace(OF_SYSTEM, iterations=16))
    pieces = served(program(), Scheduler(), 1e6, requests, log=10_000)
    assert len(whole.log) == whole.iterations == pieces.iterations > 100
    np.testing.assert_allclose(pieces.log, whole.log, rtol=1e-9)
    first = served(program(), Scheduler(), 1e6, requests, log=40)
    np.testing.assert_array_equal(first.log, pieces.log[:40])


def test_checking_a_file_leaves_it_as_it_is(tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_text("keep")
    check_writable(old)
    assert old.read_text() == "keep"
    check_writable(tmp_path / "new.json")
    assert not (tmp_path / "new.json").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--timeline", "no-such-folder/run.json"], "no-such-folder"),
        (["--timeline-window", "0", "1"], "needs --timeline"),
        (["--timeline", "run.json", "--timeline-window", "2", "1"], "FROM < TO"),
    ],
)
def test_mistakes_are_one_clear_error_and_leave_no_file(
    options: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["run", DENSE, "--set", "traffic.limit=5", *options])
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert not list(tmp_path.iterdir())
