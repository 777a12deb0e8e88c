"""Do 80 % of measurements that a band hasn't seen lie within it? (SIM_DATA)

Within a table: bands of half of the shapes, on the other half, predicted without them. Of another
table, that of another benchmark or framework: bands of all tables of a regime but one, on that one.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sim.evidence.measured.registry import formats_of
from sim.evidence.measured.residuals import expected, generation, quantiles, ratios
from sim.evidence.measured.residuals_written import text
from sim.evidence.measured.tables import read_table, stem, table_paths
from sim.evidence.measured.validation import predictions
from sim.hardware.residuals import Residual

USED = r"aic_kernels/(gemm|attn|moe)_.+|vidur/mlp_.+|llmservingsim/(v0_layers|ops|attention)_.+"


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Ratios of operators of four generations, as they are and with held-out constants."""
    folder = os.environ.get("SIM_DATA")
    if not folder:
        pytest.skip("set SIM_DATA to the folder of measured tables")
    frames = []
    for path in table_paths(Path(folder)):
        name = f"{path.parent.name}/{stem(path)}"
        for form in formats_of(name) if re.fullmatch(USED, name) else ():
            table = read_table(path, form.required)
            frames += [each.assign(dataset=table.dataset, table=table.name)
                       for each in predictions(form, table)]  # fmt: skip
    return ratios(pd.concat(frames, ignore_index=True))


def coverage(band: Residual, own: pd.DataFrame) -> float:
    return float(own["ratio"].between(band.low, band.high).mean())


def test_shapes_that_a_band_has_not_seen(rows: pd.DataFrame) -> None:
    held = rows[rows["held_out"] == "shapes"]
    found = {}
    for key, own in held.groupby(["kernels", "regime"]):
        seen, new = own[own["fold"] < 2], own[own["fold"] >= 2]
        if min(len(seen), len(new)) > 50:
            band = quantiles(seen)
            found[key] = np.mean([coverage(band, part) for _, part in new.groupby("table")])
    assert len(found) >= 8
    assert all(0.7 <= each <= 0.9 for each in found.values()), found
    assert 0.77 <= np.mean(list(found.values())) <= 0.83, found


def test_a_table_that_a_band_has_not_seen(rows: pd.DataFrame) -> None:
    plain, wider = [], []
    for held_out in (False, True):
        chosen = rows[(rows["held_out"] != "") if held_out else (rows["split"] == "calibrated")]
        for _, own in chosen.groupby(["kernels", "regime"]):
            names = own["table"].unique()
            for name in names if len(names) > 2 else ():
                new, seen = own[own["table"] == name], own[own["table"] != name]
                plain.append(coverage(quantiles(seen), new))
                wider.append(coverage(expected(seen), new))
    assert len(wider) >= 6
    assert np.mean(plain) < np.mean(wider)
    assert 0.7 <= np.mean(wider) <= 0.92, wider


def test_the_file_written_is_the_one_that_is_read(rows: pd.DataFrame) -> None:
    """The same rows give the same text; a regime of a few rows is not written."""
    own = rows[rows["kernels"] == "nvidia-hopper"]
    made = text("nvidia-hopper", generation("nvidia-hopper", own), "2026-11-28")
    assert made == text("nvidia-hopper", generation("nvidia-hopper", own), "2026-11-28")
    assert "covers: [h100-sxm" in made
    few = own[own["regime"] == "product"].head(10)
    assert "product:" not in text("nvidia-hopper", generation("nvidia-hopper", few), "2026-11-28")
