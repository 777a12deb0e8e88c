"""Columns: what a trace may say of each request beside its arrival and lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Column:
    """A whole number a request, kept as `name` in `Trace` and in the table of requests.

    `titles` names all of them in messages and summaries; `aliases` are names in files, `due` what
    a wrong value should have been. With `names` files have texts, which are numbered from 0 in
    order of first use; `Trace.names` has them.
    """

    name: str
    titles: str
    aliases: tuple[str, ...]
    due: str
    names: bool = False


COLUMNS: Final = (
    Column(
        name="priority",
        titles="priorities",
        aliases=("priority",),
        due="a whole number is due, the smaller the more urgent",
    ),
    Column(
        name="tenant",
        titles="tenants",
        aliases=("tenant", "tenant_id"),
        due="a name is due",
        names=True,
    ),
)
"""Columns that a trace file may have."""

PER_REQUEST: Final = (*(column.name for column in COLUMNS), "parent")
"""Columns of a trace that may be missing, and that the table of requests keeps."""
