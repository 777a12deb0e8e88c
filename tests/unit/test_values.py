"""Are values their own forms: in YAML, under changes, in Python, and in JSON Schema?"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import sim
from sim.config.document import parse_document
from sim.config.forms import read, value_of
from sim.config.kinds import KINDS
from sim.config.library import files
from sim.config.schema import schemas
from sim.errors import ConfigError
from sim.hardware import Efficiency, Link, Memory
from sim.hardware.device import Hardwired
from sim.studies.sweep.study import load_study

GUIDE = Path(__file__).parents[2] / "docs/guides/add-a-device.md"
CHIP = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)[0]
BASE = "llama-8b-azure-h100"


@pytest.fixture
def chip(tmp_path: Path) -> Path:
    path = tmp_path / "my-chip.yaml"
    path.write_text(CHIP, encoding="utf-8")
    return path


def test_a_device_s_own_sources_hold_where_it_is_changed(chip: Path) -> None:
    system = f"system={{device: {chip}, count: 4}}"
    sets = [system, "system.device.memories.hbm.bandwidth=5 TB/s"]
    scenario = sim.load_scenario(BASE, sets=sets)
    assert scenario.system.device.memory("hbm").bandwidth_B_per_s == 5e12
    numbers = scenario.sources
    assert numbers["system.device.memories.hbm.bandwidth"].source == "user"
    assert numbers["system.device.memories.hbm.capacity"].source == "datasheet"
    assert scenario.bibliography["datasheet"].title == "My chip, product brief"


def test_a_device_s_own_sources_hold_in_axes(chip: Path) -> None:
    path = chip.with_name("study.yaml")
    path.write_text(
        f"title: x\nbase: {BASE}\nload: {{batch: 8, input: 64, output: 64}}\n"
        f"set: ['system={{device: {chip}, count: 4}}']\n"
        "axes: [{path: system.device.memories.hbm.bandwidth, values: [4 TB/s, 5 TB/s]}]\n"
        "objectives: {tpot_s: min}\n"
    )
    text = path.read_text().replace(
        f"base: {BASE}\n", f"base: {{extends: {BASE}, system: {{device: {chip}, count: 4}}}}\n"
    )
    path.write_text("".join(line for line in text.splitlines(True) if not line.startswith("set:")))
    assert len(load_study(str(path)).space.axes) == 1


def test_python_takes_quantities_by_either_name() -> None:
    memory = Memory(name="hbm", capacity="80 GiB", bandwidth_B_per_s="3.35 TB/s")  # type: ignore
    assert memory == Memory(name="hbm", capacity_B=80 * 2.0**30, bandwidth_B_per_s=3.35e12)
    assert replace(memory, stacks=5).capacity_B == memory.capacity_B


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        (Memory, {"name": "m", "bandwidth_B_per_s": -1.0}, "bandwidth_B_per_s: -1: a rate above 0"),
        (Memory, {"name": "m", "capacity": 80e9}, "capacity: .* needs a unit, e.g. '80 GiB'"),
        (Memory, {"name": "m", "capacity": "80 GB/s"}, "capacity: .* a size is due"),
        (Efficiency, {"compute": 1.2, "slots": 0}, r"compute: 1.2: .*\nslots: 0: a whole number"),
        (Link, {"name": "l", "bandwidth_B_per_s": 1.0, "latency_s": -1.0}, "latency_s: -1"),
    ],
)
def test_python_refuses_what_yaml_refuses(kind: Any, arguments: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        kind(**arguments)


METAL = """\
model: gpt-oss-120b
rows: four
columns: 4
fetch: 1 TB
vex: per-layers
colls: 2 us
collective: 2 us [hnlpu-paper]
operator: 400 ns
non_linear: 80 ns
attention_per_ki_token: 40 ns
"""


def test_all_errors_of_a_value_come_at_once_and_in_place() -> None:
    with pytest.raises(ConfigError) as caught:
        value_of(Hardwired, parse_document(METAL, "m.yaml"))
    told = {problem.path: (problem.line, problem.message) for problem in caught.value.problems}
    assert {path: line for path, (line, _) in told.items()} == {
        "rows": 2, "buffer": None, "fetch": 4, "vex": 5, "colls": 6,
    } or told["buffer"][1] == "is missing"  # fmt: skip
    assert set(told) == {"rows", "buffer", "fetch", "vex", "colls"}
    assert "columns" in told["colls"][1] or "did you mean" in told["colls"][1]


def test_numbers_bring_their_sources() -> None:
    right = METAL.replace("four", "4").replace("1 TB\n", "1 TB/s\n").replace("layers", "layer")
    text = "source: mine\nbuffer: 320 MB\n" + right.replace("colls: 2 us\n", "")
    value, numbers = read(Hardwired, parse_document(text, "m.yaml"))
    assert (value.rows, value.fetch_B_per_s) == (4, 1e12)
    assert numbers["collective"].source == "hnlpu-paper"
    assert numbers["fetch"].source == "mine"
    assert (numbers["fetch"].text, numbers["fetch"].unit) == ("1 TB/s", "B/s")


@pytest.mark.parametrize("name", [kind.name for kind in KINDS.values() if kind.numbers])
def test_every_file_of_a_kind_with_numbers_reads(name: str) -> None:
    from sim.config.library import document_of

    for entry in files(name):
        assert KINDS[name].load_numbers(*document_of(name, entry)) is not None


@pytest.mark.parametrize("name", ["device", "system", "memory"])
def test_every_key_of_a_value_is_described(name: str) -> None:
    assert list(_bare(schemas()[name], name)) == []


def _bare(schema: Any, path: str) -> Any:
    """Paths of keys without a description, or with no more than their own name as one."""
    if isinstance(schema, dict):
        for key, item in schema.get("properties", {}).items():
            if key not in ("low", "base", "high", "source", "extends"):
                text = item.get("description", "") if isinstance(item, dict) else ""
                yield from () if len(text.split()) > 1 else (f"{path}.{key}",)
        for key, item in schema.items():
            yield from _bare(item, f"{path}.{key}")
