"""Systems, traffic and runs of the Duplex paper (arXiv 2409.01141), section VI."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from sim.config.catalogue import load_model, load_system
from sim.engines.serving.replica import policy_record
from sim.hardware import System
from sim.kernel import sequences
from sim.mapping.layout import Parallel
from sim.results.run import Run
from sim.results.simulate import simulate
from sim.simulation.prepare import Prepared
from sim.workload.architecture import Architecture

Floats = npt.NDArray[np.float64]
Kind = Literal["gpu", "2xgpu", "duplex", "duplex+pe", "duplex+pe+et", "bank-pim", "bank-group-pim"]
DEVICES: Final = {
    "gpu": "h100-micro24",
    "2xgpu": "h100-micro24",
    "bank-pim": "bank-pim-micro24",
    "bank-group-pim": "bank-group-pim-micro24",
}
FP16: Final = {"weights": "fp16", "kv": "fp16", "activations": "fp16"}
NETWORK: Final[dict[str, Any]] = {
    "name": "infiniband",
    "source": "duplex-simulator",
    "bandwidth": "50 GB/s",
    "latency": "0.13 us",
    "efficiency": 1.0,
    "energy": "0 pJ/bit",
    "collective": "direct",
}
"""The H100 preset of the authors' simulator, which counts no energy; the paper prints 400 GB/s."""
STAGES: Final = 500
"""Stages a run has at least (section VI prints no number)."""
LENGTH_SPREAD: Final = 0.4
"""Standard deviation of lengths over min(256, mean), as the authors' simulator draws them."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A model of the paper: its default nodes, and the mean lengths of Fig. 11."""

    model: str
    nodes: int
    devices: int
    experts: int
    lengths: tuple[int, ...]


SETUPS: Final = {
    "mixtral": Setup(
        model="mixtral-8x7b", nodes=1, devices=4, experts=8, lengths=(256, 1024, 4096)
    ),
    "glam": Setup(model="glam-143b", nodes=1, devices=8, experts=64, lengths=(512, 1024, 2048)),
    "grok": Setup(model="grok-1", nodes=2, devices=8, experts=8, lengths=(256, 1024, 4096)),
}
DENSE: Final = {
    "llama3": Setup(model="llama-3-70b", nodes=1, devices=4, experts=1, lengths=(256, 1024, 4096)),
    "opt": Setup(model="opt-66b", nodes=1, devices=4, experts=1, lengths=(256, 512, 1024)),
}
"""Models without experts, of Fig. 14 only."""
BATCHES: Final = (32, 64, 128)


def released_split(own: Floats, host_s: Floats, near_s: Floats) -> npt.NDArray[np.bool_]:
    """Where the authors' simulator runs each memory space: its decision, not its duration.

    Its table of times (route.cpp) takes 75 % of DRAM bandwidth and all of the compute for both
    units, so Logic-PIM is four times the xPU. Everything starts on Logic-PIM; spaces with the most
    tokens move to the xPU while the slower unit's time falls. `own` has [n, spaces, experts].
    """
    share, ridge = 0.75, 8.0
    on_host = np.where(own > 0, np.maximum(1.0, own * share * 3.352e12 / 989.4e12), 0.0).sum(axis=2)
    near = np.where(own > 0, np.maximum(1.0, share * own / ridge) / 4.0, 0.0).sum(axis=2)
    tokens = own.sum(axis=2)
    order = np.argsort(-tokens, axis=1, kind="stable")
    rows = np.arange(len(own))
    stays = np.ones(tokens.shape, bool)
    host, memory = np.zeros(len(own)), near.sum(axis=1)
    best, going = memory.copy(), np.ones(len(own), bool)
    for space in order.T:
        moved = host + on_host[rows, space], memory - near[rows, space]
        slower = np.maximum(*moved)
        going &= (slower < best) & (tokens[rows, space] > 0)
        stays[rows[going], space[going]] = False
        host, memory = np.where(going, moved[0], host), np.where(going, moved[1], memory)
        best = np.where(going, slower, best)
    return stays


def nodes_of(kind: Kind, setup: Setup) -> tuple[int, int]:
    """Nodes and devices a node: twice the GPUs fill nodes up to 8 devices first."""
    if kind != "2xgpu":
        return setup.nodes, setup.devices
    if setup.devices < 8:
        return setup.nodes, 2 * setup.devices
    return 2 * setup.nodes, setup.devices


@cache
def model_of(name: str) -> Architecture:
    """The model of a setup."""
    return load_model((SETUPS | DENSE)[name].model)


@cache
def system_of(
    kind: Kind, model: str, infiniband: str = NETWORK["bandwidth"], node: int | None = None
) -> tuple[System, Parallel]:
    """The system, and its parallelism: tensor in a node, data across nodes, experts over all.

    With expert tensor parallelism experts are spread across nodes only. `node` devices a node where
    it isn't the paper's default.
    """
    setup = (SETUPS | DENSE)[model]
    nodes, devices = nodes_of(kind, setup)
    devices = node or devices
    form: dict[str, Any] = {
        "name": kind,
        "device": DEVICES.get(kind, "duplex-micro24"),
        "count": nodes * devices,
        "devices_per_node": devices,
        "source": "duplex-paper",
    }
    if nodes > 1:
        form["network"] = NETWORK | {"bandwidth": infiniband}
    shares = kind in ("duplex+pe", "duplex+pe+et")
    if shares:
        form["coprocessing"] = kind.removeprefix("duplex+")
    system = load_system(form)
    if shares:
        system = replace(system, split=released_split)
    spread = nodes if kind == "duplex+pe+et" else min(nodes * devices, setup.experts)
    return system, Parallel(tp=devices, ep=spread, attention_dp=nodes)


def run(
    kind: Kind,
    model: str,
    traffic: dict[str, Any],
    batch: int,
    longest: int,
    infiniband: str = NETWORK["bandwidth"],
    devices: int | None = None,
) -> Run:
    """A run of continuous batching with whole prompts, memory reserved for whole requests."""
    system, parallel = system_of(kind, model, infiniband, devices)
    scenario = {
        "name": f"{model} on {kind}",
        "model": model_of(model),
        "system": system,
        "dtype": FP16,
        "traffic": traffic,
        "router": {"kind": "uniform", "draw": "sampled"},
        "scheduler": {
            "kind": "continuous",
            "max_batch": batch,
            "max_prefill_tokens": max(8192, 2 * longest),
            "memory_utilization": 1.0,
            "kv_reserve": "full",
        },
    }
    return simulate(scenario, parallel=parallel)


def lengths(inputs: int, outputs: int) -> dict[str, Any]:
    """Gaussian lengths about these means."""
    std = LENGTH_SPREAD * min(256, inputs, outputs)
    return {
        "input": {"gaussian": {"mean": inputs, "std": std}},
        "output": {"gaussian": {"mean": outputs, "std": std}},
    }


def closed(
    kind: Kind,
    model: str,
    batch: int,
    tokens: tuple[int, int],
    *,
    rounds: int = 0,
    stages: int = STAGES,
    infiniband: str = NETWORK["bandwidth"],
    devices: int | None = None,
) -> Run:
    """`batch` clients with `tokens` in and out, from a steady state with random progress.

    As many requests as give `stages` stages, or `rounds` a client where latencies of whole requests
    are asked for.
    """
    inputs, outputs = tokens
    requests = max(stages * batch // outputs, 8, rounds * batch)
    traffic = {
        "closed": {
            "concurrency": batch,
            "requests": requests,
            "start": "steady",
            **lengths(inputs, outputs),
        }
    }
    return run(kind, model, traffic, batch, inputs, infiniband, devices)


def sequence_bytes(prepared: Prepared, inputs: int, outputs: int) -> float:
    """Bytes that one request reserves on each device."""
    policy = policy_record(prepared.scenario.scheduler, prepared.budget.kv_B, prepared.program)[0]
    held: float = sequences.kv_bytes(prepared.program.streams, policy, inputs, inputs + outputs)
    return held


def open_loop(kind: Kind, model: str, rate: float, inputs: int, outputs: int) -> Run:
    """A thousand requests arriving at random, at most 128 at a time."""
    traffic = {"poisson": {"rate": f"{rate!r} /s", "requests": 1000, **lengths(inputs, outputs)}}
    return run(kind, model, traffic, 128, inputs)


def completed_share(kind: Kind, model: str, rate: float, inputs: int, outputs: int) -> float:
    """Completions over offers of an open loop after its first third."""
    requests = open_loop(kind, model, rate, inputs, outputs).requests
    arrival, end = requests["arrival_s"], requests["arrival_s"] + requests["e2e_s"]
    first, last = arrival.max() / 3.0, arrival.max()
    offered = ((arrival > first) & (arrival <= last)).sum()
    return float(((end > first) & (end <= last)).sum() / offered)


def saturation(kind: Kind, model: str, inputs: int, outputs: int) -> float:
    """Highest rate at which at least 95 % of what is offered completes, requests a second."""
    low, high = 1.0, 64.0
    while high - low > 0.05:
        middle = 0.5 * (low + high)
        if completed_share(kind, model, middle, inputs, outputs) >= 0.95:
            low = middle
        else:
            high = middle
    return low
