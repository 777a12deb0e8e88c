"""Per token: what a million tokens of a system cost and emit over the years it is owned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim.economics.ledger import ledger
from sim.economics.lines import Ledger
from sim.economics.ownership import mean_W, per_Mtok
from sim.economics.practice import Costs
from sim.hardware import System

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

    Capital, buildings, upkeep and electricity, and carbon embodied and emitted, over the tokens of
    all busy hours.
    """
    practice = costs.practice
    busy, years, tok_per_s = practice.utilisation, practice.years, served.tok_per_s
    book = ledger(system, costs, mean_W(served.power_W, system.unused_W, utilisation=busy))
    tco, emitted = book.totals["tco_usd"], book.totals["operational_kgCO2e"]
    embodied = book.totals["embodied_kgCO2e"]
    assert embodied is not None
    usd = None if system.device.tdp_W is None else tco
    kg = None if emitted is None else embodied + emitted
    usd_per_Mtok, kg_per_Mtok = (
        None if total is None else np.asarray(per_Mtok(total, tok_per_s, years, utilisation=busy))
        for total in (usd, kg)
    )
    return Owned(USD_per_Mtok=usd_per_Mtok, kg_per_Mtok=kg_per_Mtok, ledger=book)
