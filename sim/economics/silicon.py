"""Silicon: dies on a wafer, the share of them that works, and what a good one costs."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Values = float | npt.NDArray[np.float64]

RETICLE_mm: Final = (26.0, 33.0)
"""Field of a scanner at 4x reduction; a die is no larger, unless fields are stitched."""


def dies_per_wafer(
    area_mm2: Values, *, wafer_mm: Values = 300.0, edge_mm: Values = 0.0, scribe_mm: Values = 0.0
) -> Values:
    """Whole dies of `area_mm2` on a round wafer, before yield.

    pi r^2 / A - pi d / sqrt(2 A), floored: area over area, less the dies the rim cuts (de Vries,
    IEEE Trans. Semicond. Manuf. 18(1), 2005). `edge_mm` of the radius is unusable; `scribe_mm` is
    the street between dies, which are taken as square.
    """
    diameter = wafer_mm - 2.0 * np.asarray(edge_mm)
    cell = (np.sqrt(area_mm2) + scribe_mm) ** 2
    gross = np.pi * (diameter / 2.0) ** 2 / cell - np.pi * diameter / np.sqrt(2.0 * cell)
    return _like(np.floor(np.maximum(gross, 0.0)))


def murphy_yield(area_mm2: Values, defects_per_cm2: Values) -> Values:
    """Share of dies without a defect, defect density spread as a triangle (Murphy, 1964)."""
    expected = np.maximum(np.asarray(area_mm2) * defects_per_cm2 / 100.0, 1e-12)
    return _like((-np.expm1(-expected) / expected) ** 2)


def poisson_yield(area_mm2: Values, defects_per_cm2: Values) -> Values:
    """Share of dies without a defect where defects fall independently."""
    return _like(np.exp(-np.asarray(area_mm2) * defects_per_cm2 / 100.0))


def negative_binomial_yield(
    area_mm2: Values, defects_per_cm2: Values, *, clustering: Values = 3.0
) -> Values:
    """Share of dies without a defect where defects cluster (Stapper, 1983).

    A large `clustering` is Poisson's law.
    """
    expected = np.asarray(area_mm2) * defects_per_cm2 / 100.0
    return _like((1.0 + expected / clustering) ** -np.asarray(clustering))


YIELDS: Final = {
    "murphy": murphy_yield,
    "poisson": poisson_yield,
    "negative-binomial": negative_binomial_yield,
}


def die_cost(wafer_USD: Values, dies: Values, yield_share: Values) -> Values:
    """USD a good die: a wafer's price over its good dies."""
    return _like(wafer_USD / (np.asarray(dies) * yield_share))


def _like(value: npt.NDArray[np.float64] | np.float64) -> Values:
    """A float for a single value, else the array."""
    return float(value) if np.ndim(value) == 0 else np.asarray(value)
