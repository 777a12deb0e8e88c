"""Bounds: numbers between a low and a high end, as YAML has them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from sim.config.fields import Form, Money, Number, Reading, ShareOfPeak, Text, wrong

Plain = Annotated[Reading, Number(low=0.0)]


class Bounds(Form):
    """Low, base and high of a number, which must not fall."""

    source: Text | None = None
    low: Reading
    base: Reading
    high: Reading

    @model_validator(mode="after")
    def _rising(self) -> Bounds:
        if not self.low.value <= self.base.value <= self.high.value:
            raise wrong(
                f"low {self.low.text}, base {self.base.text}, high {self.high.text} must not fall"
            )
        return self


class FactorBounds(Bounds):
    """A plain number between bounds."""

    low: Plain
    base: Plain
    high: Plain


class MoneyBounds(Bounds):
    """A sum between bounds."""

    low: Money
    base: Money
    high: Money


class ShareBounds(Bounds):
    """A share above 0 and up to 1 between bounds."""

    low: ShareOfPeak
    base: ShareOfPeak
    high: ShareOfPeak


def _spread(value: Any) -> Any:
    """One number stands for all three."""
    return value if isinstance(value, dict) else {"low": value, "base": value, "high": value}


Bounded = Annotated[
    FactorBounds, BeforeValidator(_spread, json_schema_input_type=float | FactorBounds)
]
Sum = Annotated[MoneyBounds, BeforeValidator(_spread, json_schema_input_type=str | MoneyBounds)]
YieldBounds = Annotated[
    ShareBounds, BeforeValidator(_spread, json_schema_input_type=float | ShareBounds)
]
