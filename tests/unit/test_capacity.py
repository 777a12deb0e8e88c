"""What a device's memory holds, by hand, and the refusal where it is too small."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import DENSE, GPU, HBM, MODELS, device, model, program, system

from sim.dtypes import Precision
from sim.errors import Infeasible
from sim.hardware import Device
from sim.mapping.assemblies import assemble
from sim.mapping.capacity import activation_bytes, budget, device_weight_bytes
from sim.mapping.layout import Parallel
from sim.mapping.parallelism import plan
from sim.mapping.program import Program
from sim.workload.architecture import Architecture
from sim.workload.layers import build_graph

LAYER = 64 * (64 + 2 * 32) + 64 * 64 + 64 * 320 + 160 * 64 + 2 * 64
"""Weights of a dense toy layer: qkv, attention output, gated feed-forward, two norms."""
TABLE = 1000 * 64


def on(of: Device, architecture: Architecture, **wanted: int) -> Program:
    graph, machines = build_graph(architecture), system(of, 8, 8)
    layout = plan(graph, machines, Parallel(**{"tp": 1, **wanted}))
    return assemble(graph, machines, layout, Precision())


def test_weights_of_one_device_are_the_model() -> None:
    assert device_weight_bytes(program("dense")) == 2 * (4 * LAYER + 2 * TABLE + 64)


def test_weights_of_experts_in_their_own_format() -> None:
    of = program("moe", precision=Precision(weights="fp16", experts="mxfp4"))
    expert_weights = 4 * 8 * 3 * 64 * 96
    plain = device_weight_bytes(program("moe"))
    assert plain - device_weight_bytes(of) == pytest.approx(expert_weights * (2 - 4.25 / 8))


def test_the_fullest_stage_has_the_most_layers_and_a_table() -> None:
    """Five layers on two stages: three of them, with the embedding or with the head."""
    of = on(device(), model(*(DENSE,) * 5), pp=2)
    # the final norm is spread with the layers
    assert device_weight_bytes(of) == pytest.approx(2 * (3 * (LAYER + 64 / 5) + TABLE))


def test_activations_are_those_of_the_widest_operator() -> None:
    of = program("dense")
    norms = 2 * (2 * 64 + 2 * 64)  # two norms, each with its residual in and out
    feed_forward = 320 + 160
    widest = max(norms, feed_forward)
    assert activation_bytes(of, tokens=100, sequences=1) == 2 * 100 * 2 * widest
    # with many sequences the head's logits are the widest
    assert activation_bytes(of, tokens=100, sequences=100) == 2 * 100 * 2 * (64 + 1000)


def test_cache_gets_what_is_left() -> None:
    of = program("dense")
    got = budget(of, utilization=0.9, tokens=64, sequences=8)
    assert got.usable_B == 0.9 * 2**30
    assert got.kv_B == pytest.approx(0.9 * 2**30 - got.weights_B - got.activations_B)
    assert got.weights_B == device_weight_bytes(of)


def test_memories_apart_are_filled_apart() -> None:
    apart = device(
        replace(GPU, weights_memory="flash"),
        memories=(HBM, replace(HBM, name="flash", capacity_B=2.0**20)),
    )
    of = on(apart, MODELS["dense"])
    got = budget(of, utilization=1.0, tokens=1, sequences=1)
    assert got.kv_B == 2.0**30 - got.activations_B


@pytest.mark.parametrize(
    ("capacity", "what"),
    [(1000.0, "weights take"), (2 * (4 * LAYER + 2 * TABLE + 64), "activations")],
)
def test_a_model_that_does_not_fit_says_by_how_much(capacity: float, what: str) -> None:
    of = on(device(memories=(replace(HBM, capacity_B=capacity),)), MODELS["dense"])
    with pytest.raises(Infeasible, match=what) as caught:
        budget(of, utilization=1.0, tokens=64, sequences=8)
    assert caught.value.numbers["needed_B"] > caught.value.numbers["free_B"]


def test_unknown_capacity_is_infeasible_not_infinite() -> None:
    of = on(device(memories=(replace(HBM, capacity_B=None),)), MODELS["dense"])
    with pytest.raises(Infeasible, match="capacity of memory hbm is not known"):
        budget(of, utilization=1.0, tokens=64, sequences=8)


@pytest.mark.parametrize(
    ("kind", "count", "tp", "pp", "want"),
    [
        ("dense", 1, 1, 1, 4 * 2 * 2 * 16 * 2),  # layers x (K, V) x heads x dim x bytes
        ("dense", 2, 2, 1, 4 * 2 * 1 * 16 * 2),
        ("dense", 4, 4, 1, 4 * 2 * 1 * 16 * 2),  # two KV heads, copied
        ("dense", 2, 1, 2, 2 * 2 * 2 * 16 * 2),  # half the layers
        ("mla", 4, 4, 1, 4 * (32 + 8) * 2),  # one latent, on every device
        ("hybrid", 1, 1, 1, 2 * 2 * 2 * 16 * 2),  # two of four layers attend
        ("ssm", 1, 1, 1, 0),
    ],
)
def test_cache_bytes_of_a_token_on_one_device(
    kind: str, count: int, tp: int, pp: int, want: int
) -> None:
    assert program(kind, count=count, tp=tp, pp=pp).streams["kv_B"].sum() == want


def test_state_of_a_sequence_is_divided_like_its_layers() -> None:
    """Mamba-1: inner x state, and the last three inputs of the convolution; fp16."""
    per_layer = (128 * 8 + 128 * 3) * 2
    assert program("ssm").state_B == 4 * per_layer
    assert program("ssm", count=4, tp=2, pp=2).state_B == 4 * per_layer / 4
