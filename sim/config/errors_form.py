"""Form of residual tables: how far predictions were from measurements, in files of their own."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Final

from pydantic import Field, model_validator

from sim.config import library
from sim.config.fields import Factor, Form, Number, Reading, Text, wrong
from sim.config.fitted_files import fitted_form
from sim.config.kernels_form import FittedForm
from sim.hardware.residuals import LEVELS, REGIMES, Errors, Generation, Level, Residual

EDGE: Final = "edge"
"""The file of runtimes of edge devices, whatever the device's generation."""
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


@cache
def load_errors() -> Errors:
    """The library's residuals; ConfigError for a file that isn't as it should be."""
    forms = {name: errors_form(name) for name in library.files("errors")}
    made = {
        name: Generation(
            name=name, title=form.title, covers=form.covers, measured=form.measured,
            residuals=_residuals(form), fitted_on=form.fitted.on,
        )
        for name, form in forms.items()
    }  # fmt: skip
    others, factor = _residuals(forms[OTHERS]), forms[OTHERS].wider
    unbuilt = 1.0 if factor is None else factor.value
    others["unbuilt"] = {name: each.wider(unbuilt) for name, each in others["estimated"].items()}
    keys = [form.source for form in forms.values()]
    keys += [factor.key] if factor is not None and factor.key else []
    return Errors(
        generations=tuple(each for name, each in made.items() if name not in (EDGE, OTHERS)),
        edge=made.get(EDGE),
        others=others,
        unbuilt=unbuilt,
        sources=tuple(dict.fromkeys(keys)),
    )
