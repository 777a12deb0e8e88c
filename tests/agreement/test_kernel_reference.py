"""The compiled kernel equals the plain reference, operator by operator."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from builders import DEVICES, MODELS, MOE, program
from reference import Machine, Row, machine

from sim.dtypes import Precision
from sim.engines import roofline
from sim.engines.roofline import Batch, decode_batch, prefill_batch
from sim.graph import Kind
from sim.kernel import passes
from sim.kernel.experts import expert_features
from sim.kernel.records import JOULES, PAIR_SHARE, ROW_COLUMNS, Pass
from sim.mapping.program import Program
from sim.workload.expert_slots import Placement
from sim.workload.routing import Router

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
EXACT = 1e-12
PRECISIONS = {
    "fp16": Precision(),
    "int4 weights": Precision(weights="int4", kv="fp8"),
    "int8": Precision(weights="int8", kv="int8", activations="int8"),
    "mxfp4 experts": Precision(weights="bf16", experts="mxfp4", activations="bf16"),
}
LAYOUTS = {
    "alone": {},
    "tp 4 (twice the KV heads)": {"count": 4},
    "ep 2 x tp 4, two nodes": {"count": 8, "tp": 4, "ep": 2, "pp": 2},
}
BATCHES = {
    "decode": Batch(decodes=((5, 1), (40, 3), (17, 20))),
    "one decode": decode_batch(1, 30),
    "prefill": prefill_batch(2, 45),
    "mixed": Batch(prompts=((33, 0, 33),), decodes=((5, 1), (12, 40))),
    "chunks": Batch(prompts=((60, 20, 17), (60, 30, 30)), decodes=((9, 9),)),
}


def targets(batch: Batch) -> list[tuple[int, int, int, int]]:
    return [(prompt, begin, tokens, prompt) for prompt, begin, tokens in batch.prompts]


def contexts(batch: Batch) -> list[tuple[int, int]]:
    return [(prompt, prompt + generated) for prompt, generated in batch.decodes]


def same(row: Row, numbers: np.ndarray, chosen: np.ndarray) -> bool:
    bounds = ("compute", "memory", "link", "overhead")
    want = (row.seconds, row.launch, row.compute_J, row.memory_J, row.link_J)
    want += (row.busy, row.pair_share, row.weight_share)
    close = all(
        math.isclose(a, b, rel_tol=EXACT) or (math.isnan(a) and math.isnan(b))
        for a, b in zip(want, numbers.tolist(), strict=True)
    )
    return close and row.unit == chosen[0] and row.bound == bounds[chosen[1]]


def check(of: Program, plain: Machine, batch: Batch, label: str) -> set[int]:
    """Compare every row and the totals; returns the kinds of operator that did something."""
    step = roofline.step(of, batch)
    seconds, joules, rows = plain.iteration(targets(batch), contexts(batch))
    kinds = set()
    for op, row, numbers, chosen in zip(
        of.table.graph.ops, rows, step.rows, step.chosen, strict=True
    ):
        assert same(row, numbers, chosen), f"{label}, {op.name}: {row} is not {numbers} {chosen}"
        if row.seconds > 0:
            kinds.add(int(op.kind))
    assert step.seconds == pytest.approx(seconds, rel=EXACT)
    assert step.joules == pytest.approx(joules, rel=EXACT, nan_ok=True)
    return kinds


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("on", DEVICES)
def test_compiled_equals_reference_for_every_kind_of_operator(
    on: str, precision: str, layout: str
) -> None:
    kinds: set[int] = set()
    for kind in MODELS:
        of = program(kind, on, precision=PRECISIONS[precision], **LAYOUTS[layout])  # type: ignore[arg-type]
        plain = machine(of)
        for name, batch in BATCHES.items():
            kinds |= check(of, plain, batch, f"{kind} on {on}, {precision}, {layout}, {name}")
    assert kinds >= set(Kind) - {Kind.COLLECTIVE, Kind.PIPELINE}
    assert (Kind.COLLECTIVE in kinds) == bool(LAYOUTS[layout])


@pytest.mark.parametrize(
    "router",
    [
        Router(kind="zipf", skew=1.2),
        Router(kind="correlated", skew=0.5, correlation=0.4),
        Router(kind="coverage", coverage=((1.0, 0.25), (64.0, 0.8))),
    ],
    ids=lambda router: router.kind,
)
def test_compiled_equals_reference_for_every_router(router: Router) -> None:
    """On two units a table of measured shares stays one; other routers' experts are drawn."""
    for on in ("one unit", "PIM"):
        of = program("moe", on, count=4, ep=2, router=router)
        assert (machine(of).drawn is None) == (on == "one unit" or router.kind == "coverage")
        for tokens in (1, 7, 1024, 1100, 3000):  # on the table's exact part, its sparse part
            batch = Batch(decodes=((3, 1),) * tokens)
            check(of, machine(of), batch, f"{router.kind} on {on}, {tokens} tokens")


TWO_UNITS = {
    "alone": {},
    "ep 2": {"count": 4, "ep": 2},
    "attention dp 2": {"count": 4, "attention_dp": 2},
    "attention dp 2, ep 2": {"count": 4, "attention_dp": 2, "ep": 2},
    "attention dp 8, ep 4, two nodes": {"count": 8, "tp": 1, "attention_dp": 8, "ep": 4},
    "attention dp 2, ep 4, pp 2, two nodes": {"count": 8, "attention_dp": 2, "ep": 4, "pp": 2},
}
EVEN_MORE = {
    **BATCHES,
    "many decodes": Batch(decodes=((5, 1),) * 301 + ((9, 30),) * 100),  # experts compute-bound
    "many more": Batch(decodes=((3, 1),) * 8200),  # more than the drawn sequence has
}
SHARED = [
    (coprocessing, split, layout)
    for coprocessing, split in (
        ("none", "greedy"), ("pe", "greedy"), ("pe", "exact"), ("pe+et", "greedy"),
        ("pe+et", "exact"),
    )
    for layout, degrees in TWO_UNITS.items()
    if coprocessing != "pe+et" or degrees.get("ep", 1) == degrees.get("attention_dp", 1)
]  # fmt: skip


@pytest.mark.parametrize("on", ["one unit", "PIM"])
@pytest.mark.parametrize("layout", [name for name in TWO_UNITS if "ep" in name])
@pytest.mark.parametrize("copies", [0, 4])
def test_compiled_equals_reference_where_experts_are_placed(
    on: str, layout: str, copies: int
) -> None:
    """All-to-all then waits for the busiest rank."""
    placement = Placement(placement="balanced" if copies else "contiguous", redundant=copies)
    router = Router(kind="zipf", skew=1.2, locality=0.4 if on == "one unit" else None)
    for kind in ("moe", "hybrid"):
        of = program(kind, on, experts=placement, router=router, **TWO_UNITS[layout])  # type: ignore[arg-type]
        assert of.table.records["routed"].any() == ("attention dp" in layout)
        plain = machine(of)
        for name, batch in EVEN_MORE.items():
            check(of, plain, batch, f"{kind} on {on}, {layout}, {copies} copies, {name}")


def without_ties(of: Program) -> Program:
    """`of` with the pairs of each expert worth a little more or less than one, and no padding.

    Different experts then never take the same time: which of two equally fast splits is taken is
    not documented. The weights are few binary digits long, so sums of them are exact.
    """
    weights = 1.0 + np.random.default_rng(0).integers(-(2**13), 2**13, MOE.count) / 2.0**18
    units = of.units.copy()
    units["tile_m"] = 2.0**-18
    routing = of.routing._replace(loads=of.routing.loads * weights)
    return replace(of, routing=routing, units=units)


@pytest.mark.parametrize(("coprocessing", "split", "layout"), SHARED)
def test_compiled_equals_reference_where_two_units_work_together(
    coprocessing: str, split: str, layout: str
) -> None:
    sides = set()
    for kind in ("moe", "hybrid"):
        of = program(kind, "PIM", coprocessing=coprocessing, split=split, **TWO_UNITS[layout])  # type: ignore[arg-type]
        plain = machine(of)
        for name, batch in EVEN_MORE.items():
            label = f"{kind}, {coprocessing} {split}, {layout}, {name}"
            if split == "exact":  # of equally fast splits only the time is the same
                seconds, _, _ = plain.iteration(targets(batch), contexts(batch))
                assert roofline.step(of, batch).seconds == pytest.approx(seconds, rel=EXACT), label
            else:
                check(of, plain, batch, label)
        if split == "exact":
            of = without_ties(of)
            plain = machine(of)
            for name, batch in EVEN_MORE.items():
                check(of, plain, batch, f"{kind}, {coprocessing} without ties, {layout}, {name}")
        for batch in EVEN_MORE.values():
            rows = roofline.step(of, batch).rows[of.table.records["kind"] == Kind.EXPERTS]
            sides |= {bool(share > 0.5) for share in rows[:, PAIR_SHARE]}
    assert sides == ({True} if coprocessing == "none" else {True, False})


@pytest.mark.parametrize("ep", [1, 2])
def test_compiled_equals_reference_with_a_policy_of_one_s_own(ep: int) -> None:
    def busy_ones_on_host(pairs: Floats, host_s: Floats, memory_s: Floats) -> Booleans:
        own = pairs.sum(axis=2)
        assert ((own > 0) == (host_s > 0)).all()
        assert ((own > 0) == (memory_s > 0)).all()
        return own < own.mean(axis=1, keepdims=True)

    of = program("moe", "PIM", count=4, ep=ep, coprocessing="pe", split=busy_ones_on_host)
    plain = machine(of)
    for name, batch in BATCHES.items():
        check(of, plain, batch, f"ep {ep}, {name}")


@pytest.mark.parametrize(
    "router",
    [
        Router(kind="zipf", skew=1.2, draw="sampled"),
        Router(kind="correlated", skew=0.5, correlation=0.4, draw="sampled"),
    ],
    ids=lambda router: router.kind,
)
@pytest.mark.parametrize("on", ["one unit", "PIM"])
def test_compiled_equals_reference_for_drawn_experts(on: str, router: Router) -> None:
    """Batches of a part of a token too: an odd number in two pipeline stages."""
    for layout in ({"ep": 4}, {"pp": 2, "ep": 2}):
        of = program("moe", on, count=4, router=router, seed=3, **layout)  # type: ignore[arg-type]
        plain = machine(of)
        for tokens in (1, 5, 127, 3000, 8191, 8192, 9001):
            check(of, plain, Batch(decodes=((3, 1),) * tokens), f"{on}, {router.kind}, {tokens}")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("on", DEVICES)
def test_sweep_equals_iteration_by_iteration(on: str, layout: str) -> None:
    of = program("hybrid", on, **LAYOUTS[layout])  # type: ignore[arg-type]
    batches = list(BATCHES.values())
    points = len(batches)
    out = roofline.sweep(
        of,
        batches,
        np.repeat(of.units[None], points, axis=0),
        np.repeat(of.links[None], points, axis=0),
        np.repeat(of.machine, points),
    )
    for (seconds, joules), batch in zip(out, batches, strict=True):
        want = machine(of).iteration(targets(batch), contexts(batch))
        assert (seconds, joules) == pytest.approx(want[:2], rel=EXACT)


@pytest.mark.parametrize("layout", TWO_UNITS)
def test_sweep_equals_iteration_by_iteration_where_two_units_work_together(layout: str) -> None:
    of = without_ties(
        program("moe", "PIM", coprocessing="pe", split="exact", **TWO_UNITS[layout])  # type: ignore[arg-type]
    )
    batches = list(BATCHES.values())
    points = len(batches)
    units = np.repeat(of.units[None], points, axis=0)
    units["weights_B_per_s"][:, 1] *= np.linspace(0.5, 2.0, points)
    out = roofline.sweep(
        of, batches, units, np.repeat(of.links[None], points, axis=0), np.repeat(of.machine, points)
    )
    for result, batch, own in zip(out, batches, units, strict=True):
        want = machine(replace(of, units=own)).iteration(targets(batch), contexts(batch))
        assert result.tolist() == pytest.approx(want[:2], rel=EXACT)


def test_sweep_takes_each_points_own_hardware() -> None:
    of = program("dense", "two units", count=4)
    units = np.repeat(of.units[None], 3, axis=0)
    links = np.repeat(of.links[None], 3, axis=0)
    machines = np.repeat(of.machine, 3)
    units[1]["weights_B_per_s"] *= 2.0
    links[2]["B_per_s"] *= 0.5
    machines[2]["host_step_s"] = 1.0
    out = roofline.sweep(of, [BATCHES["mixed"]], units, links, machines)
    plain = machine(of)
    plain.units[0].weights_B_per_s *= 2.0
    plain.units[1].weights_B_per_s *= 2.0
    faster = plain.iteration(targets(BATCHES["mixed"]), contexts(BATCHES["mixed"]))
    plain = machine(of)
    plain.links[0].B_per_s *= 0.5
    plain.links[1].B_per_s *= 0.5
    plain.one.host_step_s = 1.0
    slower = plain.iteration(targets(BATCHES["mixed"]), contexts(BATCHES["mixed"]))
    assert out[1] == pytest.approx(faster[:2], rel=EXACT)
    assert out[2] == pytest.approx(slower[:2], rel=EXACT)
    assert out[0, 0] != pytest.approx(out[1, 0], rel=1e-6)


def test_evaluate_and_pass_time_agree() -> None:
    of = program("moe", "PIM", count=4, ep=2)
    features, _ = roofline.features_of(of, BATCHES["mixed"])
    experts = np.ones((of.feature_rows, 3))
    expert_features(of.table.records, features, of.routing, experts)
    operators = len(of.table.records)
    rows = np.zeros((operators, ROW_COLUMNS))
    chosen = np.zeros((operators, 2), np.int64)
    arrays = (of.table.records, features, experts, of.routing, of.units, of.links, rows, chosen)
    total = passes.evaluate(Pass(*arrays))
    # sweep is what calls pass_time: one point, no host time, no static power, one device
    bare = of.machine.copy()
    bare["host_step_s"] = bare["host_sequence_s"] = bare["static_W"] = 0.0
    bare["group"] = 1.0
    ((seconds, joules),) = roofline.sweep(
        of, [BATCHES["mixed"]], of.units[None], of.links[None], bare
    )
    assert seconds == pytest.approx(total, rel=EXACT)
    assert joules == pytest.approx(rows[:, JOULES].sum(), rel=EXACT)
