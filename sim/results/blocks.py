"""Blocks: what accounts come to, for JSON and for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table for people: rows of words as long as `columns`; the first `left` are no numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1


@dataclass(frozen=True, kw_only=True)
class Block:
    """One part of a result: its key and value in JSON, and what is printed of it."""

    name: str
    values: Any
    lines: tuple[str | Table, ...] = ()
