"""Bands in words and tables: how far numbers may be off, and how well they are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

from sim.results.quantity import UNKNOWN, quantity

if TYPE_CHECKING:
    from sim.results.bands.band import Band
    from sim.results.metrics import Column
    from sim.results.run import Run

LEVELS: Final[Mapping[str, str]] = {
    "calibrated": "calibrated on this device",
    "held-out": "of a generation that was measured, on other devices or runtimes",
    "unmeasured": "of a generation that nobody measured",
    "estimated": "of units whose shares of their peaks are estimates",
    "unbuilt": "unbuilt: of a chip that doesn't exist",
}
"""Levels of knowledge, in words."""
SHOWN: Final = ("tpot_p50_s", "energy_J_per_tok")
"""Metrics whose bands' levels are told; latencies and rates have one, energies another."""
ALIKE: Final = "≈"
"""Marks a difference that lies within the bands."""


def within(band: Band | None, unit: str = "") -> str:
    """A band as "7.1 ms to 12 ms"."""
    if band is None:
        return UNKNOWN
    return " to ".join(quantity(end, unit) for end in (band.low, band.high))


def band_lines(bands: Mapping[str, Band]) -> list[Text]:
    """What bands are, how well their metrics are known, and where they come from; one line."""
    sentences = []
    for what, name in zip(("time", "energy"), SHOWN, strict=True):
        if name in bands:
            sentences.append(f"{what} {LEVELS[bands[name].level]} [{bands[name].basis}]")
    if not sentences:
        return []
    unbuilt = any(band.level == "unbuilt" for band in bands.values())
    return [
        Text(
            "In brackets: 10 to 90 % of what measurements were beside predictions, "
            f"{'; '.join(sentences)}. Tables: hw_configs/fitted/errors.",
            style="yellow" if unbuilt else "dim",
        )
    ]


def band_table(runs: Sequence[Run], columns: Sequence[Column], table: Table) -> Table:
    """`table` with the bands of `columns` of several runs, and how well they are known."""
    for column in columns:
        bands = [run.bands.get(column.name) for run in runs]
        if any(bands):
            table.add_row(column.text, *(within(band, column.unit) for band in bands))
    for what, name in zip(("time is", "energy is"), SHOWN, strict=True):
        bands = [run.bands.get(name) for run in runs]
        table.add_row(what, *(UNKNOWN if band is None else band.level for band in bands))
    return table
