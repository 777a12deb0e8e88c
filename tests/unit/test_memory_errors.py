"""A mistake in a memory, or in a device's use of one, is one error that says where and what."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.config.catalogue import load_device
from sim.config.library import files
from sim.config.show import find_kinds, resolved
from sim.errors import ConfigError

DEVICE = files("devices")["duplex"].read_text(encoding="utf-8")
MEMORY = files("memories")["hbm3"].read_text(encoding="utf-8")


def write(folder: Path, memory: str, device: str) -> str:
    """Path of a device whose stacks are of a memory beside it."""
    (folder / "mine.yaml").write_text(memory, encoding="utf-8")
    path = folder / "device.yaml"
    path.write_text(device.replace("technology: hbm3", "technology: ./mine.yaml"), encoding="utf-8")
    return str(path)


def test_a_technology_by_path_is_that_of_the_library(tmp_path: Path) -> None:
    mine, library = load_device(write(tmp_path, MEMORY, DEVICE)), load_device("duplex")
    assert [each.efficiency for each in mine.processors] == [
        each.efficiency for each in library.processors
    ]
    assert mine.memory("hbm").energy_J_per_B == library.memory("hbm").energy_J_per_B
    slower = load_device(write(tmp_path, MEMORY.replace("rcd: 19", "rcd: 60"), DEVICE))
    assert slower.processors[1].efficiency.memory < mine.processors[1].efficiency.memory


def test_a_memory_file_shows_as_a_memory(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(MEMORY, encoding="utf-8")
    assert find_kinds(str(tmp_path / "mine.yaml")) == ["memories"]
    assert resolved("memories", str(tmp_path / "mine.yaml"))["title"] == "HBM3"


@pytest.mark.parametrize(
    ("file", "old", "new", "where", "words"),
    [
        ("device", "level: logic-pim", "level: logic-pin", "processors.logic-pim.level",
         "did you mean 'logic-pim'"),
        ("memory", "rc: 64", "rc: 60", "timing.rc", "rc 60 is below ras 45 + rp 19"),
        ("memory", "logic-pim: {banks: 8", "logic-pim: {banks: 7", "levels.logic-pim.banks",
         "7 banks at once do not divide the 32"),
        ("memory", "low: 10 USD", "low: 100 USD", "price", "low 100 USD, base 15 USD, high"),
        ("memory", "low: 10 USD", "low: -10 USD", "price.low", "-10 USD"),
        ("memory", "read: [cell, column, mux]", "read: [cel, column, mux]",
         "levels.bank-group-pim.read", "did you mean 'cell'"),
        ("memory", "banks: 32, spacing: ccd_l", "banks: 32, spacing: ccd_m",
         "levels.bank-pim.spacing", "did you mean 'ccd_"),
        ("memory", "rfc: 450 ns", "rfc: 4.5 us", "timing.rfc", "below refi"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_error(
    tmp_path: Path, file: str, old: str, new: str, where: str, words: str
) -> None:
    memory, device = MEMORY, DEVICE
    if file == "memory":
        assert memory.count(old) == 1
        memory = memory.replace(old, new)
    else:
        device = device.replace(old, new)
    path = write(tmp_path, memory, device)
    with pytest.raises(ConfigError) as caught:
        load_device(path)
    (problem,) = caught.value.problems
    assert problem.path == where
    assert words in problem.message
    assert problem.line is not None
    assert Path(problem.file or "").name == ("mine.yaml" if file == "memory" else "device.yaml")


def test_an_unknown_technology_is_one_error_at_the_device(tmp_path: Path) -> None:
    path = tmp_path / "device.yaml"
    path.write_text(DEVICE.replace("technology: hbm3", "technology: hbm33"), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_device(str(path))
    (problem,) = caught.value.problems
    assert problem.path == "memories.hbm.technology"
    assert "did you mean 'hbm3'" in problem.message
