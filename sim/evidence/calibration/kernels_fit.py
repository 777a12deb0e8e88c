"""Kernels fitted: constants of matrix products, attention and element-wise operators by family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pandas as pd

from sim.evidence.calibration.fit import Floats, Measured, Numbers, fits, fitted_to
from sim.evidence.measured.constants import Constants
from sim.hardware.kernels import Kernels

FAMILIES: Final = ("gemm", "attention", "mla", "layer", "vector")
MOST_ROWS: Final = 3000
"""Rows of a table that a fit looks at, evenly spread."""


def wanted(part: Mapping[str, Any], rows: pd.DataFrame) -> pd.Series:
    """Rows that a part of `fits.yaml` is fitted on."""
    chosen = rows["phase"].isin(part["phases"])
    if "dtypes" in part:
        chosen &= rows["dtype"].isin(part["dtypes"])
    if "with" in part:
        chosen &= bool((rows["phase"] == part["with"]).any())
    return chosen & ~rows["dtype"].isin(part.get("but", ()))


def everywhere(kernels: Kernels) -> Constants:
    """Every device with these kernels."""
    return Constants(everywhere=kernels)


def fit(
    start: Kernels, tables: Sequence[Measured], keep: Callable[[pd.DataFrame], Floats],
    devices: Callable[[Kernels], Constants] = everywhere,
) -> Kernels:  # fmt: skip
    """`start` with every part fitted to the kept rows of `tables`, one part after the other.

    `keep` says of each row whether it may be seen, `devices` what kernels that are tried make of
    the tables' devices.
    """
    for part in fits("kernels"):
        start = _fit_part(part, start, tables, keep, devices)
    return start


def _fit_part(
    part: Mapping[str, Any], start: Kernels, tables: Sequence[Measured],
    keep: Callable[[pd.DataFrame], Floats], devices: Callable[[Kernels], Constants],
) -> Kernels:  # fmt: skip
    if "otherwise" in part and not any(wanted(part, table.rows).any() for table in tables):
        part = {**part, "phases": part["otherwise"]}
    seen = [
        table.seen(wanted(part, table.rows) & keep(table.rows).astype(bool), MOST_ROWS)
        for table in tables
    ]
    seen = [one for one in seen if len(one.index)]
    if not seen:
        return start
    name, bounds = part["section"], part["bounds"]
    section: Numbers = getattr(start, name)
    if name == "blocks":  # from what products have where nothing is known of them
        section = {key: section.get(key, start.matmul[key]) for key in bounds}
    best = fitted_to(
        section, bounds, seen, lambda numbers: devices(with_section(start, name, numbers))
    )
    return with_section(start, name, best)


def with_section(kernels: Kernels, section: str, numbers: Numbers) -> Kernels:
    """`kernels` with other numbers in one section."""
    changed: Any = {section: dict(numbers)}
    return replace(kernels, **changed)


def by_family(tables: Sequence[Measured]) -> dict[str, list[Measured]]:
    """Tables of each family of kernels."""
    families: dict[str, list[Measured]] = {}
    for table in tables:
        if table.kernels is not None:
            families.setdefault(table.kernels.name, []).append(table)
    return dict(sorted(families.items()))


def every(rows: pd.DataFrame) -> Floats:
    """All rows may be seen."""
    return np.ones(len(rows))


def but(part: int) -> Callable[[pd.DataFrame], Floats]:
    """All rows but those of a part of the shapes may be seen."""
    return lambda rows: np.where(rows["fold"] != part, 1.0, 0.0)
