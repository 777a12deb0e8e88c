"""Mixtures of experts measured alone: aiconfigurator's and Frontier's tables of one layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from sim.dtypes import BITS
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.expert_loads import busiest_rank
from sim.evidence.measured.formats import Format, Unsupported, described, fold_of, rows
from sim.evidence.measured.named import device_in
from sim.evidence.measured.operators import Rows, built, grouped, known_format
from sim.evidence.measured.tables import Table
from sim.graph import CAUSAL, Kind, Op
from sim.hardware import Device
from sim.mapping.layout import Layout
from sim.mapping.parallelism import slice_of
from sim.workload.architecture import Experts
from sim.workload.layers.feed_forward import expert_layer

Floats = npt.NDArray[np.float64]
UNGATED: Final = ((2688, 1856), (2048, 5120))
"""Hidden and inner size of experts without a gate (squared ReLU): the Nemotron 3 models."""
FUSED_EXPERTS: Final = 128
"""Most experts that TensorRT-LLM 1.0, the last one timed before Hopper, picks in one kernel. For
more it runs softmax, top-k, sort and offsets one by one, each of which reads and writes scores."""
UNFUSED_KERNELS: Final = 8
BEFORE_HOPPER: Final = ("nvidia-ampere", "nvidia-ampere-consumer", "nvidia-ada")
"""Kernels of devices that were timed with that version."""
OLDER: Final = ("l40s", "l4", "a40")
"""Devices likewise that share the kernels of all generations."""
BLOCKS: Final = ("fp8_block",)
"""Formats whose inputs are rounded a block at a time, by a kernel before each product that reads
and writes them, and whose other kernels aren't fused with products."""
BLOCK_PASSES: Final = 5.0
TRITON: Final = ("w4a16_mxfp4",)
"""Formats whose experts run as Triton's kernels: a chain of small ones beside them sorts
pairs and moves their rows several times."""
TRITON_KERNELS: Final = 20
TRITON_PASSES: Final = 3.0
HOST_S: Final = 190e-6
"""What vLLM's Python takes to launch an expert layer operator by operator (no CUDA graph)."""
HOST_EXPOSED: Final = 0.4
"""Share of the shorter of launching and running that the longer doesn't hide."""


def predict_moe(table: Table, constants: Constants) -> pd.DataFrame:
    """Expert layers of the aiconfigurator database, on the busiest rank, in microseconds."""
    name = device_in(table, r"moe_(.+)_[a-z]+$")
    device, frame = constants.device(name), table.frame
    timed = built(table, "moe", lambda: _layer_rows(frame, device))
    seconds = timed.seconds(device, len(frame), repeated=True)

    def make() -> pd.DataFrame:
        named = frame["moe_dtype"].astype(str) + " " + frame["distribution"].astype(str)
        unknown = "number format or distribution " + named
        shape = _text(frame, ["hidden_size", "inter_size", "topk", "num_experts"])
        return rows(
            frame["latency_us"],
            seconds * 1e6,
            device=name,
            phase="moe",
            dtype=frame["moe_dtype"],
            reason=np.where(np.isfinite(seconds), "", unknown),
            fold=fold_of(shape + "|" + _text(frame, ["moe_tp_size", "moe_ep_size"])),
        )

    return described(table, seconds * 1e6, make)


def _text(frame: pd.DataFrame, columns: list[str]) -> pd.Series:
    return frame[columns].astype(str).agg("|".join, axis=1)


def _layer_rows(frame: pd.DataFrame, device: Device) -> Rows:
    timed = Rows()
    keys = [
        "moe_dtype", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size",
        "moe_ep_size", "distribution",
    ]  # fmt: skip
    kernels = device.processors[0].kernels
    unfused = device.name in OLDER or (kernels is not None and kernels.name in BEFORE_HOPPER)
    for (dtype, hidden, inner, top_k, count, tp, ep, distribution), group in grouped(frame, keys):
        formats = known_format(str(dtype))
        if formats is None:
            continue
        spec = Experts(
            count=int(count), top_k=int(top_k), intermediate=int(inner),
            gated=(hidden, inner) not in UNGATED,
        )  # fmt: skip
        try:
            seen = [
                busiest_rank(int(tokens), spec.count, spec.top_k, int(ep), str(distribution))
                for tokens in group["num_tokens"]
            ]
        except Unsupported:
            continue
        touched, load = np.array(seen).T
        experts = np.stack([touched * ep, touched, load], axis=1)
        tokens = group["num_tokens"].to_numpy(float)
        add = partial(timed.add, index=group.index.to_numpy(), formats=formats)
        for op in sliced_layer(spec, int(hidden), int(tp), int(ep)):
            if op.kind == Kind.EXPERTS:
                add(op, tokens=tokens, experts=experts, expert_ranks=int(ep))
            else:  # of pairs, of which this rank has more; or of every token
                add(op, tokens=tokens * (load if op.inputs else 1.0), formats=_wide(formats))
        if unfused and spec.count > FUSED_EXPERTS:
            op = passes("picking", 4.0 * UNFUSED_KERNELS * spec.count, UNFUSED_KERNELS)
            add(op, tokens=tokens)
        if str(dtype) in BLOCKS:
            for elements in (hidden, inner / tp):
                op = passes("rounding", BLOCK_PASSES * top_k * elements / ep, 0)
                add(op, tokens=tokens * load)
        if str(dtype) in TRITON:
            op = passes("sorting", TRITON_PASSES * top_k * hidden, TRITON_KERNELS)
            add(op, tokens=tokens)
    return timed


def _wide(formats: tuple[str, str, str]) -> tuple[str, str, str]:
    """Formats of what lies between products: 16 bits, whatever products read."""
    activations = formats[2] if BITS[formats[2]] >= 16.0 else "bf16"
    return formats[0], formats[1], activations


def passes(name: str, elements: float, kernels: int) -> Op:
    """Small kernels beside the products, which read and write `elements` of 16 bits a token."""
    return Op(
        name=name, kind=Kind.VECTOR, operator_class="norm", inputs=elements, launches=kernels
    )  # fmt: skip


def sliced_layer(spec: Experts, hidden: int, tp: int, ep: int) -> Iterator[Op]:
    """The routed experts' operators of one of tp x ep devices.

    Results are summed where they are: a rank reads those of its own pairs and writes every token's
    partial sum, which takes no launch of its own.
    """
    layout = Layout(tp=tp * ep, pp=1, ep=ep, dp=1)
    for op in expert_layer(spec, hidden, CAUSAL):
        if op.name == "experts_combine":
            yield replace(op, inputs=op.inputs / ep, outputs=0.0)
            yield replace(op, inputs=0.0, flops_per_token=0.0, launches=0.0)
        elif op.name.startswith("experts_"):
            yield slice_of(op, layout)


def predict_frontier(table: Table, constants: Constants) -> pd.DataFrame:
    """Expert products of Frontier's profile of vLLM, launched one by one, in milliseconds.

    Every token's experts are among those of the device.
    """
    name = device_in(table, r"moe_([A-Za-z0-9]+)_")
    device, frame = constants.device(name), table.frame
    timed = built(table, "products", lambda: _product_rows(frame))
    kernels = timed.seconds(device, len(frame), repeated=True)
    seconds = np.maximum(kernels, HOST_S) + HOST_EXPOSED * np.minimum(kernels, HOST_S)
    shape = _text(frame, ["num_experts_per_device", "num_tensor_parallel_workers"])
    known = frame["load_distribution"] == "uniform"
    dtype = frame["profiling_precision"].astype(str).str.lower()
    unknown = np.where(known, "number format " + dtype, "distribution of experts' loads")
    return rows(
        frame["grouped_gemm_ms"],
        seconds * 1e3,
        device=name,
        phase="moe-eager",
        dtype=dtype,
        reason=np.where(np.isfinite(seconds), "", unknown),
        fold=fold_of(shape),
    )


def _product_rows(frame: pd.DataFrame) -> Rows:
    timed = Rows()
    keys = [
        "profiling_precision", "num_experts_per_device", "router_topk", "hidden_dim",
        "expert_hidden_dim", "num_tensor_parallel_workers", "load_distribution",
    ]  # fmt: skip
    for (dtype, here, top_k, hidden, inner, tp, distribution), group in grouped(frame, keys):
        formats = known_format(str(dtype).lower())
        if formats is None or distribution != "uniform":
            continue
        spec = Experts(count=int(here), top_k=int(top_k), intermediate=int(inner))
        tokens = group["num_tokens"].to_numpy(float)
        touched = here * (1.0 - (1.0 - top_k / here) ** tokens)
        experts = np.stack([touched, touched, np.ones(len(group))], axis=1)
        for op in sliced_layer(spec, int(hidden), int(tp), 1):
            if op.name != "experts_combine":
                timed.add(
                    op, group.index.to_numpy(), tokens=tokens, experts=experts, formats=formats
                )
    return timed


FORMATS = (
    Format(
        family="moe",
        pattern=r"aic_kernels/moe_.+",
        columns=(
            "moe_dtype", "num_tokens", "hidden_size", "inter_size", "topk", "num_experts",
            "moe_tp_size", "moe_ep_size", "distribution", "latency_us",
        ),
        predict=predict_moe,
        unit="us",
    ),
    Format(
        family="moe",
        pattern=r"frontier/moe_.+",
        columns=(
            "profiling_precision", "num_tokens", "num_experts", "num_experts_per_device",
            "router_topk", "hidden_dim", "expert_hidden_dim", "num_tensor_parallel_workers",
            "load_distribution", "grouped_gemm_ms",
        ),
        predict=predict_frontier,
        unit="ms",
    ),
)  # fmt: skip
