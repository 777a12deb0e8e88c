"""Form of residual tables: how far predictions were from measurements, in files of their own."""

from __future__ import annotations

import math
from functools import cache
from typing import Annotated, Any, Final

from pydantic import Field, model_validator

from sim.config import library
from sim.config.fields import Factor, Form, Number, Reading, Text, wrong
from sim.config.fitted_files import fitted_form
from sim.config.kernels_form import FittedForm
from sim.hardware.residuals import LEVELS, REGIMES, Errors, Generation, Level, Residual

OTHERS: Final = "unmeasured"
"""The file of what no generation covers."""
Rows = Annotated[Reading, Number(low=1, whole=True)]


class ResidualForm(Form):
    """Quantiles of measured over predicted values, and what they are of."""

    p10: Factor
    p50: Factor
    p90: Factor
    rows: Rows
    tables: Rows

    @model_validator(mode="after")
    def _in_order(self) -> ResidualForm:
        if not self.p10.value <= self.p50.value <= self.p90.value:
            raise wrong("p10, p50 and p90 are due in this order")
        return self


class ErrorsForm(Form):
    """Residuals by level and regime; `hardware.residuals` says what each level is.

    `covers` and `measured` are of a generation; `wider`, by how much an unbuilt chip's band is
    wider than that of an estimated unit, of what none covers.
    """

    title: Text
    source: Text
    fitted: FittedForm
    covers: tuple[Text, ...] = ()
    measured: dict[str, tuple[Text, ...]] = Field(default_factory=dict)
    wider: Factor | None = None
    levels: dict[str, dict[str, ResidualForm]]

    @model_validator(mode="after")
    def _known(self) -> ErrorsForm:
        for level, regimes in self.levels.items():
            for name, known in ((level, LEVELS), *((regime, REGIMES) for regime in regimes)):
                if name not in known:
                    raise wrong(f"{name} is not known; known: {', '.join(known)}", "levels", level)
        return self


def _residual(form: ResidualForm) -> Residual:
    return Residual(
        low=form.p10.value, mid=form.p50.value, high=form.p90.value,
        rows=int(form.rows.value), tables=int(form.tables.value),
    )  # fmt: skip


def _residuals(form: ErrorsForm) -> dict[Level, dict[str, Residual]]:
    return {
        level: {name: _residual(each) for name, each in form.levels[level].items()}
        for level in LEVELS
        if level in form.levels
    }


def errors_form(name: str) -> ErrorsForm:
    """The form of a file of residuals, by name."""
    return fitted_form("errors", ErrorsForm, name)[1]


def wider(residual: Residual, factor: float) -> Residual:
    """`residual` with an independent error of up to `factor` either way on top of its own."""
    more = math.log(factor)
    return Residual(
        low=residual.mid * math.exp(-math.hypot(residual.down, more)),
        mid=residual.mid,
        high=residual.mid * math.exp(math.hypot(residual.up, more)),
        rows=residual.rows,
        tables=residual.tables,
    )


@cache
def load_errors() -> Errors:
    """The library's residuals."""
    made, sources = [], []
    for name in library.files("errors"):
        form = errors_form(name)
        sources += [form.source, *_keys(form)]
        if name == OTHERS:
            others = _residuals(form)
            factor = 1.0 if form.wider is None else form.wider.value
            others["unbuilt"] = {key: wider(each, factor)
                                 for key, each in others["estimated"].items()}  # fmt: skip
            continue
        made.append(
            Generation(
                name=name, title=form.title, covers=form.covers, measured=form.measured,
                residuals=_residuals(form),
            )
        )  # fmt: skip
    return Errors(generations=tuple(made), others=others, sources=tuple(dict.fromkeys(sources)))


def _keys(form: Any) -> list[str]:
    """Sources that single numbers name."""
    return [form.wider.key] if form.wider is not None and form.wider.key else []
