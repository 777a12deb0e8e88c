"""Does `--set path=value` reach everything below a scenario's references, and nothing else?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sim.config.catalogue import load_system
from sim.config.scenarios import load_scenario
from sim.errors import ConfigError
from sim.scenario import Scenario
from sim.workload.traffic import Trace

NAME = "mixtral-azure-duplex"
PRUNING = "techniques=[{kind: token-pruning, layer: 3, keep: 0.5}]"


def loaded(*sets: str, **replacements: Any) -> Scenario:
    return load_scenario(NAME, sets=sets, **replacements)


def refused(*sets: str, **replacements: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        loaded(*sets, **replacements)
    return caught.value


def test_device_number_with_its_source() -> None:
    path = "system.device.memories.hbm.bandwidth"
    scenario = loaded(f"{path}=5 TB/s")
    assert scenario.system.device.memory("hbm").bandwidth_B_per_s == 5e12
    assert scenario.sources[path].source == "user"
    assert scenario.sources[path].text == "5 TB/s"
    assert scenario.bibliography["user"].kind == "user"
    before = loaded()
    assert before.system.device.memory("hbm").bandwidth_B_per_s == 3.352e12
    assert "user" not in before.bibliography
    changed = {key for key in before.sources if before.sources[key] != scenario.sources[key]}
    assert changed == {path}


def test_model_number_with_its_source() -> None:
    scenario = loaded("model.layers=40")
    assert len(scenario.model.layers) == 40
    assert scenario.sources["model.layers"].source == "user"
    assert scenario.sources["model.hidden"].source == "mixtral-paper"


def test_keys_of_the_scenario_that_it_does_not_have_yet() -> None:
    scenario = loaded(
        "system.coprocessing=pe", "scheduler.max_batch=64", "traffic.rate_scale=2",
        "traffic.limit=10", "placement.fc=xpu", "router.kind=uniform", "seed=7", "slo.ttft=3 s",
        "parallel.ep=2", "dtype.weights=int4",
    )  # fmt: skip
    assert scenario.system.coprocessing == "pe"
    assert scenario.scheduler.max_batch == 64
    assert isinstance(scenario.traffic, Trace)
    assert len(scenario.traffic.arrival_s) == 10
    before = loaded("traffic.limit=10").traffic
    assert isinstance(before, Trace)
    assert scenario.traffic.arrival_s == pytest.approx(before.arrival_s / 2)
    assert scenario.placement == {"fc": "xpu"}
    assert scenario.router is not None
    assert (scenario.seed, scenario.slo.ttft_s, scenario.parallel.ep) == (7, 3.0, 2)
    assert scenario.precision.weights == "int4"


def test_number_that_the_device_does_not_have_yet() -> None:
    scenario = loaded("system.device.processors.xpu.peak.fp8=2 PFLOPS")
    assert scenario.system.device.processors[0].peak_flop_per_s["fp8"] == 2e15


def test_sets_apply_in_order() -> None:
    scenario = loaded("system=h100-x4", "system.device.memories.hbm.bandwidth=4 TB/s")
    assert scenario.system.device.name == "h100-sxm"
    assert scenario.system.device.memory("hbm").bandwidth_B_per_s == 4e12
    back = loaded("system.device.memories.hbm.bandwidth=4 TB/s", "system=h100-x4")
    assert back.system.device.memory("hbm").bandwidth_B_per_s == 3.35e12


def test_system_with_other_devices_is_named_after_them() -> None:
    assert loaded("system.device=h200").system.name == "h200-x4"
    assert loaded("system.count=8").system.name == "duplex-x8"
    assert loaded("system.device.price=1 USD").system.name == "duplex-x4"


def test_list_items_by_number() -> None:
    assert loaded(PRUNING, "techniques.0.keep=0.7").techniques[0]["keep"] == 0.7


def test_null_takes_a_key_away() -> None:
    assert loaded().system.device.die_area_mm2 == 814.0
    assert loaded("system.device.die.area=null").system.device.die_area_mm2 is None
    assert loaded("slo.ttft=").slo.ttft_s is None


@pytest.mark.parametrize(
    ("sets", "path", "said"),
    [
        (["sytem.count=8"], "sytem", "did you mean 'system'?"),
        (["system.cont=8"], "system.cont", "did you mean 'count'?"),
        (["system.device.memries.hbm.bandwidth=5 TB/s"], "system.device.memries", "'memories'"),
        (["system.device.memories.hbn.bandwidth=5 TB/s"], "system.device.memories.hbn", "'hbm'"),
        (
            ["system.device.memories.hbm.bandwith=5 TB/s"],
            "system.device.memories.hbm.bandwith",
            "did you mean 'bandwidth'?",
        ),
        (["system.device.memories.hbm.bandwidth=5 TB"], None, "write '5 TB/s'"),
        (["system.device.memories.hbm.bandwidth=5"], None, "needs a unit"),
        (["model.layerz=3"], "model.layerz", "did you mean 'layers'?"),
        (["scheduler.max_bath=3"], "scheduler.max_bath", "did you mean 'max_batch'?"),
        (["seed.x=3"], "seed.x", "unknown key 'x'"),
        (["placement.fcc=xpu"], "placement.fcc", "did you mean 'fc'?"),
        (["techniques.0.keep=0.3"], "techniques.0", "unknown key '0'"),
        ([PRUNING, "techniques.keep=0.3"], "techniques.keep", "unknown key 'keep'"),
        ([PRUNING, "techniques.0.kep=0.3"], "techniques.0.kep", "did you mean 'keep'?"),
        ([PRUNING, "techniques.7.keep=0.3"], "techniques.7", "no entry 7: of 1"),
        (["traffic.rate_scale=" + "9" * 350], "traffic.rate_scale", "a number above 0 is due"),
        (["seed=-1"], "seed", "a whole number from 0 is due"),
        (["seed"], None, "path=value is due"),
        (["=3"], None, "path=value is due"),
        (["seed=[1"], None, "is not YAML"),
        (["seed=!!python/name:os.system x"], None, "tags are not allowed"),
        (["seed=\udcff"], None, "is not YAML"),
    ],
)
def test_wrong_change_is_one_clear_error(sets: list[str], path: str | None, said: str) -> None:
    (problem,) = refused(*sets).problems
    assert said in problem.message
    assert str(problem.file).startswith(f"--set {sets[-1]}")
    if path is not None:
        assert problem.path == path


def test_all_wrong_changes_are_told_at_once() -> None:
    found = refused("sytem.count=8", "seed=4", "model.layerz=3").problems
    assert [each.path for each in found] == ["sytem", "model.layerz"]


def test_replacement_of_an_unknown_key() -> None:
    (problem,) = refused(sytem="h100-x4").problems
    assert "did you mean 'system'?" in problem.message
    with pytest.raises(ConfigError, match="did you mean 'system'"):
        load_scenario(loaded(), sytem="h100-x4")


def test_replacement_by_name_path_and_object(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("device: h200\ncount: 2\n")
    ready = load_system("h200-x2")
    for system in ("h200-x2", path, str(path), ready):
        assert loaded(system=system).system.device == ready.device
    assert loaded(system=ready).digest == loaded(system="h200-x2").digest


def test_replacements_are_relative_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text("device: h200\n")
    monkeypatch.chdir(tmp_path)
    assert loaded(system="./mine.yaml").system.device.name == "h200"
    assert loaded("system=./mine.yaml").system.device.name == "h200"


def test_traffic_by_name() -> None:
    trace = loaded(traffic="azure-like-2k").traffic
    assert isinstance(trace, Trace)
    assert len(trace.arrival_s) == 2000
    few = loaded("traffic.limit=5", traffic="azure-like-2k").traffic
    assert isinstance(few, Trace)
    assert len(few.arrival_s) == 5


def test_objects_are_not_changed_by_path() -> None:
    (problem,) = refused("system.count=8", system=load_system("h100-x4")).problems
    assert "system is a Python object" in problem.message


def test_config_json_is_not_changed_by_path(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (problem,) = refused("model.layers=3", model=tmp_path).problems
    assert "write a model YAML" in problem.message
