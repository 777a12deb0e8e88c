"""Runtime: what a serving engine or a library adds to a device, fitted to measured times."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sim.hardware.device import Device
from sim.hardware.processor import Processor

GB: Final = 1e9


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Overheads and shares of peaks of the software that runs a model; None leaves the device's.

    `host_step_s` is spent an iteration, `host_sequence_s` for each of its sequences, `launch_s` an
    operator. `memory`, `compute` and `attention` are shares of the processors' peaks;
    `slot_B_per_s` is the most that the kernels of one core or SM (a slot) stream. Its loads take
    `fill_s` to get under way in each operator, for every GB/s that each slot must reach to use the
    memory's bandwidth: few cores behind much bandwidth start slower.
    `fitted_on` names the tables of measured times ("dataset/table").
    """

    name: str
    host_step_s: float | None = None
    host_sequence_s: float | None = None
    launch_s: float | None = None
    memory: float | None = None
    compute: float | None = None
    attention: float | None = None
    slot_B_per_s: float | None = None
    fill_s: float | None = None
    fitted_on: tuple[str, ...] = ()

    @property
    def has_shares(self) -> bool:
        """Whether it has shares of peaks of its own."""
        shares = (self.memory, self.compute, self.attention, self.slot_B_per_s, self.fill_s)
        return any(share is not None for share in shares)


def applied(device: Device, runtime: Runtime) -> Device:
    """`device` with the numbers of `runtime` in place of its own.

    Where a runtime has shares of its own, the kernels fitted to a processor don't count any more;
    its share of compute is of products of any shape, so tiles don't count either.
    """
    processors = tuple(_applied(device, each, runtime) for each in device.processors)
    return replace(
        device,
        processors=processors,
        host_step_s=_or(runtime.host_step_s, device.host_step_s),
        host_sequence_s=_or(runtime.host_sequence_s, device.host_sequence_s),
    )


def _or(own: float | None, default: float) -> float:
    return default if own is None else own


def _applied(device: Device, processor: Processor, runtime: Runtime) -> Processor:
    shares = processor.efficiency
    memory = _or(runtime.memory, shares.memory)
    bandwidth = device.memory(processor.weights_memory).bandwidth_B_per_s
    if runtime.slot_B_per_s is not None and bandwidth and shares.slots > 1:
        reached = runtime.slot_B_per_s * shares.slots
        memory = min(memory, reached / (bandwidth * processor.bandwidth_scale))
    ramp_B = shares.ramp_B
    if runtime.fill_s is not None and bandwidth:
        ramp_B = runtime.fill_s * bandwidth * (bandwidth / shares.slots / GB)
    tiles = {} if runtime.compute is None else {"tile_m": 1, "tile_n": 1}
    shares = replace(
        shares,
        memory=memory,
        ramp_B=ramp_B,
        compute=_or(runtime.compute, shares.compute),
        attention=_or(runtime.attention, shares.attention),
        **tiles,
    )
    return replace(
        processor,
        efficiency=shares,
        kernels=None if runtime.has_shares else processor.kernels,
        launch_s=_or(runtime.launch_s, processor.launch_s),
    )
