"""Devices as the kernel reads them: arrays of records in base units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sim.dtypes import COMPUTE, FALLBACK
from sim.errors import Infeasible
from sim.kernel.fitted_constants import BELOW, LINES
from sim.kernel.records import LINK, PROCESSOR, VECTOR
from sim.operators import OPERATOR_CLASSES

if TYPE_CHECKING:
    from sim.hardware.device import Device
    from sim.hardware.kernels import Kernels, Protocols
    from sim.hardware.link import Link
    from sim.hardware.processor import Processor

Records = npt.NDArray[np.void]

ALGORITHM = {"auto": -1, "ring": 0, "tree": 1, "direct": 2}
VECTOR_SHARE = 1.0 / 16.0
"""Vector throughput taken for a processor that states only a 16-bit matrix peak: the ratio of
tensor-core to CUDA-core flops of NVIDIA data-center parts since Ampere (A100: 312 / 19.5)."""


IN_CLOCKS = (("matmul", "fixed_s"), ("matmul", "depth_s"), ("decode", "unit_s"),
             ("prefill", "token_s"))  # fmt: skip
"""Times of kernels that take the same number of clocks on every generation."""


def processor_records(device: Device) -> Records:
    """One `PROCESSOR` record per processor of `device`.

    Arithmetic without a peak of its own takes the next wider one's. Unknown energies are NaN, so
    that what depends on them comes out unknown rather than free.
    Raises Infeasible where the device cannot be simulated or lacks a number that every run needs.
    """
    if device.refuses:
        raise Infeasible(f"{device.title} cannot be simulated: {device.refuses}")
    records = np.zeros(len(device.processors), PROCESSOR)
    for record, processor in zip(records, device.processors, strict=True):
        _fill(record, processor, device)
    return records


def _fill(record: np.void, processor: Processor, device: Device) -> None:
    where = f"{device.title}, processor {processor.name}"
    peaks = [_peak(processor, arithmetic) for arithmetic in COMPUTE]
    if not any(peaks):
        raise Infeasible(f"{where}: no peak is known for any arithmetic; give `peak:`")
    record["flop_per_s"] = [*(peak or math.nan for peak in peaks), _vector_peak(processor)]
    energies = [_energy(processor, arithmetic) for arithmetic in COMPUTE]
    record["J_per_flop"] = [*energies, _energy(processor, "fp32", ("fp16", "int8"))]
    for kind, name in (
        ("weights", processor.weights_memory),
        ("kv", processor.kv_memory),
        ("activations", processor.activations_memory),
    ):
        memory = device.memory(name)
        if memory.bandwidth_B_per_s is None:
            raise Infeasible(f"{where}: the bandwidth of memory {name} is not known")
        energy = processor.memory_energy_J_per_B
        energy = memory.energy_J_per_B if energy is None else energy
        record[f"{kind}_B_per_s"] = memory.bandwidth_B_per_s * processor.bandwidth_scale
        path = processor.kv_path_J_per_B if kind == "kv" else processor.path_J_per_B
        record[f"{kind}_J_per_B"] = math.nan if energy is None else energy + path
    efficiency = processor.efficiency
    record["compute_efficiency"] = efficiency.compute
    record["attention_efficiency"] = efficiency.attention
    record["memory_efficiency"] = efficiency.memory
    record["ramp_B"] = efficiency.ramp_B
    record["tile_m"], record["tile_n"] = efficiency.tile_m, efficiency.tile_n
    record["slots"] = efficiency.slots
    record["launch_s"] = processor.launch_s
    if processor.kernels is not None:
        fill_kernels(
            record, processor.kernels, device.tdp_W, processor.sustained, processor.cache_B
        )
    runs = processor.operators or OPERATOR_CLASSES
    record["runs"] = sum(1 << OPERATOR_CLASSES.index(name) for name in runs)


def fill_kernels(
    record: np.void, kernels: Kernels, limit_W: float | None, sustained: float | None = None,
    cache_B: float = 0.0,
) -> None:  # fmt: skip
    """Write fitted constants into a `PROCESSOR` record of a device with a power limit.

    `sustained` is the clock of products over that of the peak, where the device states it;
    `cache_B` its last-level cache.
    """
    record["fitted"] = 1
    for section in ("matmul", "decode", "prefill", "experts", "vector"):
        for name, value in getattr(kernels, section).items():
            if name in record[section].dtype.names:
                record[section][name] = value
    clock = sustained
    if clock is None:
        clock = sustained_clock(kernels, record["flop_per_s"][COMPUTE.index("fp16")], limit_W)
    if kernels.scale:
        _rescale(record, kernels, clock)
    _fill_reciprocals(record["matmul"], kernels.matmul, clock)
    vector = kernels.vector
    record["vector"]["per_memory"] = record["vector"]["per_cached"] = 1.0 / vector["memory"]
    if cache_B > 0.0 and "cached" in vector:
        record["vector"]["per_cached"] = 1.0 / vector["cached"]
        record["vector"]["per_cache_s"] = float(record["activations_B_per_s"]) / cache_B


def _rescale(record: np.void, kernels: Kernels, held: float) -> None:
    """Turn times of the device that `scale` is of into those of the record's device.

    Caches and what goes step by step follow the clock, and a walk along keys what an SM has of the
    memory's bandwidth. Products of attention hold the clock that others do (`held`), and what a
    tile takes to start is as many more tokens as an SM's products are wider.
    """
    own = pace(record, kernels)
    faster, wider = (own[name] / kernels.scale[name] for name in ("clock_Hz", "flops"))
    for section, name in IN_CLOCKS:
        record[section][name] /= faster
    record["decode"]["cache_B_per_s"] *= faster
    record["decode"]["chain_s"] /= own["stream_B_per_s"] / kernels.scale["stream_B_per_s"]
    prompts = record["prefill"]
    for each in ("", "_8"):
        prompts[f"pad{each}"] *= wider
        prompts[f"compute{each}"] *= held


def pace(record: np.void, kernels: Kernels) -> dict[str, float]:
    """What an SM of a device has: its clock, bytes of memory a second, 16-bit flops a clock.

    The clock is what the fp32 peak implies.
    """
    slots, peaks = float(record["slots"]), record["flop_per_s"]
    clock_Hz = float(peaks[VECTOR]) / (2.0 * kernels.cores["lanes"] * slots)
    return {
        "clock_Hz": clock_Hz,
        "stream_B_per_s": float(record["weights_B_per_s"]) / slots,
        "flops": float(peaks[COMPUTE.index("fp16")]) / (slots * clock_Hz),
    }


def _fill_reciprocals(record: np.void, products: Mapping[str, float], clock: float) -> None:
    """What kernels of products would divide by at each of millions of design points."""
    for size in ("small", "large"):
        rows, columns = products[f"{size}_m"], products[f"{size}_n"]
        record[f"per_{size}_m"], record[f"per_{size}_n"] = BELOW / rows, BELOW / columns
        record[f"{size}_flops"] = 2.0 * rows * columns / (products[size] * clock)
    record["per_memory"] = 1.0 / products["memory"]


def sustained_clock(kernels: Kernels, flop_per_s: float, limit_W: float | None) -> float:
    """Clock that matrix products hold within a power limit, over that of the stated peak.

    Power goes as the clock to `exponent`, since voltage falls with it.
    """
    boost = kernels.matmul["boost"]
    if limit_W is None or not flop_per_s > 0.0:
        return min(boost, 1.0)
    allowed = limit_W / (kernels.matmul["flop_J"] * flop_per_s)
    return float(min(boost, allowed ** (1.0 / kernels.matmul.get("exponent", 1.0))))


def fill_protocols(record: np.void, protocols: Protocols) -> None:
    """Write fitted constants into a `LINK` record; fewer than `LINES` repeat one in the middle."""
    record["fitted"] = 1
    into = record["protocols"]
    for family, lines in enumerate((protocols.reductions, protocols.all_to_all, protocols.send)):
        for number in range(LINES):
            line = lines[-1] if number == LINES - 1 else lines[min(number, len(lines) - 2)]
            into["launch_s"][family, number] = line.launch_s
            into["hop_s"][family, number] = line.hop_s
            into["per_share"][family, number] = 1.0 / line.share
    for number, line in enumerate(protocols.shot):
        into["shot_launch_s"][number] = line.launch_s
        into["shot_hop_s"][number] = line.hop_s
        into["shot_per_share"][number] = 1.0 / line.share
    for name in ("copy", "switch_floor_s", "switch_s", "switch_steps", "shot_B"):
        into[name] = getattr(protocols, name)


def _peak(processor: Processor, arithmetic: str) -> float | None:
    for name in (arithmetic, *FALLBACK[arithmetic]):
        if name in processor.peak_flop_per_s:
            return processor.peak_flop_per_s[name]
    return None


def _vector_peak(processor: Processor) -> float:
    peaks = processor.peak_flop_per_s
    if processor.vector_flop_per_s is not None:
        return processor.vector_flop_per_s
    if "fp32" in peaks:
        return peaks["fp32"]
    widest = peaks.get("fp16") or max(peaks.values())
    return widest * VECTOR_SHARE


def _energy(processor: Processor, arithmetic: str, fallback: tuple[str, ...] = ()) -> float:
    for name in (arithmetic, *FALLBACK[arithmetic], *fallback):
        if name in processor.energy_J_per_flop:
            return processor.energy_J_per_flop[name]
    return math.nan


def fill_machine(machine: Records, device: Device) -> None:
    """Write what `device` says of its host and its power into `MACHINE` records."""
    machine["slow"] = 1.0
    machine["host_step_s"] = device.host_step_s
    machine["host_sequence_s"] = device.host_sequence_s
    machine["static_W"] = math.nan if device.static_W is None else device.static_W
    machine["limit_W"] = math.inf if device.tdp_W is None else device.tdp_W


def link_records(*links: Link | None) -> Records:
    """One `LINK` record per link; an absent one is unusable (zero bandwidth)."""
    records = np.zeros(len(links), LINK)
    for record, link in zip(records, links, strict=True):
        if link is None:
            continue
        record["B_per_s"] = link.bandwidth_B_per_s
        record["latency_s"] = link.latency_s
        record["efficiency"] = link.efficiency
        record["J_per_B"] = math.nan if link.energy_J_per_B is None else link.energy_J_per_B
        record["algorithm"] = ALGORITHM[link.collective]
        if link.protocols is not None:
            fill_protocols(record, link.protocols)
    return records
