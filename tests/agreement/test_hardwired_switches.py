"""Switches of the hardwired LPU: the kernel's law and the pipeline's closed form agree."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim
from sim.dtypes import Precision
from sim.engines.roofline import decode_batch, prefill_batch, step
from sim.errors import Infeasible
from sim.hardware.hardwired.pipeline import KI
from sim.mapping.layout import Layout
from sim.mapping.program import Program, assemble
from sim.simulation.hardwire import Hardwiring

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
    if not line.shared:  # the kernel's attention stage has no other work in it
        assert line.stages(context)["attention"] == pytest.approx(
            max(line.line_s(context) / line.layers, line.stages(context)["attention"])
        )
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


@pytest.mark.parametrize(
    ("link", "element"), [(None, "2 B"), ("unset", None)], ids=["no link", "no element"]
)
def test_first_principles_need_a_link_and_an_element(link: object, element: str | None) -> None:
    form = {"extends": "hnlpu", "hardwired": {"links": "first-principles"}}
    if link is None:
        form["link"] = None  # type: ignore[assignment]
    if element is None:
        form["hardwired"]["link_element"] = None  # type: ignore[index]
    with pytest.raises(Infeasible, match="needs the device's `link` and"):
        sim.simulate(
            "gpt-oss-azure-hnlpu", system={"device": form, "count": 16, "devices_per_node": 16},
            traffic={"closed": {"concurrency": 1, "requests": 1, "input": 8, "output": 8}},
        )  # fmt: skip


def test_switches_are_set_from_a_scenario() -> None:
    """Events too: a shared unit halves what 216 clients get at some 8K tokens of context."""
    traffic = {"closed": {"concurrency": 216, "requests": 216, "input": 4000, "output": 4}}
    seconds = [
        sim.simulate("gpt-oss-azure-hnlpu", sets=[f"system.device.hardwired.vex={each}"],
                     traffic=traffic).requests["e2e_s"].max()
        for each in ("per-layer", "shared")
    ]  # fmt: skip
    assert seconds[1] > 1.4 * seconds[0]
