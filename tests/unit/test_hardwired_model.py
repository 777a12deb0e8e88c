"""Any model in metal: which grid it divides over, what its chips hold, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import sim
from sim.cli import main
from sim.config.catalogue import load_device
from sim.errors import ConfigError, Infeasible
from sim.graph import Graph
from sim.hardwiring import digits_of
from sim.mapping.hardwired import (
    Grid,
    check,
    collective_elements,
    link_elements,
    logits_elements,
    weights_of_model,
    weights_per_chip,
)
from sim.mapping.hardwired.layers import blocks, kept_elements, steps
from sim.workload.layers import build_graph

DATA = os.environ.get("SIM_DATA")


def graph_of(name: str) -> Graph:
    return build_graph(sim.load_model(name))


def test_the_paper_s_model_gives_the_paper_s_chips() -> None:
    found = sim.hardwire("gpt-oss-120b")
    assert found.grid == Grid(rows=4, columns=4)
    assert found.to_json()["weights"]["chip"] == 7_275_548_160.0
    assert found.chip_mm2 == pytest.approx(827.08, rel=1e-9)
    assert sum(found.power_W.values()) == pytest.approx(308.39, abs=1e-6)
    assert found.line.slots == 216
    assert found.stage_tok_per_s == pytest.approx(250_000.0)
    assert found.line.token_s(2048) == pytest.approx(521.28e-6)
    assert found.to_json()["kv"]["tokens_in_buffers"] == 138_889
    assert found.to_json()["system"]["links"] == 48


def test_it_is_the_library_s_device() -> None:
    ours, theirs = sim.hardwire("gpt-oss-120b").device, load_device("hnlpu")
    assert ours.hardwired == theirs.hardwired
    assert ours.die_area_mm2 == pytest.approx(theirs.die_area_mm2)
    assert ours.static_W == pytest.approx(theirs.static_W, rel=2e-4)
    assert ours.making == theirs.making


@pytest.mark.parametrize(
    ("name", "grid", "weights"),
    [
        ("llama-3-8b", "1x1", 32 * (4096 * (4096 + 2048) + 4096 * 4096 + 3 * 4096 * 14336)
         + 4096 * 128_256),
        ("mixtral-8x7b", "2x4", (32 * (4096 * (4096 + 2048) + 4096 * 4096
         + 8 * 3 * 4096 * 14336) + 4096 * 32000) / 8 + 32 * 8 * 4096),
        ("qwq-32b", "2x4", (64 * (5120 * (5120 + 2048) + 5120 * 5120 + 3 * 5120 * 27648)
         + 5120 * 152_064) / 8),
    ],
)  # fmt: skip
def test_weights_of_a_chip_by_hand(name: str, grid: str, weights: float) -> None:
    found = sim.hardwire(name)
    assert str(found.grid) == grid
    assert weights_per_chip(found.graph, found.grid) == weights


@pytest.mark.parametrize(
    ("name", "chips"), [("deepseek-v3", 128), ("kimi-k2", 256), ("llama-3.1-405b", 64)]
)
def test_large_models_take_many_chips(name: str, chips: int) -> None:
    found = sim.hardwire(name)
    assert found.grid.chips == chips
    assert found.chip_mm2 <= found.reticle_mm2


@pytest.mark.parametrize("name", ["deepseek-v2-lite", "llama-3-70b", "qwen3-235b-a22b"])
def test_chips_together_hold_the_model_and_what_they_repeat(name: str) -> None:
    found = sim.hardwire(name)
    held = found.grid.chips * weights_per_chip(found.graph, found.grid)
    assert held >= weights_of_model(found.graph)
    assert held == pytest.approx(weights_of_model(found.graph), rel=0.05)
    one = Grid(rows=1, columns=1)
    assert weights_per_chip(found.graph, one) == pytest.approx(weights_of_model(found.graph))


@pytest.mark.parametrize(
    ("weights", "digits"), [("fp4", 1), ("mxfp4", 1), ("fp8", 2), ("int8", 2), ("bf16", 4)]
)
def test_wider_weights_take_more_digits_and_chips(weights: str, digits: int) -> None:
    assert digits_of(weights) == digits
    found = sim.hardwire("llama-3-8b", weights=weights)
    assert found.grid.chips == digits


def test_mla_keeps_its_latent_in_every_column_and_splits_positions_over_rows() -> None:
    graph = graph_of("deepseek-v3")
    dense, experts = blocks(graph)
    for grid in (Grid(rows=8, columns=16), Grid(rows=8, columns=2)):
        assert kept_elements(experts, grid) == 576 / 8
    names = [step.name for step in steps(experts, graph.hidden, Grid(rows=8, columns=16))]
    assert names == [
        "sum of the last layer", "latents", "queries", "queries on the latent", "attention",
        "output projection", "sum of the output", "experts",
    ]  # fmt: skip
    last = steps(dense, graph.hidden, Grid(rows=8, columns=16))[-1]
    assert (last.operators, last.non_linear) == (2, 2)  # no router, top-k, softmax, weighting


def test_few_key_value_heads_are_repeated_over_columns() -> None:
    (block,) = blocks(graph_of("llama-3-8b"))
    assert kept_elements(block, Grid(rows=1, columns=8)) == 2 * 128
    assert kept_elements(block, Grid(rows=1, columns=16)) == 2 * 128
    assert kept_elements(block, Grid(rows=4, columns=4)) == 2 * 2 * 128 / 4


def test_experts_are_cut_where_that_makes_chips_equal() -> None:
    check(graph_of("kimi-k2"), Grid(rows=16, columns=16))  # 384 experts: three halves a chip
    check(graph_of("mixtral-8x7b"), Grid(rows=4, columns=4))  # 8 experts: half a one a chip


def test_messages_are_those_of_the_paper() -> None:
    graph, grid = graph_of("gpt-oss-120b"), Grid(rows=4, columns=4)
    assert collective_elements(graph, grid) == {
        "sum over a row": 2880, "sum over a column": 2880, "queries and keys": 1280,
        "attention output": 1024, "output projection, row": 720, "output projection, gather": 720,
    }  # fmt: skip
    assert link_elements(graph, grid) == {"row": 36 * 3600, "column": 36 * 5904}
    assert logits_elements(graph, grid) == {"row": 12_568, "column": 4 * 12_568}


def test_a_single_chip_has_nobody_to_talk_to() -> None:
    found = sim.hardwire("llama-3-8b", links="first-principles")
    assert collective_elements(found.graph, found.grid) == {}
    assert link_elements(found.graph, found.grid) == {"row": 0, "column": 0}
    assert found.line.parts(2048)["communication"] == 0.0
    assert found.line.slots == 4 * 32  # the two stages of sums are empty
    row = steps(next(blocks(found.graph)), 4096, Grid(rows=1, columns=4))
    assert {each.along for step in row for each in step.messages} == {"row"}


@pytest.mark.parametrize(
    ("model", "grid", "words"),
    [
        ("gpt-oss-120b", "5x5", "128 experts do not divide over 25 chips"),
        ("gpt-oss-120b", "7x16", "hidden size 2,880 leaves 3 over 7 rows"),
        ("llama-3-70b", "1x3", "query heads 64 leaves 1 over 3 columns"),
        ("qwen3-32b", "3x8", "hidden size 5,120 leaves 2 over 3 rows"),
        ("llama-3.2-3b", "1x6", "8 key-value heads neither divide over 6 columns"),
        ("llama-2-7b", "32x32", "inner size 11,008 leaves 768 over 1024 chips"),
        ("gpt-oss-120b", "2x4", "larger than the reticle's 858 mm2; at least 16 chips"),
        ("mamba-2.8b", None, "64 state-space layers"),
        ("jamba-v0.1", None, "28 state-space layers"),
        ("t5-base", None, "is no plain decoder"),
        ("bert-tiny", None, "is no plain decoder"),
        ("llava-1.5-7b", None, "is no plain decoder"),
    ],
)
def test_what_cannot_be_is_refused_with_numbers(model: str, grid: str | None, words: str) -> None:
    with pytest.raises(Infeasible, match=words):
        sim.hardwire(model, grid=grid)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"grid": "4by4"}, "rows and columns are due, e.g. 4x4"),
        ({"grid": "0x4"}, "rows and columns are due"),
        ({"weights": "fp5"}, "weights 'fp5' are not known; known: fp4"),
        ({"kv": "fp5"}, "kv 'fp5' is not known"),
        ({"context": -1}, "a whole number from 0 is due"),
        ({"vex": "none"}, "vex"),
    ],
)
def test_wrong_options_are_one_clear_error(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        sim.hardwire("llama-3-8b", **options)  # type: ignore[arg-type]


def run(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    return stopped.value.code


def test_the_command_prints_tables_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("hardwire", "gpt-oss-120b") == 0
    printed = capsys.readouterr().out
    for words in ("16 chips, 4x4", "7,275,548,160", "827.08", "250,000 tok/s", "138,889"):
        assert words in printed
    assert run("hardwire", "gpt-oss-120b", "--json", "--context", "131072") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["products"] == found["chips"] == 16
    assert found["pipeline"]["throughput_tok_per_s"] == pytest.approx(195_312.5)
    assert found["pipeline"]["paced_by"] == "stage attention"
    assert run("hardwire", "mamba-2.8b") == 3
    assert run("hardwire", "llama-3-9b") == 2


def test_it_writes_a_device_that_loads_and_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mixtral-lpu.yaml"
    assert run("hardwire", "mixtral-8x7b", "--windows", "-o", str(path)) == 0
    assert "count: 8" in capsys.readouterr().err
    device, ours = load_device(str(path)), sim.hardwire("mixtral-8x7b", windows=True).device
    assert device.hardwired == ours.hardwired
    assert device.hardwired is not None
    assert device.hardwired.windows
    assert (device.die_area_mm2, device.static_W) == (ours.die_area_mm2, ours.static_W)
    assert device.making.products == 8
    done = sim.simulate(
        "gpt-oss-azure-hnlpu", model="mixtral-8x7b",
        system={"device": str(path), "count": 8, "devices_per_node": 8},
        traffic={"closed": {"concurrency": 1, "requests": 1, "input": 100, "output": 20,
                            "start": "cold"}},
    )  # fmt: skip
    line = sim.hardwire("mixtral-8x7b", windows=True).line
    prompt = max(100 * line.slot_s(100), line.token_s(50.5))
    answer = sum(line.token_s(context) for context in range(101, 120))
    assert done.requests["e2e_s"].iloc[0] == pytest.approx(prompt + answer)


@pytest.mark.skipif(not DATA, reason="set SIM_DATA to the folder of models/*.json")
@pytest.mark.parametrize("name", ["llama-3-8b", "deepseek-v3", "kimi-k2", "gpt-oss-120b"])
def test_a_config_json_gives_the_same_chips(name: str) -> None:
    ours, theirs = sim.hardwire(name), sim.hardwire(f"{DATA}/models/{name}.json")
    assert ours.to_json() == theirs.to_json()
