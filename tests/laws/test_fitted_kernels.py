"""Do fitted kernels keep physics: the roofline as their limit, monotone, never faster than it?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.config.catalogue import load_device
from sim.config.fitted import load_kernels, load_protocols
from sim.evidence.measured.attention import attention_op
from sim.evidence.measured.layers import vector
from sim.evidence.measured.operators import Rows, Work
from sim.graph import CAUSAL, Op, Phase
from sim.hardware import Device
from sim.hardware.kernels import Kernels, Line
from sim.mapping.parallelism import collective_after
from sim.workload.layers.parts import matmul

H100 = load_device("h100-sxm")
RTX_4090 = load_device("rtx-4090")
FAMILIES = ("nvidia-ampere", "nvidia-hopper", "nvidia-ada", "nvidia-ampere-consumer")
EXACT = 1e-9


def on(kernels: Kernels, device: Device = H100) -> Device:
    return replace(device, processors=(replace(device.processors[0], kernels=kernels),))


def neutral() -> Kernels:
    """Constants with which nothing is lost: all fixed times 0, tiles of 1, shares of 1."""
    base = load_kernels("nvidia-hopper")
    ones = {"memory", "small", "large", "small_m", "small_n", "large_m", "large_n", "operands"}
    product = {name: 1.0 if name in ones else 0.0 for name in base.matmul}
    product |= {"flop_J": 1e-15, "exponent": 1.0, "boost": 1.0, "split": 1e9, "depth": 1.0}
    vector = {"fixed_s": 0.0, "memory": 1.0, "exposed": 0.0}
    return replace(base, matmul=product, vector=vector)


def seconds(op: Op, device: Device, **features: float) -> float:
    timed = Rows()
    work = Work(**{key: np.array([value]) for key, value in features.items()})
    timed.add(op, np.array([0]), work)
    return float(timed.seconds(device, 1, repeated=False)[0])


def product(depth: int, width: int) -> Op:
    return matmul("product", depth, width, CAUSAL, "none")


sizes = st.integers(1, 20_000)


@given(st.integers(1, 4096), sizes, sizes)
def test_without_losses_a_product_is_the_roofline(m: int, n: int, k: int) -> None:
    """Slots of one element each and a whole wave or a long sum: nothing waits."""
    device = on(neutral())
    gpu = device.processors[0]
    took = seconds(product(k, n), device, tokens=m)
    flops = 2.0 * m * n * k / gpu.peak_flop_per_s["fp16"]
    moved = 2.0 * (m * k + k * n + m * n) / (device.memories[0].bandwidth_B_per_s or 1.0)
    slots = gpu.efficiency.slots
    waste = np.ceil(m * n / slots) * slots / (m * n)  # the only loss left: what a first wave lacks
    assert max(flops, moved) * (1.0 - EXACT) <= took <= max(flops * waste, moved) * (1.0 + EXACT)


@pytest.mark.parametrize("family", FAMILIES)
@given(m=st.integers(1, 5000), more=st.integers(1, 700), n=sizes, k=sizes)
def test_more_rows_take_no_less_time(family: str, m: int, more: int, n: int, k: int) -> None:
    device = on(load_kernels(family))
    less, after = (seconds(product(k, n), device, tokens=rows) for rows in (m, m + more))
    assert after >= less * (1.0 - EXACT)


@pytest.mark.parametrize("family", FAMILIES)
@given(m=st.integers(1, 5000), n=sizes, k=sizes)
def test_no_product_is_faster_than_its_roofline(family: str, m: int, n: int, k: int) -> None:
    kernels = load_kernels(family)
    device = on(kernels)
    took = seconds(product(k, n), device, tokens=m)
    peak = device.processors[0].peak_flop_per_s["fp16"] * kernels.matmul["boost"]
    assert took >= 2.0 * m * n * k / peak * (1.0 - EXACT)
    assert took >= 2.0 * n * k / (device.memories[0].bandwidth_B_per_s or 1.0) * (1.0 - EXACT)


@pytest.mark.parametrize("family", FAMILIES)
@given(
    batch=st.integers(1, 512), context=st.integers(1, 30_000), more=st.integers(1, 5000),
    heads=st.sampled_from([(32, 32), (32, 8), (64, 8), (96, 1)]),
)  # fmt: skip
def test_attention_of_more_context_takes_no_less_time(
    family: str, batch: int, context: int, more: int, heads: tuple[int, int]
) -> None:
    device = on(load_kernels(family))
    op = attention_op(*heads, 128, Phase.DECODE)
    times = [
        seconds(op, device, tokens=batch, pairs=batch * length, cached=batch * length,
                sequences=batch)
        for length in (context, context + more)
    ]  # fmt: skip
    assert times[1] >= times[0] * (1.0 - EXACT)
    stored = batch * context * op.kv_read * 2.0
    assert times[0] >= stored / (device.memories[0].bandwidth_B_per_s or 1.0) * (1.0 - EXACT)


@pytest.mark.parametrize("family", FAMILIES)
@given(
    new=st.integers(1, 16_000), more=st.integers(1, 500), past=st.integers(0, 16_000),
    heads=st.sampled_from([(32, 32), (32, 8), (64, 8)]),
)  # fmt: skip
def test_attention_of_longer_prompts_takes_no_less_time(
    family: str, new: int, more: int, past: int, heads: tuple[int, int]
) -> None:
    device = on(load_kernels(family))
    op = attention_op(*heads, 128, Phase.PREFILL)
    times = [
        seconds(op, device, tokens=tokens, pairs=tokens * past + tokens * (tokens + 1) / 2,
                cached=past + tokens, sequences=1)
        for tokens in (new, new + more)
    ]  # fmt: skip
    assert times[1] >= times[0] * (1.0 - EXACT)


@given(
    message=st.integers(1, 10**9), more=st.integers(1, 10**8), ranks=st.sampled_from([2, 4, 8, 16]),
    kind=st.sampled_from(["all-reduce", "all-gather", "all-to-all"]),
)  # fmt: skip
def test_longer_messages_take_no_less_time(message: int, more: int, ranks: int, kind: str) -> None:
    times = [seconds(collective(kind, ranks, size), H100, tokens=1) for size in
             (message, message + more)]  # fmt: skip
    assert times[1] >= times[0] * (1.0 - EXACT)


@given(message=st.integers(1, 10**9), ranks=st.sampled_from([2, 4, 8]))
def test_one_perfect_protocol_is_alpha_beta(message: int, ranks: int) -> None:
    line = Line(launch_s=0.0, hop_s=1e-6, share=1.0)
    plain = replace(load_protocols("nccl"), reductions=(line, line), copy=0.0, shot=(), shot_B=0.0)
    assert H100.link is not None
    device = replace(H100, link=replace(H100.link, protocols=plain))
    took = seconds(collective("all-reduce", ranks, message), device, tokens=1)
    moved = 2.0 * (ranks - 1) / ranks * message * 2.0 / H100.link.bandwidth_B_per_s
    assert took == pytest.approx(2.0 * (ranks - 1) * 1e-6 + moved, rel=EXACT)


def collective(kind: str, ranks: int, elements: float) -> Op:
    op = product(1, 1)
    return collective_after(op, "collective", kind, elements, ranks)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", FAMILIES)
@given(n=st.integers(1, 20_000), more=st.integers(1, 20_000), width=st.integers(64, 16_384))
def test_element_wise_operators_of_more_tokens_take_no_less_time(
    family: str, n: int, more: int, width: int
) -> None:
    device = on(load_kernels(family), RTX_4090)
    less, after = (
        seconds(vector("norm", 2.0 * width), device, tokens=rows) for rows in (n, n + more)
    )
    assert after >= less * (1.0 - EXACT)


def test_only_what_stays_in_the_cache_moves_faster_than_memory() -> None:
    """The RTX 4090 keeps 72 MiB: what a norm of 4 MB moves is in it, of 400 MB nothing is."""
    gpu, bandwidth = RTX_4090.processors[0], RTX_4090.memories[0].bandwidth_B_per_s or 1.0
    constants = load_kernels("nvidia-ada").vector
    assert gpu.cache_B == 72 * 2**20
    for tokens, share in ((500, constants["cached"]), (50_000, constants["memory"])):
        moved_s = 2.0 * 4096 * tokens / bandwidth / share
        took = seconds(vector("norm", 4096.0), RTX_4090, tokens=tokens)
        shorter, longer = sorted((moved_s, constants["fixed_s"]))
        assert took == pytest.approx(longer + constants["exposed"] * shorter, rel=1e-3)
    alone = replace(RTX_4090, processors=(replace(gpu, cache_B=0.0),))
    kept, gone = (seconds(vector("norm", 4096.0), each, tokens=2000) for each in (RTX_4090, alone))
    assert kept < 0.6 * gone
