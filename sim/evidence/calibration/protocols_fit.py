"""Protocols fitted: constants of collectives from those measured inside a node.

A library jumps from one protocol to another, so errors have steps in these constants: they are
searched one after the other instead of following a slope.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from sim.config import library
from sim.evidence.calibration.fit import Floats, Measured, Places, measured_tables
from sim.evidence.measured.constants import Constants
from sim.hardware.kernels import Line, Protocols

FAMILIES: Final = ("reductions", "all_to_all", "send", "shot")
PHASES: Final = {
    "alltoall": "all_to_all", "all_to_all": "all_to_all", "send_recv": "send",
    "all_reduce": "reductions", "all_gather": "reductions", "reduce_scatter": "reductions",
}  # fmt: skip
MOST_OF_A_SIZE: Final = 6
"""Rows of one collective, number of GPUs and power of two of bytes that a fit looks at."""
WORST: Final = 0.5
"""Log error beyond which a row counts no more."""
LONG_WEIGHT: Final = 3.0
EAGER_WEIGHT: Final = 0.1
"""Of short messages of vidur, which timed PyTorch's calls."""
LONGEST_B, LONGEST_WEIGHT = 8e6, 4.0
"""And of its longest, of which it timed far more."""
ROUNDS: Final = 40


@dataclass(frozen=True, kw_only=True, eq=False)
class Picked:
    """Picked rows of one table that tell of one family of collectives."""

    of: Measured
    family: str
    values: Floats
    weights: Floats
    protocols: str

    def errors(self, constants: Constants) -> Floats:
        """Log errors of those rows."""
        errors: Floats = np.abs(np.log(self.of.predicted(constants) / self.values))
        return np.minimum(errors, WORST)


def picked(table: Measured, without: str) -> list[Picked]:
    """What a table has of collectives inside a node, without the part that is left out."""
    rows, frame = table.rows, table.form.frame(table.table)
    link = table.device.link
    if link is None or link.protocols is None:
        return []
    seen = np.isfinite(rows["predicted"]) & ~rows["phase"].str.contains("network")
    if without.startswith("shapes-"):
        seen &= rows["fold"] != int(without.removeprefix("shapes-"))
    kind = rows["phase"].str.removesuffix("-short")
    elements = frame["elements"] if "elements" in frame else frame["bytes"]
    size = np.floor(np.log2(elements))
    family = kind.map(PHASES)
    if "shots" in frame:
        family = pd.Series("shot", index=rows.index)
    parts: list[Picked] = []
    for name in family[seen].unique():
        keys = [values[seen & (family == name)] for values in (kind, frame["ranks"], size)]
        groups = pd.DataFrame(dict(enumerate(keys))).groupby([0, 1, 2])
        index = np.concatenate([_spread(group.index.to_numpy()) for _, group in groups])
        share = groups[0].transform("size").clip(upper=MOST_OF_A_SIZE)[index].to_numpy(float)
        short = rows["phase"][index].str.endswith("-short").to_numpy()
        weight = np.where(short, 1.0, LONG_WEIGHT)
        if table.table.dataset == "vidur":
            weight = np.where(short, EAGER_WEIGHT, weight)
            weight *= np.where(elements[index] > LONGEST_B, LONGEST_WEIGHT, 1.0)
        parts.append(
            Picked(
                of=table.of_rows(index),
                family=str(name),
                values=rows["measured"].to_numpy(float)[index],
                weights=weight / share,
                protocols=link.protocols.name,
            )
        )
    return parts


def _spread(index: Places) -> Places:
    """At most `MOST_OF_A_SIZE` of `index`, evenly spread."""
    spread: Places = index[np.unique(np.linspace(0, len(index) - 1, MOST_OF_A_SIZE).astype(int))]
    return spread


def fit(constants: Constants, folder: Path, without: str) -> dict[str, Protocols]:
    """Protocols fitted to the tables of `folder`.

    `without`: "" for all rows, "shapes-K" without that part of sizes and numbers of GPUs. What
    other devices alone give ("devices") are protocols of other names, if there are any.
    """
    tables = [
        one for table in measured_tables(folder, "collective") for one in picked(table, without)
    ]
    protocols: dict[str, Protocols] = {}
    for name in library.files("protocols"):
        best = constants.of_protocols(name)
        if without == "devices":
            known = [table for table in tables if table.protocols != name]
        else:
            known = [table for table in tables if table.protocols == name]
        if not known:
            continue
        for family in FAMILIES:
            seen = [table for table in known if table.family == family]
            if seen:
                best = _fit_family(best, family, seen)
        on = dict.fromkeys(table.of.name for table in known)
        protocols[name] = replace(best, fitted_on=tuple(on))
    return protocols


def _fit_family(start: Protocols, family: str, tables: list[Picked]) -> Protocols:
    weights = np.concatenate([table.weights for table in tables])

    def loss(numbers: Mapping[str, float]) -> float:
        tried = _with(start, family, numbers)
        known = Constants(protocols={table.protocols: tried for table in tables})
        errors = np.concatenate([table.errors(known) for table in tables])
        return float(np.average(errors, weights=weights))

    return _with(start, family, searched(_numbers(start, family), loss))


def _numbers(protocols: Protocols, family: str) -> dict[str, float]:
    """Constants of a family by name."""
    numbers: dict[str, float] = {}
    lines: tuple[Line, ...] = getattr(protocols, family)
    for number, line in enumerate(lines):
        numbers |= {f"launch {number}": line.launch_s, f"share {number}": line.share}
        if family != "send":  # one hop: part of the launch
            numbers[f"hop {number}"] = line.hop_s
    if family == "reductions":
        numbers |= {
            "copy": protocols.copy, "switch_floor_s": protocols.switch_floor_s,
            "switch_s": protocols.switch_s, "switch_steps": protocols.switch_steps,
        }  # fmt: skip
    return numbers


def _with(protocols: Protocols, family: str, numbers: Mapping[str, float]) -> Protocols:
    """`protocols` with the constants of a family that `_numbers` names."""
    lines: tuple[Line, ...] = getattr(protocols, family)
    tried = tuple(
        Line(
            launch_s=numbers[f"launch {number}"],
            hop_s=numbers.get(f"hop {number}", line.hop_s),
            share=min(numbers[f"share {number}"], 1.0),
        )
        for number, line in enumerate(lines)
    )
    others = {name: value for name, value in numbers.items() if " " not in name}
    return replace(protocols, **{family: tried, **others})  # type: ignore[arg-type]


def searched(
    start: Mapping[str, float], loss: Callable[[Mapping[str, float]], float]
) -> dict[str, float]:
    """Numbers from `start` that lower `loss`, each changed in turn by ever smaller factors."""
    best, least = dict(start), loss(start)
    steps = dict.fromkeys(start, 0.25)
    for _ in range(ROUNDS):
        for name, step in steps.items():
            for factor in (1.0 + step, 1.0 / (1.0 + step)):
                tried = {**best, name: best[name] * factor}
                lost = loss(tried)
                if lost < least - 1e-7:
                    best, least = tried, lost
                    break
            else:
                steps[name] = 0.5 * step
        if max(steps.values()) < 0.004:
            break
    return best
