"""Fit: constants that bring predictions nearest to what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

Floats = npt.NDArray[np.float64]
SCALE: Final = 0.05
"""Error beyond which a row counts less: medians are what is to fall, not squares."""


def fitted(
    start: Mapping[str, float],
    bounds: Mapping[str, tuple[float, float]],
    predict: Callable[[Mapping[str, float]], Floats],
    measured: Floats,
    weights: Floats | None = None,
    evaluations: int = 40,
) -> dict[str, float]:
    """Constants within `bounds`, from `start`, that minimise robust log errors of `predict`.

    Names without bounds stay as they are. `weights` [rows] scale the errors. Deterministic.
    """
    names = [name for name in start if name in bounds]
    low = np.array([bounds[name][0] for name in names])
    high = np.array([bounds[name][1] for name in names])
    begun = np.clip([start[name] for name in names], low, high)
    scale = np.maximum(np.abs(begun), 1e-2 * (high - low))
    weight = np.ones(len(measured)) if weights is None else weights

    def errors(scaled: Floats) -> Floats:
        constants = {**start, **dict(zip(names, map(float, scaled * scale), strict=True))}
        return weight * np.log(predict(constants) / measured)

    margin = 1e-9 * (high - low) / scale
    found = least_squares(
        errors,
        np.clip(begun / scale, low / scale + margin, high / scale - margin),
        bounds=(low / scale, high / scale),
        loss="soft_l1",
        f_scale=SCALE,
        diff_step=1e-3,
        max_nfev=evaluations,
    )
    best = np.clip(found.x * scale, low, high)
    return {**start, **dict(zip(names, map(float, best), strict=True))}
