"""Carbon: embodied in what is made, and emitted by the electricity it uses; kgCO2e."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Values = float | npt.NDArray[np.float64]


def embodied_die(
    area_mm2: Values, yield_share: Values, *, kg_per_cm2: Values, wafer_area_share: Values = 1.0
) -> Values:
    """Embodied carbon of a good die: its area's, and that of the dies lost for it (ACT, ISCA 2022).

    `wafer_area_share` is the part of the wafer that whole dies cover.
    """
    return area_mm2 / 100.0 * kg_per_cm2 / (yield_share * np.asarray(wafer_area_share))


def operational(energy_kWh: Values, carbon_kg_per_kWh: Values) -> Values:
    """Carbon of electricity."""
    return energy_kWh * carbon_kg_per_kWh
