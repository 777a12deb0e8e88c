"""Cost of a run: dollars and carbon per million tokens generated under its traffic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim.config.cost_form import costs_of
from sim.economics.ledger import ledger
from sim.economics.lines import Ledger
from sim.economics.ownership import mean_W, per_Mtok
from sim.economics.practice import Costs
from sim.errors import ConfigError, Infeasible
from sim.hardware import System
from sim.results.split_report import joules_by_side
from sim.scenario import Costing
from sim.simulation.replica_groups import Part, titles

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Owned:
    """What a million tokens cost and emit, each [cheap, base, dear]; None where not known.

    `ledger` is of the whole system over its years, at the mean power of the run.
    """

    USD_per_Mtok: Floats | None
    kg_per_Mtok: Floats | None
    ledger: Ledger


@dataclass(frozen=True, kw_only=True)
class Served:
    """What a system does under a traffic: tokens a second, and watts while it does."""

    tok_per_s: float
    power_W: float


def owned(system: System, served: Served, costs: Costs) -> Owned:
    """What the tokens of a system cost that serves this traffic in its busy hours for years.

    It draws its static power in the others. Capital, buildings, upkeep and electricity, and carbon
    embodied and emitted, over the tokens of all busy hours.
    """
    practice, static_W = costs.practice, system.device.static_W
    busy = practice.utilisation
    idle_W = math.nan if static_W is None else static_W * system.count
    found = ledger(system, costs, mean_W(served.power_W, idle_W, utilisation=busy))
    tco, used = found.totals["tco_usd"], found.totals["operational_kgCO2e"]
    embodied = found.totals["embodied_kgCO2e"]
    assert embodied is not None
    share = served.tok_per_s, practice.years
    return Owned(
        USD_per_Mtok=None
        if tco is None or system.device.tdp_W is None
        else np.asarray(per_Mtok(tco, *share, utilisation=busy)),
        kg_per_Mtok=None
        if used is None
        else np.asarray(per_Mtok(embodied + used, *share, utilisation=busy)),
        ledger=found,
    )


def owned_under(
    system: System, costing: Costing, tok_per_s: float | None, power_W: float | None
) -> Owned | str:
    """As `owned`; why not, where a rate, the power, or the cost of the die are not known."""
    if not tok_per_s or power_W is None:
        return "no tokens or no power to share them over"
    try:
        costs = costs_of(system, costing.site, costing.practice, costing.basis)
        return owned(system, Served(tok_per_s=tok_per_s, power_W=power_W), costs)
    except Infeasible as error:
        return error.reason
    except ConfigError as error:
        return "; ".join(str(problem) for problem in error.problems)


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
