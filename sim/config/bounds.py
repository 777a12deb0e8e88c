"""Bounds: numbers between a low and a high end, as YAML has them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from sim.config.fields import Form, Money, Number, Reading, Text, wrong

Plain = Annotated[Reading, Number(low=0.0)]


class FactorBounds(Form):
    """A plain number between bounds; one number stands for all three."""

    source: Text | None = None
    low: Plain
    base: Plain
    high: Plain

    @model_validator(mode="after")
    def _rising(self) -> FactorBounds:
        if not self.low.value <= self.base.value <= self.high.value:
            raise wrong("low, base and high must not fall")
        return self


class MoneyBounds(Form):
    """A sum between bounds."""

    source: Text | None = None
    low: Money
    base: Money
    high: Money

    @model_validator(mode="after")
    def _rising(self) -> MoneyBounds:
        if not self.low.value <= self.base.value <= self.high.value:
            raise wrong("low, base and high must not fall")
        return self


def _spread(value: Any) -> Any:
    return value if isinstance(value, dict) else {"low": value, "base": value, "high": value}


Bounded = Annotated[
    FactorBounds, BeforeValidator(_spread, json_schema_input_type=float | FactorBounds)
]
Sum = Annotated[MoneyBounds, BeforeValidator(_spread, json_schema_input_type=str | MoneyBounds)]
