"""Quantities with units, and the sources that numbers come from.

YAML carries "3.35 TB/s"; inside the program everything is a float in base units: s, B, flop, J, W,
K, USD, kgCO2e, and mm2 for area. `G` is 1e9, `Gi` 2**30; a year has 365.25 days. Bytes, operations,
money and emissions are dimensions of their own, so `5 GHz` is never a bandwidth.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, NamedTuple

DECIMAL: Final[dict[str, float]] = {
    "": 1.0, "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3,
    "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
}  # fmt: skip
BINARY: Final[dict[str, float]] = {
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50,
}  # fmt: skip


class _Atom(NamedTuple):
    """A unit without prefix: its dimensions, its size in base units, the prefixes it may have."""

    dimensions: tuple[tuple[str, int], ...]
    size: float = 1.0
    prefixes: str = "fpnumkMGTPE"
    binary: bool = False


_UP: Final = "kMGTPE"
_ATOMS: Final[dict[str, _Atom]] = {
    "B": _Atom((("byte", 1),), 1.0, _UP, binary=True),
    "bit": _Atom((("byte", 1),), 0.125, _UP, binary=True),
    "flop": _Atom((("op", 1),), 1.0, _UP),
    "FLOP": _Atom((("op", 1),), 1.0, _UP),
    "OP": _Atom((("op", 1),), 1.0, _UP),
    "FLOPS": _Atom((("op", 1), ("time", -1)), 1.0, _UP),
    "OPS": _Atom((("op", 1), ("time", -1)), 1.0, _UP),
    "s": _Atom((("time", 1),), 1.0, "fpnum"),
    "min": _Atom((("time", 1),), 60.0, ""),
    "h": _Atom((("time", 1),), 3600.0, ""),
    "d": _Atom((("time", 1),), 86400.0, ""),
    "yr": _Atom((("time", 1),), 365.25 * 86400.0, ""),
    "Hz": _Atom((("time", -1),), 1.0, _UP),
    "J": _Atom((("energy", 1),)),
    "Wh": _Atom((("energy", 1),), 3600.0, _UP),
    "W": _Atom((("energy", 1), ("time", -1))),
    "K": _Atom((("temperature", 1),), 1.0, "m"),
    "USD": _Atom((("money", 1),), 1.0, "kMG"),
    "$": _Atom((("money", 1),), 1.0, "kMG"),
    "gCO2e": _Atom((("carbon", 1),), 1e-3, "kM"),
    "tCO2e": _Atom((("carbon", 1),), 1e3, "kM"),
    "mm2": _Atom((("area", 1),), 1.0, ""),
    "cm2": _Atom((("area", 1),), 100.0, ""),
    "um2": _Atom((("area", 1),), 1e-6, ""),
    "tok": _Atom((("token", 1),), 1.0, "kMG"),
    "%": _Atom((), 0.01, ""),
}


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """What a field measures: its base unit, what to call it, an example to write, bits or not."""

    unit: str
    noun: str
    example: str
    bits: bool = False
    """Whether bits are legal too (links, energy per bit, die capacities)."""


SIZE: Final = Dimension(unit="B", noun="a size", example="80 GiB")
BANDWIDTH: Final = Dimension(unit="B/s", noun="a rate", example="3.35 TB/s")
LINK_RATE: Final = Dimension(unit="B/s", noun="a rate", example="450 GB/s", bits=True)
COMPUTE_RATE: Final = Dimension(unit="flop/s", noun="a compute rate", example="989 TFLOPS")
TIME: Final = Dimension(unit="s", noun="a time", example="2 us")
RATE: Final = Dimension(unit="/s", noun="a frequency", example="2 /s")
POWER: Final = Dimension(unit="W", noun="a power", example="700 W")
ENERGY_PER_FLOP: Final = Dimension(
    unit="J/flop", noun="an energy per operation", example="0.6 pJ/flop"
)
ENERGY_PER_BYTE: Final = Dimension(
    unit="J/B", noun="an energy per byte", example="3.48 pJ/bit", bits=True
)
AREA: Final = Dimension(unit="mm2", noun="an area", example="814 mm2")
MONEY: Final = Dimension(unit="USD", noun="an amount of money", example="28000 USD")

DIMENSIONS: Final = (
    SIZE, BANDWIDTH, LINK_RATE, COMPUTE_RATE, TIME, RATE, POWER, ENERGY_PER_FLOP, ENERGY_PER_BYTE,
    AREA, MONEY,
)  # fmt: skip

_NUMBER: Final = r"[-+]?(?:\d+(?:_\d+)*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_QUANTITY: Final = re.compile(rf"\s*({_NUMBER}|[-+]?inf|nan)\s*(.*?)\s*", re.DOTALL)
PATTERN: Final = rf"^\s*{_NUMBER}\s*[^\s\[\]\d][^\[\]]*(\[[a-zA-Z0-9._-]+\])?\s*$"
"""What a quantity looks like, for editors: a number, a unit, and perhaps a source in brackets."""


class UnitError(ValueError):
    """A quantity that cannot be read; the message says what to write."""


def parse(text: str, dimension: Dimension, *, negative: bool = False) -> float:
    """The quantity `text` in base units of `dimension`.

    Raises UnitError for a missing, unknown or wrong unit, and for a negative or infinite number.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UnitError(f"{text!r} is not a quantity: write a number and a unit, {_eg(dimension)}")
    number, unit = float(match[1].replace("_", "")), match[2]
    if not unit:
        raise UnitError(f"{text!r} needs a unit, {_eg(dimension)}")
    if not math.isfinite(number):
        raise UnitError(f"{text!r} is not a finite number")
    size = _size(unit, dimension)
    if number < 0 and not negative:
        raise UnitError(f"{text!r} is negative: {dimension.noun} from 0 on is due")
    return number * size


def _eg(dimension: Dimension) -> str:
    return f"e.g. '{dimension.example}'"


def _size(unit: str, dimension: Dimension) -> float:
    found = _measure(unit)
    if found is None:
        raise UnitError(f"unknown unit {unit!r}{_suggestion(unit, dimension)}")
    size, dimensions, bits = found
    due = _measure(dimension.unit)
    assert due is not None
    if dimensions != due[1]:
        raise UnitError(
            f"{unit!r} is {_noun(dimensions)}; {dimension.noun} is due, {_eg(dimension)}"
        )
    if bits and not dimension.bits:
        right = unit.replace("bit", "B")
        raise UnitError(f"{unit!r} counts bits where bytes are due: write {right!r}")
    return size


def _measure(unit: str) -> tuple[float, dict[str, int], bool] | None:
    """Size in base units, dimensions, and whether it counts bits; None for an unknown unit."""
    size, dimensions, bits = 1.0, Counter[str](), False
    for place, part in enumerate(unit.replace(" ", "").split("/")):
        if place == 0 and not part:
            continue  # "/s"
        atom = _atom(part)
        if atom is None:
            return None
        factor, known, is_bit = atom
        sign = 1 if place == 0 else -1
        size *= factor**sign
        bits |= is_bit
        for name, power in known.dimensions:
            dimensions[name] += sign * power
    return size, {name: power for name, power in dimensions.items() if power}, bits


def _atom(part: str) -> tuple[float, _Atom, bool] | None:
    if part in _ATOMS:
        return _ATOMS[part].size, _ATOMS[part], part == "bit"
    for name, atom in _ATOMS.items():
        prefix = part[: -len(name)]
        if not prefix or not part.endswith(name):
            continue
        if prefix in DECIMAL and prefix in atom.prefixes:
            return DECIMAL[prefix] * atom.size, atom, name == "bit"
        if atom.binary and prefix in BINARY:
            return BINARY[prefix] * atom.size, atom, name == "bit"
    return None


def _noun(dimensions: dict[str, int]) -> str:
    for each in DIMENSIONS:
        due = _measure(each.unit)
        if due is not None and due[1] == dimensions:
            return each.noun
    return "another kind of quantity"


def _suggestion(unit: str, dimension: Dimension) -> str:
    """What was meant: bits written as `b`, else the nearest unit, of the expected dimension first."""
    bits = re.fullmatch(r"([kMGTP]i?)b(ps|/s)?", unit)
    if bits:
        tail = "/s" if bits[2] else ""
        return f": write {bits[1]}B{tail} or {bits[1]}bit{tail}"
    tail = dimension.unit[dimension.unit.index("/") :] if "/" in dimension.unit else ""
    stems = [dimension.unit.split("/")[0]] + (["FLOPS", "OPS"] if dimension is COMPUTE_RATE else [])
    tails = ["", *([tail, "/bit"] if dimension.bits else [tail])]
    expected = [
        prefix + stem + end
        for stem in stems
        for prefix in (*DECIMAL, *BINARY)
        for end in tails
        if (found := _measure(prefix + stem + end)) is not None
        and found[1] == (_measure(dimension.unit) or (0, {}, False))[1]
    ]
    for cutoff in (0.6, 0.4):
        near = get_close_matches(unit, expected, n=1, cutoff=cutoff)
        if not near:
            folded = {each.lower(): each for each in reversed(expected)}
            near = [folded[each] for each in get_close_matches(unit.lower(), folded, 1, cutoff)]
        if near:
            return f": did you mean '{near[0]}'?"
    return f": {dimension.noun} is due, {_eg(dimension)}"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where numbers come from.

    `kind`: datasheet, paper, measurement, estimate, calibrated, derived, or user (set by hand).
    """

    key: str
    kind: str
    title: str
    note: str = ""


SOURCE_KINDS: Final = (
    "datasheet", "paper", "measurement", "estimate", "calibrated", "derived", "user",
)  # fmt: skip
USER: Final = Source(key="user", kind="user", title="Set by hand for this run")


@dataclass(frozen=True, kw_only=True)
class Sourced:
    """A number of the input: its value in base units, as written, and the key of its source."""

    value: float | None
    text: str
    unit: str
    source: str
