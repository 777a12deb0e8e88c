"""Experts on ranks: placements by hand and in general, the busiest rank against drawn tokens."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from builders import DEVICES, MODELS, program, system
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import sim
from sim.cli import main
from sim.engines.roofline import decode_batch, step
from sim.errors import ConfigError
from sim.kernel.records import SECONDS
from sim.mapping.capacity import device_weight_bytes
from sim.mapping.layout import Parallel
from sim.mapping.parallelism import plan
from sim.workload.busiest import expected_maximum
from sim.workload.expert_slots import Placement, Slots, balanced, contiguous, slots_of
from sim.workload.layers import build_graph
from sim.workload.routing import POOL, Router, coverage_table, load_table, popularity

CONTIGUOUS, BALANCED = Placement(placement="contiguous"), Placement()
UNIFORM = Router()
KINDS: tuple[Literal["contiguous", "balanced"], ...] = ("contiguous", "balanced")
loads = st.lists(st.floats(1e-3, 1.0), min_size=12, max_size=12).map(np.array)


def zipf(skew: float) -> Router:
    return Router(kind="zipf", skew=skew)


# --- placements ---------------------------------------------------------------------------------


def test_balanced_placement_by_hand() -> None:
    """Two copies: of the expert with 8, then of one with 8 / 2 = 4 or 5; five is more.

    Copies weigh 4 4 3 2.5 2.5 2; two ranks take them heaviest first: 4 + 3 + 2 and 4 + 2.5 + 2.5.
    """
    found = balanced(np.array([8.0, 5.0, 3.0, 2.0]), ranks=2, redundant=2)
    assert found.copies.tolist() == [2, 2, 1, 1]
    assert [sorted(row) for row in found.held.tolist()] == [[0, 2, 3], [0, 1, 1]]


def test_contiguous_placement_by_hand() -> None:
    found = contiguous(np.array([3, 1, 0, 2]), ranks=3, redundant=2)
    assert found.held.tolist() == [[3, 1], [0, 2], [3, 1]]
    assert found.copies.tolist() == [1, 2, 1, 2]
    assert found.shares[0].tolist() == [0.0, 0.5, 0.0, 0.5]


@given(loads, st.sampled_from((2, 3, 6)), st.integers(0, 4), st.booleans())
def test_every_expert_has_a_slot_and_loads_are_conserved(
    load: np.ndarray, ranks: int, rounds: int, even: bool
) -> None:
    placement = Placement(placement="balanced" if even else "contiguous", redundant=rounds * ranks)
    for slots in slots_of(placement, load, ranks, seed=3):
        assert slots.held.shape == (ranks, 12 // ranks + rounds)
        assert (slots.copies >= 1).all()
        assert slots.copies.sum() == 12 + rounds * ranks
        assert slots.shares.sum(axis=0) == pytest.approx(1.0)
        assert (slots.shares @ load).sum() == pytest.approx(load.sum())


@given(loads, st.sampled_from((2, 3, 6)), st.integers(0, 4))
def test_balanced_ranks_differ_by_no_more_than_one_copy(
    load: np.ndarray, ranks: int, rounds: int
) -> None:
    slots = balanced(load, ranks, rounds * ranks)
    assert np.ptp(slots.shares @ load) <= (load / slots.copies).max() * (1 + 1e-12)


@given(loads, st.integers(0, 40))
def test_a_copy_more_never_loads_the_heaviest_copy_more(load: np.ndarray, copies: int) -> None:
    """What no packing can go below, the heaviest copy and the mean rank, never rises."""
    fewer, more = ((load / balanced(load, 1, count).copies).max() for count in (copies, copies + 1))
    assert more <= fewer


@pytest.mark.parametrize("skew", [0.2, 0.68, 1.2])
@pytest.mark.parametrize(("experts", "top_k", "ranks"), [(256, 8, 32), (128, 8, 8), (16, 2, 4)])
def test_balanced_is_never_busier_than_contiguous(
    skew: float, experts: int, top_k: int, ranks: int
) -> None:
    tables: dict[str, list[np.ndarray]] = {
        kind: [
            coverage_table(
                zipf(skew),
                experts,
                top_k,
                ranks,
                placement=Placement(placement=kind, redundant=count * ranks),
            )
            for count in range(3)
        ]
        for kind in KINDS
    }
    for apart, even in zip(tables["contiguous"], tables["balanced"], strict=True):
        assert (even[:, 3] <= apart[:, 3] * (1 + 1e-9)).all()
    for fewer, more in zip(tables["balanced"], tables["balanced"][1:], strict=False):
        # what greedy packing leaves uneven is a matter of luck
        assert (more[:, 3] <= fewer[:, 3] * 1.01).all()


# --- the busiest rank ---------------------------------------------------------------------------


def test_expected_maximum_of_equal_normal_deviates() -> None:
    """Harter, Biometrika 48 (1961), table of expected values of normal order statistics."""
    for count, want in ((1, 0.0), (2, 0.5642), (4, 1.0294), (8, 1.4236)):
        ones = np.ones(count)
        assert expected_maximum(0.0 * ones, ones, 0.0 * ones) == pytest.approx(want, abs=1e-3)


def test_expected_maximum_of_skewed_variables() -> None:
    """Gamma variables of shape 9, whose largest of 8 is a mean of many drawn ones."""
    drawn = np.random.default_rng(0).gamma(9.0, size=(200_000, 8)).max(axis=1).mean()
    ones = np.ones(8)
    found = expected_maximum(9.0 * ones, 9.0 * ones, 18.0 * ones)
    assert found == pytest.approx(drawn, rel=0.005)


def counted(
    router: Router, experts: int, top_k: int, layers: tuple[Slots, ...], tokens: int, batches: int
) -> tuple[float, float]:
    """Slots touched and pairs over the mean on the busiest rank, token by token, mean of batches.

    Each token takes the experts with the largest Gumbel deviates about their log popularity, and of
    an expert's copies the one whose turn it is.
    """
    random = np.random.default_rng(tokens)
    weight = -router.skew * np.log(np.arange(1, experts + 1))
    touched, pairs = [], []
    for batch in range(batches):
        held = layers[batch % len(layers)].held
        where: dict[int, list[tuple[int, int]]] = {}
        for rank, row in enumerate(held.tolist()):
            for slot, expert in enumerate(row):
                where.setdefault(expert, []).append((rank, slot))
        counts = np.zeros(held.shape)
        score = weight + random.gumbel(size=(tokens, experts))
        for token, chosen in enumerate(np.argsort(-score, axis=1)[:, :top_k].tolist()):
            for expert in chosen:
                counts[where[expert][(batch + token) % len(where[expert])]] += 1
        touched.append((counts > 0).sum(axis=1).max())
        pairs.append(counts.sum(axis=1).max())
    return float(np.mean(touched)), float(np.mean(pairs)) * len(held) / (tokens * top_k)


@pytest.mark.parametrize(("tokens", "batches"), [(4, 400), (32, 160), (256, 32)])
@pytest.mark.parametrize("placement", [CONTIGUOUS, BALANCED, Placement(redundant=16)])
@pytest.mark.parametrize("skew", [0.0, 0.7, 1.2])
def test_busiest_rank_is_that_of_tokens_counted_one_by_one(
    skew: float, placement: Placement, tokens: int, batches: int
) -> None:
    router, experts, top_k, ranks = zipf(skew), 64, 4, 8
    layers = slots_of(placement, popularity(router, experts, top_k), ranks, 0)
    touched, pairs = counted(router, experts, top_k, layers, tokens, batches)
    row = coverage_table(router, experts, top_k, ranks, placement=placement)[tokens]
    assert row[2] == pytest.approx(touched, rel=0.06)
    assert row[3] == pytest.approx(pairs, rel=0.04)


@pytest.mark.parametrize("correlation", [0.3, 0.8])
def test_repeated_choices_make_ranks_less_even(correlation: float) -> None:
    router, experts, top_k, ranks = (
        Router(kind="correlated", skew=0.5, correlation=correlation), 64, 4, 8,
    )  # fmt: skip
    table = coverage_table(router, experts, top_k, ranks)
    drawn = load_table(router, experts, top_k, seed=2)
    for tokens in (16, 64):
        starts = np.arange(0, POOL - tokens, 16)
        batches = (drawn[starts + tokens] - drawn[starts]).reshape(len(starts), -1, ranks)
        pairs = batches.sum(axis=1).max(axis=1).mean() * ranks / (tokens * top_k)
        assert table[tokens, 3] == pytest.approx(pairs, rel=0.05)


@pytest.mark.parametrize("placement", [CONTIGUOUS, BALANCED])
def test_with_equal_experts_every_placement_is_what_there_was_without(placement: Placement) -> None:
    want = coverage_table(UNIFORM, 64, 4, 8)
    assert_array_equal(coverage_table(UNIFORM, 64, 4, 8, placement=placement), want)


def test_busiest_rank_published_for_deepseek_r1() -> None:
    """TensorRT-LLM (examples/ep_load_balancer): (max - mean) / mean over ranks, 58 layers' mean.

    Experts in order on 32 ranks: 1.56 at 1,024 pairs a rank, which fixes the skew. With EPLB, 288
    slots on 36 ranks, 0.115. Ours is lower: EPLB there goes by the load of another run, and tokens
    of one request choose alike.
    """
    apart = coverage_table(zipf(0.68), 256, 8, 32, placement=CONTIGUOUS)
    even = coverage_table(zipf(0.68), 256, 8, 36, placement=Placement(redundant=32))
    assert np.interp(1024 * 32 / 8, apart[:, 0], apart[:, 3]) == pytest.approx(2.564, rel=0.01)
    assert np.interp(1024 * 36 / 8, even[:, 0], even[:, 3]) == pytest.approx(1.115, rel=0.06)


# --- in a program -------------------------------------------------------------------------------


def test_copies_take_turns_in_drawn_loads() -> None:
    router = zipf(0.8)
    slots = balanced(popularity(router, 16, 2), 4, 8)
    table = load_table(router, 16, 2, slots=slots, seed=1)
    plain = load_table(router, 16, 2, seed=1)
    assert table.shape == (POOL + 1, 24)
    for expert in range(16):
        copies = table[:, slots.columns == expert]
        assert_array_equal(copies.sum(axis=1), plain[:, expert])
        assert np.ptp(copies[-1]) <= 0.1 * copies[-1].mean()
    # column c is slot c // ranks of rank c % ranks
    assert_array_equal(slots.columns.reshape(-1, 4).T, slots.held)


def test_memory_grows_by_the_copies_exactly() -> None:
    plain = program("moe", count=4, ep=4, attention_dp=4)
    (experts,) = {op.experts for op in plain.table.graph.ops if op.experts}
    one_B = sum(
        2.0 * op.weights * op.layers / (experts / 4)
        for op in plain.table.graph.ops
        if op.experts and op.owned
    )
    for copies in (0, 4, 8):
        layout = replace(plain.layout, experts=Placement(redundant=copies))
        grown = device_weight_bytes(replace(plain, layout=layout))
        assert grown - device_weight_bytes(plain) == pytest.approx(one_B * copies / 4, rel=1e-12)


@pytest.mark.parametrize("on", ["one unit", "PIM"])
def test_placement_is_nothing_to_one_rank_or_equal_experts(on: str) -> None:
    """To the bit, where no all-to-all waits for the busiest rank; on two units loads are drawn."""
    for degrees, router in (({"ep": 1}, zipf(1.2)), ({"ep": 2}, UNIFORM)):
        if on == "PIM" and degrees["ep"] > 1:
            continue  # drawn loads are not equal: which expert is where matters
        made = [
            program("moe", on, count=4, router=router, experts=placement, **degrees)
            for placement in (None, CONTIGUOUS, BALANCED)
        ]
        for batch in (decode_batch(1, 9), decode_batch(100, 9)):
            first, *others = (step(each, batch) for each in made)
            for other in others:
                assert other.seconds == first.seconds
                assert_array_equal(other.rows, first.rows)


def test_the_busiest_rank_s_tokens_decide_all_to_all() -> None:
    """Of 4 equal groups a device sends a quarter of the pairs, and the busiest receives more."""
    made = program("moe", count=4, tp=1, attention_dp=4, ep=4, router=zipf(1.2), experts=CONTIGUOUS)
    plain = program("moe", count=4, tp=1, attention_dp=4, ep=4, router=zipf(1.2))
    batch = decode_batch(4096, 9)
    found, sent = step(made, batch), step(plain, batch)
    names = [op.name for op in made.table.graph.ops]
    load = float(np.interp(4096, made.routing.coverage[:, 0], made.routing.coverage[:, 3]))
    assert load > 1.3
    link = made.links[0]
    for index, name in enumerate(names):
        if "all-to-all" in name:
            record = made.table.records[index]
            size = float(record["message_B_per_token"]) * 1024 * float(record["layers"])
            options = [
                float(record["steps"][n] * link["latency_s"] * record["layers"]
                      + record["factor"][n] * size * load / (link["B_per_s"] * link["efficiency"]))
                for n in range(2)
            ]  # fmt: skip
            assert found.rows[index, SECONDS] == pytest.approx(min(options), rel=1e-9)
            assert found.rows[index, SECONDS] > sent.rows[index, SECONDS]


PLACEMENT_MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("moe", {"ep": 2, "redundant": 3}, "do not fill 2 ranks evenly: 2 or 4 would"),
    ("moe", {"ep": 1, "redundant": 2}, "need ranks to lie on: write parallel.ep"),
    ("moe", {"ep": 2, "redundant": 80}, "already put all"),
    ("dense", {"ep": 1, "redundant": 0}, "has no experts: leave it out"),
]


@pytest.mark.parametrize(("kind", "asked", "said"), PLACEMENT_MISTAKES)
def test_placement_that_cannot_be(kind: str, asked: dict[str, int], said: str) -> None:
    graph, machines = build_graph(MODELS[kind]), system(DEVICES["one unit"], 4)
    wanted = Parallel(tp=4, ep=asked["ep"], experts=Placement(redundant=asked["redundant"]))
    with pytest.raises(ConfigError) as caught:
        plan(graph, machines, wanted)
    (problem,) = caught.value.problems
    assert said in problem.message
    assert problem.path is not None
    assert problem.path.startswith("parallel.experts")


def test_misspelt_placement_is_one_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["run", "deepseek-v3-h100", "--set", "parallel.experts.placement=balancd"])
    assert stopped.value.code == 2
    assert "balanced" in capsys.readouterr().err


def test_run_and_explain_say_how_uneven_ranks_are(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["traffic.closed={concurrency: 64, requests: 64, input: 64, output: 16}"]
    run = sim.simulate("deepseek-v3-h100", sets=small).to_json()["expert_ranks"]
    assert run["ranks"] == 32
    assert run["slots_per_rank"] == 9
    assert run["load_imbalance"] > 1.0
    assert run["all_to_all_B"] > 0.0
    assert run["time_lost_s"] > 0.0
    with pytest.raises(SystemExit):
        main(["explain", "deepseek-v3-h100", "--batch", "4096", "--json"])
    told = json.loads(capsys.readouterr().out)["expert_ranks"]
    assert len(told["rank_loads"]) == 32
    assert np.mean(told["rank_loads"]) == pytest.approx(1.0)
    sent = told["all_to_all_B"]
    assert sent["busiest_device"] == pytest.approx(sent["mean_device"] * told["load_imbalance"])
    for command in ("explain", "run"):
        with pytest.raises(SystemExit):
            main([command, "deepseek-v3-h100", "--set", *small])
        words = " ".join(capsys.readouterr().out.split())
        assert "32 expert ranks of 9 experts (balanced, 32 redundant experts)" in words


def test_study_of_redundant_experts_at_small_size() -> None:
    """Copies pay where experts are unequal and are only read where they are alike."""
    frame = sim.sweep(
        {
            "title": "Copies",
            "base": "deepseek-v3-h100",
            "load": {"input": 128, "output": 1024, "batch": 1024},
            "axes": [
                {"path": "router.skew", "values": [0, 1.2]},
                {
                    "zip": {
                        "parallel.experts.placement": ["contiguous", "balanced", "balanced"],
                        "parallel.experts.redundant": [0, 0, 32],
                    }
                },
            ],
            "objectives": {"step_s": "min"},
        }
    ).frame
    equal, unequal = (rows["step_s"].tolist() for _, rows in frame.groupby("router.skew"))
    assert equal[0] == equal[1] < equal[2]
    assert unequal[0] > unequal[1] > unequal[2]
