"""Single laws of the kernel, on numbers a person can check."""

from __future__ import annotations

import numpy as np
import pytest

from sim.graph import collective_terms
from sim.kernel import laws, operators, passes, records


@pytest.mark.parametrize(
    ("m", "n", "want"),
    [
        (16, 1000, 1.0),  # fills its tile, below one wave
        (8, 1000, 0.5),  # half a tile
        (17, 64, 17 / 32),
        (128, 128 * 4, 1.0),  # exactly one wave of 4 tiles
        (128, 128 * 5, 5 / 8),  # the second wave has one tile
        (256, 128 * 6, 1.0),  # 12 tiles, three whole waves
        (0, 128, 1.0),  # nothing to pad
    ],
)
def test_tile_utilisation(m: float, n: float, want: float) -> None:
    assert laws.tile_utilisation(float(m), float(n), 16.0, 128.0, 4.0) == pytest.approx(want)


def test_stream_time_adds_the_start_once_and_derates_both() -> None:
    assert laws.stream_time(1e-3, 1e-6, 0.5) == pytest.approx(2.002e-3)
    assert laws.stream_time(0.0, 1e-6, 0.5) == 0.0


@pytest.mark.parametrize(
    ("collective", "ring", "tree", "direct"),
    [
        # group of 4, 100 B message, 1 s a hop, 10 B/s
        ("all-reduce", 6 + 15, 4 + 20, 2 + 15),
        ("all-gather", 3 + 7.5, 2 + 7.5, 1 + 7.5),
        ("all-to-all", 3 + 7.5, 2 + 10, 1 + 7.5),
        ("send", 1 + 10, 1 + 10, 1 + 10),
    ],
)
def test_collectives_of_four(collective: str, ring: float, tree: float, direct: float) -> None:
    steps, factors = collective_terms(collective, 4)
    got = [
        laws.collective_time(100.0, hops, factor, 10.0, 1.0)
        for hops, factor in zip(steps, factors, strict=True)
    ]
    assert got == pytest.approx([ring, tree, direct])


def op(**fields: object) -> np.void:
    record = np.zeros(1, records.OP)
    record["pinned"], record["layers"], record["launches"] = -1, 1.0, 1.0
    for name, value in fields.items():
        record[name] = value
    return record[0]


def test_auto_takes_the_faster_of_ring_and_tree_and_a_named_one_is_obeyed() -> None:
    record = op(kind=records.COLLECTIVE, message_B_per_token=100.0)
    record["steps"], record["factor"] = collective_terms("all-reduce", 4)
    features = np.zeros((4, 4))
    features[records.ALL, records.TOKENS] = 1.0
    links = np.zeros(1, records.LINK)
    links["B_per_s"], links["latency_s"], links["efficiency"] = 10.0, 1.0, 1.0
    links["J_per_B"] = 2.0
    seconds = {}
    for algorithm in (-1, 0, 1, 2):
        links["algorithm"] = algorithm
        seconds[algorithm], joules = operators.communicate(record, 1.0, 1.0, links)
        sent = 200.0 if algorithm == 1 else 150.0
        assert joules == pytest.approx(2.0 * sent)
    assert seconds == pytest.approx({-1: 21.0, 0: 21.0, 1: 24.0, 2: 17.0})


def machine(**fields: float) -> np.void:
    record = np.zeros(1, records.MACHINE)
    record["devices"] = record["group"] = record["stages"] = record["imbalance"] = record[
        "slow"
    ] = 1.0
    for name, value in fields.items():
        record[name] = value
    return record[0]


@pytest.mark.parametrize(
    ("microbatches", "want"),
    [
        (1.0, 10.0),  # one microbatch passes all stages and waits for nobody
        (2.0, 10.0),  # twice 4 s in the slowest stage: hidden by the pass
        (3.0, 12.0),  # three times 4 s: not any more
        (4.0, 16.0),
    ],
)
def test_only_a_full_pipeline_waits_for_its_slowest_stage(microbatches: float, want: float) -> None:
    """Four stages of 2.5 s in the mean, the slowest 1.6 times that."""
    record = machine(stages=4.0, imbalance=1.6)
    assert passes.step_time(10.0, microbatches, 2.0, record, 0.0) == pytest.approx(want + 2.0)


def test_step_energy_counts_devices_and_microbatches() -> None:
    record = machine(devices=8.0, group=4.0, static_W=3.0)
    # 5 J on each of 4 devices that work on a microbatch, two of them; 8 devices on for 10 s
    assert passes.step_energy(5.0, 10.0, 2.0, record) == pytest.approx(5 * 4 * 2 + 3 * 8 * 10)


@pytest.mark.parametrize(
    ("tokens", "want"), [(0.0, 0.0), (0.5, 1.0), (2.0, 3.0), (6.5, 5.0), (99.0, 6.0)]
)
def test_interpolation_is_linear_and_ends_flat(tokens: float, want: float) -> None:
    table = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 3.0], [5.0, 4.0], [8.0, 6.0]])
    assert laws.interpolate(table, tokens, 1) == pytest.approx(want)


def test_a_unit_without_the_arithmetic_is_never_chosen() -> None:
    record = op(kind=records.MATMUL, flops_per_token=1.0, weight_B=1.0, width=1.0)
    units = np.zeros(2, records.PROCESSOR)
    for name in units.dtype.names:
        units[name] = 1.0 if units.dtype[name].kind == "f" else 1
    units["flop_per_s"][0] = np.nan  # would be faster in memory
    units["weights_B_per_s"][0] = 1e9
    features, experts = np.zeros((1, 4, 4)), np.ones((1, 3))
    features[0, records.ALL] = 1.0
    nowhere = records.Routing(
        np.zeros((1, 4)), np.zeros((0, 2)), np.zeros((1, 0)), None, np.ones(0)
    )
    rows, chosen = np.zeros((1, records.ROW_COLUMNS)), np.zeros((1, 2), np.int64)
    ops, links = np.array([record]), np.zeros(1, records.LINK)
    passes.evaluate(records.Pass(ops, features, experts, nowhere, units, links, rows, chosen))
    assert chosen[0, records.UNIT] == 1
