"""Lookups: columns of a row that follow from texts in it, and reasons why it can't be predicted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sim.evidence.measured.formats import Format, Unsupported
from sim.evidence.measured.spellings import spellings, supported_device
from sim.evidence.measured.tables import Table


class Row(dict[str, Any]):
    """A row of a table by the names of readers; "" for what it doesn't have."""

    def __missing__(self, key: str) -> str:
        return ""

    def text(self, template: str) -> str:
        """`template` with columns in braces."""
        return template.format_map(self)


def rows_of(form: Format, table: Table) -> Iterator[Row]:
    """Rows of a table with what its lookups find, the library's name of its device, and a reason.

    The reason is "" for a row that may be predicted.
    """
    lookups = form.lookups
    if isinstance(lookups, str):
        lookups = spellings("lookups")[lookups]
    for values in form.frame(table).to_dict("records"):
        row = Row({str(name): value for name, value in values.items()})
        missing = ""
        for lookup in lookups:
            text = row.text(lookup["of"])
            for pattern, columns in lookup["first"].items():
                if match := re.search(pattern, text):
                    row |= {name: _filled(value, match) for name, value in columns.items()}
                    break
            else:
                missing = missing or row.text(lookup.get("otherwise", ""))
        try:
            row["device"] = supported_device(str(row["device"]))
        except Unsupported as error:
            missing = str(error)
        row["reason"] = row["reason"] or missing
        yield row


def number(value: Any) -> float:
    """A number of a table; 0 where it is blank."""
    return float(value) if value != "" and value == value else 0.0


def _filled(value: Any, match: re.Match[str]) -> Any:
    """`value`, a text of which has the groups of `match` in place of their numbers."""
    return match.expand(value) if isinstance(value, str) else value
