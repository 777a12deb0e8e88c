"""Fig. 8 of the Duplex paper: energy x delay x area of three units in memory, by Op/B."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from sim.config.memories import memory_kind
from sim.evidence.papers.published import printed

Floats = npt.NDArray[np.float64]

OP_PER_B: Final = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
UNITS: Final = {"bank-pim": 1.0, "bank-group-pim": 8.0, "logic-pim": 8.0}
"""Peak Op/B of each unit at its own bandwidth."""
CONSTANTS: Final = (
    "pJ a flop on the DRAM die",
    "pJ a flop on the logic die",
    "area of Bank-PIM over BankGroup-PIM",
    "area of Logic-PIM over BankGroup-PIM",
)


@cache
def figure() -> Floats:
    """Cells of the figure, each column relative to its worst; rows in the order of `UNITS`."""
    return np.array(
        [[printed("duplex", cell_id(unit, intensity)) for intensity in OP_PER_B] for unit in UNITS]
    )


def cell_id(unit: str, intensity: float) -> str:
    """The id of a printed cell."""
    return f"F8-{unit}-{intensity:g}"


def simulated() -> dict[str, float]:
    """The cells with fitted constants, their error, and columns in the printed order."""
    constants = fit()
    table = cells(constants)
    values = {
        cell_id(unit, intensity): float(table[row, column])
        for row, unit in enumerate(UNITS)
        for column, intensity in enumerate(OP_PER_B)
    }
    order = float(same_order(constants))
    return values | {"F8": 100.0 * rms(constants), "F8-order": order}


def constants_in_words() -> str:
    """The constants fitted on the figure."""
    constants = zip(CONSTANTS, fit(), strict=True)
    return "fitted on Fig. 8: " + ", ".join(f"{name} {value:.3g}" for name, value in constants)


def cells(constants: Floats) -> Floats:
    """EDAP of the three units at each Op/B with these `CONSTANTS`, relative to the worst.

    Delay a byte is the slower of stream and arithmetic; energy is of the read, its share of opening
    the row, and the arithmetic.
    """
    technology = memory_kind("hbm3").technology
    assert technology is not None
    dram, logic, bank_area, logic_area = constants
    host = technology.peak_B_per_s(technology.levels["host"])
    edap = []
    for (name, ridge), flop_pJ, area in zip(
        UNITS.items(), (dram, dram, logic), (bank_area, 1.0, logic_area), strict=True
    ):
        level = technology.levels[name]
        speed = technology.peak_B_per_s(level) / host
        delay = np.maximum(1.0 / speed, OP_PER_B / (speed * ridge))
        energy = technology.energy_J_per_B(level) * 1e12 + flop_pJ * OP_PER_B
        edap.append(delay * energy * area)
    table = np.array(edap)
    return np.asarray(table / table.max(axis=0))


def errors(constants: Floats) -> Floats:
    """Relative error of each cell."""
    return np.asarray(cells(constants) / figure() - 1.0)


@cache
def fit() -> Floats:
    """The `CONSTANTS` that fit the printed cells best: Gauss-Newton on relative errors."""
    constants = np.array([0.5, 0.5, 1.0, 1.0])
    for _ in range(50):
        here = errors(constants).ravel()
        slopes = np.empty((here.size, constants.size))
        for index, value in enumerate(constants):
            step = np.zeros(constants.size)
            step[index] = 1e-6 * value
            slopes[:, index] = (errors(constants + step).ravel() - here) / (1e-6 * value)
        move = np.linalg.lstsq(slopes, -here, rcond=None)[0]
        while (constants + move <= 0.0).any() or rms(constants + move) > rms(constants):
            move *= 0.5
            if np.abs(move).max() < 1e-9:
                return constants
        constants = constants + move
    return constants


def rms(constants: Floats) -> float:
    """Root mean square of the cells' relative errors."""
    return float(np.sqrt((errors(constants) ** 2).mean()))


def same_order(constants: Floats) -> int:
    """Columns, of six, in which the three units come in the printed order."""
    table = cells(constants)
    return sum(_agrees(column, shown) for column, shown in zip(table.T, figure().T, strict=True))


def _agrees(ours: Floats, shown: Floats) -> bool:
    """Whether what is printed apart comes in the same order; cells printed equal may go any way."""
    return all(
        (ours[a] - ours[b]) * (shown[a] - shown[b]) > 0.0
        for a in range(3)
        for b in range(a)
        if shown[a] != shown[b]
    )
