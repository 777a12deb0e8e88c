"""Power: how a family's static power and energies follow from what a data sheet says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """Constants of a family, fitted to measured power; a device adds its area, TDP and process.

    `flop_J` is of a 16-bit flop on a process that `processes` has at 1, `narrow` the share of it
    that one of 8 bits takes. `path_J_per_B` and, for keys and values, `kv_path_J_per_B` come on
    top of what memory takes a byte: caches, network on chip, both ends of the interface,
    regulators. `fitted_on` names the tables ("dataset/table").
    """

    name: str
    static_W_per_mm2: float
    static_share: float
    flop_J: float
    narrow: float
    path_J_per_B: float
    kv_path_J_per_B: float
    processes: tuple[tuple[str, float], ...] = ()
    fitted_on: tuple[str, ...] = ()

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
