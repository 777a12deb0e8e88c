"""Ownership: what running a system for years costs on top of buying it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from sim.economics.ends import FromOne, Plain
from sim.quantities import Text
from sim.values import Bibliography, Numbers, checked

Values = float | npt.NDArray[np.float64]

HOURS_A_YEAR: Final = 8760.0


@checked
@dataclass(frozen=True, kw_only=True)
class Site:
    """Where systems stand; each number as [cheap, base, dear] or alone."""

    title: Text | None = None
    """What place this is."""
    name: Text | None = None
    """A name for it."""
    pue: FromOne | float
    """Power drawn over power used."""
    facility_USD_per_W: Plain | float
    """What building the site costs for the power drawn."""
    electricity_USD_per_kWh: Plain | float
    """Price of electricity."""
    carbon_kg_per_kWh: Plain | float
    """Carbon of the grid's electricity, kgCO2e."""
    sources: Numbers = field(default_factory=dict)
    bibliography: Bibliography = field(default_factory=dict)
    """Sources of its own, by key."""


def facility_W(used_W: Values, site: Site) -> Values:
    """Watts the site draws for systems that use `used_W`."""
    return used_W * site.pue


def facility_cost(
    drawn_W: Values, site: Site, *, nodes: Values = 0.0, node_USD: Values = 0.0
) -> Values:
    """USD of building the site, and of the network and racks of `nodes`."""
    return drawn_W * site.facility_USD_per_W + nodes * np.asarray(node_USD)


def energy_kWh(drawn_W: Values, years: Values, *, utilisation: Values = 1.0) -> Values:
    """Electricity of `years`."""
    return drawn_W / 1000.0 * HOURS_A_YEAR * years * np.asarray(utilisation)


def electricity_cost(
    drawn_W: Values, years: Values, site: Site, *, utilisation: Values = 1.0
) -> Values:
    """USD of the electricity of `years`."""
    return energy_kWh(drawn_W, years, utilisation=utilisation) * site.electricity_USD_per_kWh


def per_Mtok(
    total: Values, tok_per_s: Values, years: Values, *, utilisation: Values = 1.0
) -> Values:
    """`total` per million tokens of a system that generates `tok_per_s` while it is used."""
    tokens = tok_per_s * HOURS_A_YEAR * 3600.0 * years * np.asarray(utilisation)
    return total / tokens * 1e6


def mean_W(power_W: Values, static_W: Values, *, utilisation: Values) -> Values:
    """Watts over all hours of systems that draw `power_W` while used, else `static_W`.

    Where `static_W` is not known (NaN), as much as while used.
    """
    busy, idle_W = np.asarray(utilisation), np.fmin(static_W, power_W)
    return np.asarray(power_W * busy + idle_W * (1.0 - busy))
