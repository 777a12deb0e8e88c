"""Residuals written: the YAML files of error bands, as `config.errors_form` reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pandas as pd

from sim.config.errors_form import errors_form
from sim.config.yaml_writer import yaml_text
from sim.evidence.measured.residuals import Tabled, residuals
from sim.hardware.residuals import REGIMES, Residual

ABOUT: Final = "Written by `sim validate --bands`, which keeps `title`, `covers` and `wider`."


def files(points: pd.DataFrame, folder: Path, date: str) -> Iterator[tuple[str, str]]:
    """Names of files below hw_configs/fitted/errors and their text."""
    for name, table in residuals(points, folder).items():
        yield f"{name}.yaml", text(name, table, date)


def text(name: str, table: Tabled, date: str) -> str:
    """One file; title, what it covers and what was estimated stay as the library has them."""
    form = errors_form(name)
    data: dict[str, Any] = {"title": form.title, "source": form.source}
    data["fitted"] = {"date": date, "on": table.tables}
    if form.covers:
        data["covers"] = form.covers
    if form.wider is not None:
        key = f" [{form.wider.key}]" if form.wider.key else ""
        data["wider"] = f"{form.wider.text}{key}"
    if table.measured:
        data["measured"] = {
            regime: table.measured[regime] for regime in REGIMES if regime in table.measured
        }
    data["levels"] = {
        level: {regime: _quantiles(regimes[regime]) for regime in REGIMES if regime in regimes}
        for level, regimes in table.levels.items()
    }
    return yaml_text(data, ABOUT)


def _quantiles(residual: Residual) -> dict[str, str | int]:
    return {
        "p10": f"{residual.low:.4g}",
        "p50": f"{residual.mid:.4g}",
        "p90": f"{residual.high:.4g}",
        "rows": residual.rows,
        "tables": residual.tables,
    }
