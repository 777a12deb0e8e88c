"""Switches of the hardwired LPU: the kernel's law and the pipeline's closed form agree."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim
from sim.cli import main
from sim.dtypes import Precision
from sim.engines.roofline import decode_batch, prefill_batch, step
from sim.errors import Infeasible
from sim.hardware.hardwired.pipeline import KI, Layer, Pipeline
from sim.hardwiring import Hardwiring
from sim.mapping.assemblies import assemble
from sim.mapping.hardwired import held_by_stream, line_of
from sim.mapping.layout import Layout
from sim.mapping.program import Program
from sim.workload.layers import build_graph

LAYOUT = Layout(tp=1, pp=1, ep=1, dp=1)
SWITCHES = st.fixed_dictionaries(
    {
        "vex": st.sampled_from(["per-layer", "shared"]),
        "windows": st.booleans(),
        "links": st.sampled_from(["calibrated", "first-principles"]),
    }
)
MODELS = ("gpt-oss-120b", "gpt-oss-20b", "llama-3-8b", "llama-4-scout", "gemma-2-9b", "deepseek-v3")


@cache
def made(model: str, **switches: str | bool) -> tuple[Hardwiring, Program]:
    found = sim.hardwire(model, kv="fp8", **switches)
    precision = Precision(weights="bf16", kv="fp8", activations="bf16")
    return found, assemble(found.graph, found.system, LAYOUT, precision)


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(MODELS), SWITCHES, st.integers(1, 600_000),
    st.sampled_from([1, 7, 100, 300, 1000]),
)  # fmt: skip
def test_law_and_closed_form(
    model: str, switches: dict[str, str | bool], context: int, sequences: int
) -> None:
    found, program = made(model, **switches)
    line = found.line
    held = sum(each.count * each.held_B * each.attended(context) for each in line.different)
    fetched = max(sequences * held - line.buffer_B, 0.0) / line.fetch_B_per_s
    want = max(
        line.token_s(context), sequences * line.stage_s(0.0), sequences * line.slot_s(context),
        fetched,
    )  # fmt: skip
    seconds = step(program, decode_batch(sequences, context)).seconds
    assert seconds == pytest.approx(want)


@pytest.mark.parametrize("model", MODELS)
def test_full_pipeline_leaves_what_hardwire_says(model: str) -> None:
    found, program = made(model)
    slots = found.line.slots
    seconds = step(program, decode_batch(slots, found.context)).seconds
    assert slots / seconds == pytest.approx(found.sustained_tok_per_s)


def test_prompts_ask_for_the_logits_of_their_last_token_only() -> None:
    found, program = made("gpt-oss-120b", links="first-principles")
    line = found.line
    seconds = step(program, prefill_batch(1, 2000)).seconds
    assert seconds == pytest.approx(2000 * line.link_s + line.answer_s)
    assert line.link_s == pytest.approx(3.321e-6)
    assert line.slot_s(2048, answers=0.0) == pytest.approx(line.link_s)
    assert found.stage_tok_per_s == pytest.approx(243_516, rel=1e-4)


def test_collectives_from_first_principles_are_sixteen_times_faster() -> None:
    slow, fast = (made("gpt-oss-120b", links=each)[0].line.parts(2048)["communication"]
                  for each in ("calibrated", "first-principles"))  # fmt: skip
    assert slow == pytest.approx(12e-6)
    assert fast == pytest.approx(0.7485e-6, rel=1e-3)


def rate(context_ki: float, **switches: str | bool) -> float:
    return sim.hardwire("gpt-oss-120b", context=int(context_ki * KI), **switches).stage_tok_per_s


def test_throughput_follows_context_with_units_of_each_layer() -> None:
    for context, want in ((2, 250_000), (100, 250_000), (128, 195_312), (256, 97_656)):
        assert rate(context) == pytest.approx(want, rel=1e-4)


def test_a_shared_unit_serves_all_layers() -> None:
    """36 x 80 ns fit a slot at 2K; at 8K they cap it at 87 thousand tokens a second."""
    assert rate(2, vex="shared") == pytest.approx(250_000)
    assert rate(8, vex="shared") == pytest.approx(86_806, rel=1e-4)


def test_windows_halve_the_attention_of_gpt_oss() -> None:
    """Every other layer sees 128 tokens; those that see all still set the pace."""
    wide, narrow = (made("gpt-oss-120b", windows=each)[0].line for each in (False, True))
    assert narrow.line_s(128 * KI) == pytest.approx(wide.line_s(128 * KI) / 2.0, rel=2e-3)
    assert rate(128, windows=True) == pytest.approx(rate(128))
    assert rate(8, windows=True, vex="shared") == pytest.approx(170_940, rel=2e-3)
    assert narrow.line_s(100) == pytest.approx(wide.line_s(100))


def test_windows_also_shrink_what_a_sequence_holds() -> None:
    streams = made("gpt-oss-120b", windows=True)[1].streams
    assert streams["window"].tolist() == [0, 128]
    assert streams["kv_B"].tolist() == [1152.0, 1152.0]
    assert made("gpt-oss-120b", windows=False)[1].streams["kv_B"].tolist() == [2304.0]


@pytest.mark.parametrize("missing", ["link", "element"])
def test_first_principles_need_a_link_and_an_element(missing: str) -> None:
    device = sim.load_device("hnlpu")
    assert device.hardwired is not None
    chip = replace(device.hardwired, links="first-principles")
    if missing == "link":
        device = replace(device, link=None, hardwired=chip)
    else:
        device = replace(device, hardwired=replace(chip, link_element_B=None))
    with pytest.raises(Infeasible, match="needs the device's `link` and"):
        line_of(build_graph(sim.load_model("gpt-oss-120b")), device, 1.0)


def test_more_windows_than_two_kinds_are_refused() -> None:
    layers = tuple(Layer(count=1, window=window, held_B=1.0) for window in (None, 128, 256))
    line = Pipeline(layers=3, collective_s=1.0, operator_s=1.0, non_linear_s=1.0,
                    attention_s_per_token=1.0, kinds=layers)  # fmt: skip
    with pytest.raises(Infeasible, match=r"more than two kinds of window \(None, 256, 128\)"):
        held_by_stream(line)


def test_switches_are_set_from_a_scenario() -> None:
    """A prompt of 16,000 tokens attends to 8,000 in the mean, 11 us of a shared unit a token."""
    traffic = {"closed": {"concurrency": 1, "requests": 1, "input": 16_000, "output": 2,
                          "start": "cold"}}  # fmt: skip
    own, shared = (
        sim.simulate(
            "gpt-oss-azure-hnlpu", traffic=traffic,
            sets=[f"system.device.hardwired.vex={each}",
                  "system.device.hardwired.fetch=10 TB/s"],
        ).requests["e2e_s"].iloc[0]
        for each in ("per-layer", "shared")
    )  # fmt: skip
    assert own == pytest.approx(16_000 * 4e-6, rel=0.03)
    line = made("gpt-oss-120b", vex="shared")[0].line
    assert shared == pytest.approx(sum(line.slot_s(each) for each in range(16_000)), rel=0.01)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ((), "keys and values from HBM pace them"),
        (("fetch=1 PB/s",), "attention paces them"),
        (("fetch=1 PB/s", "vex=shared"), "attention paces them"),
        (("fetch=1 PB/s", "vex=shared", "windows=true"), "attention paces them"),
    ],
)
def test_explain_says_what_paces_a_full_pipeline(
    changes: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [part for each in changes for part in ("--set", f"system.device.hardwired.{each}")]
    with pytest.raises(SystemExit) as stopped:
        main(["explain", "gpt-oss-azure-hnlpu", "--batch", "216", "--context", "131072", *sets])
    assert stopped.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"216 tokens one behind the other through 36 layers: {words}" in printed


def test_explain_names_the_links_and_the_slots() -> None:
    links = "system.device.hardwired.links=first-principles"
    for sets, words in (([], "the slowest stage paces them"), ([links], "the busiest link")):
        found = sim.explain("gpt-oss-azure-hnlpu", sets=sets, sequences=216, context=512)
        assert words in found.rows[0]["why"]
