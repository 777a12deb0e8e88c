"""Operator tables: kernels measured alone, timed with the public cost kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from sim.evidence.measured.attention import attention, latent_attention, mixed_attention
from sim.evidence.measured.collectives import collectives, network
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.experts import expert_layers, expert_products
from sim.evidence.measured.formats import PER_SECOND, Format, fold_of, rows, text_of
from sim.evidence.measured.layers import element_wise, gpt3_layer, layer_operators, products
from sim.evidence.measured.mamba import mamba
from sim.evidence.measured.operators import Floats, Opened, Timed
from sim.evidence.measured.spellings import device_in
from sim.evidence.measured.tables import Table
from sim.hardware import Device

Operators = Callable[[Opened], Iterable[Timed]]
OPERATORS: Final[Mapping[str, Operators]] = {
    "product": products,
    "attention": attention,
    "latent attention": latent_attention,
    "mixed attention": mixed_attention,
    "layer": layer_operators,
    "element-wise": element_wise,
    "GPT-3 layer": gpt3_layer,
    "expert layer": expert_layers,
    "expert products": expert_products,
    "Mamba-2": mamba,
    "collective": collectives,
    "network collective": network,
}
"""Operators of the rows of a format. They may add columns that the format's texts have."""


@dataclass(kw_only=True, eq=False)
class Prepared:
    """What a table is predicted with, prepared once: a fit predicts it again and again."""

    opened: Opened
    timed: tuple[Timed, ...]
    rows: pd.DataFrame | None = None
    """Its rows with the first predictions."""


def predict(form: Format, table: Table, constants: Constants) -> pd.DataFrame:
    """Times of a table's rows, in the unit of `form`."""
    if not form.operator:
        return _unpredicted(form, table)
    name = device_in(table, form.files)
    device = constants.device(name)
    if "operators" not in table.built:
        opened = Opened(form=form, frame=form.frame(table), device=device, folder=table.folder)
        timed = tuple(OPERATORS[form.operator](opened))
        table.built["operators"] = Prepared(opened=opened, timed=timed)
    prepared: Prepared = table.built["operators"]
    values = seconds_of(prepared, device) * PER_SECOND[form.unit]
    if "whole" in prepared.opened.frame:
        values = with_sums(values, prepared.opened.frame["whole"])
    if prepared.rows is None:
        prepared.rows = _described(prepared.opened, values)
    predicted = prepared.rows.assign(predicted=values)
    if form.unpivot:  # a column that is blank in a row
        predicted = predicted[predicted["measured"] > 0.0].reset_index(drop=True)
    return predicted


def with_sums(values: Floats, whole: pd.Series) -> Floats:
    """`values`, and the sum over those that name a row in `whole` where that names none."""
    part = np.isfinite(values) & whole.notna().to_numpy()
    sums = np.bincount(whole[part].astype(int), values[part], len(values))
    return np.where(whole.isna() & (sums > 0.0), sums, values)


def _unpredicted(form: Format, table: Table) -> pd.DataFrame:
    """Rows of a table that nothing predicts, so that they are counted."""
    frame = form.frame(table)
    return rows(
        frame["measured"], np.full(len(frame), np.nan), device=frame["device"],
        phase=text_of(form.phase, frame), dtype=form.dtype, reason=form.reason,
    )  # fmt: skip


def seconds_of(prepared: Prepared, device: Device) -> Floats:
    """Seconds of each row; NaN where there is no operator for it, or no link takes it."""
    opened = prepared.opened
    seconds, numbers = np.full(len(opened.frame), np.nan), opened.form.numbers
    for timed in prepared.timed:
        some = timed.rows.seconds(timed.on(device), len(seconds), repeated=True)
        seconds = np.where(np.isfinite(some), some, seconds)
    if "host_s" in numbers:  # launches one by one, which long kernels hide in part
        host_s, exposed = numbers["host_s"], numbers["host_exposed"]
        seconds = np.maximum(seconds, host_s) + exposed * np.minimum(seconds, host_s)
    return seconds


def _described(opened: Opened, values: Floats) -> pd.DataFrame:
    frame, form = opened.frame, opened.form
    measured: Any = frame.get("measured")
    if isinstance(form.measured, Mapping):
        phases = [frame["phase"] == phase for phase in form.measured]
        measured = np.select(phases, [frame[f"measured {phase}"] for phase in form.measured])
    shape = text_of("|".join(f"{{{column}}}" for column in form.shape), frame)
    return rows(
        measured,
        values,
        device=opened.device.name,
        phase=text_of(form.phase, frame),
        dtype=text_of(form.dtype, frame),
        reason=np.where(np.isfinite(values), "", text_of(form.reason, frame)),
        fold=fold_of(shape) if form.shape else 0,
    )
