"""Sources: where the numbers of a file come from, and every number of a form with its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from typing import Any, Final, TypeVar, cast

from sim.config import library
from sim.config.document import Document
from sim.config.fields import Form, Text
from sim.config.forms import read
from sim.errors import ConfigError, Problem
from sim.units import Source, Sourced, SourceKind

Value = TypeVar("Value")

USER: Final = Source(key="user", kind="user", title="Set by hand for this run")


class SourceForm(Form):
    """Where numbers come from, for files that bring sources of their own."""

    kind: SourceKind
    """What kind of thing it is."""
    title: Text
    """What it is called, with its number or address."""
    note: str = ""
    """What is special about it."""


def sourced(kind: type[Value], document: Document, **rest: Any) -> Value:
    """The value that `document` describes, with the source of every number; see `forms.read`."""
    value, numbers = read(kind, document, **rest)
    own: Any = value
    problems = unsourced(document, numbers, own.bibliography)
    if problems:
        raise ConfigError(problems)
    return cast("Value", replace(own, sources=numbers))


def unsourced(
    document: Document, numbers: Mapping[str, Sourced], own: Mapping[str, Source]
) -> list[Problem]:
    """A problem for every number without a source, or with one that nobody describes."""
    known = {**load_sources(), **own}
    problems = []
    for path, number in numbers.items():
        if number.source in known:
            continue
        if number.source:
            near = get_close_matches(number.source, list(known), n=1)
            hint = f"; did you mean '{near[0]}'?" if near else "; describe it under `sources:`"
            message = f"unknown source '{number.source}'{hint}"
        else:
            message = (
                f"'{number.text}' has no source: write `source: KEY` above it, or "
                f"'{number.text} [KEY]', and describe KEY under `sources:`"
            )
        problems.append(document.problem(tuple(path.split(".")), message))
    return problems


@cache
def load_sources() -> Mapping[str, Source]:
    """Sources of the library's numbers, by key."""
    return {
        key: Source(key=key, kind=item["kind"], title=item["title"], note=item.get("note", ""))
        for key, item in library.library_sources().items()
    } | {USER.key: USER}
