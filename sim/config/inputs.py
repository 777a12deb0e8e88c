"""Inputs of a paper: named numbers with their source, single or from low to high."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field, model_validator

from sim.config import library
from sim.config.fields import Form, Text, wrong
from sim.config.sources import SourceForm
from sim.config.validate import validated

Values = float | npt.NDArray[np.float64]


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise wrong(f"{value!r}: a number from 0 on is due")
    return float(value)


Number = Annotated[float, BeforeValidator(_number)]


class RangeForm(Form):
    """A number from low to high."""

    low: Number
    high: Number

    @model_validator(mode="after")
    def _rising(self) -> RangeForm:
        if self.low > self.high:
            raise wrong(f"low {self.low:g} is above high {self.high:g}")
        return self


def _either(value: Any) -> Any:
    return value if isinstance(value, dict) else {"low": _number(value), "high": _number(value)}


Either = Annotated[RangeForm, BeforeValidator(_either, json_schema_input_type=float | RangeForm)]


class InputsForm(Form):
    """Numbers a paper takes as given, and those calibrated on what it prints."""

    title: Text
    source: Text
    sources: dict[str, SourceForm] = Field(default_factory=dict)
    numbers: dict[str, Either]
    calibrated: dict[str, Either | Text] = Field(default_factory=dict)


@cache
def load_inputs(name: str) -> Mapping[str, Values]:
    """Numbers of the paper `name`: floats, or arrays [low, high]."""
    _, document = library.found_document("papers", name, Path())
    form = validated(InputsForm, document)
    found: dict[str, Values] = {}
    for key, each in {**form.numbers, **form.calibrated}.items():
        if isinstance(each, RangeForm):
            single = each.low == each.high
            found[key] = each.low if single else np.array([each.low, each.high])
    return found
