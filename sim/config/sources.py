"""Sources: where the numbers of a file come from, and every number of a form with its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel

from sim.config.document import Document
from sim.config.fields import Form, Reading, Text
from sim.units import Source, Sourced, SourceKind

USER: Final = Source(key="user", kind="user", title="Set by hand for this run")
SourceKey = Text | None


class SourceForm(Form):
    """Where numbers come from, for files that bring sources of their own."""

    kind: SourceKind
    title: Text
    note: str = ""


def readings(form: BaseModel, document: Document) -> dict[str, Sourced]:
    """Every number of `form` by dotted path; its source is its own, else the nearest around it.

    What a base says keeps the sources of the base. A number without any source has source "".
    """
    numbers: dict[str, Sourced] = {}
    for path, reading, around in _readings(form, None, ()):
        place = document.places.get(path)
        key = reading.key or (around if place is None else place.source) or ""
        numbers[".".join(path)] = Sourced(
            value=reading.value, text=reading.text, unit=reading.unit, source=key
        )
    return numbers


def _readings(
    value: Any, source: str | None, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Reading, str | None]]:
    """Path, number and the nearest `source` around it."""
    if isinstance(value, Reading):
        yield path, value, source
        return
    items: Any = ()
    if isinstance(value, BaseModel):
        source = getattr(value, "source", None) or source
        items = ((name, getattr(value, name)) for name in type(value).model_fields)
    elif isinstance(value, Mapping):
        items = value.items()
    for name, item in items:
        yield from _readings(item, source, (*path, str(name)))


def sources_of(forms: Mapping[str, SourceForm]) -> dict[str, Source]:
    """A file's own sources."""
    return {
        key: Source(key=key, kind=form.kind, title=form.title, note=form.note)
        for key, form in forms.items()
    }


def value(reading: Reading | None, default: Any = None) -> Any:
    """The number of a reading, or `default`."""
    return default if reading is None else reading.value
