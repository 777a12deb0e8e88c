"""Placement of experts on ranks: which experts have copies, and which rank holds which copy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from sim.quantities import Index
from sim.values import checked

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SHUFFLES: Final = 16
"""Layers whose own order of popularity a contiguous placement is averaged over."""


@checked
@dataclass(frozen=True, kw_only=True)
class Placement:
    """How experts are laid out on expert-parallel ranks.

    "contiguous": in the order of the checkpoint, each rank the next ones; popularity has no order
    there, and each layer another one. `redundant` copies then go to the experts in that order, as
    engines have it before they have seen any load (SGLang `--init-expert-location trivial`, vLLM's
    linear placement). "balanced": copies to the most loaded experts, ranks of even load, by the
    global policy of EPLB (DeepSeek-V3, arXiv 2412.19437, section 3.4) with popularity known.
    """

    placement: Literal["contiguous", "balanced"] = "balanced"
    """In the order of the checkpoint, or by the load of each expert."""
    redundant: Index = 0
    """Copies beside the first one of every expert (SGLang `--ep-num-redundant-experts`)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Slots:
    """The expert in each slot of each rank: `held` [ranks, slots], of so many `experts`.

    Copies of an expert share its tokens equally.
    """

    held: Ints
    experts: int

    @cached_property
    def copies(self) -> Ints:
        """Copies of each expert, shape [experts]."""
        return np.bincount(self.held.ravel(), minlength=self.experts)

    @cached_property
    def shares(self) -> Floats:
        """The part of each expert's tokens that each rank gets, shape [ranks, experts]."""
        found = np.zeros((len(self.held), self.experts))
        np.add.at(found, (np.arange(len(self.held))[:, None], self.held), 1.0)
        return found / self.copies

    @cached_property
    def columns(self) -> Ints:
        """Expert of each column of drawn loads, where ranks take columns in turn."""
        return self.held.T.ravel()


def slots_of(
    placement: Placement | None, loads: Floats, ranks: int, seed: int
) -> tuple[Slots, ...]:
    """What ranks hold of experts with these `loads` [experts], of one layer or several alike.

    Without a placement experts are dealt to ranks in turn, the most popular first. `seed` orders
    popularity in layers whose experts lie contiguously.
    """
    experts = len(loads)
    if placement is None:
        return (Slots(held=np.arange(experts).reshape(-1, ranks).T, experts=experts),)
    if placement.placement == "balanced":
        return (balanced(loads, ranks, placement.redundant),)
    random = np.random.default_rng(np.random.SeedSequence(seed).spawn(6)[5])
    layers = SHUFFLES if ranks > 1 and np.ptp(loads) > 0.0 else 1
    orders = (random.permutation(experts) for _ in range(layers))
    return tuple(contiguous(order, ranks, placement.redundant) for order in orders)


def contiguous(order: Ints, ranks: int, redundant: int) -> Slots:
    """Experts in this `order` [experts], then the first of them again, cut in equal parts."""
    slots = np.arange(len(order) + redundant) % len(order)
    return Slots(held=order[slots].reshape(ranks, -1), experts=len(order))


def balanced(loads: Floats, ranks: int, redundant: int) -> Slots:
    """EPLB's global policy: copies one by one to what then is the most loaded expert per copy.

    Copies go to ranks heaviest first, each to the least loaded rank that has a slot left.
    """
    copies = np.ones(len(loads), np.int64)
    for _ in range(redundant):
        copies[np.argmax(loads / copies)] += 1
    experts = np.repeat(np.arange(len(loads)), copies)
    each = (loads / copies)[experts]
    room = len(experts) // ranks
    held = np.empty((ranks, room), np.int64)
    filled, load = np.zeros(ranks, np.int64), np.zeros(ranks)
    for slot in np.argsort(-each, kind="stable"):
        rank = int(np.argmin(np.where(filled < room, load, np.inf)))
        held[rank, filled[rank]] = experts[slot]
        filled[rank] += 1
        load[rank] += each[slot]
    return Slots(held=held, experts=len(loads))
