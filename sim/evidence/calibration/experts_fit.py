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

from sim.config import library
from sim.evidence.calibration.fit import Measured, Numbers, Seen, fits, fitted_to, measured_tables
from sim.evidence.measured.constants import Constants
from sim.hardware.kernels import Kernels

OPERATOR: Final = "expert layer"
MOST_ROWS: Final = 1200
"""Rows of one format that a fit looks at, evenly spread."""


def tables_of(folder: Path) -> list[Measured]:
    """Tables of expert layers on devices with fitted kernels."""
    return [
        table for table in measured_tables(folder, "moe")
        if table.form.operator == OPERATOR and table.kernels is not None
    ]  # fmt: skip


def family_of(table: Measured) -> str:
    """Name of the kernels of a table's device."""
    return table.kernels.name if table.kernels else ""


def seen_of(table: Measured, without: str) -> Seen:
    """Rows of a table that a fit may see, each number format as many; none of other kernels."""
    able = ~table.rows["dtype"].isin(fits("experts")["but"])
    if without.startswith("shapes-"):
        able &= table.rows["fold"] != int(without.removeprefix("shapes-"))
    parts = [
        table.seen(able & (table.rows["dtype"] == dtype), MOST_ROWS)
        for dtype in sorted(table.rows["dtype"].unique())
    ]
    return Seen(
        of=table,
        index=np.concatenate([part.index for part in parts]),
        weights=np.concatenate([part.weights for part in parts]),
    )


def fit(constants: Constants, folder: Path, without: str) -> dict[str, Kernels]:
    """Kernels of every family, with experts fitted to the tables of `folder`.

    `without`: "" for all rows, "shapes-K" without that part of the shapes, "devices" for what the
    tables of other families give each family. A family without a table has what all give together.
    """
    tables = [seen_of(table, without) for table in tables_of(folder)]
    tables = [table for table in tables if len(table.index)]
    base = {name: constants.of_kernels(name) for name in library.files("kernels")}
    if not tables:
        return base
    names: dict[str, list[str]] = {}
    for table in tables:
        names.setdefault(family_of(table.of), []).append(table.of.name)
    together = shared(base, tables, own=False)[""]
    sections = {} if without == "devices" else shared(base, tables, own=True)
    for name in sorted(names) if without == "devices" else ():
        others = [table for table in tables if family_of(table.of) != name]
        sections[name] = (
            shared(base, others, own=False)[""] if others else dict(fits("experts")["start"])
        )
    return {
        name: replace(
            kernels,
            experts=sections.get(name, together),
            fitted_on=tuple(dict.fromkeys((*kernels.fitted_on, *names.get(name, ())))),
        )
        for name, kernels in base.items()
    }


def shared(
    base: Mapping[str, Kernels], tables: Sequence[Seen], *, own: bool
) -> dict[str, dict[str, float]]:
    """Constants fitted to `tables` together, by family; those of every family by ""."""
    families = sorted({family_of(table.of) for table in tables})
    start, bounds = dict(fits("experts")["start"]), dict(fits("experts")["bounds"])
    names = tuple(start)
    if own:
        for family in families:
            start[f"large {family}"], bounds[f"large {family}"] = start["large"], bounds["large"]
        del bounds["large"]

    def section(numbers: Numbers, family: str) -> dict[str, float]:
        plain = {name: numbers[name] for name in names}
        return {**plain, "large": numbers.get(f"large {family}", plain["large"])}

    def constants(numbers: Numbers) -> Constants:
        return Constants(
            kernels={name: replace(base[name], experts=section(numbers, name)) for name in families}
        )

    best = fitted_to(start, bounds, tables, constants)
    return {name: section(best, name) for name in ("", *families)}
