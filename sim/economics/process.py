"""Process: what making chips on a node costs, each number as [cheap, base, dear]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sim.economics.masks import LayerStack
from sim.units import Sourced

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Process:
    """A class of processes of about one node. `design_USD` is of a whole new chip."""

    name: str
    wafer_USD: Floats
    wafer_mm: float
    defects_per_cm2: Floats
    mask_set_USD: Floats
    layers: LayerStack
    design_USD: Floats
    carbon_kg_per_cm2: Floats
    sources: Mapping[str, Sourced] = field(default_factory=dict)
