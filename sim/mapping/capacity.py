"""Capacity: what of a device's memory weights and activations take, and what is left for KV."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sim.dtypes import bytes_per_element
from sim.errors import Infeasible
from sim.graph import Kind, Op, weight_dtype
from sim.hardware import Device, Processor
from sim.mapping.coprocessing import memory_spaces, runs
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
    microcontroller, a GPU beside a device with units in memory); each memory is filled to
    `utilization` at most. An operator's weights lie where the first processor that runs it reads
    them; KV where decode attention does. Raises Infeasible with the numbers where weights or
    activations alone do not fit.
    """
    device = program.system.device
    weights = weight_bytes_by_memory(program)
    activations = activation_bytes_by_memory(program, tokens, sequences)
    kv_memory = _runner(device, "attention-decode").kv_memory
    free: dict[str, float] = {}
    for name in dict.fromkeys((*weights, *activations, kv_memory)):
        capacity = device.memory(name).capacity_B
        if capacity is None:
            raise Infeasible(f"{device.title}: the capacity of memory {name} is not known")
        free[name] = capacity * utilization
    usable = sum(free.values())
    for what, sizes in (("weights", weights), ("activations", activations)):
        for name, size in sizes.items():
            if size > free[name]:
                layout = program.layout
                apart = layout.expert_devices and name.startswith("experts-")
                devices = layout.expert_devices if apart else layout.devices
                over = "split.experts.count" if apart else "parallel.tp, parallel.pp"
                draft = program.speculation
                beside = "" if draft is None else f" with its draft ({draft.name})"
                raise Infeasible(
                    f"{program.graph.name}{beside} does not fit {program.system.name}: {what} take "
                    f"{_size(size)} on each of {devices} device(s), "
                    f"{_size(free[name])} are left of {name} "
                    f"({_size(device.memory(name).capacity_B or 0.0)} at {utilization:.0%} use); "
                    f"spread it over more devices ({over}) or use a smaller format",
                    needed_B=size,
                    free_B=free[name],
                    devices=devices,
                )
            free[name] -= size
    kv_B = free[kv_memory]
    if program.system.coprocessing != "none":
        kv_B = min(kv_B, _outside_the_last_space(program, kv_B, kv_memory, utilization))
    return Budget(
        usable_B=usable,
        weights_B=sum(weights.values()),
        activations_B=sum(activations.values()),
        kv_B=kv_B,
    )


def _outside_the_last_space(
    program: Program, free_B: float, memory: str, utilization: float
) -> float:
    """Bytes for KV where two units work in different memory spaces.

    Experts fill all spaces evenly; KV takes all but the last, which holds what prompts that are
    being prefilled write, and other weights as far as they fit (Duplex, section V-C).
    """
    spaces = memory_spaces(program.system)
    whole = (program.system.device.memory(memory).capacity_B or 0.0) * utilization
    experts_B = _stage_weights(program, lambda op: op.experts > 0)
    space_B = (whole - experts_B) / spaces
    others_B = whole - experts_B - free_B
    return (spaces - 1) * space_B - max(others_B - space_B, 0.0)


def _runner(device: Device, operator_class: str) -> Processor:
    """The first processor of `device` that runs operators of that class, else the first."""
    able = (each for each in device.processors if runs(each, operator_class))
    return next(able, device.processors[0])


def _size(size: float) -> str:
    return f"{size / GIB:.2f} GiB" if size >= 0.1 * GIB else f"{size / 2**20:.2f} MiB"


def device_weight_bytes(program: Program) -> float:
    """Bytes of weights on the fullest device: its slice of the longest pipeline stage."""
    return sum(weight_bytes_by_memory(program).values())


def weight_bytes_by_memory(program: Program) -> dict[str, float]:
    """As `device_weight_bytes`, by memory of the device."""
    device = program.system.device
    classes = {op.operator_class for op in program.table.graph.ops if op.kind != Kind.COLLECTIVE}
    homes = {name: _runner(device, name).weights_memory for name in sorted(classes)}

    def lies_in(home: str) -> Callable[[Op], bool]:
        return lambda op: homes[op.operator_class] == home

    return {home: _stage_weights(program, lies_in(home)) for home in dict.fromkeys(homes.values())}


def _stage_weights(program: Program, wanted: Callable[[Op], bool]) -> float:
    """Bytes of the weights of `wanted` operators on the fullest pipeline stage.

    The first stage also holds the token embedding, the last one the head; the larger counts.
    """
    sizes = {"embedding": 0.0, "lm-head": 0.0}
    layers_B = 0.0
    for op in program.table.graph.ops:
        if not op.owned or op.kind == Kind.COLLECTIVE or not wanted(op):
            continue
        dtype = weight_dtype(op, program.precision.weights, program.precision.experts)
        size = op.weights * op.layers * bytes_per_element(dtype)
        if op.experts:  # copies that are held beside those of the model
            size *= 1.0 + program.layout.redundant / op.experts
        if op.operator_class in sizes:
            sizes[op.operator_class] += size
        else:
            layers_B += size
    if program.layout.pp == 1:
        return layers_B + sum(sizes.values())
    longest = stage_imbalance(program.graph, program.layout) / program.layout.pp
    return layers_B * longest + max(sizes.values())


def activation_bytes_by_memory(program: Program, tokens: int, sequences: int) -> dict[str, float]:
    """Bytes of activations by memory of the device.

    The first processor's memory has room for the largest operator; where another one keeps its
    activations elsewhere, that memory has the hidden states it is sent and sends back.
    """
    first, *others = program.system.device.processors
    sizes = {first.activations_memory: activation_bytes(program, tokens, sequences)}
    hidden_B = program.graph.hidden * bytes_per_element(program.precision.activations)
    for other in others:
        if other.activations_memory != first.activations_memory:
            sizes[other.activations_memory] = 2.0 * tokens * hidden_B
    return sizes


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
