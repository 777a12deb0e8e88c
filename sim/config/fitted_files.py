"""Fitted files: kernels, protocols and runtimes, each a form in a file of its own."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TypeVar

from sim.config import library
from sim.config.document import Document
from sim.config.fields import Form
from sim.config.validate import validated

Made = TypeVar("Made", bound=Form)


def fitted_form(
    kind: str, form: type[Made], name: str, base: Path | None = None, *, without: str = ""
) -> tuple[str, Made, Document]:
    """Name, form and document of a kind's entry, by name or by path from `base`; read once.

    With constants that haven't seen the part `without` of the data, where the file has such.
    """
    stem, read, document = _read(kind, form, name, base or Path(), without)
    assert isinstance(read, form)
    return stem, read, document


@cache
def _read(
    kind: str, form: type[Form], name: str, base: Path, without: str
) -> tuple[str, Form, Document]:
    stem, document = library.found_document(kind, name, base, without=without)
    return stem, validated(form, document), document
