"""Sensitivity: one input of a cost at a time between its ends, the rest as expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from sim.economics.lines import three
from sim.economics.practice import Costs
from sim.hardware import System
from sim.quantities import Ends


def inputs_of(system: System, costs: Costs) -> dict[str, Ends]:
    """Every input with a range, by a name that systems share where they share the input."""
    return {
        name: (float(value[0]), float(value[1]), float(value[2]))
        for part, prefix in _parts(system, costs)
        for name, value in _ranges(part, prefix)
        if value[0] != value[2]
    }


def with_only(system: System, costs: Costs, name: str) -> tuple[System, Costs]:
    """The system and its costs with every input as expected at all ends but the one called `name`.

    A `name` that is none of theirs leaves nothing that varies.
    """
    device = system.device
    making, memories, price, process, site, practice = (
        _kept(part, prefix, name) for part, prefix in _parts(system, costs)
    )
    device = replace(device, making=making, memories=memories, price_USD=price)
    return (
        replace(system, device=device),
        replace(costs, process=process, site=site, practice=practice),
    )


def _parts(system: System, costs: Costs) -> list[tuple[Any, str]]:
    device = system.device
    return [
        (device.making, f"{device.name}.making"),
        (device.memories, "memory"),
        (device.price_USD, f"{device.name}.price"),
        (costs.process, f"process {costs.process.name}"),
        (costs.site, "site"),
        (costs.practice, "practice"),
    ]


def _is_ends(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return bool(value.shape == (3,))
    return isinstance(value, tuple) and len(value) == 3 and isinstance(value[0], float)


def _ranges(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if _is_ends(value):
        yield name, value
    for key, item in _items(value):
        yield from _ranges(item, f"{name}.{key}")


def _items(value: Any) -> list[tuple[str, Any]]:
    if is_dataclass(value) and not isinstance(value, type):
        return [(each.name, getattr(value, each.name)) for each in fields(value)]
    if isinstance(value, Mapping):
        return [(str(key), item) for key, item in value.items()]
    if isinstance(value, tuple) and value and is_dataclass(value[0]):  # memories of a device
        return [(each.technology or each.name, each) for each in value]
    return []


def _kept(value: Any, name: str, keep: str) -> Any:
    """`value` with every number between ends at its base, but the one called `keep`."""
    if _is_ends(value):
        if name == keep:
            return value
        return three(value[1]) if isinstance(value, np.ndarray) else (value[1],) * 3
    parts = {key: _kept(item, f"{name}.{key}", keep) for key, item in _items(value)}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **parts)
    if isinstance(value, Mapping):
        return parts
    return tuple(parts.values()) if parts else value
