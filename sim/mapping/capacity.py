"""Capacity: what of a device's memory weights and activations take, and what is left for KV."""

from __future__ import annotations

from dataclasses import dataclass

from sim.dtypes import bytes_per_element
from sim.errors import Infeasible
from sim.graph import Kind, weight_dtype
from sim.mapping.parallelism import stage_imbalance
from sim.mapping.program import Program

GIB = float(2**30)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Bytes of one device: capacity usable, weights, activations, and what KV may take."""

    usable_B: float
    weights_B: float
    activations_B: float
    kv_B: float


def budget(program: Program, *, utilization: float, tokens: int, sequences: int) -> Budget:
    """Memory of one device with iterations of up to `tokens` tokens and `sequences` outputs.

    Weights, KV and activations may live in different memories (flash and SRAM of a
    microcontroller); each memory is filled to `utilization` at most.
    Raises Infeasible with the numbers where weights or activations alone do not fit.
    """
    device = program.system.device
    first = device.processors[0]
    weights_B = device_weight_bytes(program)
    activations_B = activation_bytes(program, tokens, sequences)
    free: dict[str, float] = {}
    for name in (first.weights_memory, first.kv_memory, first.activations_memory):
        capacity = device.memory(name).capacity_B
        if capacity is None:
            raise Infeasible(f"{device.title}: the capacity of memory {name} is not known")
        free[name] = capacity * utilization
    usable = sum(free.values())
    for what, name, size in (
        ("weights", first.weights_memory, weights_B),
        ("activations", first.activations_memory, activations_B),
    ):
        if size > free[name]:
            raise Infeasible(
                f"{program.graph.name} does not fit {program.system.name}: {what} take "
                f"{_size(size)} on each of {program.layout.devices} device(s), "
                f"{_size(free[name])} are left of {name} "
                f"({_size(device.memory(name).capacity_B or 0.0)} at {utilization:.0%} use); "
                "spread it over more devices (parallel.tp, parallel.pp) or use a smaller format",
                needed_B=size,
                free_B=free[name],
                devices=program.layout.devices,
            )
        free[name] -= size
    return Budget(
        usable_B=usable,
        weights_B=weights_B,
        activations_B=activations_B,
        kv_B=free[first.kv_memory],
    )


def _size(size: float) -> str:
    return f"{size / GIB:.2f} GiB" if size >= 0.1 * GIB else f"{size / 2**20:.2f} MiB"


def device_weight_bytes(program: Program) -> float:
    """Bytes of weights on the fullest device: its slice of the longest pipeline stage.

    The first stage also holds the token embedding, the last one the head; the larger counts.
    """
    sizes = {"embedding": 0.0, "lm-head": 0.0}
    layers_B = 0.0
    for op in program.table.graph.ops:
        if not op.owned or op.kind == Kind.COLLECTIVE:
            continue
        dtype = weight_dtype(op, program.precision.weights, program.precision.experts)
        size = op.weights * op.layers * bytes_per_element(dtype)
        if op.operator_class in sizes:
            sizes[op.operator_class] += size
        else:
            layers_B += size
    if program.layout.pp == 1:
        return layers_B + sum(sizes.values())
    longest = stage_imbalance(program.graph, program.layout) / program.layout.pp
    return layers_B * longest + max(sizes.values())


def activation_bytes(program: Program, tokens: int, sequences: int) -> float:
    """Bytes of the largest operator's inputs and outputs, twice: one being written, one read.

    Operators that work on output tokens only (the head) see `sequences` rows.
    """
    size = bytes_per_element(program.precision.activations)
    widest = 0.0
    for op in program.table.graph.ops:
        if op.kind == Kind.COLLECTIVE:
            continue
        rows = sequences if op.operator_class == "lm-head" else max(tokens, op.stream.tokens)
        widest = max(widest, rows * (op.inputs + op.outputs) * size)
    return 2.0 * widest
