"""Do scenarios of fleets and of pools apart say what they came to, and what is wrong with them?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sim
from sim.cli import main
from sim.engines.serving.routing import ByLength, RoundRobin

BASE: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "traffic": {"poisson": {"rate": "20 /s", "requests": 150, "input": 700, "output": 40}},
    "scheduler": {"kind": "chunked-prefill"},
}
APART = {
    "prefill": {"system": "h100-x1", "replicas": 2},
    "decode": {"system": "duplex-x1"},
    "link": {"bandwidth": "50 GB/s", "latency": "10 us", "energy": "10 pJ/bit"},
}


def scaled(**changes: Any) -> dict[str, Any]:
    rule = {"min": 1, "max": 4, "target": 8, "start_up": "1 s"} | changes
    return {
        "system": "h100-x1",
        "fleet": {"autoscale": {key: value for key, value in rule.items() if value is not None}},
    }


def problems(**changes: Any) -> str:
    with pytest.raises(sim.ConfigError) as error:
        sim.simulate(BASE | changes)
    return str(error.value)


def test_pools_apart_report_what_was_sent() -> None:
    run = sim.simulate(BASE | {"disaggregate": APART})
    fleet = run.to_json()["fleet"]
    assert [pool["system"] for pool in fleet["pools"]] == ["h100-x1", "duplex-x1"]
    assert [pool["replicas"] for pool in fleet["pools"]] == [2, 1]
    assert [pool["completed"] for pool in fleet["pools"]] == [150, 150]
    sent = fleet["transfer"]
    assert sent["requests"] == 150
    assert sent["bytes"] == 150 * 700 * 131072
    assert sent["link_s"] == pytest.approx(sent["bytes"] / 50e9)
    assert sent["energy_J"] == pytest.approx(sent["bytes"] * 8 * 10e-12)
    assert run.breakdown["energy_J"]["by_class"]["transfer"] == sent["energy_J"]
    total = sum(run.breakdown["energy_J"]["by_class"].values())
    assert run.metrics["energy_J"] == pytest.approx(total)
    assert run.metrics["energy_J"] == pytest.approx(
        sent["energy_J"] + sum(pool["energy_J"] for pool in fleet["pools"])
    )
    # all of it holds 20 ms of a prompt's cache, of which the last of 32 layers is not hidden
    assert sent["exposed_s"]["p50"] == pytest.approx(700 * 131072 / 50e9 / 32 + 1e-5, rel=1e-6)


def test_without_overlap_the_first_gap_has_the_whole_transfer() -> None:
    slow = APART | {"link": {"bandwidth": "1 GB/s", "latency": "0 us"}, "overlap": False}
    run = sim.simulate(BASE | {"disaggregate": slow})
    fleet = run.accounts["fleet"]
    assert fleet is not None
    assert fleet["transfer"]["exposed_s"]["p50"] >= 700 * 131072 / 1e9
    assert run.requests["max_tbt_s"].min() >= 700 * 131072 / 1e9


def test_costs_of_pools_add_up() -> None:
    """A pool of two costs twice one; both share the tokens."""
    one = sim.simulate(BASE | {"system": "h100-x1"}, sets=["fleet.replicas=1"])
    plain = sim.simulate(BASE | {"system": "h100-x1"})
    assert one.metrics["cost_usd_per_Mtok"] == pytest.approx(plain.metrics["cost_usd_per_Mtok"])
    two = sim.simulate(BASE | {"system": "h100-x1"}, sets=["fleet.replicas=2"])
    assert two.owned is not None
    assert plain.owned is not None
    for name in ("die_area_mm2", "capex_usd"):
        assert two.owned.ledger.totals[name][1] == pytest.approx(
            2 * plain.owned.ledger.totals[name][1], rel=1e-6
        )


def test_different_systems_in_one_fleet() -> None:
    pools = [{"system": "h100-x2", "replicas": 2, "parallel": {"tp": 1}}, {"system": "duplex-x1"}]
    run = sim.simulate(BASE | {"fleet": pools})
    fleet = run.to_json()["fleet"]
    assert [pool["replicas"] for pool in fleet["pools"]] == [4, 1]
    assert [row["completed"] for row in fleet["replicas"]] == [30] * 5
    assert {"h100-x2 gpu", "duplex-x1 xpu", "duplex-x1 logic-pim"} <= set(
        run.breakdown["energy_J"]["by_processor"]
    )
    assert set(run.ops["processor"]) <= set(run.breakdown["energy_J"]["by_processor"])
    assert run.metrics["energy_J"] == pytest.approx(
        sum(run.breakdown["energy_J"]["by_class"].values())
    )


def test_failures_are_counted_and_nothing_is_lost() -> None:
    fleet = {"replicas": 2, "failures": [{"replica": 1, "at": "2 s", "for": "1 s"}]}
    run = sim.simulate(BASE | {"system": "h100-x1", "fleet": fleet})
    found = run.to_json()
    assert found["requests"]["completed"] == 150
    assert found["fleet"]["failures"] == 1
    assert found["fleet"]["retries"] == found["fleet"]["replicas"][1]["retries"] > 0
    assert found["fleet"]["replicas"][1]["down_s"] == 1.0


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ({"bandwidth": "5 GB", "latency": "1 us"}, "write '5 GB/s'"),
        (3, "a name, or the thing itself as a mapping"),
        ("nvlnk-4", "did you mean 'nvlink-4'"),
    ],
)
def test_an_error_of_a_link_is_one_line(link: Any, words: str) -> None:
    told = problems(disaggregate=APART | {"link": link})
    assert "\n" not in told
    assert words in told


def test_clients_of_a_closed_loop_keep_a_fleet_busy() -> None:
    closed = {"closed": {"concurrency": 16, "requests": 200, "input": 500, "output": 50}}
    given = BASE | {"traffic": closed, "scheduler": {"kind": "chunked-prefill"}}
    whole = sim.simulate(given, system="h100-x2", parallel={"tp": 1, "dp": 2})
    fleet = sim.simulate(given, system="h100-x1", fleet={"replicas": 2})
    for name in ("throughput_tok_per_s", "energy_J", "power_W"):
        assert fleet.metrics[name] == pytest.approx(whole.metrics[name], rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"system": "h100-x1", "fleet": {"replicas": 0}}, "a whole number from 1 is due"),
        ({"system": "h100-x1", "fleet": {}}, "one of replicas"),
        ({"system": "h100-x1", "fleet": {"replicas": 2, "route": "rond-robin"}}, "did you mean"),
        (
            {
                "system": "h100-x1",
                "fleet": {"replicas": 2, "slowdown": [{"replica": 2, "factor": 2}]},
            },
            "there is no replica 2: they are numbered 0 to 1",
        ),
        (
            {"system": "h100-x1", "fleet": {"replicas": 2, "failures": {"mtbf": "1 h"}}},
            "mtbf and repair go together",
        ),
        ({"fleet": [{"system": "h100-y1"}]}, "did you mean"),
        ({"system": "h100-x1", "fleet": {"autoscale": {"min": 2}}}, "fleet.autoscale.max: is miss"),
        (scaled(min=5), "5 is more than max: 4"),
        (scaled(start_up=None), "start_up: 60 s, or load: 5 GB/s"),
        (scaled(targt=3), "did you mean 'target'"),
        (scaled(period="0 s"), "fleet.autoscale.period"),
        (scaled() | {"system": "h100-x2", "parallel": {"tp": 1}}, "holds 2 of them"),
        ({"system": "h100-x1", "fleet": scaled()["fleet"] | {"replicas": 2}}, "one of replicas"),
        (
            {"system": "h100-x1", "fleet": scaled()["fleet"] | {"route": "by-length"}},
            "fixed number",
        ),
        ({"system": "h100-x1", "fleet": {"replicas": 2, "route": "prefix"}}, "prefix_cache: true"),
        ({"disaggregate": APART | {"link": "nvlink-5"}}, "did you mean 'nvlink-4'"),
        ({"disaggregate": APART | {"decode": {"system": "duplx-x4"}}}, "duplex-x4"),
        ({"disaggregate": APART | {"prefill": {"system": "h100-x1", "replicas": 0}}}, "from 1"),
        ({"disaggregate": APART, "system": "h200-x1"}, "nothing runs on it"),
        ({"disaggregate": APART, "fleet": {"replicas": 2}}, "leave one of"),
        (
            {
                "disaggregate": APART,
                "traffic": {"closed": {"concurrency": 2, "requests": 9, "input": 9, "output": 9}},
            },
            "open traffic",
        ),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], words: str) -> None:
    assert words in problems(**changes)


def test_a_link_that_is_not_there_is_named_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "apart.yaml"
    path.write_text(
        "model: llama-3.1-8b\ntraffic: azure-like-2k\ndisaggregate:\n"
        "  prefill: {system: h100-x1}\n  decode: {system: h100-x1}\n  link: infiniband\n"
    )
    with pytest.raises(SystemExit) as ended:
        main(["run", str(path)])
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert "apart.yaml:6" in message
    assert "h100-x1 has no link 'infiniband'" in message


def test_a_pool_that_cannot_hold_the_model_is_infeasible() -> None:
    small = APART | {"decode": {"system": "rtx-3060-x1"}}
    with pytest.raises(sim.Infeasible, match="does not fit rtx-3060-x1"):
        sim.simulate(BASE | {"disaggregate": small})


def test_pool_sizes_change_by_set(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(
            ["run", "llama-70b-disaggregated", "--json", "--set", "traffic.limit=20",
             "--set", "disaggregate.prefill.replicas=3"]
        )  # fmt: skip
    assert ended.value.code == 0
    fleet = json.loads(capsys.readouterr().out)["fleet"]
    assert fleet["pools"][0]["systems"] == 3


def test_pool_sizes_are_axes_of_a_study() -> None:
    axes = [
        {"path": "disaggregate.prefill.replicas", "values": [1, 2]},
        {"path": "disaggregate.decode.replicas", "values": [1, 3]},
    ]
    study = {
        "title": "pools", "base": BASE | {"disaggregate": APART}, "fidelity": "events",
        "axes": axes, "objectives": {"ttft_p90_s": "min"},
    }  # fmt: skip
    table = sim.sweep(study, workers=1).frame
    assert len(table) == 4
    by_size = table.groupby("disaggregate.prefill.replicas")["ttft_p90_s"].mean()
    assert by_size[2] < by_size[1]
    with pytest.raises(sim.ConfigError, match="closed forms are of one replica"):
        sim.sweep(study | {"fidelity": "closed-form"}, workers=1)


def test_round_robin_skips_the_dead() -> None:
    route = RoundRobin()
    alive = np.array([True, True, True])
    assert route.deal(np.arange(4), alive).tolist() == [0, 1, 2, 0]
    assert route.deal(np.arange(3), np.array([True, False, True])).tolist() == [2, 0, 2]
    assert route.deal(np.arange(2), alive).tolist() == [0, 1]


def test_lengths_are_cut_into_equal_shares_of_prompt_tokens() -> None:
    prompts = np.random.default_rng(1).integers(1, 4000, 5000)
    route = ByLength(prompts=prompts, replicas=4)
    homes = route.deal(np.arange(5000), np.ones(4, bool))
    tokens = np.bincount(homes, weights=prompts)
    assert tokens == pytest.approx(prompts.sum() / 4, rel=0.01)
    for number in range(3):
        assert prompts[homes == number].max() <= prompts[homes == number + 1].min()
    alone = route.deal(np.arange(5000), np.array([True, False, False, True]))
    assert set(alone.tolist()) == {0, 3}
    equal = ByLength(prompts=np.full(100, 50), replicas=2)
    homes = equal.deal(np.arange(100), np.ones(2, bool))
    assert homes[:50].mean() == pytest.approx(0.5, abs=0.05)  # both serve from the start
