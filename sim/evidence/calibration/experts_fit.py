"""Experts fitted: constants of products of experts, shared by families but for how much they reach.

What a kernel adds to its roofline is much the same from one generation to the next; the share of
the peak that large tiles reach isn't, so each measured family has one of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from sim.config import library
from sim.evidence.calibration.fit import fitted
from sim.evidence.measured import moe
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.tables import Table, read_table, stem, table_paths
from sim.hardware.kernels import Kernels

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
FORM: Final = moe.FORMATS[0]
MOST_ROWS: Final = 1200
"""Rows of one format that a fit looks at, evenly spread."""
BOUNDS: Final = {
    "fixed_s": (0.0, 5e-5), "pair_s": (0.0, 1e-8), "expert_s": (0.0, 1e-6), "memory": (0.4, 0.97),
    "operands": (0.1, 1.0), "small": (0.1, 1.0), "large": (0.2, 0.95), "wave": (0.0, 1.5),
    "pad": (0.0, 1.0), "exposed": (0.0, 1.0),
}  # fmt: skip
START: Final = {
    "fixed_s": 1e-5, "pair_s": 3e-10, "expert_s": 1e-7, "memory": 0.9, "operands": 0.7,
    "small": 0.5, "large": 0.7, "wave": 0.2, "pad": 0.3, "exposed": 0.5,
}  # fmt: skip


class Measured:
    """One table: its family of kernels, and the rows that a fit may see."""

    def __init__(self, path: Path, without: str) -> None:
        self.table: Table = read_table(path, FORM.columns)
        predicted = moe.predict_moe(self.table, Constants())
        kernels = Constants().device(str(predicted["device"].iloc[0])).processors[0].kernels
        self.family = kernels.name if kernels else ""
        seen = np.isfinite(predicted["predicted"]) & ~predicted["dtype"].isin(moe.TRITON)
        if without.startswith("shapes-"):
            seen &= predicted["fold"] != int(without.removeprefix("shapes-"))
        picked: list[Rows] = []
        weights: list[Floats] = []
        for _, group in predicted[seen].groupby("dtype"):
            index = group.index.to_numpy(np.int64)
            picked.append(index[:: max(len(index) // MOST_ROWS, 1)])
            weights.append(np.full(len(picked[-1]), (MOST_ROWS / len(picked[-1])) ** 0.25))
        self.index: Rows = np.concatenate(picked) if picked else np.zeros(0, np.int64)
        self.weights: Floats = np.concatenate(weights) if weights else np.zeros(0)
        self.measured: Floats = predicted["measured"].to_numpy(float)[self.index]

    def predict(self, constants: Constants) -> Floats:
        """Predictions of those rows."""
        rows = moe.predict_moe(self.table, constants)
        return rows["predicted"].to_numpy(float)[self.index]


def fit(constants: Constants, folder: Path, without: str) -> dict[str, Kernels]:
    """Kernels of every family, with experts fitted to the tables of `folder`.

    `without`: "" for all rows, "shapes-K" without that part of the shapes, "devices" for what the
    tables of other families give each family. A family without a table has what all give together.
    """
    paths = [
        path for path in table_paths(folder) if FORM.matches(f"{path.parent.name}/{stem(path)}")
    ]
    tables = [Measured(path, without) for path in paths]
    tables = [table for table in tables if table.family and len(table.index)]
    base = {name: constants.of_kernels(name) for name in library.files("kernels")}
    if not tables:
        return base
    families = sorted({table.family for table in tables})
    together = shared(base, tables, own=False)[""]
    sections = {} if without == "devices" else shared(base, tables, own=True)
    for name in families if without == "devices" else ():
        others = [table for table in tables if table.family != name]
        sections[name] = shared(base, others, own=False)[""] if others else dict(START)
    names = {
        name: tuple(f"{table.table.dataset}/{table.table.name}" for table in tables
                    if table.family == name)
        for name in families
    }  # fmt: skip
    return {
        name: replace(
            kernels,
            experts=sections.get(name, together),
            fitted_on=tuple(dict.fromkeys((*kernels.fitted_on, *names.get(name, ())))),
        )
        for name, kernels in base.items()
    }


def shared(
    base: Mapping[str, Kernels], tables: Sequence[Measured], *, own: bool
) -> dict[str, dict[str, float]]:
    """Constants fitted to `tables` together, by family; those of every family by ""."""
    families = sorted({table.family for table in tables})
    start, bounds = dict(START), dict(BOUNDS)
    if own:
        for name in families:
            start[f"large {name}"], bounds[f"large {name}"] = start["large"], bounds["large"]
        del bounds["large"]

    def section(tried: Mapping[str, float], name: str) -> dict[str, float]:
        found = {key: tried[key] for key in START}
        return {**found, "large": tried.get(f"large {name}", found["large"])}

    def predict(tried: Mapping[str, float]) -> Floats:
        kernels = {name: replace(base[name], experts=section(tried, name)) for name in families}
        known = Constants(kernels=kernels)
        return np.concatenate([table.predict(known) for table in tables])

    best = fitted(
        start,
        bounds,
        predict,
        np.concatenate([table.measured for table in tables]),
        np.concatenate([table.weights for table in tables]),
    )
    return {name: section(best, name) for name in ("", *families)}
