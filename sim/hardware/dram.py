"""DRAM timing: what an organisation and its timings give each kind of access, peak and sustained.

A pseudo-channel streams whole rows. Reads are `spacing` cycles apart and touch `banks` banks at
once. The host hides opening rows behind reads of other banks; a unit that reads all banks of its
reach together cannot. Refresh stops everything for rfc of every refi.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Final, Literal

from sim.errors import ConfigError, Problem
from sim.quantities import (
    Area,
    Bounded,
    ByteEnergy,
    Cycles,
    DieCapacity,
    Energy,
    Flag,
    Price,
    Size,
    Text,
    Time,
    quantity,
)
from sim.units import ENERGY_PER_BYTE, HIDDEN
from sim.values import Bibliography, Key, Numbers, checked

HOST: Final = "host"
"""The level of a device's own processor; others are told relative to it."""


@checked
@dataclass(frozen=True, kw_only=True)
class Organisation:
    """What one stack is made of."""

    channels: Cycles
    """Its pseudo-channels."""
    ranks: Cycles
    """Ranks of a pseudo-channel."""
    bank_groups: Cycles
    """Bank groups of a rank."""
    banks: Cycles
    """Banks of a group."""
    row_B: Size
    """What opening one row of one bank makes readable."""
    access_B: Size
    """What one read gives."""
    capacity_B: DieCapacity
    """What it holds, in bytes or, as dies are sold, in bits."""

    @property
    def columns(self) -> int:
        """Reads that empty one row of one bank."""
        return int(self.row_B // self.access_B)

    @property
    def banks_per_channel(self) -> int:
        """Banks that share one pseudo-channel, of all ranks."""
        return self.ranks * self.bank_groups * self.banks


@checked
@dataclass(frozen=True, kw_only=True)
class Timing:
    """JEDEC timings in cycles of the clock; refresh as times."""

    clock_s: Time
    """One cycle."""
    rcd: Cycles
    """From opening a row to reading it."""
    rp: Cycles
    """To close a row."""
    ras: Cycles
    """A row stays open at least so long."""
    rc: Cycles
    """From opening a row of a bank to opening its next."""
    ccd_s: Cycles
    """Between reads of different bank groups."""
    ccd_l: Cycles
    """Between reads of one bank group."""
    rrd_s: Cycles
    """Between opening rows of different bank groups."""
    faw: Cycles
    """Four rows are opened in no less."""
    rtp: Cycles
    """From a read to closing its row."""
    refi_s: Time
    """Between refreshes."""
    rfc_s: Time
    """What a refresh takes."""

    def __post_init__(self) -> None:
        """ConfigError for timings that no bank can keep."""
        problems = []
        if self.rc < self.ras + self.rp:
            message = (
                f"rc {self.rc} is below ras {self.ras} + rp {self.rp}: a row cannot open again "
                "before it has closed"
            )
            problems.append(Problem(path="rc", message=message))
        if self.ccd_l < self.ccd_s:
            message = f"ccd_l {self.ccd_l} is below ccd_s {self.ccd_s}"
            problems.append(Problem(path="ccd_l", message=message))
        if not 0.0 < self.rfc_s < self.refi_s:
            problems.append(Problem(path="rfc", message="must be above 0 and below refi"))
        if problems:
            raise ConfigError(problems)


_STATED: Final = quantity(ENERGY_PER_BYTE, zero=True)
_SEGMENTS: Final = {"type": "array", "items": {"type": "string"}}
ReadEnergy = Annotated[
    float, replace(_STATED, schema={"anyOf": [_STATED.schema, _SEGMENTS], "x-unit": "J/B"})
]


@checked
@dataclass(frozen=True, kw_only=True)
class Level:
    """One way to read: how many banks at once, how far apart, at what energy."""

    banks: Cycles
    """Banks of a pseudo-channel that are read at once."""
    spacing: Literal["ccd_s", "ccd_l"]
    """The timing between reads: ccd_s alternates bank groups, ccd_l stays in them."""
    rows: Literal["hidden", "exposed"]
    """Whether the next row opens behind reads of other banks, or reads wait for it."""
    read_J_per_B: ReadEnergy
    """Energy of a read: stated, or the names of the segments on the way whose energies add up."""


@dataclass(frozen=True, kw_only=True)
class Technology:
    """A kind of DRAM; `activation_J` opens one row of one bank."""

    organisation: Organisation
    timing: Timing
    levels: Mapping[str, Level]
    activation_J: float

    def peak_B_per_s(self, level: Level) -> float:
        """Bytes a second of one stack while rows are open and nothing refreshes."""
        spacing_s = spacing(level, self.timing) * self.timing.clock_s
        organisation = self.organisation
        return organisation.channels * level.banks * organisation.access_B / spacing_s

    def sustained_share(self, level: Level) -> float:
        """Share of the peak that a long stream keeps: opening rows and refresh taken off."""
        data = self.organisation.columns * spacing(level, self.timing)
        share = data / row_cycles(level, self.organisation, self.timing)
        return share * (1.0 - self.timing.rfc_s / self.timing.refi_s)

    def energy_J_per_B(self, level: Level) -> float:
        """Joules a byte of a stream that uses whole rows: the read and its part of opening them."""
        return level.read_J_per_B + self.activation_J / self.organisation.row_B


def spacing(level: Level, timing: Timing) -> int:
    """Cycles from one read to the next."""
    return timing.ccd_s if level.spacing == "ccd_s" else timing.ccd_l


def row_cycles(level: Level, organisation: Organisation, timing: Timing) -> float:
    """Cycles a stream spends on one row, or on one row in each of the banks it reads at once.

    Hidden: reads back to back, unless activations cannot keep up (rrd, four in faw, each bank
    again after rc). Exposed: open, read all columns, stay open for ras, close; never below rc.
    """
    reads = organisation.columns * spacing(level, timing)
    if level.rows == "hidden":
        again = timing.rc / organisation.banks_per_channel
        return max(reads, timing.rrd_s, timing.faw / 4.0, again)
    read_out = timing.rcd + reads - spacing(level, timing) + timing.rtp
    return max(max(read_out, timing.ras) + timing.rp, timing.rc)


@checked
@dataclass(frozen=True, kw_only=True)
class MemoryKind:
    """A technology of memories: an energy alone, or organisation, timing, activation and levels."""

    name: Annotated[str, HIDDEN]
    title: Text
    """What it is."""
    energy_J_per_B: ByteEnergy | None = None
    """Energy of a byte, of one without levels."""
    organisation: Organisation | None = None
    """What one stack is made of."""
    timing: Timing | None = None
    """How fast its banks are."""
    activation_J: Energy | None = None
    """Energy of opening one row of one bank."""
    segments: Mapping[str, ByteEnergy] = field(default_factory=dict)
    """Energy of each part of the way from the cell, for levels that add some of them up."""
    levels: Mapping[str, Level] = field(default_factory=dict)
    """Ways to read it; `host` is a device's own processor's."""
    die_mm2: Area | None = None
    """Area of the die under the stack, or of a chip."""
    price_USD_per_GB: Annotated[Price | None, Key("price")] = None
    """What a GB (10^9 bytes) costs."""
    carbon_kg_per_GB: Annotated[Bounded | None, Key("carbon")] = None
    """kgCO2e embodied in a GB."""
    stacked: Flag = False
    """Whether it is stacks of dies that lie beside the device's own, on an interposer or on it."""
    sources: Numbers = field(default_factory=dict)
    bibliography: Bibliography = field(default_factory=dict)
    """Sources of its own, by key."""

    @property
    def technology(self) -> Technology | None:
        """Its timing, where it is known."""
        if self.organisation is None or self.timing is None or self.activation_J is None:
            return None
        return Technology(
            organisation=self.organisation,
            timing=self.timing,
            levels=self.levels,
            activation_J=self.activation_J,
        )

    @property
    def stack_B(self) -> float | None:
        """Capacity of one stack; None of what isn't stacked."""
        if not self.stacked:
            return None
        return math.inf if self.organisation is None else self.organisation.capacity_B

    def __post_init__(self) -> None:
        """ConfigError for half a technology, and for levels that its banks cannot serve."""
        parts = (self.organisation, self.timing, self.activation_J)
        if all(part is None for part in parts) and not self.levels:
            if self.energy_J_per_B is None:
                raise ConfigError("`energy` is due, or organisation, timing, activation and levels")
            return
        technology = self.technology
        if technology is None or HOST not in self.levels:
            raise ConfigError(
                "organisation, timing, activation and levels (with `host`) go together"
            )
        problems = [
            Problem(path=f"levels.{name}.{key}", message=message)
            for name, level in self.levels.items()
            for key, message in _impossible(level, technology)
        ]
        if problems:
            raise ConfigError(problems)


def _impossible(level: Level, technology: Technology) -> Iterator[tuple[str, str]]:
    """Keys of a level that do not go with banks and timings, and why."""
    organisation, timing = technology.organisation, technology.timing
    most, groups = organisation.banks_per_channel, organisation.bank_groups
    if level.banks > most or most % level.banks:
        yield "banks", f"{level.banks} banks at once do not divide the {most} of a pseudo-channel"
    if level.spacing == "ccd_s" and timing.ccd_l > timing.ccd_s * groups:
        message = f"cannot read every ccd_s {timing.ccd_s}: {groups} bank groups in turn are back "
        yield "spacing", f"{message}before ccd_l {timing.ccd_l}"
