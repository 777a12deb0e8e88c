"""Ends: numbers of a ledger as [cheap, base, dear], and what documents may give for each."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt

from sim import units
from sim.quantities import bounded, number, quantity

Floats = npt.NDArray[np.float64]
_ends: Final = partial(bounded, made=np.array)

Money = Annotated[Floats, _ends(quantity(units.MONEY))]
Plain = Annotated[Floats, _ends(number(high=1e12))]
FromOne = Annotated[Floats, _ends(number(1.0, 1e12))]
FromOneFalling = Annotated[Floats, _ends(number(1.0, 1e12), falling=True)]
Ratio = Annotated[Floats, _ends(number(0.01, 1000.0))]
YearsFalling = Annotated[Floats, _ends(number(0.1, 100.0), falling=True)]
ShareFalling = Annotated[Floats, _ends(number(1e-6, 1.0), falling=True)]
"""Falling: tokens get cheaper as it rises."""
