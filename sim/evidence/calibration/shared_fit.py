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

from sim.evidence.calibration.kernels_fit import Measured, with_section
from sim.evidence.calibration.kernels_fit import fit as fit_parts
from sim.evidence.measured.constants import Constants
from sim.hardware import Device
from sim.hardware.kernels import Kernels
from sim.hardware.records import pace, processor_records

Families = Mapping[str, Sequence[Measured]]
LIMITED: Final = ("nvidia-ampere", "nvidia-ampere-consumer", "nvidia-hopper")
"""Families with a measured device whose power limit holds its products below the peak's clock."""
PROCESS: Final = "TSMC 4N"
"""Process of the devices that take the shared kernels and state no clock of their own."""
MOST_ROWS: Final = 4000
"""Rows of a table that are predicted at all, evenly spread."""
TILE: Final = 64.0
"""Query tokens of a tile of prompts: that of most libraries' kernels."""


def fit(
    own: Kernels, process: str | None, start: Kernels, best: Mapping[str, Kernels],
    families: Families,
) -> Kernels:  # fmt: skip
    """Kernels called as `own` is, fitted to the tables of `families` as one, from `start`.

    Of `own` only what its SMs do a clock is taken, and `process`; of `best` the families that are
    in `families`, and `start` is one of them.
    """
    tables = [_thinned(each) for name in families for each in families[name]]
    begun = replace(
        start, name=own.name, cores=own.cores, fitted_on=(), scale=_scale(start, families),
        prefill={**start.prefill, "tile": TILE}, decode={**start.decode, "mixed": 0.0},
    )  # fmt: skip

    found = fit_parts(begun, tables, lambda rows: np.ones(len(rows)), among(best, families))
    if not any(_has_eight_bits(rows) for _, _, rows in tables):
        found = _eight_bits(found)
    known = {name: best[name] for name in LIMITED if name in families}
    return with_flop(found, process, known, families)


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


def _thinned(measured: Measured) -> Measured:
    """A table with fewer rows, and their predictions."""
    form, table, _ = measured
    every = max(len(table.frame) // MOST_ROWS, 1)
    fewer = replace(table, frame=table.frame.iloc[::every].reset_index(drop=True), built={})
    return form, fewer, form.predict(fewer, Constants())


def _scale(start: Kernels, families: Families) -> dict[str, float]:
    """What times of `start` are of: the first measured device of its family."""
    return pace(processor_records(device_of(families[start.name]))[0], start)


def device_of(tables: Sequence[Measured]) -> Device:
    """The device of the first of some tables."""
    return Constants().device(str(tables[0][2]["device"].iloc[0]))


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
    wide = [np.log(each.cores["matrix"]) for each in known.values()]
    energy = [
        np.log(each.matmul["flop_J"] / _process_scale(device_of(families[name]), None))
        for name, each in known.items()
    ]
    slope, offset = np.polyfit(wide, energy, 1)
    scale = _process_scale(device_of(next(iter(families.values()))), process)
    flop_J = scale * float(np.exp(offset + slope * np.log(kernels.cores["matrix"])))
    return with_section(kernels, "matmul", {**kernels.matmul, "flop_J": flop_J})


def _process_scale(device: Device, process: str | None) -> float:
    """Energy of an operation on a process, the device's own without one, over TSMC 4N's."""
    assert device.power is not None
    return device.power.scale(process or device.process) or 1.0
