"""Cost of a run: dollars and carbon per million tokens generated under its traffic."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sim.config.cost_form import ledger_of, load_practice, load_site
from sim.cost.carbon import operational
from sim.cost.ownership import cost_per_Mtok, electricity_cost, energy_kWh, facility_W
from sim.errors import Infeasible
from sim.hardware import System

Floats = npt.NDArray[np.float64]


def per_Mtok(
    system: System, tok_per_s: float | None, power_W: float | None
) -> tuple[Floats | None, Floats | None]:
    """USD and kgCO2e per million tokens, each [low, base, high]; None where a number is missing.

    The system is owned for some years and serves this traffic all the time: what it cost and its
    upkeep, electricity at the mean power of the run, and the carbon of both.
    """
    if not tok_per_s or power_W is None:
        return None, None
    try:
        owned = ledger_of(system)
    except Infeasible:
        return None, None
    practice, (site, _) = load_practice(), load_site("default")
    drawn = np.asarray(facility_W(power_W, site))
    embodied, capital = owned.totals["embodied_kgCO2e"], owned.totals["capex_usd"]
    assert embodied is not None
    emitted = embodied + operational(energy_kWh(drawn, practice.years), site.carbon_kg_per_kWh)
    carbon = np.asarray(cost_per_Mtok(emitted, tok_per_s, practice.years))
    if capital is None or system.device.tdp_W is None:
        return None, carbon
    bill = electricity_cost(drawn, practice.years, site)
    upkeep = capital * practice.maintenance_per_year * practice.years
    return np.asarray(cost_per_Mtok(capital + bill + upkeep, tok_per_s, practice.years)), carbon
