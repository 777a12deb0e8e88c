"""Quantities: what one value of a document or of a constructor may be, as types for annotations.

A number may bring its source along: "0.8 [key]".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache, partial
from typing import Annotated, Any, Final

from sim import units
from sim.errors import ConfigError, Problem
from sim.units import Dimension, Sourced

_SOURCE: Final = re.compile(r"(.*\S)\s*\[([a-zA-Z0-9._-]+)\]\s*", re.DOTALL)
ENDS: Final = ("low", "base", "high")


@dataclass(frozen=True, kw_only=True, eq=False)
class Leaf:
    """What one value may be.

    `read` makes it of what a document has, or of a text; ConfigError says what to write. `schema`
    is its JSON Schema. What has a `unit` ("" for a plain number) has a source. In Python a number
    is in base units, within `low` (not allowed itself if `above`) and `high`; `due` says so.
    `ends` is what each of low, base and high is, of what may be given as all three.
    """

    read: Callable[[Any], Any]
    schema: Mapping[str, Any]
    unit: str | None = None
    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    due: str = ""
    ends: Leaf | None = None

    def argument(self, value: Any) -> Any:
        """`value` as Python has it: a number in base units, a text as in a document, or else."""
        plain = not self.unit and self.ends is None and isinstance(value, float | int)
        if isinstance(value, str) or plain:
            return self.read(value)
        if isinstance(value, float | int) and not isinstance(value, bool):
            low = value <= self.low if self.above else value < self.low
            if low or value > self.high:  # what isn't known (NaN) is none of these
                raise ConfigError(f"{value:g}: {self.due} is due")
        return value


def split_source(text: str) -> tuple[str, str | None]:
    """A number's text, and the key of its source if it brings one."""
    match = _SOURCE.fullmatch(text)
    return (match[1], match[2]) if match else (text, None)


def text_of(value: Any) -> str:
    """A number as its document has it, without its source."""
    if isinstance(value, Sourced):
        return value.text
    return split_source(value)[0] if isinstance(value, str) else f"{value}"


def quantity(dimension: Dimension, *, zero: bool = False) -> Leaf:
    """A float with a unit."""

    def read(value: Any) -> float:
        if isinstance(value, Sourced) and value.value is not None:
            return value.value
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ConfigError(f"a quantity with a unit is due, e.g. '{dimension.example}'")
        text = text_of(value) if isinstance(value, str) else f"{value:.15g}"
        return _parsed(text, dimension, positive=not zero)

    return Leaf(
        read=read,
        schema={
            "type": "string",
            "pattern": units.PATTERN,
            "examples": [dimension.example],
            "description": f"{dimension.noun}, e.g. {dimension.example}",
            "x-unit": dimension.unit,
        },
        unit=dimension.unit,
        low=0.0,
        above=not zero,
        due=f"{dimension.noun} {'from 0 on' if zero else 'above 0'}, in {dimension.unit},",
    )


@lru_cache(maxsize=8192)
def _parsed(text: str, dimension: Dimension, *, positive: bool) -> float:
    """A quantity's value; files say the same ones again and again."""
    return units.parse(text, dimension, positive=positive)


def number(low: float = 0.0, high: float = math.inf, *, whole: bool = False) -> Leaf:
    """A bare number within bounds."""
    due = f"a {'whole ' if whole else ''}number from {low:g}"
    due += "" if math.isinf(high) else f" to {high:g}"

    def read(value: Any) -> float:
        if isinstance(value, Sourced) and value.value is not None:
            return int(value.value) if whole else value.value
        text = text_of(value)
        try:
            if isinstance(value, bool) or "_" in text:
                raise ValueError
            parsed = float(text)
        except (TypeError, ValueError):
            raise ConfigError(f"{value!r}: {due} is due") from None
        if not low <= parsed <= high or (whole and parsed != math.floor(parsed)):
            raise ConfigError(f"{text}: {due} is due")
        return int(parsed) if whole else parsed

    bounds = {"minimum": low} | ({} if math.isinf(high) else {"maximum": high})
    sourced = r"^\s*[-+0-9.eE]+\s*(\[[a-zA-Z0-9._-]+\])?\s*$"
    schema = {
        "anyOf": [
            {"type": "integer" if whole else "number", **bounds},
            {"type": "string", "pattern": sourced},
        ],
        "x-unit": "",
    }
    return Leaf(read=read, schema=schema, unit="", low=low, high=high, due=due)


def bounded(leaf: Leaf, *, falling: bool = False, made: Callable[[Any], Any] = tuple) -> Leaf:
    """Three numbers: a `leaf` alone, or its low, base and high end, which must not fall.

    They go from the cheap end to the dear one; `falling` makes things cheaper as it rises.
    """

    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            value = dict.fromkeys(ENDS, value)
        problems, numbers = [], []
        for key in (*ENDS, *(key for key in value if key not in (*ENDS, "source"))):
            try:
                if key not in ENDS:
                    raise ConfigError(unknown_key(key, ENDS))
                if value.get(key) is None:
                    raise ConfigError("is missing")
                numbers.append(leaf.read(value[key]))
            except ConfigError as error:
                problems.append(Problem(message=error.problems[0].message, path=key))
        if len({value.get(key) for key in ENDS if not isinstance(value.get(key), dict)}) == 1:
            problems = [Problem(message=each.message) for each in problems[:1]]
        if not problems and numbers != sorted(numbers):
            told = ", ".join(f"{key} {text_of(value[key])}" for key in ENDS)
            problems.append(Problem(message=f"{told} must not fall"))
        if problems:
            raise ConfigError(problems)
        return made(numbers[::-1] if falling else numbers)

    three = {
        "type": "object",
        "properties": {
            "source": {"type": "string", "description": "Key of the source of all three."},
            **{end: {**leaf.schema, "description": f"The {end} end."} for end in ENDS},
        },
        "required": list(ENDS),
        "additionalProperties": False,
    }
    schema = {
        "anyOf": [leaf.schema, three],
        "description": "One number, or its low, base and high end.",
        "x-unit": leaf.unit,
    }
    return Leaf(
        read=read, schema=schema, unit=leaf.unit, low=leaf.low, high=leaf.high,
        above=leaf.above, due=leaf.due, ends=leaf,
    )  # fmt: skip


def one_of(*names: str, listed: str = "") -> Leaf:
    """One of a few names that are data, not a type; `listed` is what `sim list` calls them."""

    def read(value: Any) -> str:
        if value not in names:
            listing = f" (`sim list {listed}`)" if listed else ""
            raise ConfigError(unknown_name(value, names) + listing)
        return str(value)

    return Leaf(read=read, schema={"type": "string", "enum": list(names)})


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{value!r}: text is due")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{value!r}: true or false is due")
    return value


def _whole(value: Any, low: int) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    whole = whole or (isinstance(value, float) and value.is_integer())
    if not whole or not low <= value <= 2**53:
        raise ConfigError(f"{value!r}: a whole number from {low} is due")
    return int(value)


def _share(value: Any) -> float:
    text = value if isinstance(value, str) else f"{value}"
    scale = 0.01 if text.endswith("%") else 1.0
    try:
        if isinstance(value, bool):
            raise ValueError
        share = float(text.removesuffix("%")) * scale
    except (TypeError, ValueError):
        raise ConfigError(f"{value!r}: a share is due, e.g. 0.9 or '90 %'") from None
    if not 0.0 <= share <= 1.0:
        raise ConfigError(f"{value}: a share from 0 to 1 is due")
    return share


def _positive(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e300:
        raise ConfigError(f"{value!r}: a number above 0 is due")
    return float(value)


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


def _count(low: int) -> Leaf:
    return Leaf(
        read=partial(_whole, low=low), schema={"type": "integer", "minimum": low}, low=low,
        due=f"a whole number from {low}",
    )  # fmt: skip


ComputeRate = Annotated[float, quantity(units.COMPUTE)]
Size = Annotated[float, quantity(units.SIZE)]
SizeOrZero = Annotated[float, quantity(units.SIZE, zero=True)]
DieCapacity = Annotated[float, quantity(units.DIE_CAPACITY)]
Bandwidth = Annotated[float, quantity(units.BANDWIDTH)]
LinkRate = Annotated[float, quantity(units.LINK_BANDWIDTH)]
Time = Annotated[float, quantity(units.TIME, zero=True)]
Rate = Annotated[float, quantity(units.FREQUENCY)]
Power = Annotated[float, quantity(units.POWER, zero=True)]
FlopEnergy = Annotated[float, quantity(units.ENERGY_PER_FLOP, zero=True)]
ByteEnergy = Annotated[float, quantity(units.ENERGY_PER_BYTE, zero=True)]
Energy = Annotated[float, quantity(units.ENERGY, zero=True)]
Area = Annotated[float, quantity(units.AREA)]
Amount = Annotated[float, number(high=1e9)]
ShareOfPeak = Annotated[float, number(1e-6, 1.0)]
Part = Annotated[float, number(0.0, 1.0)]
Factor = Annotated[float, number(1e-6, 1e6)]
Cycles = Annotated[int, number(1, 1e6, whole=True)]
Tile = Annotated[int, number(1, 1e9, whole=True)]
"""These have sources; what follows does not."""
Text = Annotated[str, Leaf(read=_text, schema={"type": "string"})]
Flag = Annotated[bool, Leaf(read=_flag, schema={"type": "boolean"})]
Count = Annotated[int, _count(1)]
Index = Annotated[int, _count(0)]
Share = Annotated[
    float,
    Leaf(
        read=_share, schema={"anyOf": [{"type": "number"}, {"type": "string"}]}, low=0.0, high=1.0,
        due="a share from 0 to 1",
    ),
]  # fmt: skip
Positive = Annotated[
    float,
    Leaf(
        read=_positive, schema={"type": "number", "exclusiveMinimum": 0}, low=0.0, above=True,
        due="a number above 0",
    ),
]  # fmt: skip

Ends = tuple[float, float, float]
"""A number that cost depends on: at the cheap end, as expected, at the dear end."""
Plain: Final = number(high=1e12)
MONEY: Final = quantity(units.MONEY)
SHARE: Final = number(1e-6, 1.0)
Bounded = Annotated[Ends, bounded(Plain)]
Sum = Annotated[Ends, bounded(MONEY)]
Price = Annotated[Ends, bounded(quantity(units.MONEY, zero=True))]
ShareBounds = Annotated[Ends, bounded(SHARE)]
RatioBounds = Annotated[Ends, bounded(number(0.01, 1000.0))]
