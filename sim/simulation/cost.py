"""Cost of a run: dollars and carbon per million tokens generated under its traffic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim.config.cost_form import costs_of
from sim.cost.ledger import ledger
from sim.cost.lines import Ledger
from sim.cost.ownership import per_Mtok
from sim.cost.practice import Costs
from sim.errors import ConfigError, Infeasible
from sim.hardware import System
from sim.scenario import Costing

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
    practice = costs.practice
    idle_W = served.power_W
    if system.device.static_W is not None:
        idle_W = min(system.device.static_W * system.count, idle_W)
    busy = practice.utilisation
    found = ledger(system, costs, served.power_W * busy + idle_W * (1.0 - busy))
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
