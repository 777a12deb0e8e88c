"""Fields: what a YAML value may be, as types for the forms, with errors that tell what to write."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Tag
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from sim import units
from sim.errors import ConfigError
from sim.units import Dimension

_SOURCE: Final = re.compile(r"(.*\S)\s*\[([a-zA-Z0-9._-]+)\]\s*", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A number as the YAML has it: value in base units, text, unit, and its own source if any."""

    value: float
    text: str
    unit: str
    key: str | None = None


class Form(BaseModel):
    """What a YAML mapping may have: unknown keys are errors, and nothing changes once read."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, use_attribute_docstrings=True
    )


def wrong(message: str, *at: str) -> PydanticCustomError:
    """An error whose message reaches the user as it is; `at` is the key within what is checked."""
    return PydanticCustomError("config", "{message}", {"message": message, "at": at})


def _split(text: str) -> tuple[str, str | None]:
    match = _SOURCE.fullmatch(text)
    return (match[1], match[2]) if match else (text, None)


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """Makes a Reading of a number with a unit, perhaps with its source in brackets."""

    dimension: Dimension
    zero: bool = False
    """Whether 0 is allowed."""

    def read(self, value: Any) -> Reading:
        """`value` in base units; an error says what to write."""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise wrong(f"a quantity with a unit is due, e.g. '{self.dimension.example}'")
        try:
            text, key = _split(value) if isinstance(value, str) else (f"{value:.15g}", None)
            found = units.parse(text, self.dimension, positive=not self.zero)
        except (ConfigError, OverflowError) as error:
            raise wrong(str(error)) from None
        return Reading(value=found, text=text, unit=self.dimension.unit, key=key)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        return {
            "type": "string",
            "pattern": units.PATTERN,
            "examples": [self.dimension.example],
            "description": f"{self.dimension.noun}, e.g. {self.dimension.example}",
            "x-unit": self.dimension.unit,
        }


@dataclass(frozen=True, kw_only=True)
class Number:
    """Makes a Reading of a bare number, perhaps with its source in brackets ("0.8 [key]")."""

    low: float = 0.0
    high: float = math.inf
    whole: bool = False

    def read(self, value: Any) -> Reading:
        """`value` if it lies within bounds."""
        text, key = _split(value) if isinstance(value, str) else (f"{value}", None)
        due = f"a {'whole ' if self.whole else ''}number from {self.low:g}"
        due += "" if math.isinf(self.high) else f" to {self.high:g}"
        try:
            if isinstance(value, bool) or "_" in text:
                raise ValueError
            found = float(text)
        except (TypeError, ValueError):
            raise wrong(f"{value!r}: {due} is due") from None
        if not self.low <= found <= self.high or (self.whole and found != math.floor(found)):
            raise wrong(f"{text}: {due} is due")
        return Reading(value=found, text=text, unit="", key=key)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        bounds = {"minimum": self.low}
        bounds |= {} if math.isinf(self.high) else {"maximum": self.high}
        sourced = r"^\s*[-+0-9.eE]+\s*(\[[a-zA-Z0-9._-]+\])?\s*$"
        return {
            "anyOf": [
                {"type": "integer" if self.whole else "number", **bounds},
                {"type": "string", "pattern": sourced},
            ]
        }


@dataclass(frozen=True, kw_only=True)
class OneOf:
    """One of a few names that are data, not a type."""

    names: tuple[str, ...]
    listed: str = ""
    """What `sim list` calls them, where it tells what each means."""

    def read(self, value: Any) -> str:
        """`value` if it is one of the names."""
        if value not in self.names:
            told = f" (`sim list {self.listed}`)" if self.listed else ""
            raise wrong(unknown_name(value, self.names) + told)
        return str(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.names)}


def shown(value: Any) -> str:
    """`value` as an error quotes it."""
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def unknown_key(key: str, known: Sequence[str]) -> str:
    """What to say of a key that isn't known."""
    near = get_close_matches(key, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known) or 'none here'}"
    return f"unknown key '{key}'; {hint}"


def unknown_name(name: Any, known: Sequence[str]) -> str:
    """What to say of a value that should be one of a few names."""
    near = get_close_matches(str(name), known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{shown(name)} is not known; {hint}known: {', '.join(known)}"


ComputeRate = Annotated[Reading, Quantity(dimension=units.COMPUTE)]
Size = Annotated[Reading, Quantity(dimension=units.SIZE)]
DieCapacity = Annotated[Reading, Quantity(dimension=units.DIE_CAPACITY)]
SizeOrZero = Annotated[Reading, Quantity(dimension=units.SIZE, zero=True)]
Bandwidth = Annotated[Reading, Quantity(dimension=units.BANDWIDTH)]
LinkRate = Annotated[Reading, Quantity(dimension=units.LINK_BANDWIDTH)]
Time = Annotated[Reading, Quantity(dimension=units.TIME, zero=True)]
Rate = Annotated[Reading, Quantity(dimension=units.FREQUENCY)]
Power = Annotated[Reading, Quantity(dimension=units.POWER, zero=True)]
FlopEnergy = Annotated[Reading, Quantity(dimension=units.ENERGY_PER_FLOP, zero=True)]
ByteEnergy = Annotated[Reading, Quantity(dimension=units.ENERGY_PER_BYTE, zero=True)]
Energy = Annotated[Reading, Quantity(dimension=units.ENERGY, zero=True)]
Cycles = Annotated[Reading, Number(low=1, high=1e6, whole=True)]
Area = Annotated[Reading, Quantity(dimension=units.AREA)]
Money = Annotated[Reading, Quantity(dimension=units.MONEY)]
MoneyOrZero = Annotated[Reading, Quantity(dimension=units.MONEY, zero=True)]
ShareOfPeak = Annotated[Reading, Number(low=1e-6, high=1.0)]
Factor = Annotated[Reading, Number(low=1e-6, high=1e6)]
Tile = Annotated[Reading, Number(low=1, high=1e9, whole=True)]


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise wrong(f"{value!r}: text is due")
    return value


Text = Annotated[str, BeforeValidator(_text)]


def _member(value: Any) -> str | None:
    if isinstance(value, str):
        return "name"
    return INLINE.tag if isinstance(value, dict | BaseModel) else None


Name = Annotated[Text, Tag("name")]
INLINE: Final = Tag("inline")
NAMED_OR_INLINE: Final = Discriminator(
    _member,
    custom_error_type="config",
    custom_error_message="a name, or the thing itself as a mapping (key: value), is due",
)
"""Of a name and a mapping (INLINE) the one that was meant: what is wrong is told of it alone."""


def _whole(low: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        ok = isinstance(value, int) and not isinstance(value, bool)
        ok = ok or (isinstance(value, float) and value.is_integer())
        if not ok or not low <= value <= 2**53:
            raise wrong(f"{value!r}: a whole number from {low} is due")
        return int(value)

    return read


Count = Annotated[int, BeforeValidator(_whole(1))]
"""A whole number from 1."""
Index = Annotated[int, BeforeValidator(_whole(0))]
"""A whole number from 0."""


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise wrong(f"{value!r}: true or false is due")
    return value


Flag = Annotated[bool, BeforeValidator(_flag)]


def share(value: Any) -> float:
    """A share as 0.9 or "90 %"."""
    text = value if isinstance(value, str) else f"{value}"
    scale = 0.01 if text.endswith("%") else 1.0
    try:
        if isinstance(value, bool):
            raise ValueError
        found = float(text.removesuffix("%")) * scale
    except (TypeError, ValueError):
        raise wrong(f"{value!r}: a share is due, e.g. 0.9 or '90 %'") from None
    if not 0.0 <= found <= 1.0:
        raise wrong(f"{value}: a share from 0 to 1 is due")
    return found


Share = Annotated[float, BeforeValidator(share)]


def _positive(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e300:
        raise wrong(f"{value!r}: a number above 0 is due")
    return float(value)


Positive = Annotated[float, BeforeValidator(_positive)]
