"""Does `extends` merge one level, delete by null, and keep places and sources of both files?"""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.config.catalogue import load_device, load_system
from sim.config.document import Document, merged, parse_document
from sim.config.scenarios import load_scenario
from sim.errors import ConfigError

SOURCES = """
sources:
  base-table: {kind: datasheet, title: the base's table}
  own-table: {kind: datasheet, title: the device's own table}
"""
BASE = (
    """title: Base
source: base-table
processors:
  gpu:
    kind: gpu
    memory: hbm
    peak: {fp32: 10 TFLOPS, fp16: 100 TFLOPS}
    efficiency: {compute: 0.8, attention: 0.6, memory: 0.9}
    launch: 2 us
memories:
  hbm: {capacity: 80 GiB, bandwidth: 2 TB/s}
host_step: 100 us
price: 9000 USD
"""
    + SOURCES
)
OWN = """title: Own
extends: base.yaml
source: own-table
processors:
  gpu:
    peak: {fp16: 200 TFLOPS}
price: null
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "own.yaml").write_text(OWN)
    return tmp_path


def failing(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_device(path)
    return caught.value


def data(below: object, above: object) -> object:
    return merged(Document(file="base", data=below), Document(file="own", data=above)).data


@pytest.mark.parametrize(
    ("below", "above", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ],
)
def test_merge_is_that_of_rfc_7386(below: object, above: object, result: object) -> None:
    assert data(below, above) == result


def test_every_leaf_keeps_its_own_place() -> None:
    base = parse_document("a: {b: 1, c: 2}\nd: 3\n", "base.yaml")
    own = parse_document("x: 0\na:\n  c: 5\n", "own.yaml")
    both = merged(base, own)
    assert (both.place(("a", "b")).file, both.place(("a", "b")).line) == ("base.yaml", 1)
    assert (both.place(("a", "c")).file, both.place(("a", "c")).line) == ("own.yaml", 3)
    assert both.place(("d",)).file == "base.yaml"


def test_device_takes_from_its_base_what_it_does_not_say(folder: Path) -> None:
    device = load_device(folder / "own.yaml")
    assert device.title == "Own"
    assert device.processors[0].peak_flop_per_s == {"fp32": 1e13, "fp16": 2e14}
    assert device.price_USD is None
    assert "price" not in device.sources


def test_numbers_of_the_base_keep_the_sources_of_the_base(folder: Path) -> None:
    sources = load_device(folder / "own.yaml").sources
    assert sources["processors.gpu.peak.fp16"].source == "own-table"
    assert sources["processors.gpu.peak.fp32"].source == "base-table"
    assert sources["memories.hbm.bandwidth"].source == "base-table"


def test_base_without_sources_does_not_borrow_those_of_the_device(folder: Path) -> None:
    (folder / "base.yaml").write_text(BASE.replace("source: base-table\n", ""))
    error = failing(folder / "own.yaml")
    assert "'2 TB/s' has no source" in str(error)
    assert {Path(str(each.file)).name for each in error.problems} == {"base.yaml"}


def test_error_in_an_inherited_leaf_names_the_base_and_its_line(folder: Path) -> None:
    (folder / "base.yaml").write_text(BASE.replace("2 TB/s", "2 TB"))
    (problem,) = failing(folder / "own.yaml").problems
    assert Path(str(problem.file)).name == "base.yaml"
    assert problem.line == 11
    assert problem.path == "memories.hbm.bandwidth"
    assert "write '2 TB/s'" in problem.message


def test_a_file_that_extends_itself_is_a_circle(folder: Path) -> None:
    (folder / "own.yaml").write_text("extends: own.yaml\n")
    (problem,) = failing(folder / "own.yaml").problems
    assert "circle" in problem.message
    assert problem.line == 1


def test_two_files_that_extend_each_other_are_a_circle(folder: Path) -> None:
    (folder / "base.yaml").write_text(BASE + "extends: own.yaml\n")
    (problem,) = failing(folder / "own.yaml").problems
    assert "'base.yaml' itself extends 'own.yaml': that is a circle" in problem.message
    assert (Path(str(problem.file)).name, problem.line) == ("own.yaml", 2)


def test_two_levels_are_one_too_many(folder: Path) -> None:
    (folder / "base.yaml").write_text(BASE + "extends: nvidia-datacenter\n")
    (problem,) = failing(folder / "own.yaml").problems
    assert "only one level is allowed" in problem.message


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("nvidia-datacentre", "did you mean 'nvidia-datacenter'?"),
        ("[a, b]", "the name of one base is due"),
        ("absent.yaml", "no such file"),
    ],
)
def test_unknown_bases(folder: Path, base: str, said: str) -> None:
    (folder / "own.yaml").write_text(OWN.replace("base.yaml", base))
    assert said in str(failing(folder / "own.yaml"))


def test_a_device_may_extend_a_device_of_the_library(folder: Path) -> None:
    text = "title: Small WSE\nextends: wse-3\nmemories: {sram: {capacity: '22 GB [wse3-press]'}}\n"
    (folder / "half.yaml").write_text(text)
    device = load_device(folder / "half.yaml")
    assert device.memory("sram").capacity_B == 22e9
    assert device.memory("sram").bandwidth_B_per_s == 21e15


def test_a_system_may_extend_a_system(folder: Path) -> None:
    (folder / "pair.yaml").write_text("extends: wse-3-x2\ncount: 3\n")
    assert load_system(folder / "pair.yaml").count == 3


def test_an_inline_device_extends_too(folder: Path) -> None:
    inside = "".join(f"  {line}\n" for line in OWN.splitlines())
    path = folder / "two.yaml"
    path.write_text(f"title: Two\ncount: 2\ndevice:\n{inside}{SOURCES}")
    two, own = load_system(path), load_device(folder / "own.yaml")
    assert two.device.processors == own.processors
    assert two.device.memories == own.memories
    path.write_text(path.read_text().replace("200 TFLOPS", "200 TFLOP"))
    with pytest.raises(ConfigError) as caught:
        load_system(path)
    (found,) = caught.value.problems
    assert (found.file, found.line) == (str(path), 9)
    assert found.path == "device.processors.gpu.peak.fp16"


def test_a_scenario_has_a_device_that_extends() -> None:
    system = {"device": {"extends": "nvidia-datacenter", "title": "Mine"}}
    with pytest.raises(ConfigError) as caught:
        load_scenario("llama-8b-azure-h100", system=system)
    assert not any("extends" in str(each.path) for each in caught.value.problems)
    assert {"system.device.memories"} <= {each.path for each in caught.value.problems}
