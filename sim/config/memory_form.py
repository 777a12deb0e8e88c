"""Form of memory technologies, and what processors at a level of one get from its timing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from sim.config import library
from sim.config.bounds import Bounded, Bounds, Price
from sim.config.document import Document
from sim.config.fields import (
    Area,
    ByteEnergy,
    Cycles,
    DieCapacity,
    Energy,
    Flag,
    Form,
    Reading,
    Size,
    Text,
    Time,
    unknown_name,
    wrong,
)
from sim.config.sources import SourceForm, readings, sources_of
from sim.config.validate import validated
from sim.hardware.dram import Level, Organisation, Technology, Timing
from sim.units import Source, Sourced

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
                "open again before it has closed",
                "rc",
            )
        if self.ccd_l.value < self.ccd_s.value:
            raise wrong(f"ccd_l {self.ccd_l.text} is below ccd_s {self.ccd_s.text}", "ccd_l")
        if not 0.0 < self.rfc.value < self.refi.value:
            raise wrong("must be above 0 and below refi", "rfc")
        return self


def _how_told(value: Any) -> str:
    """One branch of the union is tried, so that its problems alone are told."""
    return "sum" if isinstance(value, list | tuple) else "stated"


ReadEnergy = Annotated[
    Annotated[ByteEnergy, Tag("stated")] | Annotated[tuple[Text, ...], Tag("sum")],
    Discriminator(_how_told),
]
"""Energy of a read: stated, or the names of the segments whose energies it is the sum of."""


class LevelForm(Form):
    """One way to read: banks of a pseudo-channel at once, spacing, rows hidden or exposed."""

    source: Text | None = None
    banks: Cycles
    spacing: Literal["ccd_s", "ccd_l"]
    rows: Literal["hidden", "exposed"]
    read: ReadEnergy


class MemoryForm(Form):
    """A memory technology: either an energy, or organisation, timing, activation and levels."""

    title: Text
    source: Text | None = None
    sources: dict[str, SourceForm] = Field(default_factory=dict)
    energy: ByteEnergy | None = None
    organisation: OrganisationForm | None = None
    timing: TimingForm | None = None
    activation: Energy | None = None
    segments: dict[str, ByteEnergy] = Field(default_factory=dict)
    """Energy of each part of the way from the cell, for levels that add some of them up."""
    levels: dict[str, LevelForm] = Field(default_factory=dict)
    die: Area | None = None
    """Area of the die under the stack, or of a chip."""
    price: Price | None = None
    """What a GB (10^9 bytes) costs."""
    carbon: Bounded | None = None
    """kgCO2e embodied in a GB."""
    stacked: Flag = False
    """Stacks of dies that lie beside the device's own, on an interposer or on top of it."""

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
        assert self.timing is not None
        groups = self.organisation.bank_groups.value
        turn = self.timing.ccd_s.value * groups
        most = self.organisation.ranks.value * self.organisation.bank_groups.value
        most *= self.organisation.banks.value
        for name, level in self.levels.items():
            if level.banks.value > most or most % level.banks.value:
                raise wrong(
                    f"{level.banks.text} banks at once do not divide the {most:g} of a "
                    "pseudo-channel",
                    "levels",
                    name,
                    "banks",
                )
            if level.spacing == "ccd_s" and self.timing.ccd_l.value > turn:
                raise wrong(
                    f"cannot read every ccd_s {self.timing.ccd_s.text}: {groups:g} bank groups in "
                    f"turn are back before ccd_l {self.timing.ccd_l.text}",
                    "levels",
                    name,
                    "spacing",
                )
            self._segments_known(name, level)
        return self

    def _segments_known(self, name: str, level: LevelForm) -> None:
        if isinstance(level.read, Reading):
            return
        if not level.read or len(set(level.read)) < len(level.read):
            raise wrong("names each segment on the way once", "levels", name, "read")
        for segment in level.read:
            if segment not in self.segments:
                known = unknown_name(segment, list(self.segments) or ["no segments are given"])
                raise wrong(known, "levels", name, "read")


@dataclass(frozen=True, kw_only=True)
class MemoryKind:
    """A technology of the library: the host's energy per byte, and its timing where known."""

    name: str
    energy: Sourced
    technology: Technology | None
    timing_source: str = ""
    """Source of the core's timings, of which shares follow; the clock may have another."""
    read_sources: Mapping[str, str] = field(default_factory=dict)
    """Source of each level's energy."""
    price: Bounds | None = None
    carbon: Bounds | None = None
    stack_B: float | None = None
    """Capacity of one stack, where dies are stacked."""
    sources: Mapping[str, Source] = field(default_factory=dict)
    """Sources that its file describes itself."""


def memory_kind(given: str, base: Path | None = None) -> MemoryKind:
    """The memory technology of a name of the library, or of a path from the folder `base`."""
    if not library.is_path(given):
        return _of_library(given)
    return kind_of(*library.found_document("memories", given, base or Path()))


@cache
def _of_library(name: str) -> MemoryKind:
    return kind_of(*library.found_document("memories", name, Path()))


def kind_of(name: str, document: Document) -> MemoryKind:
    """The memory technology that `document` describes."""
    form = _added_up(validated(MemoryForm, document), document)
    numbers = readings(form, document)
    technology = _technology(form)
    found = MemoryKind(
        name=name,
        energy=numbers["energy"] if technology is None else _host_energy(technology, numbers),
        technology=technology,
        price=_with_sources(form.price, numbers, "price"),
        carbon=_with_sources(form.carbon, numbers, "carbon"),
        stack_B=_stack_B(form),
        sources=sources_of(form.sources),
    )
    if technology is None:
        return found
    return replace(
        found,
        timing_source=numbers["timing.rcd"].source,
        read_sources={level: numbers[f"levels.{level}.read"].source for level in form.levels},
    )


def _host_energy(technology: Technology, numbers: Mapping[str, Sourced]) -> Sourced:
    joules = technology.energy_J_per_B(technology.levels[HOST])
    read = numbers[f"levels.{HOST}.read"]
    return Sourced(
        value=joules,
        text=f"{joules / 8e-12:.4g} pJ/bit: reading and opening rows",
        unit=read.unit,
        source=read.source,
    )


def _stack_B(form: MemoryForm) -> float | None:
    if not form.stacked:
        return None
    return math.inf if form.organisation is None else form.organisation.capacity.value


def _with_sources(form: Bounds | None, numbers: Mapping[str, Sourced], path: str) -> Bounds | None:
    """`form` whose three numbers bring their source along, for use in another document."""
    if form is None:
        return None
    return form.model_copy(
        update={
            end: replace(getattr(form, end), key=numbers[f"{path}.{end}"].source)
            for end in ("low", "base", "high")
        }
    )


def _added_up(form: MemoryForm, document: Document) -> MemoryForm:
    """`form` with every energy of a read a number; a sum has its first segment's source."""
    numbers = readings(form, document)
    levels = {}
    for name, level in form.levels.items():
        if not isinstance(level.read, Reading):
            joules = math.fsum(form.segments[each].value for each in level.read)
            read = Reading(
                value=joules,
                text=f"{joules / 8e-12:.4g} pJ/bit: {' + '.join(level.read)}",
                unit=form.segments[level.read[0]].unit,
                key=numbers[f"segments.{level.read[0]}"].source,
            )
            level = level.model_copy(update={"read": read})
        levels[name] = level
    return form.model_copy(update={"levels": levels})


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
        levels={name: _level(level) for name, level in form.levels.items()},
        activation_J=form.activation.value,
    )


def _level(form: LevelForm) -> Level:
    assert isinstance(form.read, Reading), "sums are added up before"
    return Level(
        banks=int(form.banks.value),
        spacing=form.spacing,
        rows=form.rows,
        read_J_per_B=form.read.value,
    )
