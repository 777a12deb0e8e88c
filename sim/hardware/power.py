"""Power: how a family's static power and energies follow from what a data sheet says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from sim.quantities import ByteEnergy, Factor, FlopEnergy, Power, ShareOfPeak, Text
from sim.values import As, Key, checked


@checked
@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """Constants of a family, fitted to measured power; a device adds its area, TDP and process."""

    name: Text
    """The name of its file."""
    title: Text | None = None
    """What family it is of."""
    fitted_on: Annotated[tuple[Text, ...], Key("fitted.on")] = ()
    """Tables of measured values ("dataset/table")."""
    date: Annotated[Text | None, Key("fitted.date")] = field(default=None, compare=False)
    """When it was fitted."""
    median_error: Annotated[Mapping[str, Text], Key("fitted.median_error")] = field(
        default_factory=dict, compare=False
    )
    """How far it is from each table."""
    static_W_per_mm2: Annotated[Power, Key("static_per_mm2")]
    """Power while on, for the area of dies."""
    static_share: ShareOfPeak
    """Most of it, as a share of the rated power."""
    flop_J: Annotated[FlopEnergy, Key("flop")]
    """Energy of a 16-bit flop on a process that is 1 in processes."""
    narrow: ShareOfPeak
    """Share of it that a flop of 8 bits takes."""
    path_J_per_B: Annotated[ByteEnergy, Key("path")]
    """What a byte takes on top of memory's energy: caches, network on chip, both ends of the
    interface, regulators."""
    kv_path_J_per_B: Annotated[ByteEnergy, Key("kv_path")]
    """The same for keys and values."""
    processes: Annotated[tuple[tuple[str, float], ...], As(Mapping[str, Factor])] = ()
    """Energy of an operation on a process, over that of flop."""

    def __post_init__(self) -> None:
        """Processes of a mapping as pairs."""
        if isinstance(self.processes, Mapping):
            object.__setattr__(self, "processes", tuple(self.processes.items()))

    def static_W(self, area_mm2: float | None, tdp_W: float | None) -> float | None:
        """Watts while on: by area, at most a share of the rated power; None where neither is known.

        The share holds for dies that parts are sold with a part of, or at a low clock.
        """
        most = None if tdp_W is None else self.static_share * tdp_W
        if area_mm2 is None:
            return most
        own = self.static_W_per_mm2 * area_mm2
        return own if most is None else min(own, most)

    def scale(self, process: str | None) -> float | None:
        """Energy of an operation on `process` over that of `flop_J`; None of an unknown one.

        What stands after a comma ("2 dies") is left out. A device that names no process, or a file
        of one's own, is taken to be made on the one that the constants are of.
        """
        if process is None or process.endswith((".yaml", ".yml")):
            return 1.0
        return dict(self.processes).get(process.split(",")[0].strip())
