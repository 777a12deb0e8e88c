"""Runtime: what a serving engine or a library adds to a device, fitted to measured times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Final, Literal

from sim.hardware.device import Device, System
from sim.hardware.processor import Processor
from sim.quantities import Bandwidth, Count, Part, ShareOfPeak, SizeOrZero, Text, Time
from sim.values import Key, checked

GB: Final = 1e9
Kind = Literal["chunked-prefill", "continuous", "prefill-first"]


@checked
@dataclass(frozen=True, kw_only=True)
class Habits:
    """How a runtime forms iterations and uses memory, and how a benchmark's clients come to it."""

    note: Text | None = None
    """What to know of it."""
    kind: Kind
    """Its scheduler."""
    token_budget: Count
    """Most tokens of an iteration."""
    max_batch: Count
    """Most sequences of an iteration."""
    utilization: Annotated[ShareOfPeak, Key("memory_utilization")]
    """Share of a device's memory that it uses."""
    held: Part
    """Share of a device's memory that the driver keeps (a data sheet's 80 GiB are 79 to a
    program)."""
    reserved_B: SizeOrZero
    """What it takes beside weights, activations and KV: contexts, workspaces, communication
    buffers, graphs."""
    kv_reserve: Literal["paged", "full"]
    """How the scheduler reserves KV memory."""
    watermark: Part
    """Share of KV memory that it leaves free when it admits."""
    request_s: Time
    """From a client's sending to the engine's knowing of it (HTTP, tokenising, the way back of the
    first token)."""
    turnaround_s: Time
    """From the end of an answer to the client's next request, on average."""
    stagger_s: Time
    """Between the first arrivals, on average."""
    requests: Count
    """Requests that each client sends."""


@checked
@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Overheads and shares of peaks of the software that runs a model; None leaves the device's."""

    name: Text
    """The name of its file."""
    title: Text | None = None
    """What software it is."""
    runs_on: Literal["cpu", "gpu"] | None = None
    """Kind of processors that it was fitted on."""
    fitted_on: Annotated[tuple[Text, ...], Key("fitted.on")] = ()
    """Tables of measured times ("dataset/table")."""
    date: Annotated[Text | None, Key("fitted.date")] = field(default=None, compare=False)
    """When it was fitted."""
    median_error: Annotated[Mapping[str, Text], Key("fitted.median_error")] = field(
        default_factory=dict, compare=False
    )
    """How far it is from each table."""
    host_step_s: Time | None = None
    """What the host spends on an iteration."""
    host_sequence_s: Time | None = None
    """What it spends on each sequence of an iteration."""
    launch_s: Time | None = None
    """What an operator takes to start."""
    memory: ShareOfPeak | None = None
    """Share of the memory's bandwidth that is reached."""
    compute: ShareOfPeak | None = None
    """Share of the matrix peak that products reach."""
    attention: ShareOfPeak | None = None
    """Share of the matrix peak that attention of prompts reaches."""
    slot_B_per_s: Bandwidth | None = None
    """Most that the kernels of one core or SM (a slot) stream."""
    fill_s: Time | None = None
    """What its loads take to get under way in each operator, for every GB/s that each slot must
    reach to use the memory's bandwidth: few cores behind much bandwidth start slower."""
    habits: Habits | None = None
    """Those of a server; a library has none."""

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


def under(system: System, runtime: Runtime) -> System:
    """`system` with the numbers of `runtime` in place of its device's."""
    return replace(system, device=applied(system.device, runtime))


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
