"""Is a reader told what to know before believing a run, and nothing where all is well?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sim
from sim.errors import ConfigError
from sim.results.reasons import reasons

A = "llama-8b-azure-h100"


def cautions(name: str = A, sets: tuple[str, ...] = (), **changes: Any) -> str:
    return "\n".join(sim.simulate(name, sets=sets, **changes).cautions)


def test_nothing_to_say_of_a_run_that_is_well() -> None:
    assert cautions(sets=("traffic.limit=200",)) == ""


def test_overload_is_said() -> None:
    said = cautions(sets=("traffic.rate_scale=40",))
    assert "arrive faster than they are served" in said


def test_power_above_tdp_is_said() -> None:
    assert "above its TDP" in cautions(sets=("traffic.limit=50", "system.device.power.tdp=10 W"))


def test_idle_devices_are_said() -> None:
    sets = ("traffic.limit=20", "parallel={tp: 4, dp: 1}")
    assert "1 of 5 devices have nothing to do" in cautions(sets=sets, system="h100-x5")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("host={memory: 9 GB}", "write scheduler.preemption: swap"),
        ("kv_loads=blocking", "write scheduler.kv_tiers"),
        ("prefix_blocks=9", "write scheduler.prefix_cache: true"),
    ],
)
def test_what_has_no_effect_is_said(setting: str, said: str) -> None:
    assert said in cautions(sets=("traffic.limit=20", f"scheduler.{setting}"))


def test_prompts_beyond_the_context_are_said() -> None:
    traffic = {"poisson": {"rate": "1 /s", "requests": 3, "input": 5000, "output": 2}}
    assert "3 of 3 requests are longer" in cautions(model="phi-3-mini-4k", traffic=traffic)


def test_a_run_in_which_all_is_rejected_says_so_and_prints(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("arrival_s,context_tokens,generated_tokens\n0,1000000,5\n1,2000000,10\n")
    run = sim.simulate(A, traffic={"trace": str(path)})
    assert run.cautions == ("2 of 2 requests could never fit the KV memory and were rejected",)
    assert reasons(run) == []
    assert run.to_json()["metrics"]["throughput_tok_per_s"] is None
    assert run.ops.empty


def test_a_loop_with_fewer_requests_than_clients_says_so() -> None:
    traffic = {"closed": {"concurrency": 32, "requests": 10, "input": 50, "output": 50}}
    assert "ask for more requests" in cautions(traffic=traffic)


def test_energies_of_the_breakdown_add_up() -> None:
    run = sim.simulate("mixtral-azure-duplex", sets=("traffic.limit=100",))
    parts = run.breakdown["energy_J"]["by_class"].values()
    assert sum(parts) == pytest.approx(run.metrics["energy_J"])
    shares = [reason.energy_share for reason in reasons(run) if reason.energy_share is not None]
    assert sum(shares) == pytest.approx(1.0)
    times = [reason.time_share for reason in reasons(run) if reason.time_share is not None]
    assert sum(times) == pytest.approx(1.0)


def test_fixed_encoders_compute_their_own_length() -> None:
    """An image is 197 tokens to ViT, whatever lengths the traffic has."""
    traffic = {"poisson": {"rate": "10 /s", "requests": 20, "input": 5000, "output": 1}}
    run = sim.simulate(A, model="vit-base-patch16-224", traffic=traffic)
    assert set(run.requests["input_tokens"]) == {197}
    rate = run.metrics["prefill_tok_per_s"] / run.metrics["request_rate_per_s"]
    assert rate == pytest.approx(197)


def test_parts_made_in_python_replace_those_of_a_scenario() -> None:
    device = sim.load_device("h100")
    run = sim.simulate(A, sets=["traffic.limit=5"], system=device)
    assert run.scenario.system.count == 1
    scenario = sim.load_scenario(
        A,
        system=sim.System(name="mine", device=device, count=4, devices_per_node=4),
        parallel=sim.Parallel(tp=2),
        scheduler=sim.Scheduler(kind="prefill-first"),
        dtype=sim.Precision(weights="fp8"),
    )
    assert (scenario.parallel.tp, scenario.scheduler.kind) == (2, "prefill-first")
    assert scenario.precision.weights == "fp8"
    assert scenario.digest != sim.load_scenario(A).digest
    assert len(repr(run)) < 300


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sim.System(name="x", device="h100", count=2), "a Device is due"),
        (lambda: sim.System(name="x", device=sim.load_device("h100"), count=-2), "from 1"),
        (lambda: sim.simulate(A, sets="seed=1"), "write sets="),
        (lambda: sim.explain(A, phase="zzz"), "decode or prefill"),
        (lambda: sim.explain(A, sequences=2.5), "whole number"),
    ],
)
def test_wrong_calls_are_config_errors(call: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        call()
