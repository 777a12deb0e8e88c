"""Registry: every kind of table that can be predicted."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Final

from sim.evidence.measured.formats import Format

MODULES: Final = (
    "gemm",
    "attention",
    "layers",
    "moe",
    "mamba",
    "collectives",
    "edge_tables",
    "hat",
    "die_area",
    "server_tables",
    "energy",
    "gpt3_layer",
)


def formats() -> Iterator[Format]:
    """Every format, in the order in which families are told."""
    for name in MODULES:
        yield from importlib.import_module(f"sim.evidence.measured.{name}").FORMATS


def formats_of(name: str) -> list[Format]:
    """The formats of a table ("dataset/table"): more than one where it has times and power."""
    return [form for form in formats() if form.matches(name)]
