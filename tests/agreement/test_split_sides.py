"""Attention and experts apart: each side as on its own, microbatches against a plain simulation."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from builders import DEVICES, GPU, MODELS, device, program, served, system, trace
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import machine

import sim
from sim.cli import main
from sim.dtypes import Precision
from sim.engines import roofline
from sim.engines.roofline import Batch, decode_batch, prefill_batch, step
from sim.engines.scheduler import Scheduler
from sim.errors import ConfigError, Infeasible
from sim.graph import Kind, Side
from sim.hardware import Link
from sim.kernel.passes import step_time
from sim.kernel.records import MACHINE, SECONDS
from sim.mapping.assemblies import assemble
from sim.mapping.capacity import budget, weight_bytes_by_memory
from sim.mapping.expert_disaggregation import lay_out, needed
from sim.mapping.layout import Parallel, Split
from sim.mapping.program import Choices, Program
from sim.workload.expert_slots import Placement
from sim.workload.layers import build_graph
from sim.workload.routing import Router

EXACT = 1e-9
KV_B = 2.0**30
LINK = Link(name="wire", bandwidth_B_per_s=2e9, latency_s=1e-6, efficiency=0.8, energy_J_per_B=1e-9)
FASTER = replace(
    GPU,
    peak_flop_per_s={"fp16": 3e12, "fp32": 3e11, "int8": 6e12},
    energy_J_per_flop={"fp16": 2e-12, "fp32": 6e-12, "int8": 1e-12},
)
ATTENTION = system(DEVICES["one unit"], 2)
EXPERTS = replace(system(device(FASTER, name="other"), 4), name="others")


def apart(
    kind: str = "moe",
    *,
    microbatches: int = 3,
    link: Link = LINK,
    groups: int = 2,
    router: Router | None = None,
    experts: Placement | None = None,
) -> Program:
    """A model with attention on two devices and experts on four faster ones."""
    graph = build_graph(MODELS[kind])
    split = Split(system=EXPERTS, link=link, microbatches=microbatches)
    wanted = Parallel(tp=2 // groups, attention_dp=groups, experts=experts)
    layout = lay_out(graph, ATTENTION, split, wanted)
    return assemble(graph, ATTENTION, layout, Precision(), Choices(router=router, split=split))


BATCHES = {
    "one": decode_batch(1, 30),
    "two": decode_batch(2, 30),
    "many": decode_batch(300, 30),
    "prefill": prefill_batch(3, 45),
    "mixed": Batch(prompts=((33, 0, 33),), decodes=((5, 1), (12, 40), (9, 9), (20, 1))),
}


@pytest.mark.parametrize("kind", ["moe", "mla", "hybrid"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("microbatches", [1, 2, 3, 5])
def test_iteration_is_that_of_microbatches_that_go_to_and_fro(
    kind: str, groups: int, microbatches: int
) -> None:
    """Microbatch after microbatch through four stations, layer after layer, in plain Python."""
    placed = Placement(redundant=4)
    for experts, router in ((None, None), (placed, Router(kind="zipf", skew=1.2))):
        of = apart(kind, groups=groups, microbatches=microbatches, experts=experts, router=router)
        plain = machine(of)
        for name, batch in BATCHES.items():
            prompts = [(prompt, begin, tokens, prompt) for prompt, begin, tokens in batch.prompts]
            decodes = [(prompt, prompt + generated) for prompt, generated in batch.decodes]
            seconds, joules, _ = plain.iteration(prompts, decodes)
            done = step(of, batch)
            assert done.seconds == pytest.approx(seconds, rel=EXACT), name
            assert done.joules == pytest.approx(joules, rel=EXACT), name


@given(
    st.tuples(*[st.floats(0.01, 10.0)] * 4), st.integers(1, 8), st.integers(1, 60)
)  # fmt: skip
@settings(max_examples=40)
def test_a_full_pipeline_takes_what_megascale_infer_says(
    took: tuple[float, ...], microbatches: int, layers: int
) -> None:
    """Equation 5, where there are enough microbatches: Ta + Te + 2 Tc + Tf (m L - 1)."""
    record = np.zeros(1, MACHINE)[0]
    record["sides"], record["slow"] = layers, 1.0
    busiest = max(took)
    found = step_time(sum(took) * layers, float(microbatches), 0.0, record, busiest * layers)
    if microbatches * busiest >= sum(took):
        want = sum(took) + busiest * (microbatches * layers - 1)
        assert found == pytest.approx(want, rel=1e-12)
    else:  # a layer waits for its own round trip
        want = sum(took) * layers + (microbatches - 1) * busiest
        assert found == pytest.approx(want, rel=1e-12)
    assert found >= max(sum(took) * layers, microbatches * busiest * layers) * (1 - 1e-12)


def test_how_many_microbatches_hide_a_link() -> None:
    """MegaScale-Infer, section 4.1: three where it takes less than half a side, four otherwise."""
    assert needed(0.5, 1.0) == 3.0
    assert needed(1.0, 1.0) == 4.0
    assert needed(0.0, 1.0) == 2.0


# --- each side on its own -----------------------------------------------------------------------


def test_operators_take_what_they_take_on_a_side_alone() -> None:
    of = apart(microbatches=1)
    attention = program("moe", count=2, tp=1, attention_dp=2)
    graph = build_graph(MODELS["moe"])
    alone = replace(EXPERTS, name="alone")
    from sim.mapping.parallelism import plan

    experts = assemble(graph, alone, plan(graph, alone, Parallel(tp=4, ep=4)), Precision())
    ratio = EXPERTS.count / ATTENTION.count
    for batch in (decode_batch(8, 30), decode_batch(400, 9)):
        joined, own, other = (step(each, batch) for each in (of, attention, experts))
        where = {
            id(each): {op.name: n for n, op in enumerate(each.table.graph.ops)}
            for each in (of, attention, experts)
        }
        for name, index in where[id(of)].items():
            side = int(of.table.records["side"][index])
            if side == Side.ATTENTION:
                want = own.rows[where[id(attention)][name]]
                assert joined.rows[index] == pytest.approx(want, rel=EXACT), name
            elif side == Side.EXPERTS:
                want = other.rows[where[id(experts)][name]].copy()
                want[2:5] *= ratio  # of as many devices as there are for one of the others
                assert joined.rows[index] == pytest.approx(want, rel=EXACT), name


def test_what_the_busiest_device_sends_or_receives_decides_the_link() -> None:
    """64 tokens of 2 experts each, 64 elements of 2 bytes: two senders, four receivers."""
    of, batch = apart(microbatches=1, router=Router(kind="zipf", skew=1.5)), decode_batch(64, 9)
    done = step(of, batch)
    load = float(of.routing.coverage[64, 3])
    (index,) = [n for n, op in enumerate(of.table.graph.ops) if op.name == "experts_dispatch.send"]
    size = 64 * 2 * 64 * 2.0
    busiest = max(size / 2, size / 4 * load)
    seconds = 4 * (1e-6 + busiest / (2e9 * 0.8))
    assert done.rows[index, SECONDS] == pytest.approx(seconds, rel=EXACT)
    links = done.rows[of.table.records["side"] >= Side.LINK_THERE]
    assert links[:, 4].sum() * 2 == pytest.approx(2 * 4 * size * 1e-9, rel=EXACT)


def test_weights_are_on_their_side_and_keys_and_values_with_attention() -> None:
    of, together = apart(), program("moe", count=2, tp=1, attention_dp=2)
    weights = weight_bytes_by_memory(of)
    graph = build_graph(MODELS["moe"])
    experts_B = sum(2.0 * op.weights * op.layers for op in graph.ops if op.experts)
    assert weights["experts-hbm"] == pytest.approx(experts_B / 4)
    all_B = sum(weight_bytes_by_memory(together).values())
    assert weights["hbm"] == pytest.approx(all_B - experts_B / 2)
    more = budget(of, utilization=0.9, tokens=64, sequences=8)
    less = budget(together, utilization=0.9, tokens=64, sequences=8)
    assert more.kv_B == pytest.approx(less.kv_B + experts_B / 2, rel=1e-6)


def test_more_microbatches_never_take_longer_than_a_slow_link_alone() -> None:
    """A free link and one microbatch: the sum of both sides; a very slow one decides alone."""
    slow = replace(LINK, bandwidth_B_per_s=1e5)
    batch = decode_batch(300, 30)
    one = step(apart(microbatches=1), batch)
    assert one.seconds - one.host_s == pytest.approx(one.rows[:, SECONDS].sum(), rel=EXACT)
    waiting = apart(link=slow)
    done = step(waiting, batch)
    there = done.rows[waiting.table.records["side"] == Side.LINK_THERE, SECONDS].sum()
    assert done.seconds == pytest.approx(3 * there, rel=0.35)
    assert done.seconds >= 3 * there


# --- serving ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["chunked-prefill", "layered-prefill", "prefill-first"])
def test_events_are_the_closed_form(kind: Any) -> None:
    of, output = apart(), 45
    for prompt in (1, 37):
        want = roofline.request_times(of, prompt, output)
        got = served(of, Scheduler(kind=kind), KV_B, trace((0.5, prompt, output)), log=1000)
        ends = (got.log[:, 0] + got.log[:, 1] - 0.5)[-output:]
        assert ends == pytest.approx(want, rel=EXACT)


def test_many_requests_are_served_as_the_reference_serves_them() -> None:
    import reference_serving

    random = np.random.default_rng(3)
    rows = [
        (float(at), int(n), int(m))
        for at, n, m in zip(
            np.sort(random.uniform(0, 0.02, 40)), random.integers(1, 80, 40),
            random.integers(1, 30, 40), strict=True,
        )
    ]  # fmt: skip
    of, scheduler = apart(), Scheduler(kind="chunked-prefill", token_budget=64, max_batch=16)
    got = served(of, scheduler, KV_B, trace(*rows))
    server, want = reference_serving.serve(of, scheduler, KV_B, trace(*rows))
    assert got.requests["last_s"].tolist() == pytest.approx([s.last for s in want], rel=EXACT)
    assert got.iterations == server.iterations
    assert got.busy_s == pytest.approx(server.busy, rel=EXACT)


# --- a scenario ---------------------------------------------------------------------------------

SCENARIO: dict[str, Any] = {
    "model": "mixtral-8x22b",
    "system": {"name": "h200-x4", "device": "h200", "count": 4, "devices_per_node": 4},
    "parallel": {"tp": 1, "attention_dp": 4},
    "split": {
        "experts": {"name": "l40s-x8", "device": "l40s", "count": 8, "devices_per_node": 8},
        "link": {"bandwidth": "25 GB/s", "latency": "10 us", "energy": "15 pJ/bit"},
    },
    "traffic": {"poisson": {"rate": "200 /s", "requests": 96, "input": 64, "output": 16}},
}


def test_scenario_runs_with_both_sides_accounted() -> None:
    run = sim.simulate(SCENARIO)
    told = run.to_json()
    assert told["system"] == "h200-x4 + l40s-x8"
    sides = told["sides"]
    assert sides["attention"]["devices"] == 4
    assert sides["experts"]["devices"] == 8
    assert 0.0 < max(sides["busy_share"].values()) <= 1.0
    assert told["metrics"]["cost_usd_per_Mtok"] > 0.0
    by_class = told["breakdown"]["energy_J"]["by_class"]
    assert sum(by_class.values()) == pytest.approx(told["metrics"]["energy_J"], rel=1e-6)
    # idle power of all twelve
    scenario = run.scenario
    assert scenario.split is not None
    static = [each.device.static_W for each in (scenario.system, scenario.split.system)]
    assert None not in static
    watts = 4 * float(static[0] or 0) + 8 * float(static[1] or 0)
    assert by_class["static"] == pytest.approx(watts * run.outcomes.whole_s)
    time = told["breakdown"]["time_s"]["by_class"]
    assert sum(time.values()) == pytest.approx(told["breakdown"]["busy_s"])
    # each expert touched is read once a layer by one device
    op = next(op for op in run.prepared.graph.ops if op.name == "experts_up")
    read_B = told["breakdown"]["weights_read_B"]["by_class"]["experts"]
    one_B = sum(2.0 * each.weights * each.layers for each in run.prepared.graph.ops if each.experts)
    iterations = told["mapping"]["iterations"]
    assert op.experts == 8
    assert 0.0 < read_B <= 3 * iterations * one_B


def test_pool_that_decodes_may_be_of_two_sides(capsys: pytest.CaptureFixture[str]) -> None:
    """The shipped scenario: prompts elsewhere, all three systems paid for."""
    few = "traffic.limit=60"
    told = sim.simulate("mixtral-8x22b-split", sets=[few]).to_json()
    prefill, decode = told["fleet"]["pools"]
    assert prefill["system"] == "h100-x8"
    assert decode["system"] == "h200-x4 + h100-x8"
    assert told["requests"]["completed"] == 60
    assert told["sides"]["experts"]["system"] == "h100-x8"
    energy = told["breakdown"]["energy_J"]["by_class"]
    assert sum(energy.values()) == pytest.approx(told["metrics"]["energy_J"], rel=1e-6)
    for command in ("explain", "run"):
        with pytest.raises(SystemExit):
            main([command, "mixtral-8x22b-split", "--set", few])
        words = " ".join(capsys.readouterr().out.split())
        assert "keep the busier side at work" in words
        assert "experts on h100-x8, 31.5 GiB of weights a device" in words


def test_cost_is_that_of_both_sides_at_their_own_power() -> None:
    run = sim.simulate(SCENARIO)
    assert run.owned is not None
    totals = run.owned.ledger.totals
    alone = [
        sim.simulate({"model": "llama-3-8b", "system": each, "traffic": SCENARIO["traffic"]}).owned
        for each in (SCENARIO["system"], SCENARIO["split"]["experts"])
    ]
    for name in ("capex_usd", "embodied_kgCO2e"):
        assert all(each is not None for each in alone)
        want = sum(np.asarray(each.ledger.totals[name]) for each in alone if each is not None)
        assert totals[name] == pytest.approx(want, rel=1e-9)


def test_explain_tells_sides_apart(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["explain", "mixtral-8x22b-split", "--batch", "512", "--json"])
    told = json.loads(capsys.readouterr().out)
    sides = told["sides"]
    layers = 56
    m = sides["microbatches"]
    assert m == 3
    took = list(sides["layer_s"].values())
    whole = max(sum(took), m * max(took)) * layers
    whole += sum(took) + (m - 1) * max(took) - whole / layers
    assert told["iteration_s"] - told["host_s"] == pytest.approx(whole, rel=1e-9)


MISTAKES = [
    (["split.experts.count=3"], ConfigError, "do not go evenly on the 3 devices"),
    (["parallel.ep=4"], ConfigError, "leave ep out"),
    (["parallel={tp: 2}"], ConfigError, "is not the 4 devices"),
    (["parallel={tp: 2, pp: 2}"], ConfigError, "leave it out"),
    (["model=llama-3-8b"], ConfigError, "no routed experts"),
    (["split.experts={device: duplex, count: 8, coprocessing: pe}"], Infeasible, "one after the"),
    (["split.experts.count=2"], Infeasible, "experts-gddr"),
    (["split.microbatches=0"], ConfigError, "whole number from 1"),
    (["split.link=null"], ConfigError, "split.link"),
    (["fleet={replicas: 2}"], ConfigError, "leave fleet out"),
]


@pytest.mark.parametrize(("sets", "kind", "said"), MISTAKES)
def test_split_that_cannot_be(sets: list[str], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        sim.simulate(SCENARIO, sets=sets)


def test_a_model_s_collectives_stay_on_the_attention_side() -> None:
    of = apart(groups=1)
    kinds = of.table.records["kind"] == Kind.COLLECTIVE
    assert set(of.table.records["link"][kinds]) == {0, 2}
    assert set(of.table.records["side"][kinds]) == {Side.ATTENTION, Side.LINK_THERE, Side.LINK_BACK}
