"""Numbers of a scenario with where each comes from, noted while its parts are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sim.config.fields import Reading
from sim.config.sources import USER
from sim.errors import Key
from sim.units import Source, Sourced


@dataclass(kw_only=True)
class Noted:
    """Numbers by their path in the scenario, and the sources its own files bring along."""

    numbers: dict[str, Sourced] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)

    def number(self, path: Key, number: float, source: str) -> None:
        """Remember a plain number."""
        self.numbers[".".join(map(str, path))] = Sourced(
            value=float(number), text=f"{number}", unit="", source=source
        )

    def quantity(self, path: Key, read: Reading) -> None:
        """Remember a number with its unit, written in the scenario itself."""
        self.numbers[".".join(map(str, path))] = Sourced(
            value=read.value, text=read.text, unit=read.unit, source=USER.key
        )


def leaves(data: Any, path: Key) -> Iterator[tuple[Key, float]]:
    """Paths and values of the plain numbers in `data`."""
    if isinstance(data, int | float) and not isinstance(data, bool):
        yield path, data
    items: Any = data.items() if isinstance(data, Mapping) else ()
    items = enumerate(data) if isinstance(data, list | tuple) else items
    for key, item in items:
        yield from leaves(item, (*path, key))
