"""Operator tables: kernels measured alone, timed with the public cost kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
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
class Made:
    """What a table is predicted with, made once: a fit predicts it again and again."""

    opened: Opened
    timed: tuple[Timed, ...]
    described: dict[str, Any] = field(default_factory=dict)
    """Columns of the rows but what is predicted."""


def predict(form: Format, table: Table, constants: Constants) -> pd.DataFrame:
    """Times of a table's rows, in the unit of `form`."""
    if not form.operator:
        return _unpredicted(form, table)
    name = device_in(table, form.files)
    device = constants.device(name)
    if "operators" not in table.built:
        opened = Opened(form=form, frame=form.frame(table), device=device, folder=table.folder)
        timed = tuple(OPERATORS[form.operator](opened))
        table.built["operators"] = Made(opened=opened, timed=timed)
    made: Made = table.built["operators"]
    seconds = seconds_of(made, device)
    if not made.described:
        made.described = _described(made.opened, seconds)
    found = rows(predicted=seconds * PER_SECOND[form.unit], **made.described)
    return found[found["measured"] > 0.0].reset_index(drop=True) if form.unpivot else found


def _unpredicted(form: Format, table: Table) -> pd.DataFrame:
    """Rows of a table that nothing predicts, so that they are counted."""
    frame = form.frame(table)
    return rows(
        frame["measured"], np.full(len(frame), np.nan), device=frame["device"],
        phase=text_of(form.phase, frame), dtype=form.dtype, reason=form.reason,
    )  # fmt: skip


def seconds_of(made: Made, device: Device) -> Floats:
    """Seconds of each row; NaN where there is no operator for it, or no link takes it."""
    seconds, numbers = np.full(len(made.opened.frame), np.nan), made.opened.form.numbers
    for timed in made.timed:
        own = timed.rows.seconds(timed.on(device), len(seconds), repeated=True)
        seconds = np.where(np.isfinite(own), own, seconds)
    if "host_s" in numbers:  # launches one by one, which long kernels hide in part
        host_s, exposed = numbers["host_s"], numbers["host_exposed"]
        seconds = np.maximum(seconds, host_s) + exposed * np.minimum(seconds, host_s)
    return seconds


def _described(opened: Opened, seconds: Floats) -> dict[str, Any]:
    frame, form = opened.frame, opened.form
    measured: Any = frame.get("measured")
    if isinstance(form.measured, Mapping):
        phases = [frame["phase"] == phase for phase in form.measured]
        measured = np.select(phases, [frame[f"measured {phase}"] for phase in form.measured])
    shape = text_of("|".join(f"{{{column}}}" for column in form.shape), frame)
    return {
        "measured": measured,
        "device": opened.device.name,
        "phase": text_of(form.phase, frame),
        "dtype": text_of(form.dtype, frame),
        "reason": np.where(np.isfinite(seconds), "", text_of(form.reason, frame)),
        "fold": fold_of(shape) if form.shape else 0,
    }
