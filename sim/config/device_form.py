"""Forms of devices, memories and systems, and the values they become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag

from sim.config.bounds import Bounded, Price, Sum
from sim.config.fields import (
    INLINE,
    NAMED_OR_INLINE,
    Area,
    Bandwidth,
    ByteEnergy,
    ComputeRate,
    Count,
    Cycles,
    Factor,
    Flag,
    FlopEnergy,
    Form,
    LinkRate,
    Name,
    OneOf,
    Power,
    Reading,
    ShareOfPeak,
    Size,
    SizeOrZero,
    Text,
    Tile,
    Time,
    wrong,
)
from sim.config.kernels_form import KernelsForm, ProtocolsForm, to_kernels, to_protocols
from sim.config.making_form import DieForm, MakingForm, ends, to_making
from sim.config.power_form import PowerLawForm
from sim.config.sources import SourceForm, SourceKey, value
from sim.hardware import Device, Efficiency, Link, Memory, Processor, System
from sim.hardware.device import Hardwired
from sim.operators import OPERATOR_CLASSES

Operator = Annotated[str, OneOf(names=OPERATOR_CLASSES)]


class PeakForm(Form):
    """Dense peaks by arithmetic."""

    source: SourceKey = None
    fp32: ComputeRate | None = None
    fp16: ComputeRate | None = None
    fp8: ComputeRate | None = None
    int8: ComputeRate | None = None
    fp4: ComputeRate | None = None


class FlopEnergyForm(Form):
    """Energy of one operation by arithmetic."""

    source: SourceKey = None
    fp32: FlopEnergy | None = None
    fp16: FlopEnergy | None = None
    fp8: FlopEnergy | None = None
    int8: FlopEnergy | None = None
    fp4: FlopEnergy | None = None


class EfficiencyForm(Form):
    """Shares of the peaks that good code reaches; see docs/guides/add-a-device.md."""

    source: SourceKey = None
    compute: ShareOfPeak | None = None
    attention: ShareOfPeak | None = None
    memory: ShareOfPeak | None = None
    ramp: SizeOrZero | None = None
    tile_m: Tile | None = None
    tile_n: Tile | None = None
    slots: Tile | None = None


class MemoryNamesForm(Form):
    """Which memory holds what."""

    weights: Text
    kv: Text
    activations: Text


def _one_memory(value: Any) -> Any:
    """One name stands for all three uses."""
    if isinstance(value, str):
        return {"weights": value, "kv": value, "activations": value}
    return value


class ProcessorForm(Form):
    """One kind of compute unit and the memories it works on."""

    kind: Literal["gpu", "cpu", "npu", "tpu", "pim", "lpu"]
    source: SourceKey = None
    memory: Annotated[
        MemoryNamesForm, BeforeValidator(_one_memory, json_schema_input_type=str | MemoryNamesForm)
    ]
    peak: PeakForm
    vector: ComputeRate | None = None
    operators: tuple[Operator, ...] = ()
    level: Text | None = None
    """Where in its memory it reads: gives bandwidth scale, memory efficiency and energy."""
    efficiency: EfficiencyForm = EfficiencyForm()
    kernels: Annotated[Name | Annotated[KernelsForm, INLINE], NAMED_OR_INLINE] | None = None
    """Constants fitted to measured times, which then go before `efficiency`."""
    launch: Time | None = None
    cache: Size | None = None
    energy: FlopEnergyForm = FlopEnergyForm()
    bandwidth_scale: Factor | None = None
    sustained: ShareOfPeak | None = None
    """Clock that products hold, over that of the peak; else by the kernels' energy and the TDP."""
    bundles: Factor | None = None
    memory_energy: ByteEnergy | None = None
    path_energy: ByteEnergy | None = None
    kv_path_energy: ByteEnergy | None = None
    """What a byte takes on its way beside what memory does; a power law fills both in."""
    area: dict[str, Area] = Field(default_factory=dict)
    """Silicon its parts add to one stack, on a die that stays otherwise as it is."""
    host_die: Area | None = None
    """That die."""


class DeviceMemoryForm(Form):
    """One memory of a device; its technology fills in the energy per bit."""

    technology: Text | None = None
    source: SourceKey = None
    capacity: Size | None = None
    bandwidth: Bandwidth | None = None
    energy: ByteEnergy | None = None
    price: Price | None = None
    """What a GB (10^9 bytes) costs."""
    carbon: Bounded | None = None
    """kgCO2e embodied in a GB."""


class LinkForm(Form):
    """What joins devices: one direction's bandwidth, one hop's latency."""

    name: Text
    source: SourceKey = None
    bandwidth: LinkRate
    latency: Time
    efficiency: ShareOfPeak | None = None
    energy: ByteEnergy | None = None
    collective: Literal["auto", "ring", "tree", "direct"] = "auto"
    protocols: Annotated[Name | Annotated[ProtocolsForm, INLINE], NAMED_OR_INLINE] | None = None
    """Constants fitted to measured times, which then go before `efficiency` and `latency`."""


class PowerForm(Form):
    """Rated power and the power of being on.

    `law` names constants of a family from which the rest follows: static power, and energies of a
    flop and of a byte's way, where a device doesn't state its own.
    """

    source: SourceKey = None
    law: Annotated[Name | Annotated[PowerLawForm, INLINE], NAMED_OR_INLINE] | None = None
    tdp: Power | None = None
    static: Power | None = None


class HardwiredForm(Form):
    """A model in metal: grid of chips, and times of the parts of a layer.

    `link_element` is due with `links: first-principles`, which leaves `collective` aside.
    """

    source: SourceKey = None
    model: Text
    rows: Cycles
    columns: Cycles
    collective: Time
    operator: Time
    non_linear: Time
    attention_per_ki_token: Time
    buffer: Size
    fetch: Bandwidth
    vex: Literal["per-layer", "shared"] = "per-layer"
    windows: Flag = False
    links: Literal["calibrated", "first-principles"] = "calibrated"
    link_element: Size | None = None


class DeviceForm(Form):
    """A device: one package with its processors, memories and link."""

    title: Text
    name: Text | None = None
    aliases: tuple[Text, ...] = ()
    source: SourceKey = None
    sources: dict[str, SourceForm] = Field(default_factory=dict)
    built: Flag = True
    refuses: Text | None = None
    processors: dict[str, ProcessorForm]
    memories: dict[str, DeviceMemoryForm]
    link: LinkForm | None = None
    power: PowerForm = PowerForm()
    host_step: Time | None = None
    host_sequence: Time | None = None
    """What the host spends on an iteration, and more for each of its sequences."""
    die: DieForm = DieForm()
    making: MakingForm = MakingForm()
    price: Sum | None = None
    hardwired: HardwiredForm | None = None


def _named_device(value: Any) -> Any:
    if not isinstance(value, str | dict):
        raise wrong("the name of a device is due (`sim list devices`), a path, or a device inline")
    return value


def _how_given(value: Any) -> str:
    """One branch of the union is tried, so that its problems alone are told."""
    return "named" if isinstance(value, str) else "inline"


NamedDevice = Annotated[
    Annotated[str, Tag("named")] | Annotated[DeviceForm, Tag("inline")],
    Discriminator(_how_given),
    BeforeValidator(_named_device),
]


class SystemForm(Form):
    """Equal devices in nodes; `device` is a name, a path, or a device written inline."""

    title: Text | None = None
    name: Text | None = None
    source: SourceKey = None
    sources: dict[str, SourceForm] = Field(default_factory=dict)
    device: NamedDevice
    count: Count = 1
    devices_per_node: Count | None = None
    network: LinkForm | None = None
    coprocessing: Literal["none", "pe", "pe+et"] = "none"
    split: Literal["greedy", "exact"] = "greedy"


def to_device(form: DeviceForm, name: str, stacks: Mapping[str, int]) -> Device:
    """The device, its memories filled in; `stacks` has how many each memory is made of."""
    return Device(
        name=name,
        title=form.title,
        processors=tuple(_processor(key, each) for key, each in form.processors.items()),
        memories=tuple(
            Memory(
                name=key,
                capacity_B=value(each.capacity),
                bandwidth_B_per_s=value(each.bandwidth),
                energy_J_per_B=value(each.energy),
                technology=each.technology,
                price_USD_per_GB=None if each.price is None else ends(each.price),
                carbon_kg_per_GB=None if each.carbon is None else ends(each.carbon),
                stacks=stacks.get(key, 0),
            )
            for key, each in form.memories.items()
        ),
        link=to_link(form.link),
        tdp_W=value(form.power.tdp),
        static_W=value(form.power.static),
        host_step_s=value(form.host_step, 0.0),
        host_sequence_s=value(form.host_sequence, 0.0),
        die_area_mm2=value(form.die.area),
        process=form.die.process,
        dies=int(value(form.die.count, 1)),
        wafer_scale=form.die.wafer_scale,
        making=to_making(form.die, form.making),
        price_USD=None if form.price is None else ends(form.price),
        built=form.built,
        refuses=form.refuses,
        hardwired=_hardwired(form.hardwired),
    )


def _hardwired(form: HardwiredForm | None) -> Hardwired | None:
    if form is None:
        return None
    return Hardwired(
        model=form.model,
        rows=int(form.rows.value),
        columns=int(form.columns.value),
        collective_s=form.collective.value,
        operator_s=form.operator.value,
        non_linear_s=form.non_linear.value,
        attention_s_per_ki_token=form.attention_per_ki_token.value,
        buffer_B=form.buffer.value,
        fetch_B_per_s=form.fetch.value,
        vex=form.vex,
        windows=form.windows,
        links=form.links,
        link_element_B=value(form.link_element),
    )


def to_link(form: LinkForm | None) -> Link | None:
    """The link, if there is one."""
    if form is None:
        return None
    return Link(
        name=form.name,
        bandwidth_B_per_s=form.bandwidth.value,
        latency_s=form.latency.value,
        efficiency=value(form.efficiency, 1.0),
        energy_J_per_B=value(form.energy),
        collective=form.collective,
        protocols=to_protocols(form.protocols, "inline")
        if isinstance(form.protocols, ProtocolsForm)
        else None,
    )


def _by_arithmetic(form: BaseModel) -> dict[str, float]:
    return {
        name: reading.value
        for name in type(form).model_fields
        if isinstance(reading := getattr(form, name), Reading)
    }


def _processor(name: str, form: ProcessorForm) -> Processor:
    shares = form.efficiency
    default = Efficiency()
    return Processor(
        name=name,
        kind=form.kind,
        peak_flop_per_s=_by_arithmetic(form.peak),
        vector_flop_per_s=value(form.vector),
        weights_memory=form.memory.weights,
        kv_memory=form.memory.kv,
        activations_memory=form.memory.activations,
        operators=form.operators,
        efficiency=Efficiency(
            compute=value(shares.compute, default.compute),
            attention=value(shares.attention, default.attention),
            memory=value(shares.memory, default.memory),
            ramp_B=value(shares.ramp, default.ramp_B),
            tile_m=int(value(shares.tile_m, default.tile_m)),
            tile_n=int(value(shares.tile_n, default.tile_n)),
            slots=int(value(shares.slots, default.slots)),
        ),
        kernels=to_kernels(form.kernels, "inline")
        if isinstance(form.kernels, KernelsForm)
        else None,
        launch_s=value(form.launch, 0.0),
        cache_B=value(form.cache, 0.0),
        energy_J_per_flop=_by_arithmetic(form.energy),
        bandwidth_scale=value(form.bandwidth_scale, 1.0),
        sustained=value(form.sustained, None),
        bundles=int(value(form.bundles, 1)),
        memory_energy_J_per_B=value(form.memory_energy),
        path_J_per_B=value(form.path_energy, 0.0),
        kv_path_J_per_B=value(form.kv_path_energy, 0.0),
        area_mm2={part: each.value for part, each in form.area.items()},
        host_die_mm2=value(form.host_die),
    )


def to_system(form: SystemForm, name: str, device: Device) -> System:
    """The system of these devices; nodes hold 8, or 1 where a device has no link."""
    node = form.devices_per_node or (8 if device.link is not None else 1)
    return System(
        name=name,
        device=device,
        count=form.count,
        devices_per_node=node,
        network=to_link(form.network),
        coprocessing=form.coprocessing,
        split=form.split,
    )
