"""Keys and values in few bits: their bytes, what that leaves room for, and what it costs."""

from __future__ import annotations

import pytest
from builders import DENSE, DEVICES, GPU, PIM, device, model, system

from sim.config.catalogue import load_model
from sim.dtypes import Grouped, Precision, arithmetic, bytes_per_element, conversions
from sim.engines.roofline import Step, decode_batch, step
from sim.hardware import Device
from sim.hardware.formats import converts
from sim.kernel.records import COMPUTE_J, MEMORY_J, VECTOR
from sim.mapping.assemblies import assemble
from sim.mapping.layout import Parallel
from sim.mapping.parallelism import plan
from sim.mapping.program import Program
from sim.results.simulate import simulate
from sim.workload.layers import build_graph

KIVI = Grouped(codes="int2", group=32, zero="fp16")
ELEMENTS = 32 * 2 * 8 * 128
"""Of a token of Llama-3.1-8B: layers, keys and values, heads of 128."""


@pytest.mark.parametrize(
    ("kv", "token_B"),
    [
        ("fp16", 131072.0),
        ("fp8", 65536.0),
        ("int8", 65536.0),
        ("int4", 33792.0),  # a scale of 16 bits for 128: 4.125 bits
        ("nvfp4", 36864.0),  # one of 8 bits for 16
        (Grouped(codes="int8", group=128), 66560.0),
        (Grouped(codes="fp8", group=128, scale="fp32"), 67584.0),
        (Grouped(codes="int4", group=64), 34816.0),
        (KIVI, 24576.0),  # 2 bits, and 16 + 16 for 32: 3 bits
        (Grouped(codes="int3", group=64, zero="int8"), 27648.0),
    ],
)
def test_bytes_of_a_token_by_hand(kv: str | Grouped, token_B: float) -> None:
    graph = build_graph(load_model("llama-3.1-8b"))
    assert graph.kv_bytes_per_token(kv) == token_B
    assert bytes_per_element(kv) * ELEMENTS == token_B


def test_operations_to_convert_an_element() -> None:
    found = {kv: conversions(kv) for kv in ("fp16", "fp8", "int8", "int4", "nvfp4", KIVI)}
    assert list(found.values()) == [0.0, 2.0, 2.0, 4.0, 4.0, 5.0]
    assert arithmetic(KIVI, "fp16") == "fp16"
    assert arithmetic(KIVI, "fp8") == "fp16"


def test_who_converts() -> None:
    assert GPU.kernels is None
    assert "int8" in GPU.peak_flop_per_s
    assert not converts(GPU, "fp16")
    assert not converts(GPU, "int8")
    assert converts(GPU, "fp8")
    assert converts(GPU, "int4")
    assert converts(GPU, KIVI)


def on(kv: str | Grouped, of: Device = DEVICES["one unit"]) -> Program:
    graph, machines = build_graph(model(*(DENSE,) * 4)), system(of)
    layout = plan(graph, machines, Parallel(tp=1))
    return assemble(graph, machines, layout, Precision(kv=kv))


def attention(of: Program, context: int) -> tuple[Step, int]:
    ops = [op.operator_class for op in of.table.graph.ops]
    return step(of, decode_batch(1, context)), ops.index("attention-decode")


@pytest.mark.parametrize("kv", ["fp8", "int4", KIVI])
def test_a_decode_step_converts_what_it_reads_and_writes(kv: str | Grouped) -> None:
    """One sequence of 1,000 tokens: 4 layers, keys and values, 2 heads of 16."""
    of = on(kv)
    done, index = attention(of, 1000)
    plain, _ = attention(on("fp16"), 1000)
    record, unit = of.table.records[index], of.units[0]
    elements = (1000 * record["kv_B_per_cached"] + record["kv_B_per_token"]) / bytes_per_element(kv)
    assert 4 * 1000 * record["kv_B_per_cached"] / bytes_per_element(kv) == 4 * 1000 * 2 * 2 * 16
    more_J = 4 * elements * conversions(kv) * unit["J_per_flop"][VECTOR]
    got_J = done.rows[index, COMPUTE_J] - plain.rows[index, COMPUTE_J]
    assert got_J == pytest.approx(more_J, rel=1e-12)
    assert more_J > 0.0
    moved = done.rows[index, MEMORY_J] / plain.rows[index, MEMORY_J]
    assert moved < 1.0


def test_conversion_takes_the_vector_units_time_where_memory_does_not_hide_it() -> None:
    slow = device(
        type(GPU)(**{**vars(GPU), "vector_flop_per_s": 1e8})  # conversion alone decides
    )
    of = on("int4", slow)
    done, index = attention(of, 1000)
    record = of.table.records[index]
    kv_B = 1000 * record["kv_B_per_cached"] + record["kv_B_per_token"]
    at_peak_s = 4 * kv_B * record["convert_per_kv_B"] / 1e8
    assert done.rows[index, 0] > at_peak_s
    fast, _ = attention(on("int4"), 1000)
    assert fast.rows[index, 0] < done.rows[index, 0]


def test_memory_with_arithmetic_of_its_own_converts_too() -> None:
    of = on("int4", device(GPU, PIM))
    assert of.units["converts"].tolist() == [1, 1]
    assert on("int8", device(GPU, PIM)).units["converts"].tolist() == [0, 1]


def test_fewer_bits_leave_room_for_more_and_decode_faster() -> None:
    """A closed loop of long answers that fp16 has no room for."""
    scenario = {
        "model": "llama-3.1-8b",
        "system": "h100-x1",
        "traffic": {"closed": {"concurrency": 64, "requests": 80, "input": 6000, "output": 300}},
        "scheduler": {"kind": "chunked-prefill", "memory_utilization": 0.5, "max_batch": 64},
    }
    formats = ("fp16", "fp8", "int4", {"codes": "int2", "group": 32, "zero": "fp16"})
    runs = [simulate({**scenario, "dtype": {"kv": kv}}) for kv in formats]
    rates = [run.metrics["throughput_tok_per_s"] for run in runs]
    assert rates == sorted(rates)
    assert rates[1] > 1.2 * rates[0]
    batches = [run.to_json()["mapping"]["iterations"] for run in runs]
    assert batches[0] > batches[1] >= batches[2]  # the same tokens in fewer, larger ones
    assert len({run.memory["kv_capacity_B"] for run in runs}) == 1
