"""Bounds: numbers between a low and a high end, as YAML has them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from sim.config.fields import Form, Money, MoneyOrZero, Number, Reading, ShareOfPeak, Text, wrong

Plain = Annotated[Reading, Number(low=0.0, high=1e12)]
FromOne = Annotated[Reading, Number(low=1.0, high=1e12)]
Years = Annotated[Reading, Number(low=0.1, high=100.0)]
Ratio = Annotated[Reading, Number(low=0.01, high=1000.0)]


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


class FromOneBounds(Bounds):
    """A number from 1 between bounds."""

    low: FromOne
    base: FromOne
    high: FromOne


class YearBounds(Bounds):
    """Years between bounds."""

    low: Years
    base: Years
    high: Years


class RatioBounds(Bounds):
    """A ratio above 0 between bounds."""

    low: Ratio
    base: Ratio
    high: Ratio


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


class PriceBounds(Bounds):
    """A sum between bounds, 0 for what comes with something else."""

    low: MoneyOrZero
    base: MoneyOrZero
    high: MoneyOrZero


def _spread(value: Any) -> Any:
    """One number stands for all three."""
    return value if isinstance(value, dict) else {"low": value, "base": value, "high": value}


Bounded = Annotated[
    FactorBounds, BeforeValidator(_spread, json_schema_input_type=float | FactorBounds)
]
Price = Annotated[PriceBounds, BeforeValidator(_spread, json_schema_input_type=str | PriceBounds)]
FromOneBounded = Annotated[
    FromOneBounds, BeforeValidator(_spread, json_schema_input_type=float | FromOneBounds)
]
YearsBounded = Annotated[
    YearBounds, BeforeValidator(_spread, json_schema_input_type=float | YearBounds)
]
RatioBounded = Annotated[
    RatioBounds, BeforeValidator(_spread, json_schema_input_type=float | RatioBounds)
]
Sum = Annotated[MoneyBounds, BeforeValidator(_spread, json_schema_input_type=str | MoneyBounds)]
YieldBounds = Annotated[
    ShareBounds, BeforeValidator(_spread, json_schema_input_type=float | ShareBounds)
]
