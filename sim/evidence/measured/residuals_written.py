"""Residuals written: the YAML files of error bands, as `config.fitted` reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pandas as pd

from sim.config.fitted import fitted_document
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
    library = fitted_document("errors", name, Path())[1].data
    data: dict[str, Any] = {key: library[key] for key in ("title", "source")}
    data["fitted"] = {"date": date, "on": table.tables}
    data |= {key: library[key] for key in ("covers", "wider") if key in library}
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
