"""Runtime: what a serving engine or a library adds to a device, fitted to measured times."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from sim.hardware.device import Device, System
from sim.hardware.processor import Processor

GB: Final = 1e9
Kind = Literal["chunked-prefill", "continuous", "prefill-first"]


@dataclass(frozen=True, kw_only=True)
class Habits:
    """How a runtime forms iterations and uses memory, and how a benchmark's clients come to it.

    `kind`, `token_budget`, `max_batch`, `kv_reserve` and `watermark` are the scheduler's. `held` is
    the share of a device's memory that the driver keeps (a data sheet's 80 GiB are 79 to a
    program), `reserved_B` what the runtime takes beside weights, activations and KV: contexts,
    workspaces, communication buffers, graphs. `request_s` passes between a client's sending and the
    engine's knowing of it (HTTP, tokenising, the way back of the first token), on average
    `turnaround_s` between the end of an answer and the client's next request, `stagger_s` between
    the first arrivals; each client sends `requests`.
    """

    kind: Kind
    token_budget: int
    max_batch: int
    utilization: float
    held: float
    reserved_B: float
    kv_reserve: Literal["paged", "full"]
    watermark: float
    request_s: float
    turnaround_s: float
    stagger_s: float
    requests: int


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Overheads and shares of peaks of the software that runs a model; None leaves the device's.

    `host_step_s` is spent an iteration, `host_sequence_s` for each of its sequences, `launch_s` an
    operator. `memory`, `compute` and `attention` are shares of the processors' peaks;
    `slot_B_per_s` is the most that the kernels of one core or SM (a slot) stream. Its loads take
    `fill_s` to get under way in each operator, for every GB/s that each slot must reach to use the
    memory's bandwidth: few cores behind much bandwidth start slower.
    `habits` are a server's; a library has none.
    `fitted_on` names the tables of measured times ("dataset/table"), `runs_on` the kind of
    processors that they are of.
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
    habits: Habits | None = None
    fitted_on: tuple[str, ...] = ()
    runs_on: str | None = None

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
