"""DRAM timing: what an organisation and its timings give each kind of access, peak and sustained.

A pseudo-channel streams whole rows. Reads are `spacing` cycles apart and touch `banks` banks at
once. The host hides opening rows behind reads of other banks; a unit that reads all banks of its
reach together cannot. Refresh stops everything for rfc of every refi.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Organisation:
    """What one stack is made of; `channels` are pseudo-channels, `banks` are of one bank group."""

    channels: int
    ranks: int
    bank_groups: int
    banks: int
    row_B: float
    access_B: float
    capacity_B: float

    @property
    def columns(self) -> int:
        """Reads that empty one row of one bank."""
        return int(self.row_B // self.access_B)

    @property
    def banks_per_channel(self) -> int:
        """Banks that share one pseudo-channel, of all ranks."""
        return self.ranks * self.bank_groups * self.banks


@dataclass(frozen=True, kw_only=True)
class Timing:
    """JEDEC timings in cycles of `clock_s`; refresh in seconds."""

    clock_s: float
    rcd: int
    rp: int
    ras: int
    rc: int
    ccd_s: int
    ccd_l: int
    rrd_s: int
    faw: int
    rtp: int
    refi_s: float
    rfc_s: float


@dataclass(frozen=True, kw_only=True)
class Level:
    """One way to read: how many banks of a pseudo-channel at once, how far apart, at what energy.

    `spacing` names the timing between reads: ccd_s alternates bank groups, ccd_l stays in them.
    `rows` "hidden" opens the next row behind reads of other banks; "exposed" waits for it.
    """

    banks: int
    spacing: Literal["ccd_s", "ccd_l"]
    rows: Literal["hidden", "exposed"]
    read_J_per_B: float


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
