"""Residuals written: the YAML files of error bands, as `config.errors_form` reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pandas as pd

from sim.config.errors_form import errors_form
from sim.evidence.measured.residuals import Tabled, residuals
from sim.hardware.residuals import REGIMES

ABOUT: Final = "# Written by `sim validate --bands`, which keeps `title`, `covers` and `wider`."


def files(points: pd.DataFrame, folder: Path, date: str) -> Iterator[tuple[str, str]]:
    """Names of files below hw_configs/errors and their text."""
    for name, found in residuals(points, folder).items():
        yield f"{name}.yaml", text(name, found, date)


def text(name: str, found: Tabled, date: str) -> str:
    """One file; title, what it covers and what was estimated stay as the library has them."""
    form = errors_form(name)
    lines = [ABOUT, f"title: {form.title}", f"source: {form.source}", "fitted:", f"  date: {date}"]
    lines += ["  on:", *(f"    - {table}" for table in found.tables)]
    if form.covers:
        lines.append(f"covers: [{', '.join(form.covers)}]")
    if form.wider is not None:
        key = f" [{form.wider.key}]" if form.wider.key else ""
        lines.append(f"wider: {form.wider.text}{key}")
    if found.measured:
        lines.append("measured:")
        lines += [f"  {regime}: [{', '.join(found.measured[regime])}]"
                  for regime in REGIMES if regime in found.measured]  # fmt: skip
    lines.append("levels:")
    for level, regimes in found.levels.items():
        lines.append(f"  {level}:")
        for regime in (each for each in REGIMES if each in regimes):
            one = regimes[regime]
            lines.append(
                f"    {regime}: {{p10: {one.low:.4g}, p50: {one.mid:.4g}, p90: {one.high:.4g}, "
                f"rows: {one.rows}, tables: {one.tables}}}"
            )
    return "\n".join(lines) + "\n"
