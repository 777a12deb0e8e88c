"""Registry: every kind of table that can be predicted, as `tables.yaml` describes them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from sim.config.document import read_document
from sim.evidence.measured.formats import Format
from sim.evidence.measured.tables import stem, table_paths


@cache
def formats() -> Sequence[Format]:
    """Every format, in the order in which families are told."""
    return [Format(**each) for each in read_document(Path(__file__).with_name("tables.yaml")).data]


def formats_of(name: str) -> list[Format]:
    """The formats of a table ("dataset/table"): more than one where it has times and power."""
    return [form for form in formats() if form.matches(name)]


def tables_of(folder: Path, *families: str) -> list[tuple[Format, Path]]:
    """Tables below `folder` that are of some families, each with its format."""
    return [
        (form, path)
        for path in table_paths(folder)
        for form in formats_of(name_of(path))
        if form.family in families
    ]


def name_of(path: Path) -> str:
    """Name of a table's file: "dataset/table"."""
    return f"{path.parent.name}/{stem(path)}"
