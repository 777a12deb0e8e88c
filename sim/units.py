"""Quantities with units."""
from __future__ import annotations
from dataclasses import dataclass
@dataclass(frozen=True, kw_only=True)
class Sourced:
    value: float | None
    text: str
    unit: str
    source: str
