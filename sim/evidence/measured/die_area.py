"""Die areas of components: a table that nothing predicts, so that its rows are counted."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sim.evidence.measured.constants import Constants
from sim.evidence.measured.formats import Format, rows
from sim.evidence.measured.tables import Table

NO_MODEL = "no area model of components: the area of a die is a number of its device"


def predict_area(table: Table, constants: Constants) -> pd.DataFrame:
    """Square millimetres of components of two dies, none of them predicted."""
    del constants
    flat = table.frame.melt("component", var_name="die", value_name="area")
    return rows(
        flat["area"], np.full(len(flat), np.nan), device=flat["die"].str.removesuffix("_mm2"),
        phase=flat["component"], dtype="", reason=NO_MODEL,
    )  # fmt: skip


FORMATS = (
    Format(
        family="area",
        pattern="llmcompass/die_area",
        columns=("component",),
        predict=predict_area,
        unit="mm2",
    ),
)
