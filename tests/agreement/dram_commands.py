"""A plain command scheduler of one pseudo-channel, to hold the timing formulas against.

It issues activate, read and precharge one by one, each at the first cycle that every constraint
allows, and knows no formula. `allowed` is asked for each cycle on its own, so a test can also see
that one cycle earlier is too early.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sim.hardware.dram import Level, Organisation, Timing

FAR = -(10**9)


@dataclass
class Bank:
    activated: int = FAR
    read: int = FAR
    precharged: int = FAR


@dataclass
class Channel:
    """Banks of one pseudo-channel, numbered so that neighbours lie in different bank groups."""

    organisation: Organisation
    timing: Timing
    banks: list[Bank] = field(default_factory=list)
    activations: list[int] = field(default_factory=list)
    reads: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.banks = [Bank() for _ in range(self.organisation.banks_per_channel)]

    def group(self, bank: int) -> int:
        return bank % self.organisation.bank_groups

    def may_activate(self, bank: int, at: int) -> bool:
        own, timing = self.banks[bank], self.timing
        before = self.activations
        return (
            at >= own.precharged + timing.rp
            and at >= own.activated + timing.rc
            and (not before or at >= before[-1] + timing.rrd_s)
            and (len(before) < 4 or at >= before[-4] + timing.faw)
        )

    def may_read(self, bank: int, at: int) -> bool:
        timing = self.timing
        same = [cycle for cycle, other in self.reads[-8:] if self.group(other) == self.group(bank)]
        return (
            at >= self.banks[bank].activated + timing.rcd
            and (not self.reads or at >= self.reads[-1][0] + timing.ccd_s)
            and (not same or at >= same[-1] + timing.ccd_l)
        )

    def may_precharge(self, bank: int, at: int) -> bool:
        own = self.banks[bank]
        return at >= own.read + self.timing.rtp and at >= own.activated + self.timing.ras

    def activate(self, bank: int, at: int) -> int:
        while not self.may_activate(bank, at):
            at += 1
        self.banks[bank].activated = at
        self.activations.append(at)
        self.activations.sort()
        return at

    def read(self, bank: int, at: int) -> int:
        while not self.may_read(bank, at):
            at += 1
        self.banks[bank].read = at
        self.reads.append((at, bank))
        return at

    def precharge(self, bank: int, at: int) -> int:
        while not self.may_precharge(bank, at):
            at += 1
        self.banks[bank].precharged = at
        return at


def host_cycles_per_row(organisation: Organisation, timing: Timing, rows: int) -> float:
    """Cycles a row of a long stream that alternates between banks of different groups.

    Sets of as many banks as ccd_l is longer than ccd_s (at least two) take turns; each is opened
    as soon as it may be, while others are read.
    """
    channel = Channel(organisation, timing)
    wide = max(2, -(-timing.ccd_l // timing.ccd_s))
    while organisation.bank_groups % wide and wide < organisation.bank_groups:
        wide += 1  # sets begin at the same group
    sets = [range(bank, bank + wide) for bank in range(0, organisation.banks_per_channel, wide)]
    for each in sets:
        for bank in each:
            channel.activate(bank, 0)
    at, started = 0, 0
    turns = max(rows // wide, 2 * len(sets))
    for turn in range(turns):
        banks = sets[turn % len(sets)]
        for column in range(wide * organisation.columns):
            at = channel.read(banks[column % wide], at)
        for bank in banks:
            channel.activate(bank, channel.precharge(bank, at))
        if turn == len(sets) - 1:
            started = at
    return (at - started) / (wide * (turns - len(sets)))


def together_cycles_per_row(
    level: Level, organisation: Organisation, timing: Timing, rows: int
) -> float:
    """Cycles a row of banks that open, read every column at ccd_l and close together."""
    one = Channel(organisation, timing)  # in step, they behave as one bank
    at = started = 0
    for row in range(rows):
        at = one.activate(0, at)
        started = at if row == 1 else started
        for _ in range(organisation.columns):
            at = one.read(0, at)
        at = one.precharge(0, at)
    return (one.activate(0, at) - started) / (rows - 1)
