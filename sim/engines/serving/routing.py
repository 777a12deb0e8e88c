"""Routing: which replica of a fleet gets a request, where that can be said ahead of its arrival."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
Alive = npt.NDArray[np.bool_]

GOLDEN = (5.0**0.5 - 1.0) / 2.0
"""Multiples of it, whole parts left out, are spread evenly over [0, 1), whichever are taken."""


class Ahead(Protocol):
    """A route that needs no state of the replicas."""

    def deal(self, rows: Numbers, alive: Alive) -> Numbers:
        """The replica of each request; some are `alive`, and get all."""


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
