"""Three ways to multiply by constant weights: they agree with Fig. 12 and 13, and grow as due."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sim
from sim.config.inputs import load_inputs
from sim.evidence.papers import reproduce
from sim.evidence.papers.hnlpu.designs import operators_of, simulated
from sim.hardware.hardwired.operators import leakage_J
from sim.workload.layers import build_graph

MADE = operators_of(load_inputs("hnlpu"))
SIZES = st.integers(1, 20_000)
BITS = st.integers(1, 32)
DESIGNS = st.sampled_from(list(MADE.values()))


@pytest.mark.parametrize(
    ("design", "cycles", "nJ", "area"),
    [("MA", 222.4, 246.0, 1.0), ("CE", 36.5, 0.660, 14.3), ("ME", 35.2, 0.182, 0.95)],
)
def test_the_benchmark_of_the_paper(design: str, cycles: float, nJ: float, area: float) -> None:
    operator = MADE[design]
    assert operator.cycles(1024, 128, 8) == pytest.approx(cycles, rel=0.03)
    assert operator.energy_J(1024, 128, 8) * 1e9 == pytest.approx(nJ, rel=0.03)
    assert operator.area(1024, 128) == pytest.approx(area)


def test_metal_embedding_takes_a_cycle_a_bit_and_an_array_one_a_weight_and_unit() -> None:
    me, ma, ce = MADE["ME"], MADE["MA"], MADE["CE"]
    assert me.cycles(1024, 128, 16) - me.cycles(1024, 128, 8) == pytest.approx(8.0)
    assert me.cycles(2048, 128, 8) - me.cycles(1024, 128, 8) == pytest.approx(1.0)
    assert ma.cycles(1024, 256, 8) - ma.cycles(1024, 128, 8) == pytest.approx(128.0)
    assert ma.cycles(1024, 128, 8) - ma.fixed_cycles == pytest.approx(1024 * 128 / 1024)
    assert ce.cycles(1024, 128, 4) == ce.cycles(1024, 128, 8)


@given(DESIGNS, SIZES, SIZES, BITS, st.integers(0, 4000), st.integers(0, 16))
def test_more_bits_or_inputs_never_take_less(
    operator: object, inputs: int, outputs: int, bits: int, more: int, wider: int
) -> None:
    assert isinstance(operator, type(MADE["ME"]))
    small, large = (inputs, outputs, bits), (inputs + more, outputs, bits + wider)
    assert operator.cycles(*small) <= operator.cycles(*large)
    assert operator.energy_J(*small) <= operator.energy_J(*large)
    assert operator.area(*small[:2]) <= operator.area(*large[:2])


@given(SIZES, SIZES, BITS)
def test_order_of_the_designs_in_area_and_energy(inputs: int, outputs: int, bits: int) -> None:
    areas = {name: each.area(inputs, outputs) for name, each in MADE.items()}
    assert areas["ME"] < areas["MA"] < areas["CE"]
    energies = {name: each.energy_J(inputs, outputs, bits) for name, each in MADE.items()}
    assert energies["ME"] < energies["CE"] < energies["MA"]


def test_leakage_is_power_times_time() -> None:
    assert leakage_J(2.0, 0.5, 100.0, 1e9) == pytest.approx(1e-7)


def test_rows_of_the_evidence() -> None:
    graph = build_graph(sim.load_model("gpt-oss-120b"))
    ids = simulated(load_inputs("hnlpu"), graph)
    found = {row.id: row for row in reproduce("hnlpu").rows if row.id in ids}
    assert [row.id for row in found.values() if row.status == "miss"] == []
    assert found["I-leakage"].simulated == pytest.approx(0.76, abs=0.005)
    assert found["I-link-column"].simulated == pytest.approx(3.32, abs=0.005)
    assert found["I-link-row"].simulated == pytest.approx(2.03, abs=0.006)
    assert found["I-link-4B"].simulated == pytest.approx(150_557, abs=1)
    assert found["I-operator"].simulated == pytest.approx(11.4, abs=0.05)
    table_4 = {name: row for name, row in found.items() if name.startswith("T4-")}
    assert len(table_4) == 4
    assert {row.status for row in table_4.values()} == {"info"}
    assert table_4["T4-llama-3-8b"].simulated == pytest.approx(37.2, abs=0.05)
    calibrated = [row.id for row in found.values() if row.kind == "calibrated"]
    assert len(calibrated) == 9  # of Fig. 13 and its quotients
    assert all(name.startswith("F13-") for name in calibrated)
