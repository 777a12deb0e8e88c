"""Lines of a ledger: each [cheap, base, dear], how it came about, whose numbers it rests on.

At the cheap end prices and defects are low and volumes high.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sim.notebook import html_table

Floats = npt.NDArray[np.float64]

DEVICE: Final = "USD"
NRE: Final = "USD, NRE"
CAPITAL: Final = "USD, capital"
RUNNING: Final = "USD, running"
CARBON: Final = "kgCO2e"
EMBODIED: Final = "kgCO2e, embodied"
EMITTED: Final = "kgCO2e, running"
"""Units of lines; lines of one unit add up to a total. DEVICE and CARBON are of one device."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """One entry: what it is, in what unit, how it came about, and whose numbers it rests on."""

    name: str
    unit: str
    value: Floats
    formula: str
    sources: tuple[str, ...] = ()

    @property
    def bounds(self) -> tuple[float, float, float]:
        """Low, base and high; of a yield the cheap end is the high one."""
        ends = sorted((float(self.value[0]), float(self.value[2])))
        return ends[0], float(self.value[1]), ends[1]

    def to_json(self) -> dict[str, Any]:
        """The line as plain values."""
        low, base, high = self.bounds
        return {
            "name": self.name, "unit": self.unit, "low": low, "base": base, "high": high,
            "formula": self.formula, "sources": list(self.sources),
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Ledger:
    """Lines of a system; `totals` by name, None where a number is not known."""

    system: str
    basis: str
    """Whose price the devices have."""
    lines: tuple[Line, ...]
    totals: Mapping[str, Floats | None]

    def _repr_html_(self) -> str:
        rows = [[line.name, line.unit, *line.bounds, line.formula] for line in self.lines]
        title = f"{self.system} ({self.basis})"
        return html_table(title, ["line", "unit", "low", "base", "high", "formula"], rows)

    def to_json(self) -> dict[str, Any]:
        """The ledger as plain values."""
        return {
            "system": self.system,
            "basis": self.basis,
            "lines": [line.to_json() for line in self.lines],
            "totals": {
                name: None
                if value is None
                else dict(zip(("low", "base", "high"), map(float, value), strict=True))
                for name, value in self.totals.items()
            },
        }


def three(value: float) -> Floats:
    """One number for all ends."""
    return np.full(3, float(value))


def sources_at(numbers: Mapping[str, Any], *paths: str) -> tuple[str, ...]:
    """Sources of the numbers at `paths` and below them."""
    found = {
        number.source
        for key, number in numbers.items()
        for path in paths
        if key == path or key.startswith(f"{path}.")
    }
    return tuple(sorted(found))


def total(lines: Iterable[Line], *units: str) -> Floats:
    """Sum of the lines that have one of these units."""
    return np.asarray(sum((line.value for line in lines if line.unit in units), three(0.0)))
