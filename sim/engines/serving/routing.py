"""Routing: which replica of a fleet gets a request, where that can be said ahead of its arrival."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sim.workload.traffic import Blocks

Numbers = npt.NDArray[np.int64]
Alive = npt.NDArray[np.bool_]

GOLDEN = (5.0**0.5 - 1.0) / 2.0
"""Multiples of it, whole parts left out, are spread evenly over [0, 1), whichever are taken."""


class Ahead(Protocol):
    """A route that needs no state of the replicas."""

    def deal(self, rows: Numbers, alive: Alive) -> Numbers:
        """The replica of each request; some are `alive`, and get all."""


def families(parent: Numbers) -> tuple[Numbers, Numbers]:
    """Where the first answer to each request stands, in order, and whose each one is.

    `parent` [n] are the requests, from 1, that they answer; all 0 where each is alone.
    """
    if not parent.any():
        return np.arange(len(parent)), np.arange(len(parent))
    _, first, which = np.unique(parent, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[which]


@dataclass(kw_only=True, eq=False)
class RoundRobin:
    """In turn, those left out that are dead."""

    turn: int = 0

    def deal(self, rows: Numbers, alive: Alive) -> Numbers:
        """As `Ahead.deal`."""
        order = np.flatnonzero(alive)
        begin = int(np.searchsorted(order, self.turn)) % len(order)
        dealt = order[(begin + np.arange(len(rows))) % len(order)]
        if len(rows):
            self.turn = (int(dealt[-1]) + 1) % len(alive)
        return np.asarray(dealt)


@dataclass(kw_only=True, eq=False)
class ByLength:
    """Ranges of prompt lengths, cut so that each replica gets the same number of prompt tokens.

    Prompts of one length that fall to several replicas are spread evenly in time. A dead replica's
    requests go to the next one alive.
    """

    prompts: Numbers
    replicas: int

    def __post_init__(self) -> None:
        spread = np.arange(len(self.prompts)) * GOLDEN % 1.0
        order = np.lexsort((spread, self.prompts))
        before = np.cumsum(self.prompts[order]) - 0.5 * self.prompts[order]
        share = before / max(float(self.prompts.sum()), 1.0)
        self._home = np.empty(len(self.prompts), np.int64)
        self._home[order] = np.minimum(share * self.replicas, self.replicas - 1)

    def deal(self, rows: Numbers, alive: Alive) -> Numbers:
        """As `Ahead.deal`."""
        order = np.flatnonzero(alive)
        return np.asarray(order[np.searchsorted(order, self._home[rows]) % len(order)])


@dataclass(kw_only=True, eq=False)
class ByPrefix:
    """Where the prompt adds least to what a replica has had to compute, of blocks it wasn't sent.

    The router remembers which blocks it sent where, not what a replica has dropped since. Of equal
    replicas the first one.
    """

    prompts: Numbers
    blocks: Blocks
    replicas: int

    def __post_init__(self) -> None:
        self._work = np.zeros(self.replicas)
        self._holders: dict[int, int] = {}  # replicas with a block, a bit each

    def deal(self, rows: Numbers, alive: Alive) -> Numbers:
        """As `Ahead.deal`."""
        dealt = np.empty(len(rows), np.int64)
        numbers = np.flatnonzero(alive)
        alive_bits = sum(1 << int(number) for number in numbers)
        for index, row in enumerate(rows):
            ids = self.blocks.ids[self.blocks.starts[row] : self.blocks.starts[row + 1]].tolist()
            prompt = int(self.prompts[row])
            own = ids[: prompt // self.blocks.tokens]
            best = int(numbers[np.argmin(self._work[numbers])])
            choice, least, new = best, self._work[best] + prompt, prompt
            for number, depth in self._known(own, alive_bits):
                rest = prompt - depth * self.blocks.tokens
                if self._work[number] + rest < least or (number == best and rest < new):
                    choice, least, new = number, self._work[number] + rest, rest
            self._work[choice] += new
            for block in own:
                self._holders[block] = self._holders.get(block, 0) | 1 << choice
            dealt[index] = choice
        return dealt

    def _known(self, own: list[int], bits: int) -> Iterator[tuple[int, int]]:
        """Replicas of `bits` that were sent the first blocks of `own`, and how many of these."""
        for depth in range(len(own) + 1):
            still = bits & self._holders.get(own[depth], 0) if depth < len(own) else 0
            gone = bits & ~still if depth else 0
            while gone:
                lowest = gone & -gone
                yield lowest.bit_length() - 1, depth
                gone ^= lowest
            bits = still
            if not bits:
                return

    def join(self, replica: int, alive: Alive) -> None:
        """A replica starts or is back: its work so far is taken to be that of the least loaded one.

        What others did meanwhile it need not make up for: that is done. (Routers that compare
        requests in flight, as SGLang's cache_aware one, don't count it either.)
        """
        if alive.any():
            self._work[replica] = float(self._work[alive].min())

    def forget(self, replica: int) -> None:
        """A replica died or stopped: what it was sent is lost."""
        for block in self._holders:
            self._holders[block] &= ~(1 << replica)
