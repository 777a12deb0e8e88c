"""Is every mistake one clear error at the right line, and are all of a file told at once?"""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.config.catalogue import load_device, load_model, load_system
from sim.config.scenarios import load_scenario
from sim.errors import ConfigError, Problem

DEVICE = """title: A device of the test
source: table
sources:
  table: {kind: datasheet, title: a table}
processors:
  gpu:
    kind: gpu
    memory: hbm
    peak: {fp16: 989 TFLOPS}
    efficiency: {compute: 0.8, attention: 0.6, memory: 0.9}
    launch: 2 us
memories:
  hbm: {technology: hbm3, capacity: 80 GiB, bandwidth: 3.35 TB/s}
link: {name: nvlink, bandwidth: 3600 Gbit/s, latency: 2 us, efficiency: 0.8, energy: 1.3 pJ/bit}
power: {tdp: 700 W}
host_step: 300 us
"""
SCENARIO = """title: A scenario of the test
model: llama-3.1-8b
system: h100-x1
dtype: {weights: fp16, kv: fp16, activations: fp16}
parallel: {tp: 1}
traffic: {trace: azure-like-2k, window: [0 s, 60 s], limit: 10}
scheduler: {kind: continuous, max_batch: 8}
techniques: [{kind: token-pruning, layer: 15, keep: 0.2}]
slo: {ttft: 5 s, tbt: 125 ms}
seed: 0
"""


@pytest.fixture
def device(tmp_path: Path) -> Path:
    return tmp_path / "device.yaml"


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    return tmp_path / "scenario.yaml"


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def device_problems(path: Path, text: str) -> tuple[Problem, ...]:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_device(path)
    return caught.value.problems


def scenario_problems(path: Path, text: str) -> tuple[Problem, ...]:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_scenario(path)
    return caught.value.problems


def test_the_right_files_load(device: Path, scenario: Path) -> None:
    device.write_text(DEVICE)
    scenario.write_text(SCENARIO)
    made = load_device(device)
    assert made.link is not None
    assert made.link.bandwidth_B_per_s == 450e9
    assert made.link.energy_J_per_B == pytest.approx(1.3e-12 * 8)
    assert load_scenario(scenario).slo.tbt_s == 0.125


DEVICE_MISTAKES = [
    ("bandwidth: 3.35", "bandwith: 3.35", "memories.hbm.bandwith", "did you mean 'bandwidth'?"),
    ("power:", "powr:", "powr", "did you mean 'power'?"),
    ("80 GiB", "80", "memories.hbm.capacity", "needs a unit, e.g. '80 GiB'"),
    ("80 GiB", "80e9", "memories.hbm.capacity", "needs a unit, e.g. '80 GiB'"),
    ("3.35 TB/s", "3.35 TB", "memories.hbm.bandwidth", "write '3.35 TB/s'"),
    ("3.35 TB/s", "3.35 TBs", "memories.hbm.bandwidth", "did you mean 'TB/s'?"),
    ("3.35 TB/s", "-3.35 TB/s", "memories.hbm.bandwidth", "is negative"),
    ("3.35 TB/s", "0 TB/s", "memories.hbm.bandwidth", "is zero"),
    ("3.35 TB/s", "3350 Gbit/s", "memories.hbm.bandwidth", "write '418.75 GB/s'"),
    ("80 GiB", "80 Gb", "memories.hbm.capacity", "write GB or Gbit"),
    ("3600 Gbit/s", "3600 Gb/s", "link.bandwidth", "write GB/s or Gbit/s"),
    ("80 GiB", ".nan", "memories.hbm.capacity", "not a finite number"),
    ("80 GiB", "[1, 2]", "memories.hbm.capacity", "a quantity with a unit is due"),
    ("989 TFLOPS", "true", "processors.gpu.peak.fp16", "a quantity with a unit is due"),
    ("989 TFLOPS", "989 TFLOP", "processors.gpu.peak.fp16", "write '989 TFLOPS'"),
    ("fp16: 989", "fp15: 989", "processors.gpu.peak.fp15", "did you mean 'fp16'?"),
    ("kind: gpu", "kind: gpuu", "processors.gpu.kind", "did you mean 'gpu'?"),
    ("memory: hbm", "memory: hbn", "processors.gpu.memory", "did you mean 'hbm'?"),
    ("hbm3", "hbm33", "memories.hbm.technology", "did you mean 'hbm3"),
    ("compute: 0.8", "compute: 1.8", "processors.gpu.efficiency.compute", "to 1 is due"),
    ("compute: 0.8", "compute: high", "processors.gpu.efficiency.compute", "number"),
    ("source: table", "source: tabel", "processors.gpu.peak.fp16", "did you mean 'table'?"),
    ("700 W", "'700 W [tabel]'", "power.tdp", "did you mean 'table'?"),
    ("source: table\n", "\n", "power.tdp", "has no source"),
    ("datasheet", "data-sheet", "sources.table.kind", "did you mean 'datasheet'?"),
    ("{tdp: 700 W}", "700 W", "power", "a mapping (key: value) is due"),
    ("title: A device of the test", "title: 7", "title", "text is due"),
]


@pytest.mark.parametrize(("right", "wrong", "path", "said"), DEVICE_MISTAKES)
def test_mistake_in_a_device(device: Path, right: str, wrong: str, path: str, said: str) -> None:
    assert right in DEVICE
    found = [
        each
        for each in device_problems(device, DEVICE.replace(right, wrong, 1))
        if each.path == path
    ]
    assert len(found) == 1
    assert said in found[0].message
    assert found[0].file == str(device)
    if "has no source" not in said and "tabel" not in wrong:
        assert found[0].line == line_of(DEVICE, right)


def test_missing_key_is_told_at_its_parent(device: Path) -> None:
    (found,) = device_problems(device, DEVICE.replace("    memory: hbm\n", ""))
    assert (found.path, found.message) == ("processors.gpu.memory", "is missing")
    assert found.line == line_of(DEVICE, "  gpu:")


def test_all_mistakes_of_a_file_are_told_at_once(device: Path) -> None:
    text = (
        DEVICE.replace("80 GiB", "80 Gb")
        .replace("3.35 TB/s", "3.35 TB")
        .replace("power:", "powr:")
        .replace("kind: gpu", "kind: gpuu")
        .replace("2 us, efficiency", "2 ns2, efficiency")
        .replace("title: A device of the test\n", "")
    )
    found = device_problems(device, text)
    assert {each.path for each in found} == {
        "title", "processors.gpu.kind", "memories.hbm.capacity", "memories.hbm.bandwidth",
        "link.latency", "powr",
    }  # fmt: skip
    lines = [each.line for each in found if each.line]
    assert lines == sorted(lines)


SCENARIO_MISTAKES = [
    ("scheduler:", "schedular:", "schedular", "did you mean 'scheduler'?"),
    ("max_batch", "max_bach", "scheduler.max_bach", "did you mean 'max_batch'?"),
    ("llama-3.1-8b", "llama-3.1-8", "model", "did you mean 'llama-3.1-8b'?"),
    ("llama-3.1-8b", "[llama]", "model", "a name, a path"),
    ("h100-x1", "h10-x1", "system", "did you mean 'h100-x1'?"),
    ("h100-x1", "h100-sxn", "system", "did you mean 'h100-sxm'?"),
    ("token-pruning", "token-prunning", "techniques.0.kind", "did you mean 'token-pruning'?"),
    ("keep: 0.2", "kep: 0.2", "techniques.0.kep", "did you mean 'keep'?"),
    ("keep: 0.2", "keep: 2", "techniques.0.keep", "from 0.01 to 1 is due"),
    ("ttft: 5 s", "ttft: 5", "slo.ttft", "needs a unit"),
    ("ttft: 5 s", "ttft: 5 GB", "slo.ttft", "is a size; a time is due"),
    ("kind: continuous", "kind: continous", "scheduler.kind", "did you mean 'continuous'?"),
    ("max_batch: 8", "max_batch: 0", "scheduler.max_batch", "a whole number from 1 is due"),
    ("max_batch: 8", "max_batch: 8.5", "scheduler.max_batch", "a whole number from 1 is due"),
    ("max_batch: 8", "max_batch: on", "scheduler.max_batch", "a whole number from 1 is due"),
    ("weights: fp16", "weights: fp61", "dtype.weights", "did you mean 'fp16'?"),
    ("tp: 1", "tp: -1", "parallel.tp", "a whole number from 1 is due"),
    ("seed: 0", "seed: zero", "seed", "a whole number from 0 is due"),
    ("trace: azure-like-2k", "trace: azure-like-2", "traffic.trace", "mean 'azure-like-2k'?"),
    ("window: [0 s, 60 s]", "window: [60 s, 0 s]", "traffic.window", "a later end"),
    ("window: [0 s, 60 s]", "window: [0 s, 60]", "traffic.window.1", "needs a unit"),
    ("trace: azure-like-2k, window: [0 s, 60 s], limit: 10", "limit: 10", "traffic", "exactly one"),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "path", "said"), SCENARIO_MISTAKES)
def test_mistake_in_a_scenario(
    scenario: Path, right: str, wrong: str, path: str, said: str
) -> None:
    assert right in SCENARIO
    text = SCENARIO.replace(right, wrong, 1)
    found = [each for each in scenario_problems(scenario, text) if each.path == path]
    assert len(found) == 1
    assert said in found[0].message
    assert (found[0].file, found[0].line) == (str(scenario), line_of(SCENARIO, right))


def test_scenario_with_several_wrong_references_tells_them_all(scenario: Path) -> None:
    text = (
        SCENARIO.replace("llama-3.1-8b", "llama-3.1-8")
        .replace("h100-x1", "h10-x1")
        .replace("token-pruning", "token-prunning")
        .replace("azure-like-2k", "azure-like")
    )
    found = scenario_problems(scenario, text)
    assert {each.path for each in found} == {
        "model",
        "system",
        "techniques.0.kind",
        "traffic.trace",
    }


def test_wrong_references_are_told_beside_wrong_keys(scenario: Path) -> None:
    text = SCENARIO.replace("h100-x1", "h10-x1").replace("seed: 0", "seeds: 0")
    assert {each.path for each in scenario_problems(scenario, text)} == {"system", "seeds"}


def test_error_says_where_before_what(scenario: Path) -> None:
    (found,) = scenario_problems(scenario, SCENARIO.replace("ttft: 5 s", "ttft: 5"))
    assert str(found).startswith(f"{scenario}:9:7: slo.ttft: '5' needs a unit")


@pytest.mark.parametrize("given", ["", "- 1\n- 2\n", "7\n", "text\n", "null\n"])
def test_a_file_that_is_no_mapping(scenario: Path, given: str) -> None:
    scenario.write_text(given)
    for load in (load_scenario, load_device, load_system, load_model):
        with pytest.raises(ConfigError, match="a mapping") as caught:
            load(scenario)
        assert len(caught.value.problems) == 1
    with pytest.raises(ConfigError, match="a mapping"):
        load_scenario(scenario, sets=["seed=3"], system="h100")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (b"", "is empty"),
        (b"arrival_s,context_tokens,generated_tokens\n0.0,0,5\n", "a prompt has at least 1 token"),
        (b"arrival_s,context_tokens,generated_tokens\n5,10,5\n1,10,5\n", "sort the rows"),
        (b"arrival_s,context_tokens,generated_tokens\nnan,10,5\n", "nan is not an arrival time"),
        (b"\x93NUMPY\x01\x00\xff\xfe", "is not a text file"),
        (b"\x1f\x8b\x08\x00cut", "cut off"),
    ],
)
def test_bad_traces_are_told_by_the_scenario(
    scenario: Path, tmp_path: Path, rows: bytes, said: str
) -> None:
    (tmp_path / "rows.csv").write_bytes(rows)
    text = SCENARIO.replace("trace: azure-like-2k, window: [0 s, 60 s]", "trace: rows.csv")
    found = scenario_problems(scenario, text)
    assert any(said in each.message for each in found), found
    assert found[0].file == str(tmp_path / "rows.csv")


@pytest.mark.parametrize(
    ("load", "name", "said"),
    [
        (load_device, "h10", "unknown device 'h10'; did you mean 'h100'? `sim list devices`"),
        (load_system, "h10-x4", "unknown system 'h10-x4'; did you mean 'h100-x4'?"),
        (load_system, "h100-x0", "unknown system 'h100-x0'"),
        (load_model, "mixtral-8x7", "unknown model 'mixtral-8x7'; did you mean 'mixtral-8x7b'?"),
        (load_scenario, "mixtral-azure", "unknown scenario 'mixtral-azure'; did you mean"),
        (load_device, "nowhere/absent.yaml", "no such file"),
        (load_device, "~nobody-is-here/x.yaml", "no such file"),
        (load_device, "\0.yaml", "cannot be read"),
        (load_model, "\0.yaml", "cannot be read"),
    ],
)
def test_unknown_names(load: object, name: str, said: str) -> None:
    assert callable(load)
    with pytest.raises(ConfigError) as caught:
        load(name)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ("compute: 0.8, ", "processors.gpu.efficiency.compute"),
        ("attention: 0.6, ", "processors.gpu.efficiency.attention"),
        (", memory: 0.9", "processors.gpu.efficiency.memory"),
        ("    launch: 2 us\n", "processors.gpu.launch"),
        ("efficiency: 0.8, ", "link.efficiency"),
        ("host_step: 300 us\n", "host_step"),
    ],
)
def test_nothing_is_taken_to_be_ideal_in_silence(device: Path, part: str, path: str) -> None:
    assert part in DEVICE
    (problem,) = device_problems(device, DEVICE.replace(part, "", 1))
    assert problem.path == path
    assert "is missing" in problem.message
