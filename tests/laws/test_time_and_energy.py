"""Laws that any sound timing and energy model obeys, whatever the numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import DEVICES, MODELS, program
from hypothesis import assume, given
from hypothesis import strategies as st

from sim.engines.roofline import Batch, Step, decode_batch, step
from sim.graph import Kind, Phase, Side
from sim.kernel import laws, passes, records
from sim.mapping.program import STREAM_KINDS, Program

kinds = st.sampled_from(sorted(set(MODELS) - {"encoder-only"}))
devices = st.sampled_from(sorted(DEVICES))
layouts = st.sampled_from(({}, {"count": 4}, {"count": 4, "ep": 2}, {"count": 8, "tp": 4, "pp": 2}))
factors = st.floats(1.001, 50.0)
decodes = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=12)
prompts = st.lists(st.integers(1, 60).map(lambda n: (n, 0, n)), max_size=4)
batches = st.builds(lambda p, d: Batch(prompts=tuple(p), decodes=tuple(d)), prompts, decodes)
RATES = ("weights_B_per_s", "kv_B_per_s", "activations_B_per_s")
ENERGIES = ("weights_J_per_B", "kv_J_per_B", "activations_J_per_B")


def changed(of: Program, **parts: dict[str, float]) -> Program:
    """`of` with fields of its records (units, links, machine) multiplied."""
    made = {}
    for part, fields in parts.items():
        made[part] = getattr(of, part).copy()
        for name, factor in fields.items():
            made[part][name] *= factor
    return replace(of, **made)


def with_table(of: Program, **fields: float) -> Program:
    """`of` with fields of its operator table multiplied."""
    made = of.table.records.copy()
    for name, factor in fields.items():
        made[name] *= factor
    return replace(of, table=replace(of.table, records=made))


# --- dimensions -------------------------------------------------------------------------------


@given(kinds, devices, layouts, batches, factors)
def test_slower_clock_stretches_all_times(
    kind: str, on: str, layout: dict[str, int], batch: Batch, k: float
) -> None:
    of = program(kind, on, **layout)  # type: ignore[arg-type]
    slow = changed(
        of,
        units={**dict.fromkeys((*RATES, "flop_per_s"), 1.0 / k), "launch_s": k},
        links={"B_per_s": 1.0 / k, "latency_s": k},
        machine={"host_step_s": k, "host_sequence_s": k, "static_W": 1.0 / k},
    )
    assert step(slow, batch).seconds == pytest.approx(k * step(of, batch).seconds, rel=1e-12)
    assert step(slow, batch).joules == pytest.approx(step(of, batch).joules, rel=1e-12)


@given(kinds, devices, layouts, batches, factors)
def test_unit_of_bytes_does_not_matter(
    kind: str, on: str, layout: dict[str, int], batch: Batch, k: float
) -> None:
    of = program(kind, on, **layout)  # type: ignore[arg-type]
    sizes = [name for name in records.OP.names if "_B" in name and "_per_kv_B" not in name]
    assert len(sizes) == 7
    other = changed(
        with_table(of, **dict.fromkeys(sizes, k), convert_per_kv_B=1.0 / k),
        units={
            **dict.fromkeys((*RATES, "ramp_B"), k),
            **dict.fromkeys(ENERGIES, 1.0 / k),
        },
        links={"B_per_s": k, "J_per_B": 1.0 / k},
    )
    assert step(other, batch).seconds == pytest.approx(step(of, batch).seconds, rel=1e-12)
    assert step(other, batch).joules == pytest.approx(step(of, batch).joules, rel=1e-12)


@given(kinds, devices, layouts, batches, factors)
def test_unit_of_flops_does_not_matter(
    kind: str, on: str, layout: dict[str, int], batch: Batch, k: float
) -> None:
    of = program(kind, on, **layout)  # type: ignore[arg-type]
    other = changed(
        with_table(of, flops_per_token=k, flops_per_pair=k, flops_per_cached=k, convert_per_kv_B=k),
        units={"flop_per_s": k, "J_per_flop": 1.0 / k},
    )
    assert step(other, batch).seconds == pytest.approx(step(of, batch).seconds, rel=1e-12)
    assert step(other, batch).joules == pytest.approx(step(of, batch).joules, rel=1e-12)


# --- monotone ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "fields"),
    [
        ("units", RATES),
        ("units", ("flop_per_s",)),
        ("units", ("compute_efficiency",)),
        ("links", ("B_per_s",)),
    ],
    ids=["bandwidth", "peak", "efficiency", "link"],
)
@given(kinds, devices, layouts, batches, factors)
def test_better_hardware_is_never_slower(
    part: str,
    fields: tuple[str, ...],
    kind: str,
    on: str,
    layout: dict[str, int],
    batch: Batch,
    k: float,
) -> None:
    of = program(kind, on, **layout)  # type: ignore[arg-type]
    better = changed(of, **{part: dict.fromkeys(fields, k)})
    assert step(better, batch).seconds <= step(of, batch).seconds * (1.0 + 1e-12)


@given(kinds, devices, st.integers(1, 400), st.integers(2, 60), st.integers(1, 60))
def test_more_sequences_never_take_less(
    kind: str, on: str, sequences: int, context: int, more: int
) -> None:
    of = program(kind, on)
    few, many = (decode_batch(n, context) for n in (sequences, sequences + more))
    assert step(of, few).seconds <= step(of, many).seconds * (1.0 + 1e-12)
    assert step(of, few).joules < step(of, many).joules


@given(kinds, devices, st.integers(1, 8), st.integers(2, 400), st.integers(1, 60))
def test_longer_context_never_takes_less(
    kind: str, on: str, sequences: int, context: int, more: int
) -> None:
    assume(kind != "chunked-window")  # its window empties at multiples of its size
    of = program(kind, on)
    short, long = (decode_batch(sequences, n) for n in (context, context + more))
    assert step(of, short).seconds <= step(of, long).seconds * (1.0 + 1e-12)


@given(st.integers(1, 3000), st.integers(1, 200), st.integers(1, 3000), st.integers(1, 300))
def test_larger_product_is_never_faster(m: int, more: int, n: int, slots: int) -> None:
    def spent(rows: int) -> float:
        return rows * n / laws.tile_utilisation(float(rows), float(n), 16.0, 128.0, float(slots))

    assert spent(m) <= spent(m + more) * (1.0 + 1e-12)
    assert spent(m) >= m * n * (1.0 - 1e-12)


# --- bounds and sums --------------------------------------------------------------------------


def asked(of: Program, batch: Batch) -> np.ndarray:
    """Flops, and bytes of weights, KV and activations of one layer of each operator."""
    done = step(of, batch)
    shape = (len(of.table.records), len(of.units))
    demands, costs = np.empty((shape[0], 4)), np.empty((*shape, 5))
    arrays = (of.table.records, done.features, done.experts, of.routing, of.units, of.links)
    passes.candidates(records.Pass(*arrays, done.rows, done.chosen), demands, costs)
    return demands


@given(kinds, devices, layouts, batches)
def test_time_is_at_least_every_bound(
    kind: str, on: str, layout: dict[str, int], batch: Batch
) -> None:
    of = program(kind, on, **layout)  # type: ignore[arg-type]
    done = step(of, batch)
    for record, row, (unit, _), demand in zip(
        of.table.records, done.rows, done.chosen, asked(of, batch), strict=True
    ):
        if unit < 0:
            continue
        chosen, layers = of.units[unit], record["layers"]
        slack = row[0] * (1.0 + 1e-12) / layers
        assert slack >= demand[0] / chosen["flop_per_s"][record["arithmetic"]]
        assert slack >= sum(demand[1:] / [chosen[rate] for rate in RATES])
        assert slack >= record["launches"] * chosen["launch_s"]
    assert done.seconds >= done.rows[:, 0].sum() + of.machine["host_step_s"][0] - 1e-15


@given(kinds, devices, layouts, batches)
def test_energy_is_the_sum_of_its_rows(
    kind: str, on: str, layout: dict[str, int], batch: Batch
) -> None:
    of = program(kind, on, **layout)  # type: ignore[arg-type]
    done = step(of, batch)
    one = of.machine[0]
    dynamic = done.rows[:, records.JOULES].sum() * one["group"] * done.microbatches
    static = one["static_W"] * one["devices"] * done.seconds
    assert done.joules == pytest.approx(dynamic + static, rel=1e-12)
    assert (done.rows >= 0.0).all()


@given(devices, layouts, decodes, decodes)
def test_energy_of_attention_and_cache_adds_over_sequences(
    on: str, layout: dict[str, int], some: list[tuple[int, int]], others: list[tuple[int, int]]
) -> None:
    """What belongs to sequences adds up; weights are read once whatever the batch."""
    of = program("sliding", on, **layout)  # type: ignore[arg-type]
    attention = of.table.records["kind"] == Kind.ATTENTION
    assume(of.layout.pp == 1)

    def joules(batch: list[tuple[int, int]]) -> tuple[Step, float]:
        done = step(of, Batch(decodes=tuple(batch)))
        return done, done.rows[attention, records.JOULES].sum()

    (one, a), (two, b), (both, c) = joules(some), joules(others), joules(some + others)
    assume((one.chosen[attention] == two.chosen[attention]).all())
    assume((one.chosen[attention] == both.chosen[attention]).all())
    assert c == pytest.approx(a + b, rel=1e-12)
    weights = of.table.records["kind"] == Kind.MATMUL
    assert both.rows[weights, 3].sum() < one.rows[weights, 3].sum() + two.rows[weights, 3].sum()


@given(kinds, layouts, batches)
def test_placement_is_the_fastest_choice(kind: str, layout: dict[str, int], batch: Batch) -> None:
    """Each operator on its unit of two takes the lesser of what pinning it to either takes."""
    of = program(kind, "two units", **layout)  # type: ignore[arg-type]
    pinned = []
    for unit in (0, 1):
        table = of.table.records.copy()
        table["pinned"] = unit
        pinned.append(step(replace(of, table=replace(of.table, records=table)), batch))
    free = step(of, batch)
    best = np.minimum(pinned[0].rows[:, 0], pinned[1].rows[:, 0])
    assert free.rows[:, 0] == pytest.approx(best, rel=1e-12)


# --- the words that two rooms share -----------------------------------------------------------


def test_kernel_numbers_are_those_of_the_graph() -> None:
    assert [kind.value for kind in Kind] == [
        records.MATMUL,
        records.EXPERTS,
        records.ATTENTION,
        records.SCAN,
        records.ELEMENTWISE,
        records.GATHER,
        records.COLLECTIVE,
        records.PIPELINE,
    ]
    assert [kind.name for kind in Kind] == [
        "MATMUL", "EXPERTS", "ATTENTION", "SCAN", "VECTOR", "GATHER", "COLLECTIVE",
        "PIPELINE",
    ]  # fmt: skip
    assert {phase.name: phase.value for phase in Phase} == {
        "ALL": records.ALL,
        "PREFILL": records.PREFILL,
        "DECODE": records.DECODE,
        "LOGITS": records.LOGITS,
    }
    assert len(Side) == records.SIDES
    assert STREAM_KINDS == {
        "causal": records.CAUSAL,
        "encoder": records.ENCODER,
        "fixed": records.FIXED,
        "generated": records.GENERATED,
        "cross": records.CROSS,
    }
