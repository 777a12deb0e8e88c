"""Quantities with units ("3.35 TB/s" to a float in base units), and where numbers come from.

Base units: s, B, flop, J, W, K, USD, kgCO2e; areas in mm2. Bytes, operations, money and CO2 mass
are dimensions of their own, so no frequency passes for a bandwidth. Prefixes are strict: `G` is
1e9, `Gi` 2**30, `M` mega, `m` milli. A bit is one eighth of a byte, where bits are legal at all.
One year has 365.25 days.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Final, Literal

from sim.errors import ConfigError

HIDDEN: Final = "hidden"
"""Mark, in an annotation, of a field that no document states: see `sim.values`."""


SourceKind = Literal[
    "datasheet", "paper", "measurement", "estimate", "calibrated", "derived", "user"
]


@dataclass(frozen=True, kw_only=True)
class Sourced:
    """A number of the input: its value in the base unit, as written, and its source's key."""

    value: float | None
    text: str
    unit: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where numbers come from."""

    key: Annotated[str, HIDDEN]
    kind: Literal["datasheet", "paper", "measurement", "estimate", "calibrated", "derived", "user"]
    """How good its numbers are."""
    title: str
    """What it is: who measured or stated what, where."""
    note: str = ""
    """What to know about its numbers."""


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """What a field measures: `noun` and `example` for messages, `unit` the base unit inside.

    `ladder` has the units `format` picks from, smallest first. `bits` says that bits may be
    written for bytes.
    """

    name: str
    noun: str
    unit: str
    example: str
    ladder: tuple[str, ...]
    bits: bool = False


Vector = tuple[tuple[str, int], ...]

_PREFIXES: Final[dict[str, Fraction]] = {
    "": Fraction(1),
    **{name: Fraction(10) ** (3 * (i + 1)) for i, name in enumerate("kMGTPE")},
    **{name: Fraction(1, 10 ** (3 * (i + 1))) for i, name in enumerate("munpf")},
    **{f"{name}i": Fraction(2) ** (10 * (i + 1)) for i, name in enumerate("KMGTPE")},
}
_LARGE = ("", "k", "M", "G", "T", "P", "E")
_BINARY = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_SMALL = ("", "m", "u", "n", "p", "f")
_MONEY = ("", "k", "M", "G")
_NONE = ("",)

_OPERATION: Vector = (("flop", 1),)
_RATE_OF_OPERATIONS: Vector = (("flop", 1), ("s", -1))
_POWER: Vector = (("J", 1), ("s", -1))

# symbol: dimension, size in base units, prefixes it takes
_ATOMS: Final[dict[str, tuple[Vector, Fraction, tuple[str, ...]]]] = {
    "s": ((("s", 1),), Fraction(1), _SMALL),
    "min": ((("s", 1),), Fraction(60), _NONE),
    "h": ((("s", 1),), Fraction(3600), _NONE),
    "day": ((("s", 1),), Fraction(86400), _NONE),
    "year": ((("s", 1),), Fraction(86400 * 36525, 100), _NONE),
    "Hz": ((("s", -1),), Fraction(1), _LARGE),
    "B": ((("B", 1),), Fraction(1), (*_LARGE, *_BINARY)),
    "bit": ((("bit", 1),), Fraction(1), (*_LARGE, *_BINARY)),
    "flop": (_OPERATION, Fraction(1), _LARGE),
    "FLOP": (_OPERATION, Fraction(1), _LARGE),
    "op": (_OPERATION, Fraction(1), _LARGE),
    "OP": (_OPERATION, Fraction(1), _LARGE),
    "FLOPS": (_RATE_OF_OPERATIONS, Fraction(1), _LARGE),
    "OPS": (_RATE_OF_OPERATIONS, Fraction(1), _LARGE),
    "J": ((("J", 1),), Fraction(1), (*_SMALL, *_LARGE[1:])),
    "Wh": ((("J", 1),), Fraction(3600), ("", "k", "M", "G", "T")),
    "W": (_POWER, Fraction(1), ("", "m", "u", "n", "k", "M", "G")),
    "K": ((("K", 1),), Fraction(1), _NONE),
    "USD": ((("USD", 1),), Fraction(1), _MONEY),
    "gCO2e": ((("kgCO2e", 1),), Fraction(1, 1000), ("", "k")),
    "tCO2e": ((("kgCO2e", 1),), Fraction(1000), ("", "k", "M")),
    "um2": ((("mm", 2),), Fraction(1, 10**6), _NONE),
    "mm2": ((("mm", 2),), Fraction(1), _NONE),
    "cm2": ((("mm", 2),), Fraction(100), _NONE),
    "m2": ((("mm", 2),), Fraction(10**6), _NONE),
    "%": ((), Fraction(1, 100), _NONE),
}


def _dimension(
    name: str, noun: str, unit: str, example: str, ladder: str, *, bits: bool = False
) -> Dimension:
    return Dimension(
        name=name, noun=noun, unit=unit, example=example, ladder=tuple(ladder.split()), bits=bits
    )


TIME: Final = _dimension("time", "a time", "s", "5 ms", "ps ns us ms s h year")
SIZE: Final = _dimension("size", "a size", "B", "80 GiB", "B kB MB GB TB PB EB")
DIE_CAPACITY: Final = _dimension(
    "die capacity", "a size", "B", "16 Gbit", "B kB MB GB TB", bits=True
)
BANDWIDTH: Final = _dimension(
    "bandwidth", "a rate", "B/s", "3.35 TB/s", "B/s kB/s MB/s GB/s TB/s PB/s EB/s"
)
LINK_BANDWIDTH: Final = _dimension(
    "link bandwidth", "a rate", "B/s", "450 GB/s", "B/s kB/s MB/s GB/s TB/s PB/s", bits=True
)
COMPUTE: Final = _dimension(
    "compute", "a rate of operations", "flop/s", "989 TFLOPS",
    "flop/s kflop/s MFLOPS GFLOPS TFLOPS PFLOPS EFLOPS",
)  # fmt: skip
WORK: Final = _dimension(
    "work", "a number of operations", "flop", "2 Tflop", "flop kflop Mflop Gflop Tflop Pflop"
)
ENERGY: Final = _dimension("energy", "an energy", "J", "5 J", "fJ pJ nJ uJ mJ J kJ MJ GJ")
ENERGY_PER_BYTE: Final = _dimension(
    "energy per byte", "an energy per byte or bit", "J/B", "3.48 pJ/bit",
    "fJ/B pJ/B nJ/B uJ/B mJ/B J/B", bits=True,
)  # fmt: skip
ENERGY_PER_FLOP: Final = _dimension(
    "energy per operation", "an energy per operation", "J/flop", "0.6 pJ/flop",
    "fJ/flop pJ/flop nJ/flop uJ/flop mJ/flop J/flop",
)  # fmt: skip
POWER: Final = _dimension("power", "a power", "W", "700 W", "nW uW mW W kW MW GW")
TEMPERATURE: Final = _dimension("temperature", "a temperature", "K", "350 K", "K")
AREA: Final = _dimension("area", "an area", "mm2", "814 mm2", "um2 mm2 m2")
MONEY: Final = _dimension("money", "a sum of money", "USD", "28000 USD", "USD")
CARBON: Final = _dimension("carbon", "a mass of CO2", "kgCO2e", "150 kgCO2e", "gCO2e kgCO2e tCO2e")
FREQUENCY: Final = _dimension("frequency", "a frequency", "/s", "2 /s", "/year /h /s kHz MHz GHz")
MONEY_PER_ENERGY: Final = _dimension(
    "electricity price", "a price of energy", "USD/J", "0.08 USD/kWh", "USD/MWh USD/kWh USD/J"
)
CARBON_PER_ENERGY: Final = _dimension(
    "carbon intensity", "a mass of CO2 per energy", "kgCO2e/J", "380 gCO2e/kWh",
    "gCO2e/kWh kgCO2e/kWh kgCO2e/J",
)  # fmt: skip
RATIO: Final = _dimension("ratio", "a plain number", "", "0.8", "")

DIMENSIONS: Final[tuple[Dimension, ...]] = (
    TIME, SIZE, DIE_CAPACITY,
    BANDWIDTH, LINK_BANDWIDTH, COMPUTE, WORK, ENERGY, ENERGY_PER_BYTE, ENERGY_PER_FLOP,
    POWER, TEMPERATURE, AREA, MONEY, CARBON, FREQUENCY, MONEY_PER_ENERGY, CARBON_PER_ENERGY, RATIO,
)  # fmt: skip
"""Everything a field may measure."""

_NUMBER = r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?"
_QUANTITY = re.compile(rf"\s*({_NUMBER})\s*([^\s0-9.].*?)?\s*\Z")
_UNIT = r"(?![eE][-+]?[0-9])[A-Za-z/%][^\s\[\]]*"
PATTERN: Final = rf"^\s*{_NUMBER}\s*{_UNIT}\s*(\[[^\[\]]+\]\s*)?$"
"""Regular expression of a quantity with its optional source, for JSON Schema."""


def parse(text: str, dimension: Dimension, *, positive: bool = False) -> float:
    """The value of `text` in the base unit of `dimension`, correctly rounded.

    Negative values are refused, and zero too if `positive`. ConfigError says what to write.
    """
    match = _QUANTITY.match(text)
    if match is None or len(text) > 100:
        raise _not_a_quantity(text, dimension)
    number, unit = match[1], match[2] or ""
    factor = _factor(unit, number, text, dimension)
    # exact arithmetic: the same quantity in other units is the same float
    exact = Fraction(number) * factor
    if exact < 0:
        raise ConfigError(f"'{_short(text)}' is negative; {dimension.noun} from 0 on is due")
    try:
        value = float(exact)
    except OverflowError:
        raise ConfigError(f"'{_short(text)}' is out of range") from None
    if positive and value == 0.0:
        raise ConfigError(f"'{_short(text)}' is zero; {dimension.noun} above 0 is due")
    return value


def format_quantity(value: float, dimension: Dimension, digits: int | None = None) -> str:
    """`value` (in the base unit) with the unit that keeps the number in 1 to 1000.

    All digits are kept unless `digits` says how many significant ones.
    """
    chosen = dimension.ladder[0] if dimension.ladder else ""
    for unit in dimension.ladder:
        if abs(value) >= _scale(unit) or value == 0.0:
            chosen = unit
        if value == 0.0 and _scale(unit) == 1:
            break
    number = value if not chosen else float(Fraction(value) / _scale(chosen))
    shown = f"{number:.{digits}g}" if digits else repr(number)
    return f"{shown.removesuffix('.0')} {chosen}".rstrip()


def _factor(unit: str, number: str, text: str, dimension: Dimension) -> Fraction:
    """What one `unit` is in the base unit of `dimension`; ConfigError if it is something else."""
    if not unit and dimension.unit:
        raise ConfigError(f"'{_short(text)}' needs a unit, e.g. '{dimension.example}'")
    known = _unit(unit)
    if known is None:
        raise _unknown_unit(unit, text, number, dimension)
    vector, scale = known
    due = _vector(dimension.unit)
    if vector == due:
        return scale
    in_bytes, bytes_scale = _bits_to_bytes(vector, scale)
    if in_bytes == due:
        if dimension.bits:
            return bytes_scale
        right = format_quantity(float(abs(Fraction(number)) * bytes_scale), dimension)
        raise ConfigError(f"'{_short(text)}' is in bits; bytes are due: write '{right}'")
    raise _wrong_dimension(unit, number, text, vector, dimension)


def _bits_to_bytes(vector: Vector, scale: Fraction) -> tuple[Vector, Fraction]:
    exponent = dict(vector).get("bit", 0)
    renamed = tuple(sorted(("B" if base == "bit" else base, power) for base, power in vector))
    return renamed, scale * Fraction(1, 8) ** exponent


@lru_cache(maxsize=4096)
def _unit(unit: str) -> tuple[Vector, Fraction] | None:
    """Dimension and size of a unit such as `TB/s`, `pJ/bit`, `/s`; None if there is none."""
    if not unit:
        return (), Fraction(1)
    over, slash, under = (part.strip() for part in unit.partition("/"))
    upper = _part(over) if over else ((), Fraction(1))
    lower = _part(under) if slash else ((), Fraction(1))
    if upper is None or lower is None:
        return None
    powers = dict(upper[0])
    for base, power in lower[0]:
        powers[base] = powers.get(base, 0) - power
    vector = tuple(sorted((base, power) for base, power in powers.items() if power))
    return vector, upper[1] / lower[1]


def _part(symbol: str) -> tuple[Vector, Fraction] | None:
    for prefix, factor in _PREFIXES.items():
        if symbol.startswith(prefix):
            atom = _ATOMS.get(symbol.removeprefix(prefix))
            if atom is not None and prefix in atom[2]:
                return atom[0], atom[1] * factor
    return None


def _vector(unit: str) -> Vector:
    known = _unit(unit)
    assert known is not None, unit
    return known[0]


def _scale(unit: str) -> Fraction:
    known = _unit(unit)
    assert known is not None, unit
    return known[1]


def _short(text: str) -> str:
    text = text.strip()
    return text if len(text) <= 40 else text[:37] + "..."


def _not_a_quantity(text: str, dimension: Dimension) -> ConfigError:
    words = text.strip().lower().lstrip("+-.")
    if words.startswith(("nan", "inf")):
        return ConfigError(f"'{_short(text)}' is not a finite number; e.g. '{dimension.example}'")
    return ConfigError(f"'{_short(text)}' is not a quantity; write e.g. '{dimension.example}'")


def _wrong_dimension(
    unit: str, number: str, text: str, vector: Vector, dimension: Dimension
) -> ConfigError:
    plain = _bits_to_bytes(vector, Fraction(1))[0]
    nouns = (other.noun for other in DIMENSIONS if _vector(other.unit) in (vector, plain))
    found = next(nouns, f"in {unit}")
    right = dimension.example
    candidates = (unit.removesuffix("/s"), unit.removesuffix("S"), f"{unit}/s", f"{unit}S")
    for candidate in (*candidates, unit.replace("J", "W"), unit.replace("W", "J")):
        known = _unit(candidate)
        if known is not None and known[0] == _vector(dimension.unit) and candidate:
            right = f"{number} {candidate}"
    return ConfigError(f"'{_short(text)}' is {found}; {dimension.noun} is due: write '{right}'")


def _unknown_unit(unit: str, text: str, number: str, dimension: Dimension) -> ConfigError:
    ambiguous = re.fullmatch(r"([kKMGTPE]i?)b(/s|ps)?", unit)
    if ambiguous:
        prefix = ambiguous[1].replace("K", "k") if len(ambiguous[1]) == 1 else ambiguous[1]
        rate = "/s" if ambiguous[2] else ""
        return ConfigError(
            f"'{_short(text)}': '{unit}' may be bytes or bits: "
            f"write {prefix}B{rate} or {prefix}bit{rate}"
        )
    near = _nearest_unit(unit, dimension)
    hint = f"did you mean '{near}'?" if near else f"write e.g. '{dimension.example}'"
    if near is None and not dimension.unit:
        hint = f"a plain number is due: write '{number}'"
    return ConfigError(f"'{_short(text)}': unknown unit '{_short(unit)}', {hint}")


def _nearest_unit(unit: str, dimension: Dimension) -> str | None:
    """The right unit nearest to `unit`: of the expected dimension if any is near, else of any."""
    for candidates in (_units_of(dimension), _all_units()):
        plain = unit.lower().replace("\N{MICRO SIGN}", "u")
        same = [right for right in candidates if right.lower() == plain]
        near = same or get_close_matches(unit, candidates, n=1, cutoff=0.6)
        if near:
            return near[0]
    return None


@lru_cache(maxsize=1)
def _all_units() -> tuple[str, ...]:
    return tuple(_enumerate())


def _enumerate() -> Iterator[str]:
    parts = [prefix + atom for atom, (_, _, allowed) in _ATOMS.items() for prefix in allowed]
    yield from parts
    for under in ("s", "min", "h", "day", "year", "B", "bit", "flop", "kWh", "MWh", "J"):
        yield f"/{under}"
        yield from (f"{over}/{under}" for over in parts)


@lru_cache(maxsize=64)
def _units_of(dimension: Dimension) -> tuple[str, ...]:
    """Legal units of `dimension`, those of its ladder first."""
    due = _vector(dimension.unit)
    legal = []
    for unit in _all_units():
        vector, scale = _unit(unit) or ((), Fraction(0))
        if vector == due or (dimension.bits and _bits_to_bytes(vector, scale)[0] == due):
            legal.append(unit)
    return (*dimension.ladder, *(unit for unit in legal if unit not in dimension.ladder))
