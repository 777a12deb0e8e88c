"""Power fitted: static power and energies of a family, from what servers were measured to draw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from sim.config.library import title_of
from sim.config.power_form import load_law
from sim.evidence.calibration.fit import Floats, fitted
from sim.evidence.calibration.written import power_text
from sim.evidence.measured import energy
from sim.evidence.measured.constants import Constants, slug
from sim.evidence.measured.servers import Servers
from sim.evidence.measured.tables import Table, read_table, stem, table_paths
from sim.hardware.power import PowerLaw

NAMES: Final = ("nvidia",)
BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "static_W_per_mm2": (0.07, 0.25), "static_share": (0.15, 0.35), "flop_J": (1e-13, 5e-12),
    "narrow": (0.3, 1.0), "path_J_per_B": (0.0, 5e-10), "kv_path_J_per_B": (0.0, 1e-9),
}  # fmt: skip
"""Static power is more than what parts draw idle (55 W of an A100, 70 W of an H100)."""
WEIGHT: Final[Mapping[str, float]] = {"energy": 1.0, "power": 0.5, "power-share": 1.0}
"""What is fitted. Energy counts more than power: where times are short, it is less wrong."""
NARROW: Final = "fp8"
EVALUATIONS: Final = 15
PARTS: Final = len(energy.FAMILIES) + 1
Keep = Callable[[pd.DataFrame], "pd.Series[bool]"]


@dataclass(kw_only=True, eq=False)
class Metered:
    """One table, the servers that are prepared for it, and its rows under the constants as are."""

    table: Table
    servers: Servers
    rows: pd.DataFrame

    def predicted(self, name: str, law: PowerLaw) -> Floats:
        """Predictions of its rows with a law tried: of the same servers, at other energies."""
        tried = replace(self.servers, constants=Constants(power={name: law}))
        found = energy.energy_rows(energy.cases_of(self.table), tried)
        return found["predicted"].to_numpy(float)


def tables_of(folder: Path) -> list[Metered]:
    """Every table in `folder` that has power in it."""
    found = []
    for path in table_paths(folder):
        name = f"{path.parent.name}/{stem(path)}"
        form = next((each for each in energy.FORMATS if each.matches(name)), None)
        if form is not None:
            table = read_table(path, form.columns)
            servers = Servers(Constants(), folder)
            rows = energy.energy_rows(energy.cases_of(table), servers)
            found.append(Metered(table=table, servers=servers, rows=rows))
    return found


def fit(name: str, start: PowerLaw, tables: Sequence[Metered], keep: Keep) -> PowerLaw:
    """`start` with its constants fitted to the kept rows of `tables`."""
    seen: list[tuple[Metered, Floats]] = []
    measured: list[Floats] = []
    weights: list[Floats] = []
    for each in tables:
        weight = each.rows["phase"].map(WEIGHT).fillna(0.0)
        wanted = keep(each.rows) & (weight > 0.0) & np.isfinite(each.rows["predicted"])
        if wanted.any():
            seen.append((each, wanted.to_numpy(bool)))
            measured.append(each.rows["measured"].to_numpy(float)[wanted])
            weights.append(weight.to_numpy(float)[wanted] * float(wanted.sum()) ** -0.25)
    numbers = {key: float(getattr(start, key)) for key in BOUNDS}
    if not any(NARROW in each.rows["dtype"].to_numpy()[wanted] for each, wanted in seen):
        numbers["narrow"] = 1.0  # nothing says that it saves anything
        bounds = {key: ends for key, ends in BOUNDS.items() if key != "narrow"}
    else:
        bounds = dict(BOUNDS)

    def predict(constants: Mapping[str, float]) -> Floats:
        tried = _with(start, constants)
        return np.concatenate([each.predicted(name, tried)[wanted] for each, wanted in seen])

    best = fitted(
        numbers, bounds, predict, np.concatenate(measured), np.concatenate(weights), EVALUATIONS
    )
    return _with(start, best)


def _with(law: PowerLaw, numbers: Mapping[str, float]) -> PowerLaw:
    changed: Any = dict(numbers)
    return replace(law, **changed)


def calibrated(folder: Path, date: str, about: str, held_out: str) -> Iterator[tuple[str, str]]:
    """Files of power laws, by path below hw_configs, with their text.

    Constants are fitted to all tables of power in `folder`, then without each family of models,
    then for each process without the devices made on it. Nothing is yielded without a table.
    """
    tables = tables_of(folder)
    if not tables:
        return
    for name in NAMES:
        start = load_law(name)
        title = title_of("power", name)
        best = fit(name, start, tables, _every)
        on = tuple(f"{each.table.dataset}/{each.table.name}" for each in tables)
        errors = errors_of(name, best, tables)
        text = power_text(
            replace(best, fitted_on=on), title=title, date=date, errors=errors, about=about
        )
        yield f"power/{name}.yaml", text
        for without, law in _held_out(name, best, tables):
            text = power_text(
                replace(law, fitted_on=()), title=title, date=date, errors={},
                about=held_out.format(without),
            )  # fmt: skip
            yield f"power/held-out/{name}.without-{without}.yaml", text


def _held_out(
    name: str, best: PowerLaw, tables: Sequence[Metered]
) -> Iterator[tuple[str, PowerLaw]]:
    for part in range(PARTS):
        yield f"models-{part}", fit(name, best, tables, _but_models(part))
    for process in sorted({process_of(device) for each in tables for device in devices_of(each)}):
        yield slug(process), fit(name, best, tables, _but_process(process))


def devices_of(table: Metered) -> list[str]:
    """Devices that a table's rows are of."""
    return sorted({str(each) for each in table.rows["device"]})


def process_of(device: str) -> str:
    """Process that a device is made on."""
    return Constants().device(device).process or ""


def errors_of(name: str, law: PowerLaw, tables: Sequence[Metered]) -> Mapping[str, float]:
    """Median error by table and what was measured."""
    found: dict[str, float] = {}
    for each in tables:
        size = pd.Series(np.abs(each.predicted(name, law) / each.rows["measured"] - 1.0))
        for phase in WEIGHT:
            own = size[(each.rows["phase"] == phase) & np.isfinite(size)]
            if len(own):
                found[f"{each.table.name} {phase}"] = float(own.median())
    return found


def _every(rows: pd.DataFrame) -> pd.Series[bool]:
    return rows["measured"] > 0.0


def _but_models(part: int) -> Keep:
    return lambda rows: rows["fold"] != part


def _but_process(process: str) -> Keep:
    return lambda rows: rows["device"].map(process_of) != process
