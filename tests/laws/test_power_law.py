"""Do static power and energies of a device follow from its data sheet as the power law says?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import sim
from sim.config.catalogue import load_device
from sim.config.fitted import load_law
from sim.errors import ConfigError
from sim.hardware.power import PowerLaw
from sim.hardware.records import processor_records

LAW = PowerLaw(
    name="made", static_W_per_mm2=0.1, static_share=0.3, flop_J=1e-12, narrow=0.5,
    path_J_per_B=1e-10, kv_path_J_per_B=2e-10, processes=(("TSMC 4N", 1.0), ("TSMC 7N", 1.5)),
)  # fmt: skip
NEW: dict[str, Any] = {
    "title": "A GPU nobody measured",
    "extends": "nvidia-datacenter",
    "sources": {"sheet": {"kind": "datasheet", "title": "Its data sheet"}},
    "source": "sheet",
    "processors": {"gpu": {"memory": "hbm", "peak": {"fp16": "400 TFLOPS", "fp8": "800 TFLOPS"}}},
    "memories": {"hbm": {"technology": "hbm3", "capacity": "80 GiB", "bandwidth": "3 TB/s"}},
    "link": {"name": "nvlink", "bandwidth": "400 GB/s"},
    "power": {"tdp": "500 W"},
    "die": {"area": "700 mm2", "process": "TSMC 7N"},
}


def test_static_power_goes_by_area_up_to_a_share_of_the_rated_power() -> None:
    assert LAW.static_W(800.0, 700.0) == pytest.approx(80.0)
    assert LAW.static_W(800.0, 200.0) == pytest.approx(60.0)
    assert LAW.static_W(800.0, None) == pytest.approx(80.0)
    assert LAW.static_W(None, 200.0) == pytest.approx(60.0)
    assert LAW.static_W(None, None) is None


def test_process_names_may_tell_dies_and_unknown_ones_have_no_scale() -> None:
    assert LAW.scale("TSMC 7N, 2 dies") == 1.5
    assert LAW.scale(None) == 1.0
    assert LAW.scale("a process of its own") is None


def written(folder: Path, device: dict[str, Any]) -> str:
    """Path of a device's file: JSON is YAML."""
    path = folder / "made.yaml"
    path.write_text(json.dumps(device))
    return str(path)


def test_a_device_of_one_file_gets_all_it_needs(tmp_path: Path) -> None:
    device = load_device(written(tmp_path, NEW), law=LAW)
    (gpu,) = device.processors
    assert device.static_W == pytest.approx(70.0)
    assert gpu.energy_J_per_flop["fp16"] == pytest.approx(1.5e-12)
    assert gpu.energy_J_per_flop["fp8"] == pytest.approx(0.75e-12)
    assert "int8" not in gpu.energy_J_per_flop, "it has no such units"
    assert device.sources["power.static"].source == "power-fitted-2026-11"
    record = processor_records(device)[0]
    dram = device.memory("hbm").energy_J_per_B
    assert dram is not None
    assert record["weights_J_per_B"] == pytest.approx(dram + 1e-10)
    assert record["activations_J_per_B"] == pytest.approx(dram + 1e-10)
    assert record["kv_J_per_B"] == pytest.approx(dram + 2e-10)


def test_what_a_device_states_stands(tmp_path: Path) -> None:
    own = NEW | {
        "power": {"tdp": "500 W", "static": "33 W"},
        "processors": {"gpu": NEW["processors"]["gpu"] | {"energy": {"fp16": "0.2 pJ/flop"}}},
    }
    device = load_device(written(tmp_path, own), law=LAW)
    assert device.static_W == 33.0
    assert device.processors[0].energy_J_per_flop["fp16"] == pytest.approx(2e-13)


def test_an_unknown_process_asks_for_the_energy_of_a_flop(tmp_path: Path) -> None:
    strange = NEW | {"die": {"area": "700 mm2", "process": "TSMC 90 nm"}}
    with pytest.raises(ConfigError, match=r"TSMC 90 nm.*state the energy of a flop"):
        load_device(written(tmp_path, strange))
    stated = {"gpu": NEW["processors"]["gpu"] | {"energy": {"fp16": "9 pJ/flop"}}}
    own = written(tmp_path, strange | {"processors": stated})
    assert load_device(own).static_W is not None


def test_units_in_memory_and_the_papers_devices_pay_no_way() -> None:
    duplex = processor_records(load_device("duplex"))
    xpu, pim = duplex
    assert pim["weights_J_per_B"] < 0.2 * xpu["weights_J_per_B"]
    paper = load_device("duplex-micro24")
    assert paper.power is None
    dram = paper.memory("hbm").energy_J_per_B
    assert processor_records(paper)[0]["weights_J_per_B"] == pytest.approx(dram)


def test_one_law_is_used_by_both_generations_that_were_measured() -> None:
    h100, a100 = load_device("h100-sxm"), load_device("a100-sxm-80gb")
    ratio = dict(load_law("nvidia").processes)["TSMC 7N"]
    own = (each.processors[0].energy_J_per_flop["fp16"] for each in (a100, h100))
    assert next(own) / next(own) == pytest.approx(ratio)


def test_more_of_a_constant_is_more_energy_in_the_same_time() -> None:
    system = sim.load_system("h100-x4")
    plain = sim.explain("mixtral-azure-duplex", system=system, sequences=16, context=1024)
    law = load_law("nvidia")
    for changed in (
        replace(law, flop_J=2.0 * law.flop_J),
        replace(law, path_J_per_B=2.0 * law.path_J_per_B),
        replace(law, kv_path_J_per_B=2.0 * law.kv_path_J_per_B),
        replace(law, static_W_per_mm2=2.0 * law.static_W_per_mm2, static_share=1.0),
    ):
        device = load_device("h100-sxm", law=changed)
        dear = sim.explain(
            "mixtral-azure-duplex", system=replace(system, device=device), sequences=16,
            context=1024,
        )  # fmt: skip
        assert dear.seconds == plain.seconds
        assert dear.joules > plain.joules
