"""Power fitted: static power and energies of a family, from what servers were measured to draw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from sim.config.fitted import load_law
from sim.evidence.calibration.documents import fitted_text, power_numbers
from sim.evidence.calibration.fit import Measured, Numbers, Seen, fits, fitted_to
from sim.evidence.measured.constants import Constants, slug
from sim.evidence.measured.formats import Format
from sim.evidence.measured.registry import tables_of
from sim.evidence.measured.server_tables import cases_of
from sim.evidence.measured.servers import Servers, case_rows
from sim.evidence.measured.spellings import spellings
from sim.evidence.measured.tables import Table, read_table
from sim.hardware.power import PowerLaw

EVALUATIONS: Final = 15
Keep = Callable[[pd.DataFrame], "pd.Series[bool]"]


def metered(form: Format, table: Table) -> Measured:
    """A table of power, the servers prepared for it, and its rows under the constants as are."""
    servers = Servers(Constants(), table.folder)
    rows = case_rows(cases_of(form, table), servers)
    return Measured(form=form, table=table, rows=rows, servers=servers)


def fit(name: str, start: PowerLaw, tables: Sequence[Measured], keep: Keep) -> PowerLaw:
    """`start` with its constants fitted to the kept rows of `tables`."""
    part, bounds = fits("power"), dict(fits("power")["bounds"])
    seen: list[Seen] = []
    narrow = False
    for table in tables:
        weight = table.rows["phase"].map(part["weights"]).fillna(0.0).to_numpy(float)
        wanted = keep(table.rows) & (weight > 0.0) & np.isfinite(table.rows["predicted"])
        index = np.flatnonzero(wanted)
        narrow |= part["narrow"] in set(table.rows["dtype"].to_numpy()[index])
        if len(index):
            weights = weight[index] * float(len(index)) ** -0.25
            seen.append(Seen(of=table, index=index, weights=weights))
    numbers = {key: float(getattr(start, key)) for key in bounds}
    if not narrow:  # nothing says that it saves anything
        numbers["narrow"] = 1.0
        del bounds["narrow"]

    def constants(numbers: Numbers) -> Constants:
        return Constants(power={name: _with(start, numbers)})

    return _with(start, fitted_to(numbers, bounds, seen, constants, EVALUATIONS))


def _with(law: PowerLaw, numbers: Numbers) -> PowerLaw:
    changed: Any = dict(numbers)
    return replace(law, **changed)


def calibrated(folder: Path, date: str) -> Iterator[tuple[str, str]]:
    """Files of power laws, by path below hw_configs/fitted, with their text.

    Constants are fitted to all tables of power in `folder`; those held out without each family of
    models, and for each process without the devices made on it. Nothing without a table.
    """
    tables = [
        metered(form, read_table(path, form.required)) for form, path in tables_of(folder, "energy")
    ]
    for name in fits("power")["laws"] if tables else ():
        best = fit(name, load_law(name), tables, _every)
        text = fitted_text(
            "power", name, power_numbers(best), date=date,
            fitted_on=tuple(table.name for table in tables),
            errors=errors_of(name, best, tables),
            held_out={
                without: power_numbers(fit(name, best, tables, keep))
                for without, keep in _held_out(tables)
            },
        )  # fmt: skip
        yield f"power/{name}.yaml", text


def _held_out(tables: Sequence[Measured]) -> Iterator[tuple[str, Keep]]:
    """What is left out in turn: each family of models, then devices made on each process."""
    for part in range(len(spellings("models")["families"]) + 1):
        yield f"models-{part}", partial(_but, lambda rows: rows["models"], part)
    devices = {str(device) for table in tables for device in table.rows["device"]}
    for process in sorted({process_of(device) for device in devices}):
        yield slug(process), partial(_but, lambda rows: rows["device"].map(process_of), process)


def _but(column: Callable[[pd.DataFrame], Any], part: int | str, rows: pd.DataFrame) -> Any:
    return column(rows) != part


def process_of(device: str) -> str:
    """Process that a device is made on."""
    return Constants().device(device).process or ""


def errors_of(name: str, law: PowerLaw, tables: Sequence[Measured]) -> Mapping[str, float]:
    """Median error by table and what was measured."""
    errors: dict[str, float] = {}
    for table in tables:
        predicted = table.predicted(Constants(power={name: law}))
        size = pd.Series(np.abs(predicted / table.rows["measured"] - 1.0))
        for phase in fits("power")["weights"]:
            sizes = size[(table.rows["phase"] == phase) & np.isfinite(size)]
            if len(sizes):
                errors[f"{table.table.name} {phase}"] = float(sizes.median())
    return errors


def _every(rows: pd.DataFrame) -> pd.Series[bool]:
    return rows["measured"] > 0.0
