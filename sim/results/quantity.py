"""Numbers for people: three digits, a prefix and a unit."""

from __future__ import annotations

import math

_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_SMALL = ((1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"), (1e-12, "p"))
_BINARY = ((2.0**40, "Ti"), (2.0**30, "Gi"), (2.0**20, "Mi"), (2.0**10, "Ki"), (1.0, ""))
UNKNOWN = "-"
_PREFIXED = frozenset({"s", "J", "W"})


def digits(value: float | None, count: int = 3) -> str:
    """`value` to `count` significant digits, without an exponent where a person would use none."""
    if value is None or math.isnan(value):
        return UNKNOWN
    if value == 0.0:
        return "0"
    if abs(value) >= 1e15 or abs(value) < 1e-6:
        return f"{value:.{count - 1}e}"
    places = count - 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, places):,.{max(places, 0)}f}"


def si(value: float | None, unit: str = "") -> str:
    """`value` with a decimal prefix: 3.35e12 B/s as "3.35 TB/s"."""
    return _prefixed(value, unit, _PREFIXES if value is None or abs(value) >= 1.0 else _SMALL)


def quantity(value: float | None, unit: str) -> str:
    """`value` in a unit of a metric: with a prefix where people use one, else as digits."""
    if unit.split("/")[0] in _PREFIXED:
        return si(value, unit)
    return UNKNOWN if value is None or math.isnan(value) else f"{digits(value)} {unit}".rstrip()


def binary(value: float | None) -> str:
    """Bytes with a binary prefix: 85899345920 as "80 GiB"."""
    return _prefixed(value, "B", _BINARY)


def _prefixed(value: float | None, unit: str, prefixes: tuple[tuple[float, str], ...]) -> str:
    if value is None or math.isnan(value):
        return UNKNOWN
    if value == 0.0:
        return f"0 {unit}".rstrip()
    for size, prefix in prefixes:
        if abs(value) >= size * 0.9995:
            return f"{digits(value / size)} {prefix}{unit}".rstrip()
    size, prefix = prefixes[-1]
    return f"{digits(value / size)} {prefix}{unit}".rstrip()


def share(value: float | None) -> str:
    """A share as per cent: 0.123 as "12.3 %"."""
    if value is None or math.isnan(value):
        return UNKNOWN
    return f"{100.0 * value:.1f} %"
