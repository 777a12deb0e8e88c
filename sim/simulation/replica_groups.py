"""Parts of a run: replicas of one kind of system, what they did, drew and cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sim.cost.lines import Ledger
from sim.engines.serving.engine import Outcome
from sim.hardware import System
from sim.scenario import Costing
from sim.simulation.cost import Owned, owned_under
from sim.simulation.prepare import Prepared
from sim.simulation.split_report import joules_by_side

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """`systems` equal systems and the `outcomes` of their replicas; `role` is its pool, if any."""

    prepared: Prepared
    systems: int
    outcomes: tuple[Outcome, ...]
    role: str = ""
    on_share: float = 1.0
    """How much of the time its systems are on and paid for, on average."""
    fewest: int | None = None
    """Of systems that come and go, how many are always there."""

    @property
    def system(self) -> System:
        """What it is made of."""
        return self.prepared.program.system

    @cached_property
    def seconds(self) -> Floats:
        """Seconds [op, processor, bound] of all replicas; the last processor stands for links."""
        return np.asarray(sum(outcome.seconds for outcome in self.outcomes))

    @cached_property
    def joules(self) -> Floats:
        """Joules [op, processor, part] of all replicas, without static power."""
        return np.asarray(sum(outcome.joules for outcome in self.outcomes))

    @property
    def processors(self) -> list[str]:
        """Names of the processors of a device, and of the links."""
        return [each.name for each in self.system.device.processors] + ["link"]

    @property
    def devices(self) -> int:
        """Devices of all its systems."""
        return self.system.count * self.systems

    @property
    def static_W(self) -> float:
        """Power of its systems that are on, in the mean, whatever runs; NaN where not known."""
        static = self.system.device.static_W
        return math.nan if static is None else static * self.devices * self.on_share

    @property
    def paid(self) -> float:
        """Systems that are on, in the mean."""
        return self.systems * self.on_share

    @property
    def title(self) -> str:
        """How many there are: "3 h100-x1", "1 to 16 h100-x1"."""
        count = f"{self.systems}" if self.fewest is None else f"{self.fewest} to {self.systems}"
        return f"{count} {self.system.name}"

    @property
    def in_microbatches(self) -> bool:
        """Whether an iteration is cut: by a pipeline, or between attention and experts apart."""
        return self.prepared.program.layout.pp > 1 or self.prepared.program.split is not None

    @property
    def busy_s(self) -> float:
        """Seconds of all replicas within iterations."""
        return sum(outcome.busy_s for outcome in self.outcomes)

    @property
    def operator_joules(self) -> float:
        """What operators of all replicas used."""
        return sum(outcome.operator_joules for outcome in self.outcomes)


def titles(parts: Sequence[Part]) -> str:
    """What ran: "h100-x1", "3 h100-x1", "2 h100-x1 (prefill) and 1 duplex-x4 (decode)"."""
    if len(parts) == 1 and parts[0].systems == 1:
        return parts[0].system.name
    words = [part.title + (f" ({part.role})" if part.role else "") for part in parts]
    return " and ".join(words)


def owned_together(
    parts: Sequence[Part], costing: Costing, rate: float | None, duration_s: float
) -> Owned | str:
    """What tokens cost that all `parts` generate at `rate` together; why not where not known.

    Each system is owned by itself, at its own power, and all costs are shared by all tokens. Of
    systems that come and go the mean number is paid: others have the use of the rest.
    """
    shares = [share for part in parts for share in _shares(part, duration_s)]
    found: list[tuple[float, Owned]] = []
    for system, systems, watts in shares:
        own = owned_under(
            system,
            costing,
            None if rate is None else rate / systems,
            None if math.isnan(watts) else watts / systems,
        )
        if isinstance(own, str):
            return own
        found.append((systems, own))
    # the rate is that of all: what each of a part's systems costs a token adds up to the part's
    return Owned(
        USD_per_Mtok=_sum([own.USD_per_Mtok for _, own in found]),
        kg_per_Mtok=_sum([own.kg_per_Mtok for _, own in found]),
        ledger=_together(found, titles(parts)),
    )


def _shares(part: Part, duration_s: float) -> list[tuple[System, float, float]]:
    """Systems of a part, how many of each, and the watts of all of a kind; two sides are two."""
    split = part.prepared.program.split
    if split is None:
        watts = part.static_W + part.operator_joules / duration_s if duration_s > 0 else math.nan
        return [(part.system, part.paid, watts)]
    attention = part.prepared.scenario.pools[0].system
    made = []
    own, other = joules_by_side(part.joules, part.system, split)
    spent = own + sum(each.copies.joules for each in part.outcomes), other  # caches lie there
    for system, joules in zip((attention, split.system), spent, strict=True):
        static, watts = system.device.static_W, math.nan
        if static is not None and duration_s > 0.0:
            watts = static * system.count * part.paid + joules / duration_s
        made.append((system, part.paid, watts))
    return made


def _sum(values: Sequence[Floats | None]) -> Floats | None:
    known = [value for value in values if value is not None]
    return np.asarray(sum(known)) if len(known) == len(values) else None


def _together(found: Sequence[tuple[float, Owned]], title: str) -> Ledger:
    """Lines of one system of each part, and totals of all systems."""
    names = list(found[0][1].ledger.totals)
    totals: dict[str, Floats | None] = {}
    for name in names:
        own = [(systems, each.ledger.totals[name]) for systems, each in found]
        totals[name] = _sum([None if value is None else count * value for count, value in own])
    bases = list(dict.fromkeys(own.ledger.basis for _, own in found))
    return Ledger(
        system=title,
        basis=bases[0] if len(bases) == 1 else " and ".join(bases),
        lines=tuple(line for _, own in found for line in own.ledger.lines),
        totals=totals,
    )
