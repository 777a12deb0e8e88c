"""Are the descriptions of measured tables whole, and do lookups and texts find what they say?"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from sim.evidence.calibration.fit import fits
from sim.evidence.measured.formats import Format, text_of, unpivoted
from sim.evidence.measured.lookups import rows_of
from sim.evidence.measured.operator_tables import OPERATORS
from sim.evidence.measured.registry import formats
from sim.evidence.measured.server_tables import CASES, QUESTIONS
from sim.evidence.measured.spellings import device_name, spellings
from sim.evidence.measured.tables import Table

FORMATS = formats()


def table(name: str = "kind_h100", **columns: object) -> Table:
    frame = pd.DataFrame({key: [value] for key, value in columns.items()})
    return Table(dataset="made", name=name, path=Path("made/x.csv"), frame=frame)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.files)
def test_every_description_names_a_reader_and_what_it_predicts_with(form: Format) -> None:
    assert callable(importlib.import_module(f"sim.evidence.measured.{form.reader}").predict)
    assert re.compile(form.files)
    if form.operator:
        assert form.operator in OPERATORS
    if form.question:
        assert form.question in {**QUESTIONS, **CASES}
    if form.reader == "edge_tables":
        assert all({"column", "phase"} <= set(measure) for measure in form.measures)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.files)
def test_lookups_are_patterns_with_columns(form: Format) -> None:
    lookups = spellings("lookups")[form.lookups] if isinstance(form.lookups, str) else form.lookups
    for lookup in lookups:
        for pattern, columns in lookup["first"].items():
            assert re.compile(pattern)
            assert isinstance(columns, Mapping)


def test_a_new_table_of_a_known_shape_is_one_description() -> None:
    size = {"of": "{model}", "first": {r"(\d)B": {"size": r"\1"}}, "otherwise": "no {model}"}
    form = Format(
        family="made", files=r"made/kind_(?P<device>.+)", unit="s", reader="server_tables",
        columns={"model": "Model"}, given={"tp": 1}, lookups=[size],
    )  # fmt: skip
    (row,) = rows_of(form, table(Model="Seven 7B"))
    assert (row["device"], row["size"], row["tp"], row["reason"]) == ("h100-sxm", "7", 1, "")
    (row,) = rows_of(form, table(Model="none"))
    assert row["reason"] == "no none"
    (row,) = rows_of(form, table(name="kind_abacus", Model="7B"))
    assert "abacus" in row["reason"]


def test_columns_that_end_alike_become_rows_behind_their_sums() -> None:
    frame = pd.DataFrame({"n": [1, 2], "a_ms": [1.0, 2.0], "b_ms": [3.0, 4.0]})
    long = unpivoted(frame, "_ms", "layer", "layer")
    assert list(long["layer"]) == ["layer", "layer", "a", "a", "b", "b"]
    assert list(long["measured"]) == [4.0, 6.0, 1.0, 2.0, 3.0, 4.0]
    assert list(long["whole"][2:]) == [0, 1, 0, 1]


def test_texts_have_columns_in_braces() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    assert list(text_of("of {a}/{b}", frame)) == ["of 1/x", "of 2/y"]
    assert list(text_of("plain", frame)) == ["plain", "plain"]


def test_a_device_goes_by_its_own_name_too() -> None:
    assert device_name("apple m1 max 24-core") == "apple-m1-max-24-core"
    assert device_name("apple M1 Max 32-core") == "apple-m1-max"


@pytest.mark.parametrize("kind", ["kernels", "edge"])
def test_bounds_of_fits_have_a_low_and_a_high_end(kind: str) -> None:
    for part in fits(kind):
        assert all(low < high for low, high in part["bounds"].values())
