"""Laws of two units that share the experts of a device and attend at the same time."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
from builders import (
    DEVICES,
    GPU,
    HIDDEN,
    MHA,
    MLP,
    MODELS,
    MOE,
    PIM,
    device,
    model,
    program,
    system,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sim.dtypes import Precision
from sim.engines.roofline import Batch, decode_batch, step, sweep
from sim.errors import ConfigError, Infeasible
from sim.hardware.device import Split
from sim.kernel import records
from sim.kernel.records import BUSY_S, JOULES, LAUNCH_S, PAIR_SHARE, SECONDS, WEIGHT_SHARE
from sim.mapping.assemblies import assemble
from sim.mapping.capacity import device_weight_bytes
from sim.mapping.layout import Parallel
from sim.mapping.parallelism import plan
from sim.mapping.program import Program
from sim.workload.architecture import Block, Encoder
from sim.workload.layers import build_graph
from sim.workload.routing import Router

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
SLACK = 1.0 + 1e-12
UNITS = ("gpu", "pim")

kinds = st.sampled_from(("moe", "mla", "hybrid"))
layouts = st.sampled_from(
    (
        {},
        {"count": 4},
        {"count": 4, "ep": 2},
        {"count": 4, "attention_dp": 2, "ep": 4},
        {"count": 8, "tp": 4, "pp": 2, "ep": 2},
    )
)
splits = st.sampled_from(("greedy", "exact"))
routers = st.sampled_from(
    (Router(), Router(kind="zipf", skew=1.0), Router(kind="correlated", skew=0.5, correlation=0.5))
)
seeds = st.integers(0, 1)
units = st.sampled_from(UNITS)
factors = st.floats(1.001, 50.0)
contexts = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=12)
lengths = st.lists(st.integers(1, 60).map(lambda n: (n, 0, n)), max_size=4)
copies = st.sampled_from((1, 1, 3, 25))
batches = st.builds(
    lambda p, d, n: Batch(prompts=tuple(p), decodes=tuple(d) * n), lengths, contexts, copies
)
decodes = st.builds(lambda d, n: Batch(decodes=tuple(d) * n), contexts, copies)
prefills = lengths.filter(bool).map(lambda p: Batch(prompts=tuple(p)))
Layout = dict[str, int]
RATES = ("weights_B_per_s", "kv_B_per_s", "activations_B_per_s")


def shared(
    kind: str,
    layout: Layout,
    split: str | Split = "greedy",
    router: Router | None = None,
    seed: int = 0,
) -> Program:
    """A model whose experts both units of a device share."""
    return program(kind, "PIM", coprocessing="pe", split=split, router=router, seed=seed, **layout)  # type: ignore[arg-type]


def pinned(
    kind: str, layout: Layout, unit: str, router: Router | None = None, seed: int = 0
) -> Program:
    """The same model with all experts on one unit."""
    return program(kind, "PIM", experts_on=unit, router=router, seed=seed, **layout)  # type: ignore[arg-type]


def products(of: Program) -> npt.NDArray[np.int64]:
    """Rows of products of experts."""
    return np.flatnonzero(of.table.records["kind"] == records.EXPERTS)


# --- never slower -------------------------------------------------------------------------------


@given(kinds, layouts, splits, routers, seeds, units, batches)
def test_two_units_are_never_slower_than_either_alone(
    kind: str, layout: Layout, split: str, router: Router, seed: int, unit: str, batch: Batch
) -> None:
    both = step(shared(kind, layout, split, router, seed), batch)
    alone = step(pinned(kind, layout, unit, router, seed), batch)
    assert both.seconds <= alone.seconds * SLACK


@given(kinds, layouts, routers, seeds, batches)
def test_exact_split_is_never_slower_than_greedy(
    kind: str, layout: Layout, router: Router, seed: int, batch: Batch
) -> None:
    greedy = step(shared(kind, layout, "greedy", router, seed), batch)
    exact = step(shared(kind, layout, "exact", router, seed), batch)
    assert exact.seconds <= greedy.seconds * SLACK


def better(of: Program, unit: str, fields: tuple[str, ...], factor: float) -> Program:
    """`of` with fields of one unit multiplied."""
    made = of.units.copy()
    for name in fields:
        made[name][UNITS.index(unit)] *= factor
    return replace(of, units=made)


@pytest.mark.parametrize(
    "fields",
    [RATES, ("weights_B_per_s",), ("kv_B_per_s",), ("flop_per_s",)],
    ids=["bandwidth", "bandwidth of weights", "bandwidth of KV", "peak"],
)
@given(kinds, layouts, units, batches, factors)
@example("moe", {}, "gpu", Batch(prompts=((500, 0, 500),), decodes=((300, 2),) * 33), 3.2)
def test_a_better_unit_is_never_slower(
    fields: tuple[str, ...], kind: str, layout: Layout, unit: str, batch: Batch, factor: float
) -> None:
    of = shared(kind, layout, "exact")
    faster = better(of, unit, fields, factor)
    assert step(faster, batch).seconds <= step(of, batch).seconds * SLACK


@given(kinds, layouts, splits, routers, st.integers(1, 400), st.integers(1, 60))
def test_more_sequences_never_take_less(
    kind: str, layout: Layout, split: str, router: Router, sequences: int, more: int
) -> None:
    of = shared(kind, layout, split, router)
    few, many = (step(of, decode_batch(n, 30)) for n in (sequences, sequences + more))
    assert few.seconds <= many.seconds * SLACK
    assert few.joules < many.joules


# --- sums ---------------------------------------------------------------------------------------


@given(kinds, layouts, splits, routers, batches)
def test_shares_of_a_product_s_copies_sum_to_one(
    kind: str, layout: Layout, split: str, router: Router, batch: Batch
) -> None:
    of = shared(kind, layout, split, router)
    done = step(of, batch)
    ops = of.table.graph.ops
    names = {ops[index].name.rsplit(".", 1)[0] for index in products(of)}
    groups = {int(of.table.records["group"][index]) for index in products(of)}
    for group in groups:
        for name in names:
            rows = [
                done.rows[index]
                for index in products(of)
                if of.table.records["group"][index] == group and ops[index].name.startswith(name)
            ]
            assert len(rows) == 2
            for share in (PAIR_SHARE, WEIGHT_SHARE):
                assert all(0.0 <= row[share] <= SLACK for row in rows)
                assert sum(row[share] for row in rows) == pytest.approx(1.0, rel=1e-12)


@given(kinds, layouts, splits, routers, batches)
def test_energy_and_time_are_sums_of_their_rows(
    kind: str, layout: Layout, split: str, router: Router, batch: Batch
) -> None:
    of = shared(kind, layout, split, router)
    done = step(of, batch)
    one = of.machine[0]
    assert (done.rows >= 0.0).all()
    dynamic = done.rows[:, JOULES].sum() * one["group"] * done.microbatches
    static = one["static_W"] * one["devices"] * done.seconds
    assert done.joules == pytest.approx(dynamic + static, rel=1e-12)
    passed = done.rows[:, SECONDS].sum()
    pace = max(done.microbatches * one["imbalance"] / one["stages"], 1.0)
    assert done.seconds == pytest.approx(passed * pace + done.host_s, rel=1e-12)


@given(kinds, layouts, splits, routers, batches)
def test_a_unit_works_while_the_pass_lasts(
    kind: str, layout: Layout, split: str, router: Router, batch: Batch
) -> None:
    """No unit is busy for longer than the pass; what is waited for is a part of what is worked."""
    of = shared(kind, layout, split, router)
    done = step(of, batch)
    assert (done.rows[:, SECONDS] <= done.rows[:, BUSY_S] * SLACK).all()
    assert (done.rows[:, LAUNCH_S] <= done.rows[:, SECONDS] * SLACK).all()
    for unit in range(len(UNITS)):
        busy = done.rows[done.chosen[:, 0] == unit, BUSY_S].sum()
        assert busy <= done.rows[:, SECONDS].sum() * SLACK


@given(kinds, layouts, splits, st.sampled_from(("pe", "pe+et")))
def test_weights_are_held_once(
    kind: str, layout: Layout, split: str, coprocessing: Literal["pe", "pe+et"]
) -> None:
    alone = program(kind, "PIM", **layout)  # type: ignore[arg-type]
    if coprocessing == "pe+et":
        layout = {**layout, "ep": layout.get("attention_dp", 1)}
    both = program(kind, "PIM", coprocessing=coprocessing, split=split, **layout)  # type: ignore[arg-type]
    assert device_weight_bytes(both) == device_weight_bytes(alone)


@given(kinds, layouts, splits, batches, units, factors)
def test_energy_of_a_unit_follows_its_own_constants(
    kind: str, layout: Layout, split: str, batch: Batch, unit: str, factor: float
) -> None:
    """Joules don't decide a split: those of one unit grow with its constants, no others do."""
    of = shared(kind, layout, split)
    dear = better(
        of, unit, ("J_per_flop", "weights_J_per_B", "kv_J_per_B", "activations_J_per_B"), factor
    )
    cheap_rows, dear_rows = step(of, batch).rows, step(dear, batch).rows
    own = step(of, batch).chosen[:, 0] == UNITS.index(unit)
    assert dear_rows[own, JOULES] == pytest.approx(cheap_rows[own, JOULES] * factor, rel=1e-12)
    assert (dear_rows[~own] == cheap_rows[~own]).all()


def test_experts_without_tokens_take_nothing() -> None:
    """Those of an encoder, while sequences decode."""
    experts = Block(mixer=MHA, ffn=MOE, norm_bias=True)
    decoder = Block(mixer=MHA, cross_attention=MHA, ffn=MLP, norms=3)
    graph = build_graph(model(decoder, encoder=Encoder(hidden=HIDDEN, layers=(experts,) * 2)))
    machines = system(DEVICES["PIM"], coprocessing="pe")
    of = assemble(graph, machines, plan(graph, machines, Parallel(tp=1)), Precision())
    rows = step(of, decode_batch(3, 30)).rows
    assert len(products(of)) == 4
    assert (rows[products(of), :PAIR_SHARE] == 0.0).all()
    assert np.isfinite(rows).all()


# --- a split of one's own -----------------------------------------------------------------------


def all_on_host(pairs: Floats, host_s: Floats, memory_s: Floats) -> Booleans:
    assert pairs.shape[:2] == host_s.shape == memory_s.shape
    return np.zeros(host_s.shape, bool)


def all_in_memory(pairs: Floats, host_s: Floats, memory_s: Floats) -> Booleans:
    return np.ones(host_s.shape, bool)


OWN = {"gpu": all_on_host, "pim": all_in_memory}


@given(kinds, layouts, units, batches)
def test_a_split_that_sends_all_to_one_unit_is_pinning_to_it(
    kind: str, layout: Layout, unit: str, batch: Batch
) -> None:
    of, alone = shared(kind, layout, OWN[unit]), pinned(kind, layout, unit)
    done, want = step(of, batch), step(alone, batch)
    rows, bare = done.rows[products(of)], want.rows[products(alone)]
    assert rows[1 - UNITS.index(unit) :: 2] == pytest.approx(0.0)
    used = rows[UNITS.index(unit) :: 2]
    assert used[:, JOULES] == pytest.approx(bare[:, JOULES], rel=1e-9)
    assert used[:, [PAIR_SHARE, WEIGHT_SHARE]] == pytest.approx(1.0, rel=1e-12)
    assert used[:, SECONDS] == pytest.approx(used[:, BUSY_S], rel=1e-12)
    if of.layout.ep == 1:  # else another rank may be the busiest in each product
        assert used[:, SECONDS] == pytest.approx(bare[:, SECONDS], rel=1e-12)
        assert used[:, LAUNCH_S] == pytest.approx(bare[:, LAUNCH_S], rel=1e-12)
    assert used[:, SECONDS].sum() <= bare[:, SECONDS].sum() * SLACK


@given(kinds, units, st.one_of(decodes, prefills))
def test_without_both_phases_such_a_split_is_as_fast_as_pinning(
    kind: str, unit: str, batch: Batch
) -> None:
    """Only prompts and decodes in one batch have attention to overlap."""
    done, want = step(shared(kind, {}, OWN[unit]), batch), step(pinned(kind, {}, unit), batch)
    assert done.seconds == pytest.approx(want.seconds, rel=1e-12)
    assert done.joules == pytest.approx(want.joules, rel=1e-12)


def test_a_split_of_the_wrong_shape_or_type_is_said_so() -> None:
    def whole_device(pairs: Floats, host_s: Floats, memory_s: Floats) -> Booleans:
        return np.ones(len(pairs), bool)

    def numbers(pairs: Floats, host_s: Floats, memory_s: Floats) -> Floats:
        return np.ones(host_s.shape)

    for policy in (whole_device, numbers):
        with pytest.raises(ConfigError, match="booleans"):
            shared("moe", {}, policy)  # type: ignore[arg-type]


# --- many design points -------------------------------------------------------------------------


@settings(max_examples=30)
@given(kinds, layouts, splits, st.lists(batches, min_size=1, max_size=4), factors)
def test_sweep_is_step_by_step(
    kind: str, layout: Layout, split: str, several: list[Batch], factor: float
) -> None:
    of = shared(kind, layout, split)
    points = [better(of, unit, RATES, factor) for unit in UNITS for _ in several]
    out = sweep(
        of,
        several * len(UNITS),
        np.stack([point.units for point in points]),
        np.repeat(of.links[None], len(points), axis=0),
        np.repeat(of.machine, len(points)),
    )
    for (seconds, joules), point, batch in zip(out, points, several * len(UNITS), strict=True):
        done = step(point, batch)
        assert (seconds, joules) == pytest.approx((done.seconds, done.joules), rel=1e-12)


# --- what cannot be -----------------------------------------------------------------------------


@pytest.mark.parametrize("coprocessing", ["pe", "pe+et"])
@pytest.mark.parametrize(
    ("of", "words"),
    [
        (DEVICES["one unit"], "needs two processors"),
        (DEVICES["two units"], "reads all banks at once"),
        (device(GPU, replace(PIM, bundles=1)), "reads all banks at once"),
        (device(GPU, replace(PIM, operators=("attention-decode",))), "needs two processors"),
    ],
    ids=["one unit", "a second core", "all banks at once", "attention only"],
)
def test_a_device_that_cannot_share_is_infeasible(
    of: object, words: str, coprocessing: str
) -> None:
    graph, machines = build_graph(MODELS["moe"]), system(of, coprocessing=coprocessing)  # type: ignore[arg-type]
    with pytest.raises(Infeasible, match=words):
        assemble(graph, machines, plan(graph, machines, Parallel(tp=1)), Precision())


def test_a_unit_that_lacks_the_arithmetic_is_infeasible() -> None:
    wide = Precision(weights="fp32", kv="fp32", activations="fp32")
    assert np.isfinite(step(pinned("moe", {}, "gpu"), Batch(decodes=((3, 1),))).seconds)
    with pytest.raises(Infeasible, match="no processor that runs experts computes in fp32"):
        program("moe", "PIM", coprocessing="pe", precision=wide)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"coprocessing": "pe+et", "count": 4, "ep": 2}, "write ep: 1"),
        ({"coprocessing": "pe+et", "count": 4, "attention_dp": 2}, "write ep: 2"),
        (
            {"coprocessing": "pe", "router": Router(kind="coverage", coverage=((1.0, 0.3),))},
            "router.kind",
        ),
        ({"coprocessing": "pe", "experts_on": "pim"}, "placement.experts"),
    ],
    ids=["ep within tp", "ep of groups", "coverage", "placement"],
)
def test_a_contradiction_is_a_mistake_of_the_user(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        program("moe", "PIM", **changes)  # type: ignore[arg-type]
