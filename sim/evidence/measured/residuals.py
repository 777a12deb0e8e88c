"""Residuals of a validation: quantiles of measured over predicted values, by what was known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from sim.config import library
from sim.config.document import read_document
from sim.config.fitted import load_generation, load_runtime
from sim.errors import ConfigError, Infeasible
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.formats import PER_SECOND, Format
from sim.evidence.measured.registry import formats_of, name_of
from sim.evidence.measured.tables import read_table, table_paths
from sim.hardware.residuals import HOST, PRODUCT, Residual

SUMMED: Final = "element-wise"
"""Phase that stands for the sum of a layer's element-wise operators.

Frameworks fuse them differently, so one by one they are off by far more than their sum, which is
what a run has of them.
"""
EDGE: Final = ("edge-prefill", "edge-decode")
LONG_US: Final = 30.0
"""Predicted time from which rows count for units whose shares of peaks are estimates.

Shares say nothing of what small work loses; a unit's own launch time stands for that.
"""
SERVERS: Final = ("ttft", "tpot")
FEWEST: Final = 20
"""Rows that a regime of a generation has at least: fewer say nothing of 10 and 90 %."""
SEQUENCES: Final = 32
"""Sequences of the iteration whose host time is compared among runtimes."""
Found = Mapping[str, Residual]


@cache
def regimes(kind: str) -> Any:
    """A part of `regimes.yaml`."""
    return read_document(Path(__file__).with_name("regimes.yaml")).data[kind]


@dataclass(frozen=True, kw_only=True)
class Tabled:
    """What one file of residuals says: levels and regimes, tables, and devices by regime."""

    levels: Mapping[str, Found]
    tables: tuple[str, ...]
    measured: Mapping[str, tuple[str, ...]]


def ratios(points: pd.DataFrame) -> pd.DataFrame:
    """Measured over predicted times and joules of a validation's points, one row a regime.

    Columns: regime, ratio, table ("dataset/table"), device, split, held_out, fold, kernels.
    """
    able = points[np.isfinite(points["predicted"]) & (points["measured"] > 0.0)]
    able = pd.concat([able, _summed(able)], ignore_index=True)
    parts: list[pd.DataFrame] = []
    for (family, phase), group in able.groupby(["family", "phase"], sort=True):
        for names, sign in _of(str(family), str(phase)):
            ratio = (group["measured"] / group["predicted"]) ** sign
            for regime in names:
                parts.append(group.assign(regime=regime, ratio=ratio))
    rows = pd.concat(parts, ignore_index=True)
    rows["table"] = rows["dataset"] + "/" + rows["table"]
    kernels = {name: _kernels_of(name) for name in rows["device"].unique()}
    rows["kernels"] = rows["device"].map(kernels)
    return rows


def _summed(able: pd.DataFrame) -> pd.DataFrame:
    """Sums of element-wise operators of a layer: the nth row of each, where there are several."""
    operators = able[(able["family"] == "layer") & able["phase"].str.fullmatch(regimes("summed"))]
    keys = ["dataset", "table", "device", "dtype", "family", "split", "held_out"]
    place = operators.groupby([*keys, "phase"]).cumcount()
    groups = operators.assign(place=place).groupby([*keys, "place"], as_index=False, sort=True)
    sums: pd.DataFrame = groups.agg(
        measured=("measured", "sum"), predicted=("predicted", "sum"), count=("phase", "size")
    )
    most = sums.groupby(["dataset", "table"])["count"].transform("max")
    whole = sums[(sums["count"] > 1) & (sums["count"] == most)].copy()
    whole["phase"] = SUMMED
    return whole


def _of(family: str, phase: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """Regimes of a family's phase; -1 where what was measured is an inverse time."""
    for kind in regimes("regimes"):
        if re.fullmatch(kind["family"], family) and re.fullmatch(kind["phase"], phase):
            yield tuple(kind["regimes"]), -1 if kind.get("inverse") else 1


def _kernels_of(device: str) -> str:
    """The generation that covers a device; "" of none."""
    for name in library.files("errors"):
        if device in load_generation(name).covers:
            return name
    return ""


def quantiles(rows: pd.DataFrame) -> Residual:
    """10, 50 and 90 % of `ratio` in `rows`, whose tables count alike."""
    ranked = rows.sort_values("ratio", kind="stable")
    sizes = ranked.groupby("table")["ratio"].transform("size")
    weights = 1.0 / sizes.to_numpy(float)
    places = (np.cumsum(weights) - 0.5 * weights) / weights.sum()
    low, mid, high = np.interp([0.1, 0.5, 0.9], places, ranked["ratio"].to_numpy(float))
    return Residual(
        low=float(low), mid=float(mid), high=float(high), rows=len(ranked),
        tables=int(ranked["table"].nunique()),
    )  # fmt: skip


def expected(rows: pd.DataFrame) -> Residual:
    """Quantiles as they are expected of one more table like those of `rows`.

    Of n tables that differ at random, the next one's error varies 1 + 1/n times as much as theirs
    (the prediction interval of a sample); `validation/test_bands_cover_measurements.py` leaves
    tables out.
    """
    residual = quantiles(rows)
    factor = float(np.sqrt(1.0 + 1.0 / residual.tables))
    return stretched(residual, factor, factor)


def hull(residual: Residual, others: Iterable[Residual]) -> Residual:
    """`residual` stretched so that it reaches as far as one of `others`."""
    known = [residual, *others]
    return Residual(
        low=min(one.low for one in known), mid=residual.mid,
        high=max(one.high for one in known), rows=residual.rows, tables=residual.tables,
    )  # fmt: skip


def stretched(residual: Residual, down: float, up: float) -> Residual:
    """`residual` with its half widths times `down` and `up` (1 at least)."""
    return Residual(
        low=residual.mid * float(np.exp(-max(down, 1.0) * residual.down)), mid=residual.mid,
        high=residual.mid * float(np.exp(max(up, 1.0) * residual.up)), rows=residual.rows,
        tables=residual.tables,
    )  # fmt: skip


def generation(name: str, rows: pd.DataFrame) -> Tabled:
    """Residuals of one generation: its rows as they are, and with constants that hadn't seen them.

    `rows` are of `ratios`, of this generation alone.
    """
    known = rows[rows["split"] == "calibrated"]
    calibrated: dict[str, Residual] = {}
    held_out: dict[str, Residual] = {}
    for regime, group in known.groupby("regime", sort=True):
        if len(group) < FEWEST:
            continue
        calibrated[str(regime)] = expected(group)
        held = rows[(rows["regime"] == regime) & (rows["held_out"] != "")]
        # constants that other generations gave know less than those of this one: a part of the
        # shapes left out stands for a new device of the generation as much as they do
        unseen = expected(held) if len(held) else calibrated[str(regime)]
        held_out[str(regime)] = hull(unseen, [calibrated[str(regime)]])
    return Tabled(
        levels={"calibrated": calibrated, "held-out": held_out},
        tables=tuple(sorted(known["table"].unique())),
        measured={
            str(regime): tuple(sorted(group["device"].unique()))
            for regime, group in known.groupby("regime", sort=True)
            if str(regime) in calibrated
        },
    )


def unmeasured(generations: Iterable[Tabled], rows: pd.DataFrame, alone: pd.DataFrame) -> Tabled:
    """Residuals of what no generation covers: the widest of those without a generation's devices.

    Where only one generation was measured there is no such error: its band is as much wider than
    with its own constants as products' is. Whole servers keep the widest of any generation, as what
    their kernels lack is in the kernels' regimes. `alone` are rows predicted by shares of peaks.
    """
    tabled = list(generations)
    levels: dict[str, Residual] = {}
    names = sorted({name for one in tabled for name in one.levels["held-out"]} - set(EDGE))
    for regime in sorted(names, key=lambda name: name != PRODUCT):
        held = rows[(rows["regime"] == regime) & (rows["held_out"] == "devices")]
        known = [
            one.levels["held-out"][regime] for one in tabled if regime in one.levels["held-out"]
        ]
        parts = [expected(part) for _, part in held.groupby("kernels", sort=True)]
        every = rows[(rows["regime"] == regime) & (rows["split"] == "calibrated")]
        if parts:
            levels[regime] = hull(expected(held), [*parts, *known])
            continue
        if regime in SERVERS:
            levels[regime] = hull(expected(every), known)
            continue
        plain, base = expected(every), _products(rows)
        wide = levels[PRODUCT]
        widened = stretched(plain, wide.down / base.down, wide.up / base.up)
        levels[regime] = hull(widened, known)
    host = _host()
    levels[HOST] = host
    estimated = dict(levels)
    for name, held in alone.groupby("regime", sort=True):
        estimated[str(name)] = hull(expected(held), [levels[str(name)]])
    wide, narrow = estimated[PRODUCT], levels[PRODUCT]
    for regime in set(levels) - set(alone["regime"]) - {*SERVERS, HOST}:
        widened = stretched(levels[regime], wide.down / narrow.down, wide.up / narrow.up)
        estimated[regime] = hull(widened, [levels[regime]])
    return Tabled(
        levels={"unmeasured": levels, "estimated": estimated},
        tables=tuple(sorted(rows.loc[rows["held_out"] == "devices", "table"].unique())),
        measured={},
    )


def _products(rows: pd.DataFrame) -> Residual:
    products = rows[(rows["regime"] == PRODUCT) & (rows["split"] == "calibrated")]
    return expected(products)


def _host() -> Residual:
    """Host time of an iteration in fitted runtimes of servers, over what a device estimates."""
    estimate = Constants().device("h100-sxm").host_step_s
    ratios = []
    for name in library.files("runtimes"):
        runtime = load_runtime(name)
        dated = any(re.fullmatch(regimes("dated"), table) for table in runtime.fitted_on)
        if runtime.habits is not None and runtime.host_step_s is not None and not dated:
            sequence_s = runtime.host_sequence_s or 0.0
            host_s = runtime.host_step_s + SEQUENCES * sequence_s
            ratios.append({"table": name, "ratio": max(host_s, 1e-6) / estimate})
    residual = expected(pd.DataFrame(ratios))
    return hull(
        residual, [Residual(low=min(residual.low, 1.0), mid=1.0, high=max(residual.high, 1.0))]
    )


def by_shares(folder: Path, tables: Sequence[str]) -> pd.DataFrame:
    """Ratios of operators predicted by shares of peaks, as of units that nobody measured.

    Of `tables` ("dataset/table") and of work that takes `LONG_US` or more; not of latent attention,
    whose kernels on the one device that was measured lose most of its peaks.
    """
    frames = []
    for path in table_paths(folder):
        name = name_of(path)
        for form in formats_of(name) if name in tables else ():
            frames += _by_shares(path, form)
    return ratios(pd.concat(frames, ignore_index=True))


def _by_shares(path: Path, form: Format) -> list[pd.DataFrame]:
    if form.unit not in PER_SECOND or not re.fullmatch(regimes("shares"), form.family):
        return []
    try:
        table = read_table(path, form.required)
        rows = form.predict(table, Constants(shares_alone=True))
    except (ConfigError, Infeasible):  # `validate` has named it
        return []
    long = rows["predicted"] / PER_SECOND[form.unit] * 1e6 >= LONG_US
    named: dict[str, Any] = {"dataset": table.dataset, "table": table.name, "family": form.family}
    return [rows[long].assign(split="zero-shot", held_out="kernels", **named)]


def residuals(points: pd.DataFrame, folder: Path) -> Mapping[str, Tabled]:
    """Residuals by name of their file: each generation's, edge runtimes', and all others'."""
    rows = ratios(points)
    edge = rows["regime"].isin(EDGE)
    tabled: dict[str, Tabled] = {}
    for name in library.files("errors"):
        group = rows[(rows["kernels"] == name) & ~edge]
        if len(group[group["split"] == "calibrated"]):
            tabled[name] = generation(name, group)
    fitted = {table for one in tabled.values() for table in one.tables}
    alone = by_shares(folder, sorted(fitted))
    others = unmeasured(tabled.values(), rows[~edge], alone)
    if edge.any():
        tabled["edge"] = generation("edge", rows[edge])
    return tabled | {"unmeasured": others}
