"""The compiled kernel equals the plain reference, operator by operator."""

from __future__ import annotations

import math

import numpy as np
import pytest
from builders import DEVICES, MODELS, program
from reference import Machine, Row, machine

from sim.dtypes import Precision
from sim.engines import roofline
from sim.engines.roofline import Batch, decode_batch, prefill_batch
from sim.graph import Kind
from sim.kernel import laws
from sim.mapping.program import Program
from sim.workload.routing import Router

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
    assert kinds >= set(Kind) - {Kind.COLLECTIVE}
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
    of = program("moe", "PIM", count=4, ep=2, router=router)
    for tokens in (1, 7, 1024, 1100, 3000):  # on the table's exact part, its sparse part
        batch = Batch(decodes=((3, 1),) * tokens)
        check(of, machine(of), batch, f"{router.kind}, {tokens} tokens")


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
    experts = np.ones((len(of.streams), 3))
    laws.expert_features(features, of.coverage, experts)
    operators = len(of.table.records)
    rows, chosen = np.zeros((operators, 5)), np.zeros((operators, 2), np.int64)
    total = laws.evaluate(of.table.records, features, experts, of.units, of.links, rows, chosen)
    # sweep is what calls pass_time: one point, no host time, no static power, one device
    bare = of.machine.copy()
    bare["host_step_s"] = bare["static_W"] = 0.0
    bare["group"] = 1.0
    ((seconds, joules),) = roofline.sweep(
        of, [BATCHES["mixed"]], of.units[None], of.links[None], bare
    )
    assert seconds == pytest.approx(total, rel=EXACT)
    assert joules == pytest.approx(rows[:, 2:].sum(), rel=EXACT)
