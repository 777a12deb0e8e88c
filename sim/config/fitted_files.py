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
    kind: str, form: type[Made], name: str, base: Path | None = None
) -> tuple[str, Made, Document]:
    """Name, form and document of a kind's entry, by name or by path from `base`; read once."""
    found, read, document = _read(kind, form, name, base or Path())
    assert isinstance(read, form)
    return found, read, document


@cache
def _read(kind: str, form: type[Form], name: str, base: Path) -> tuple[str, Form, Document]:
    found, document = library.found_document(kind, name, base)
    return found, validated(form, document), document
