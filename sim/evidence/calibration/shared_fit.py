"""Shared: kernels of all measured generations fitted as one, for a generation nobody measured.

Constants are shared in what hardware has: times in clocks, walks along keys in what an SM has of
the memory's bandwidth (`hardware.records`). Each generation keeps the energy of its flops, which
decides the clock that products hold; that of an unmeasured one follows from the others'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd

from sim.evidence.calibration.fit import Measured, fits
from sim.evidence.calibration.kernels_fit import every, with_section
from sim.evidence.calibration.kernels_fit import fit as fit_parts
from sim.evidence.measured.constants import Constants
from sim.hardware import Device
from sim.hardware.kernels import Kernels
from sim.hardware.records import pace, processor_records

Families = Mapping[str, Sequence[Measured]]
MOST_ROWS: Final = 4000
"""Rows of a table that are predicted at all, evenly spread."""


def fit(
    own: Kernels, process: str | None, start: Kernels, best: Mapping[str, Kernels],
    families: Families,
) -> Kernels:  # fmt: skip
    """Kernels called as `own` is, fitted to the tables of `families` as one, from `start`.

    Of `own` only what its SMs do a clock is taken, and `process`; of `best` the families that are
    in `families`, and `start` is one of them.
    """
    tables = [
        table.of_rows(slice(None, None, max(len(table.table.frame) // MOST_ROWS, 1)))
        for name in families
        for table in families[name]
    ]
    begun = replace(
        start, name=own.name, cores=own.cores, fitted_on=(), scale=_scale(start, families),
        prefill={**start.prefill, "tile": fits("families")["tile"]},
        decode={**start.decode, "mixed": 0.0},
    )  # fmt: skip

    kernels = fit_parts(begun, tables, every, among(best, families))
    if not any(_has_eight_bits(table.rows) for table in tables):
        kernels = _eight_bits(kernels)
    return with_flop(kernels, process, limited(best, families), families)


def limited(best: Mapping[str, Kernels], families: Families) -> dict[str, Kernels]:
    """Kernels of those of `families` with a device whose power limit holds its products."""
    return {name: best[name] for name in fits("families")["limited"] if name in families}


def among(best: Mapping[str, Kernels], families: Families) -> Callable[[Kernels], Constants]:
    """What makes devices of `families` with kernels shared among them."""
    return lambda tried: Constants(kernels={name: _as(tried, best[name]) for name in families})


def _as(tried: Kernels, own: Kernels) -> Kernels:
    """Kernels that are tried, as a family has them that keeps its energy and its library's habit.

    The habit is whether new tokens share a launch with prompts.
    """
    kept = {name: own.matmul[name] for name in ("flop_J", "exponent", "boost")}
    return replace(
        tried, name=own.name, cores=own.cores, matmul={**tried.matmul, **kept},
        decode={**tried.decode, "mixed": own.decode["mixed"]},
    )  # fmt: skip


def _has_eight_bits(rows: pd.DataFrame) -> bool:
    """Whether attention with a cache of 8 bits is among rows, other than latent attention."""
    plain = rows["phase"].isin(["decode", "prefill"])
    return bool((plain & rows["dtype"].astype(str).str.endswith("/fp8")).any())


def _eight_bits(kernels: Kernels) -> Kernels:
    """`kernels` for an 8-bit cache that nobody measured: half the bytes, so twice the tokens."""
    decode = {**kernels.decode, "packed_8": 2.0 * kernels.decode["packed"], "chain_8": 0.5}
    prefill = {
        **kernels.prefill, "pad_8": 2.0 * kernels.prefill["pad"],
        "compute_8": kernels.prefill["compute"],
    }  # fmt: skip
    return replace(kernels, decode=decode, prefill=prefill)


def _scale(start: Kernels, families: Families) -> dict[str, float]:
    """What times of `start` are of: the first measured device of its family."""
    return pace(processor_records(families[start.name][0].device)[0], start)


def with_flop(
    kernels: Kernels, process: str | None, known: Mapping[str, Kernels], families: Families
) -> Kernels:
    """`kernels` with the energy of a flop that those of `known` families imply for a process.

    Foundries state what processes differ by; on one of them energy falls as a power of the flops
    that an SM's matrix units do a clock, since larger ones read operands less often. Two families
    decide the power; with fewer the energy stays.
    """
    if len(known) < 2:
        return kernels
    wide = [np.log(family.cores["matrix"]) for family in known.values()]
    energy = [
        np.log(family.matmul["flop_J"] / _process_scale(families[name][0].device, None))
        for name, family in known.items()
    ]
    slope, offset = np.polyfit(wide, energy, 1)
    scale = _process_scale(next(iter(families.values()))[0].device, process)
    flop_J = scale * float(np.exp(offset + slope * np.log(kernels.cores["matrix"])))
    return with_section(kernels, "matmul", {**kernels.matmul, "flop_J": flop_J})


def _process_scale(device: Device, process: str | None) -> float:
    """Energy of an operation on a process, the device's own without one, over TSMC 4N's."""
    assert device.power is not None
    return device.power.scale(process or device.process) or 1.0
