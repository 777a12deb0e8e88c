"""Swapping and tiers from YAML to results: keys, defaults, sources, reports and timelines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sim.cli import main
from sim.config.scenarios import load_scenario
from sim.errors import ConfigError
from sim.results.simulate import simulate
from sim.results.timeline import recorded
from sim.simulation.prepare import prepare

DRAM = {"name": "dram", "size": "20 GB", "bandwidth": "50 GB/s", "latency": "10 us"}
SSD = DRAM | {
    "name": "ssd", "size": "1 TB", "bandwidth": "7 GB/s", "latency": "100 us", "energy": "20 pJ/bit"
}  # fmt: skip
TALK: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "system": "h100-x1",
    "traffic": {
        "sessions": {
            "rate": "1 /s", "sessions": 40, "turns": 4, "input": 1500, "output": 100,
            "shared": 500, "think": "20 s",
        }
    },
    "scheduler": {
        "kind": "chunked-prefill", "prefix_cache": True, "memory_utilization": 0.26,
        "kv_tiers": [DRAM, SSD],
    },
}  # fmt: skip
CROWD: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "system": "h100-x1",
    "traffic": {"closed": {"concurrency": 48, "requests": 100, "input": 400, "output": 600}},
    "scheduler": {"kind": "chunked-prefill", "memory_utilization": 0.235, "preemption": "swap"},
}


def with_scheduler(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**base, "scheduler": {**base["scheduler"], **changes}}


def test_the_default_host_has_its_sources() -> None:
    scenario = load_scenario(CROWD)
    host = scenario.scheduler.host
    assert host is not None
    assert host.memory_B == 4 * 2.0**30
    assert host.bandwidth_B_per_s == 55.6e9
    assert host.latency_s == pytest.approx(1e-5)
    assert host.energy_J_per_B == pytest.approx(48e-12)
    assert scenario.sources["scheduler.host.bandwidth"].source == "nvbandwidth-example"
    assert {"nvbandwidth-example", "vllm-swap-space"} <= set(scenario.bibliography)
    own = load_scenario(CROWD, sets=["scheduler.host.bandwidth=25 GB/s"])
    assert own.scheduler.host is not None
    assert own.scheduler.host.bandwidth_B_per_s == 25e9
    assert own.scheduler.host.memory_B == host.memory_B
    assert own.sources["scheduler.host.bandwidth"].source == "user"
    assert load_scenario(CROWD, sets=["scheduler.preemption=recompute"]).scheduler.host is None


def test_tiers_are_read_with_their_units() -> None:
    first, second = load_scenario(TALK).scheduler.kv_tiers
    assert (first.name, first.size_B, first.bandwidth_B_per_s) == ("dram", 20e9, 50e9)
    assert first.energy_J_per_B == pytest.approx(48e-12)  # the default host's link
    assert second.energy_J_per_B == pytest.approx(160e-12)
    changed = load_scenario(TALK, sets=["scheduler.kv_tiers.0.size=64 GiB"])
    assert changed.scheduler.kv_tiers[0].size_B == 64 * 2.0**30


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ({"kv_tiers": [{**DRAM, "sze": "1 GB"}]}, "did you mean 'size'"),
        ({"kv_tiers": [{**DRAM, "size": 20}]}, "needs a unit"),
        ({"kv_tiers": [DRAM, DRAM]}, "another tier"),
        ({"kv_tiers": [DRAM], "prefix_cache": False}, "drops out of a cache"),
        ({"kv_loads": "asnc"}, "did you mean 'async'"),
        ({"preemption": "swop"}, "did you mean 'swap'"),
        ({"preemption": "swap", "kv_reserve": "full"}, "never preempts"),
        ({"preemption": "swap", "host": {"memry": "4 GB"}}, "did you mean 'memory'"),
    ],
)
def test_bad_input_is_named(scheduler: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_scenario(with_scheduler(TALK, **scheduler))


@pytest.mark.parametrize(
    ("kv", "message"),
    [
        ("int5", "did you mean 'int8'"),
        ({"codes": "int4"}, "dtype.kv.group: is missing"),
        ({"codes": "int5", "group": 32}, "dtype.kv.codes"),
        ({"codes": "int4", "group": 0}, "from 1 is due"),
    ],
)
def test_a_bad_format_of_the_cache_is_named_once(kv: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        load_scenario({**TALK, "dtype": {"kv": kv}})
    assert len(raised.value.problems) == 1


def test_a_run_says_what_its_tiers_did() -> None:
    run = simulate(TALK)
    found = run.to_json()
    cache = found["prefix_cache"]
    by_tier = [tier["cached_tokens"] for tier in cache["tiers"]]
    assert [tier["name"] for tier in cache["tiers"]] == ["dram", "ssd"]
    assert min(by_tier) > 0
    assert cache["memory_tokens"] + sum(by_tier) == cache["cached_tokens"]
    token_B = 131072.0
    for tier, tokens in zip(cache["tiers"], by_tier, strict=True):
        assert tier["up_B"] == tokens * token_B
        assert tier["down_B"] >= tier["up_B"]
        assert 0.0 < tier["peak_B"] <= tier["size_B"]
    loads_s = by_tier[0] * token_B / 50e9 + by_tier[1] * token_B / 7e9
    assert loads_s < cache["load_s"] < 1.1 * loads_s
    assert cache["wait_s"] == found["breakdown"]["time_s"]["by_class"]["copies"] == 0.0
    assert cache["loaded_requests"] == (run.records["loaded"] > 0).sum()
    joules = sum(
        (tier["up_B"] + tier["down_B"]) * each
        for tier, each in zip(cache["tiers"], (48e-12, 160e-12), strict=True)
    )
    assert found["breakdown"]["energy_J"]["by_class"]["copies"] == pytest.approx(joules)
    total = sum(found["breakdown"]["energy_J"]["by_class"].values())
    assert found["metrics"]["energy_J"] == pytest.approx(total)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_tiers_pay_and_blocking_loads_hold_answers_up() -> None:
    runs = {
        name: simulate(with_scheduler(TALK, **changes)).to_json()
        for name, changes in {
            "none": {"kv_tiers": []},
            "async": {},
            "layerwise": {"kv_loads": "layerwise"},
            "blocking": {"kv_loads": "blocking"},
        }.items()
    }
    hits = {name: each["prefix_cache"]["hit_rate"] for name, each in runs.items()}
    assert hits["none"] < 0.8 * hits["async"]
    assert "tiers" not in runs["none"]["prefix_cache"]
    prefilled = {name: each["metrics"]["prefill_tok_per_s"] for name, each in runs.items()}
    assert prefilled["async"] < 0.8 * prefilled["none"]
    waits = {name: runs[name]["prefix_cache"]["wait_s"] for name in ("layerwise", "blocking")}
    assert 0.0 < waits["layerwise"] < waits["blocking"]
    assert runs["blocking"]["bound"]["link"] > runs["async"]["bound"]["link"] == 0.0
    tbt = {name: each["metrics"]["tbt_s"]["max"] for name, each in runs.items()}
    assert tbt["async"] < tbt["blocking"]
    for each in runs.values():
        assert sum(each["bound"].values()) == pytest.approx(1.0)


def test_a_run_says_what_it_swapped() -> None:
    run = simulate(CROWD)
    found = run.to_json()
    swap = found["swap"]
    assert swap["swapped"] > 0
    assert swap["swapped"] + swap["recomputed"] == sum(o.preemptions for o in run.served.outcomes)
    assert swap["out_B"] >= swap["in_B"] > 0.0
    assert 0.0 < swap["host_peak_B"] <= swap["host_B"] == 4 * 2.0**30
    assert found["breakdown"]["time_s"]["by_class"]["copies"] == swap["wait_s"] > 0.0
    classes = found["breakdown"]["time_s"]["by_class"]
    assert sum(classes.values()) == pytest.approx(found["breakdown"]["busy_s"])
    plain = simulate(CROWD, sets=["scheduler.preemption=recompute"]).to_json()
    assert "swap" not in plain
    assert "copies" not in plain["breakdown"]["time_s"]["by_class"]


def test_a_timeline_shows_iterations_that_wait() -> None:
    timeline = recorded(prepare(load_scenario(CROWD, sets=["traffic.closed.requests=60"])))
    slices = [each for each in timeline.events() if each.get("cat") == "copies"]
    assert slices
    waited_s = sum(each["args"]["seconds"] for each in slices)
    assert "swap" in timeline.run.accounts
    assert waited_s == pytest.approx(timeline.run.accounts["swap"]["wait_s"], rel=1e-6)


def test_the_report_has_a_line_for_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import yaml

    both = with_scheduler(TALK, preemption="swap")
    path = tmp_path / "both.yaml"
    path.write_text(yaml.safe_dump(both), encoding="utf-8")
    for command in ("run", "explain"):
        with pytest.raises(SystemExit) as stopped:
            main([command, str(path)])
        assert stopped.value.code == 0
        text = " ".join(capsys.readouterr().out.split())
        if command == "run":
            assert "Tier dram:" in text
            assert "Tier ssd:" in text
            assert "requests loaded a part of their prompt: TTFT p50" in text
            assert "caches swapped to the host" in text


def test_a_fleet_has_tiers_of_each_replica() -> None:
    run = simulate({**TALK, "fleet": {"replicas": 2, "route": "prefix"}})
    cache = run.to_json()["prefix_cache"]
    assert sum(tier["cached_tokens"] for tier in cache["tiers"]) > 0
    assert len({outcome.copies for outcome in run.served.outcomes}) == 2


def test_pools_apart_have_tiers_where_prompts_are() -> None:
    pools = {
        "prefill": {}, "decode": {}, "link": {"bandwidth": "50 GB/s", "latency": "10 us"},
    }  # fmt: skip
    run = simulate({**with_scheduler(TALK, preemption="swap"), "disaggregate": pools})
    cache = run.to_json()["prefix_cache"]
    assert sum(tier["cached_tokens"] for tier in cache["tiers"]) > 0
    prefill, decode = run.served.outcomes
    assert prefill.copies.load_s > 0.0
    assert decode.copies.load_s == 0.0
