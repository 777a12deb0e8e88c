"""Form of memory technologies, and what processors at a level of one get from its timing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from sim.config import library
from sim.config.bounds import MoneyBounds
from sim.config.device_form import DeviceForm, ProcessorForm, SourceForm, readings
from sim.config.document import Document
from sim.config.fields import (
    Area,
    ByteEnergy,
    Cycles,
    DieCapacity,
    Energy,
    Form,
    Reading,
    Size,
    Text,
    Time,
    unknown_name,
    wrong,
)
from sim.config.validate import validated
from sim.errors import Problem
from sim.hardware.dram import Level, Organisation, Technology, Timing
from sim.units import Sourced

HOST = "host"
"""The level of a device's own processor; others are told relative to it."""


class OrganisationForm(Form):
    """What one stack is made of: pseudo-channels, ranks, bank groups, banks of a group."""

    source: Text | None = None
    channels: Cycles
    ranks: Cycles
    bank_groups: Cycles
    banks: Cycles
    row: Size
    access: Size
    capacity: DieCapacity
    """In bytes or, as dies are sold, in bits."""


class TimingForm(Form):
    """JEDEC timings in cycles of `clock`; refi and rfc as times."""

    source: Text | None = None
    clock: Time
    rcd: Cycles
    rp: Cycles
    ras: Cycles
    rc: Cycles
    ccd_s: Cycles
    ccd_l: Cycles
    rrd_s: Cycles
    faw: Cycles
    rtp: Cycles
    refi: Time
    rfc: Time

    @model_validator(mode="after")
    def _possible(self) -> TimingForm:
        if self.rc.value < self.ras.value + self.rp.value:
            raise wrong(
                f"rc {self.rc.text} is below ras {self.ras.text} + rp {self.rp.text}: a row cannot "
                "open again before it has closed"
            )
        if self.ccd_l.value < self.ccd_s.value:
            raise wrong(f"ccd_l {self.ccd_l.text} is below ccd_s {self.ccd_s.text}")
        if not 0.0 < self.rfc.value < self.refi.value:
            raise wrong("rfc must be above 0 and below refi")
        return self


class LevelForm(Form):
    """One way to read: banks of a pseudo-channel at once, spacing, rows hidden or exposed."""

    source: Text | None = None
    banks: Cycles
    spacing: Literal["ccd_s", "ccd_l"]
    rows: Literal["hidden", "exposed"]
    read: ByteEnergy


class MemoryForm(Form):
    """A memory technology: either an energy, or organisation, timing, activation and levels."""

    title: Text
    source: Text | None = None
    sources: dict[str, SourceForm] = Field(default_factory=dict)
    energy: ByteEnergy | None = None
    organisation: OrganisationForm | None = None
    timing: TimingForm | None = None
    activation: Energy | None = None
    levels: dict[str, LevelForm] = Field(default_factory=dict)
    die: Area | None = None
    """Area of the die under the stack, or of a chip."""
    price: MoneyBounds | None = None
    """What a GB (10^9 bytes) costs."""

    @model_validator(mode="after")
    def _whole(self) -> MemoryForm:
        parts = (self.organisation, self.timing, self.activation)
        if all(part is None for part in parts) and not self.levels:
            if self.energy is None:
                raise wrong("`energy` is due, or organisation, timing, activation and levels")
            return self
        if any(part is None for part in parts) or HOST not in self.levels:
            raise wrong("organisation, timing, activation and levels (with `host`) go together")
        assert self.organisation is not None
        most = self.organisation.ranks.value * self.organisation.bank_groups.value
        most *= self.organisation.banks.value
        for name, level in self.levels.items():
            if level.banks.value > most or most % level.banks.value:
                raise wrong(
                    f"level {name} reads {level.banks.text} banks at once, which do not divide the "
                    f"{most:g} of a pseudo-channel"
                )
        return self


@dataclass(frozen=True, kw_only=True)
class MemoryKind:
    """A technology of the library: the host's energy per byte, and its timing where known."""

    name: str
    energy: Sourced
    technology: Technology | None
    timing_source: str


@cache
def memory_kind(name: str) -> MemoryKind:
    """The memory technology `name` of the library."""
    _, document = library.found_document("memories", name, Path())
    return kind_of(name, document)


def kind_of(name: str, document: Document) -> MemoryKind:
    """The memory technology that `document` describes."""
    form = validated(MemoryForm, document)
    numbers = readings(form, document)
    technology = _technology(form)
    if technology is None:
        return MemoryKind(name=name, energy=numbers["energy"], technology=None, timing_source="")
    host = technology.levels[HOST]
    read = numbers[f"levels.{HOST}.read"]
    joules = technology.energy_J_per_B(host)
    energy = Sourced(
        value=joules,
        text=f"{joules / 8e-12:.4g} pJ/bit: reading and opening rows",
        unit=read.unit,
        source=read.source,
    )
    return MemoryKind(
        name=name,
        energy=energy,
        technology=technology,
        timing_source=numbers["timing.clock"].source,
    )


def _technology(form: MemoryForm) -> Technology | None:
    if form.organisation is None or form.timing is None or form.activation is None:
        return None
    organisation, timing = form.organisation, form.timing
    counts = {name: int(getattr(organisation, name).value) for name in
              ("channels", "ranks", "bank_groups", "banks")}  # fmt: skip
    cycles = {name: int(getattr(timing, name).value) for name in
              ("rcd", "rp", "ras", "rc", "ccd_s", "ccd_l", "rrd_s", "faw", "rtp")}  # fmt: skip
    return Technology(
        organisation=Organisation(
            **counts,
            row_B=organisation.row.value,
            access_B=organisation.access.value,
            capacity_B=organisation.capacity.value,
        ),
        timing=Timing(
            **cycles,
            clock_s=timing.clock.value,
            refi_s=timing.refi.value,
            rfc_s=timing.rfc.value,
        ),
        levels={
            name: Level(
                banks=int(level.banks.value),
                spacing=level.spacing,
                rows=level.rows,
                read_J_per_B=level.read.value,
            )
            for name, level in form.levels.items()
        },
        activation_J=form.activation.value,
    )


def at_levels(form: DeviceForm, document: Document) -> tuple[DeviceForm, list[Problem]]:
    """`form` with what the levels of its processors give them, and what is wrong with levels.

    A number that the device states itself stands.
    """
    problems: list[Problem] = []
    changed: dict[str, ProcessorForm] = {}
    for name, processor in form.processors.items():
        memory = form.memories.get(processor.memory.weights)
        if processor.level is None or memory is None or memory.technology is None:
            if processor.level is not None and memory is not None:
                message = "needs a memory with a `technology` that has levels"
                problems.append(document.problem(("processors", name, "level"), message))
            continue
        if memory.technology not in library.files("memories"):
            continue  # said elsewhere
        kind = memory_kind(memory.technology)
        levels = {} if kind.technology is None else kind.technology.levels
        if processor.level not in levels:
            message = f"{kind.name}: {unknown_name(processor.level, list(levels) or ['none'])}"
            problems.append(document.problem(("processors", name, "level"), message))
            continue
        changed[name] = _at_level(processor, kind, processor.level)
    return form.model_copy(update={"processors": {**form.processors, **changed}}), problems


def _at_level(processor: ProcessorForm, kind: MemoryKind, name: str) -> ProcessorForm:
    technology = kind.technology
    assert technology is not None
    level = technology.levels[name]
    where = f"level {name} of {kind.name}"

    def derived(value: float, shown: str, unit: str) -> Reading:
        return Reading(value=value, text=f"{shown}: {where}", unit=unit, key=kind.timing_source)

    scale = technology.peak_B_per_s(level) / technology.peak_B_per_s(technology.levels[HOST])
    bundles = technology.organisation.banks_per_channel / level.banks
    share = technology.sustained_share(level)
    joules = technology.energy_J_per_B(level)
    efficiency = processor.efficiency
    if efficiency.memory is None:
        shown = derived(share, f"{share:.3f}", "")
        efficiency = efficiency.model_copy(update={"memory": shown})
    return processor.model_copy(
        update={
            "efficiency": efficiency,
            "bandwidth_scale": processor.bandwidth_scale or derived(scale, f"{scale:.4g}", ""),
            "bundles": processor.bundles or derived(bundles, f"{bundles:g}", ""),
            "memory_energy": processor.memory_energy
            or derived(joules, f"{joules / 8e-12:.4g} pJ/bit", "J/B"),
        }
    )
