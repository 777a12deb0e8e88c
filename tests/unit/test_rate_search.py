"""The rate search: bisection finds thresholds, objectives are read, answers say what they mean."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import sim
from sim.cli import main
from sim.errors import ConfigError, Infeasible
from sim.scenario import Slo
from sim.studies.capacity.bisection import highest
from sim.studies.capacity.objective import Objective, objective_of
from sim.studies.capacity.trial import at_level, kept_up, level_of, tried
from sim.workload.traffic import Constant, Poisson, Sessions
from sim.workload.traffic.arrivals import requests_of

SHORT = ("traffic.limit=150",)
CHAT = "llama-8b-azure-h100"


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `sim capacity`."""
    with pytest.raises(SystemExit) as stopped:
        main(("capacity", *arguments))
    out, err = capsys.readouterr()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code, out, err


# Bisection


@pytest.mark.parametrize("threshold", [1e-6, 0.03, 0.9, 1.0, 1.1, 7.3, 1e4])
@pytest.mark.parametrize("tolerance", [0.5, 0.02, 1e-6])
def test_bisection_finds_a_known_threshold(threshold: float, tolerance: float) -> None:
    asked: list[float] = []

    def passes(level: float) -> bool:
        asked.append(level)
        return level <= threshold

    low, high = highest(passes, 1.0, least=lambda: 1e-7, tolerance=tolerance)
    assert low is not None
    assert high is not None
    assert low <= threshold < high <= low * (1.0 + tolerance)
    # a bracket of at most 1e-7 to 1, halved in its logarithm
    bracket = 2.0 if threshold >= 0.125 else 1e7
    steps = max(0, math.ceil(math.log2(math.log(bracket) / math.log1p(tolerance))))
    assert len(set(asked)) <= 6 + math.log2(max(threshold, 1.0)) + steps


@pytest.mark.parametrize("threshold", [1, 2, 3, 63, 64, 65, 1000])
def test_bisection_over_whole_numbers_ends_at_neighbours(threshold: int) -> None:
    def passes(level: float) -> bool:
        assert level == int(level) >= 1
        return level <= threshold

    found = highest(passes, 64.0, least=lambda: 1.0, tolerance=1e-9, whole=True)
    assert found == (threshold, threshold + 1)


def test_bisection_where_nothing_or_everything_passes() -> None:
    assert highest(lambda _: False, 1.0, least=lambda: 1e-3, tolerance=0.1) == (None, 1e-3)
    low, high = highest(lambda _: True, 1.0, least=lambda: 1e-3, tolerance=0.1)
    assert low is not None
    assert low > 1e6
    assert high is None


# Objectives


def test_objective_of_texts() -> None:
    found = objective_of(["ttft=2 s", "tbt<=100ms"], Slo(ttft_s=9.0), 0.9)
    assert found.each == {"ttft": 2.0, "tbt": 0.1}
    assert objective_of("ttft=2s,tbt=100ms", Slo(), 0.9).each == found.each
    assert objective_of({"ttft": "2 s", "tbt": "0.1 s"}, Slo(), 0.9).each == found.each
    assert str(found) == "TTFT <= 2 s and every TBT <= 100 ms for 90 % of requests"
    tails = objective_of(["ttft.p99=5 s", "tpot.mean=20 ms"], Slo(ttft_s=9.0), 0.9)
    assert tails.limits == {("ttft", "p99"): 5.0, ("tpot", "mean"): 0.02}
    assert not tails.each, "what is asked for takes the place of the scenario's slo"
    assert objective_of((), Slo(ttft_s=9.0), 0.5).each == {"ttft": 9.0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ttft=2", "needs a unit, e.g. '5 ms'"),
        ("ttft=2 W", "a time is due"),
        ("tfft=2 s", "did you mean 'ttft'"),
        ("ttft.p98=2 s", "known: mean, p50"),
        ("e2e=9 s", "e2e.p99=9 s"),
        ("2 s", '--slo "ttft=2 s" --slo "tbt=100 ms"'),
        ("ttft=-2 s", "negative"),
    ],
)
def test_bad_slo_exits_2_with_what_to_write(
    text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = command(capsys, CHAT, "--slo", text)
    assert (code, out) == (2, "")
    assert said in err
    assert f"--slo {text}" in err


def test_all_that_is_wrong_with_an_slo_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        objective_of(["ttft=2", "tfft=2 s"], Slo(), 0.9)
    assert len(caught.value.problems) == 2


def test_no_slo_exits_2_with_what_to_write(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = command(capsys, CHAT, "--set", "slo={}")
    assert code == 2
    assert 'write --slo "ttft=2 s"' in err
    code, _, err = command(capsys, CHAT, "--attain", "90")
    assert code == 2
    assert "a share of requests above 0 and up to 1" in err
    code, _, err = command(capsys, CHAT, "--tolerance", "0")
    assert code == 2
    assert "tolerance 0" in err


# Loads


def test_the_scenario_s_own_level_leaves_its_requests_as_they_are() -> None:
    for name in (CHAT, "llama-70b-closed-h100"):
        scenario = sim.load_scenario(name)
        again = at_level(scenario, level_of(scenario.traffic))
        own, same = (requests_of(each.traffic, 0) for each in (scenario, again))
        assert (own.arrival_s == same.arrival_s).all()
        assert (own.input_tokens == same.input_tokens[: len(own.input_tokens)]).all()


@pytest.mark.parametrize("factor", [0.01, 3.0])
def test_another_rate_stretches_the_same_requests(factor: float) -> None:
    poisson = Poisson(
        rate_per_s=2.0, requests=50, input=Constant(tokens=9), output=Constant(tokens=9)
    )
    chat = sim.load_scenario(CHAT, sets=SHORT)
    for scenario in (chat, replace(chat, traffic=poisson)):
        level = level_of(scenario.traffic)
        changed = at_level(scenario, factor * level).traffic
        own, other = (requests_of(each, 7) for each in (scenario.traffic, changed))
        assert other.arrival_s * factor == pytest.approx(own.arrival_s, rel=1e-12)
        assert (other.input_tokens == own.input_tokens).all()
        assert level_of(changed) == pytest.approx(factor * level, rel=1e-12)


def test_of_sessions_the_beginnings_move_and_thinking_stays() -> None:
    one = Constant(tokens=20)
    talk = Sessions(rate_per_s=1.0, sessions=40, turns=Constant(tokens=3), input=one, output=one)
    scenario = replace(sim.load_scenario(CHAT), traffic=talk)
    assert level_of(talk) == 1.0
    faster = at_level(scenario, 4.0).traffic
    assert faster == replace(talk, rate_per_s=4.0)
    assert len(requests_of(faster, 0).arrival_s) == len(requests_of(talk, 0).arrival_s)


def test_a_loop_of_many_clients_asks_for_enough_requests() -> None:
    loop = at_level(sim.load_scenario("llama-70b-closed-h100"), 500.0).traffic
    assert (loop.concurrency, loop.requests) == (500, 2000)  # type: ignore[union-attr]


@pytest.mark.parametrize(("gain", "up"), [(0.0, 1.0), (0.25, 0.8), (1.0, 0.5), (-0.1, 1.0)])
def test_keeping_up_is_completions_a_request_offered(gain: float, up: float) -> None:
    """Ends that drift apart by `gain` a second of arrivals, beside what outputs take."""
    arrival = pd.Series(range(100), dtype=float)
    outputs = (arrival * 7919) % 83 + 1
    done = pd.DataFrame(
        {
            "arrival_s": arrival,
            "output_tokens": outputs,
            "e2e_s": 3.0 + 0.4 * outputs + gain * arrival,
        }
    )
    assert kept_up(done) == pytest.approx(up, rel=1e-9)
    assert kept_up(done[:10]) is None


# The search


@pytest.fixture(scope="module")
def chat() -> sim.Capacity:
    return sim.capacity(CHAT, slo=["ttft=500 ms", "tbt=50 ms"], sets=["traffic.limit=1000"])


def test_attainment_falls_with_the_rate(chat: sim.Capacity) -> None:
    """Common random numbers: within a hundredth of noise between neighbouring rates."""
    frame = chat.frame
    assert frame["rate_per_s"].is_monotonic_increasing
    assert len(frame) >= 8
    assert (frame["attainment"].diff().dropna() <= 0.01).all()
    assert frame["attainment"].iloc[0] == 1.0
    assert frame["attainment"].iloc[-1] < 0.9
    assert (frame["ttft_p50_s"].diff().dropna() > 0).all()


def test_the_answer_meets_the_slo_and_a_little_more_does_not(chat: sim.Capacity) -> None:
    assert chat.rate_per_s is not None
    assert chat.best.attainment is not None
    assert chat.best.attainment >= 0.9
    assert chat.failed.attainment is not None
    assert chat.failed.attainment < 0.9
    assert chat.rate_per_s < chat.failed.level <= 1.02 * chat.rate_per_s
    assert chat.limited_by == "ttft"
    assert chat.failed.misses["ttft"] > chat.failed.misses["tbt"]
    assert f"{chat.rate_per_s:.3g} requests/s meet TTFT <= 500 ms" in chat.answer


def test_the_answer_is_what_a_run_at_that_rate_gives(chat: sim.Capacity) -> None:
    scenario = sim.load_scenario(CHAT, sets=["traffic.limit=1000"])
    scale = chat.best.level / level_of(scenario.traffic)
    run = sim.simulate(
        CHAT,
        sets=[
            "traffic.limit=1000",
            f"traffic.rate_scale={scale!r}",
            "slo={ttft: 500 ms, tbt: 50 ms}",
        ],
    )
    got = run.requests
    good = (got["ttft_s"] <= 0.5) & ~(got["max_tbt_s"] > 0.05) & (got["status"] == "completed")
    assert chat.best.attainment == pytest.approx(good.mean(), abs=1.5e-3)
    assert run.metrics["goodput_req_per_s"] == pytest.approx(
        chat.best.metrics["goodput_req_per_s"], rel=2e-3
    )


def test_overload_is_said_though_the_slo_is_met() -> None:
    """Gaps between tokens stay short however long the queue: saturation ends the search."""
    found = sim.capacity(CHAT, slo="tbt=1 s", sets=["traffic.limit=1000"])
    assert found.limited_by == "saturation"
    assert found.failed.meets
    assert found.failed.overloaded
    assert found.overloaded_from == found.failed.level
    assert "the queue grows though the SLO is still met" in found.answer
    last = found.trials[-1]
    assert last.keeps_up is not None
    assert last.attainment == 1.0
    # offered twice what it can: completions over offers, end effects apart
    served = last.metrics["request_rate_per_s"] / last.level
    assert last.keeps_up == pytest.approx(served, rel=0.1)


def test_a_closed_loop_searches_clients() -> None:
    found = sim.capacity("llama-70b-closed-h100", sets=["traffic.closed.requests=300"])
    assert found.clients
    assert found.rate_per_s is None
    assert found.best.level < found.failed.level
    assert found.best.level == int(found.best.level)
    assert f"{found.best.level:,.0f} clients keep" in found.answer
    told = found.to_json()
    assert (told["unit"], told["rate_per_s"], told["clients"]) == (
        "clients", None, int(found.best.level),
    )  # fmt: skip


def test_a_limit_on_a_percentile() -> None:
    found = sim.capacity(CHAT, slo="ttft.p99=1 s", curve=False, sets=["traffic.limit=500"])
    assert found.best.attainment is None
    assert found.best.metrics["ttft_s"]["p99"] <= 1.0 < found.failed.metrics["ttft_s"]["p99"]
    assert found.limited_by == "ttft_p99"


def test_sessions_that_begin_all_at_once_are_said() -> None:
    talk = {"rate": "1 /s", "sessions": 60, "turns": 3, "input": 1000, "output": 20}
    found = sim.capacity(
        {"model": "llama-3.1-8b", "system": "h100", "traffic": {"sessions": talk}},
        slo="ttft=400 ms",
        curve=False,
    )
    assert found.unit == "sessions/s"
    assert "sessions/s meet TTFT <= 400 ms" in found.answer
    assert any("as long as one lasts" in each for each in found.cautions)


def test_rejected_requests_miss_the_slo() -> None:
    scenario = sim.load_scenario(CHAT, sets=SHORT)
    traffic = scenario.traffic
    long = replace(traffic, input_tokens=traffic.input_tokens.copy())  # type: ignore[union-attr]
    long.input_tokens[:30] = 10_000_000
    got = tried(replace(scenario, traffic=long), Objective(slo=Slo(ttft_s=1e9)), 0.1)
    assert got.requests["rejected"] == 30
    assert got.attainment == 120 / 150
    assert not got.meets


def test_too_few_requests_are_said() -> None:
    found = sim.capacity(CHAT, sets=["traffic.limit=60"], curve=False)
    assert any("too few requests to show what lasts" in each for each in found.cautions)
    with pytest.raises(ConfigError, match=r"all meet .*give the traffic more"):
        sim.capacity(CHAT, slo="ttft=1 h", sets=["traffic.limit=5"])


# The command


def test_an_slo_nobody_meets_exits_3_with_the_best_reached(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = command(capsys, CHAT, "--slo", "ttft=20 ms", "--set", *SHORT, "--json")
    assert (code, out) == (3, "")
    assert "no load meets TTFT <= 20 ms for 90 % of requests" in err
    with pytest.raises(Infeasible) as caught:
        sim.capacity(CHAT, slo="ttft=20 ms", sets=SHORT)
    numbers = caught.value.numbers
    alone = tried(
        sim.load_scenario(CHAT, sets=SHORT), Objective(slo=Slo(ttft_s=0.02)), numbers["least_level"]
    )
    assert 0.0 < numbers["attainment"] == alone.attainment < 0.9
    assert numbers["ttft_p90_s"] == alone.metrics["ttft_s"]["p90"] > 0.02
    slower = tried(
        sim.load_scenario(CHAT, sets=SHORT), Objective(slo=Slo(ttft_s=0.02)),
        numbers["least_level"] / 10.0,
    )  # fmt: skip
    assert slower.metrics["ttft_s"]["p90"] == pytest.approx(numbers["ttft_p90_s"], rel=1e-3)


def test_json_of_several_systems(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (CHAT, "--system", "h100", "--system", "rtx-4090", "--slo", "ttft=1 s",
                 "--set", "traffic.limit=300", "--no-curve", "--json")  # fmt: skip
    code, out, _ = command(capsys, *arguments)
    assert code == 0
    told = json.loads(out)
    fast, slow = told["capacities"]
    assert told["infeasible"] == []
    assert fast["rate_per_s"] > slow["rate_per_s"] > 0
    assert set(fast) == {
        "scenario", "model", "system", "seed", "unit", "slo", "tolerance", "rate_per_s", "clients",
        "fails_at", "limited_by", "overloaded_from", "attainment", "goodput_req_per_s", "answer",
        "trials", "cautions", "provenance",
    }  # fmt: skip
    assert set(fast["trials"][0]) == {
        "rate_per_s", "clients", "requests", "attainment", "misses", "meets_slo", "keeps_up",
        "overloaded", "worst_gap_s", "metrics", "bound", "cautions",
    }  # fmt: skip
    assert fast["slo"] == {"ttft_s": 1.0, "tbt_s": None, "attain": 0.9, "limits": {}}
    assert command(capsys, *arguments, "--workers", "2")[1] == out


def test_a_system_that_cannot_is_listed_beside_one_that_can(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = (CHAT, "--system", "h100", "--system", "raspberry-pi-5", "--slo", "ttft=300 ms",
                 "--set", *SHORT, "--no-curve", "--json")  # fmt: skip
    code, out, _ = command(capsys, *arguments)
    told = json.loads(out)
    assert code == 0
    assert len(told["capacities"]) == 1
    (refused,) = told["infeasible"]
    assert refused["system"] == "raspberry-pi-5"


def test_a_plot_that_cannot_be_written_is_said_before_the_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, said in (("a.jpg", "ends in .png"), ("none/a.png", "No such file")):
        code, out, err = command(capsys, "no-scenario", "--png", str(tmp_path / name))
        assert (code, out) == (2, "")
        assert said in err


def test_tables_and_plot(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    png = tmp_path / "goodput.png"
    arguments = (CHAT, "--system", "h100", "--system", "l40s", "--set", *SHORT, "--png", str(png))
    code, out, err = command(capsys, *arguments)
    assert code == 0
    assert f"wrote {png}" in err
    assert "At the answer" in out
    assert out.count("answer") >= 2
    first = png.read_bytes()
    assert first.startswith(b"\x89PNG")
    command(capsys, *arguments)
    assert png.read_bytes() == first
