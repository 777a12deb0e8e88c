"""Runtimes: does a scenario take the times of the serving framework that it names?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from sim.cli import main
from sim.config import library
from sim.config.catalogue import load_device
from sim.config.fitted import load_runtime
from sim.config.scenarios import load_scenario
from sim.dtypes import BITS, arithmetic
from sim.errors import ConfigError
from sim.hardware import Device
from sim.hardware.formats import for_weights
from sim.hardware.records import processor_records
from sim.results.simulate import simulate

SCENARIO = "mixtral-azure-duplex"


def device(**settings: str) -> Device:
    """The device of a scenario on H100s."""
    return load_scenario(SCENARIO, system="h100-x4", **settings).system.device


def test_a_runtime_s_times_go_before_the_device_s_estimate() -> None:
    runtime = load_runtime("vllm-0.12")
    found = device(runtime="vllm-0.12")
    assert found.host_step_s == runtime.host_step_s != device().host_step_s
    assert found.host_sequence_s == runtime.host_sequence_s
    assert found.processors == device().processors  # its kernels stay


def test_without_one_nothing_changes() -> None:
    plain = load_scenario(SCENARIO, system="h100-x4")
    assert plain.runtime is None
    assert not any(path.startswith("runtime.") for path in plain.sources)


def test_its_numbers_have_their_source() -> None:
    found = load_scenario(SCENARIO, system="h100-x4", runtime="vllm-0.12")
    assert found.sources["runtime.host_step"].source == "runtimes-fitted-2026-11"
    assert "system.device.host_step" not in found.sources
    assert "runtimes-fitted-2026-11" in found.bibliography


def test_another_runtime_is_another_input() -> None:
    digests = {
        load_scenario(SCENARIO, system="h100-x4", **each).digest
        for each in ({}, {"runtime": "vllm-0.12"}, {"runtime": "vllm-2024"})
    }
    assert len(digests) == 3


def test_a_wrong_name_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'vlm-0.12'; did you mean 'vllm-0.12'"):
        load_scenario(SCENARIO, sets=["runtime=vlm-0.12"])


def test_another_system_of_a_ready_scenario_has_the_runtime_too() -> None:
    ready = load_scenario(SCENARIO, system="h100-x4", runtime="vllm-0.12")
    moved = load_scenario(ready, system="a100-x4")
    assert moved.system.device.host_step_s == ready.system.device.host_step_s
    with pytest.raises(ConfigError, match="load it with the other one"):
        load_scenario(ready, runtime="vllm-2024")


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """The JSON that a command prints."""
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--json"])
    assert not ended.value.code
    return json.loads(capsys.readouterr().out)


def test_runtimes_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    listed = printed(capsys, "list", "runtimes")
    assert "vllm-0.12" in {each["name"] for each in listed}
    shown = printed(capsys, "show", "vllm-0.12")
    assert shown["host_step"]["source"] == "runtimes-fitted-2026-11"


def test_weights_with_scales_a_block_have_products_of_their_own() -> None:
    hopper = load_device("h100-sxm")
    plain, blocks = (
        processor_records(for_weights(hopper, each))["matmul"][0] for each in ("fp8", "fp8-block")
    )
    assert blocks["narrow_rate"] < plain["narrow_rate"] < 1.0
    assert blocks["narrow_s"] < plain["narrow_s"]
    assert blocks["per_memory"] == plain["per_memory"]
    assert arithmetic("fp8-block", "fp8") == "fp8"
    assert 8.0 < BITS["fp8-block"] < 8.01


def test_a_device_that_doesn_t_tell_blocks_apart_is_as_it_is() -> None:
    for name in ("a100-sxm-80gb", "rtx-4090", "apple-m1"):
        found = load_device(name)
        assert for_weights(found, "fp8-block") == found


def test_a_runtime_of_another_kind_of_processor_is_a_caution() -> None:
    sets = ["traffic.limit=3"]
    found = simulate("llama-8b-azure-h100", sets=[*sets, "runtime=executorch"]).cautions
    (told,) = [each for each in found if "runtime" in each]
    assert "executorch was fitted on a cpu, and h100-sxm is a gpu" in told
    for same in ("vllm", "trtllm"):
        found = simulate("llama-8b-azure-h100", sets=[*sets, f"runtime={same}"]).cautions
        assert not any("runtime" in each for each in found)


def test_every_runtime_says_what_it_runs_on() -> None:
    for name in library.files("runtimes"):
        assert load_runtime(name).runs_on in ("cpu", "gpu")
