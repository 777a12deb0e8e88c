"""Fitted constants by name or path: kernels, protocols, power laws, runtimes, residuals."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TypeVar

from sim.config import library
from sim.config.document import Document
from sim.config.forms import read, value_of
from sim.hardware.kernels import Kernels, Protocols
from sim.hardware.power import PowerLaw
from sim.hardware.residuals import Errors, Generation, Level, Residual
from sim.hardware.runtime import Runtime
from sim.units import Sourced

EDGE = "edge"
"""The file of runtimes of edge devices, whatever the device's generation."""
OTHERS = "unmeasured"
"""The file of what no generation covers."""
Value = TypeVar("Value")


@cache
def fitted_document(
    kind: str, given: str, base: Path, *, without: str = ""
) -> tuple[str, Document]:
    """Name and document of a kind's entry, by name or by path from `base`; read once.

    With constants that haven't seen the part `without` of the data, where the file has such.
    """
    return library.found_document(kind, given, base, without=without)


def _load(
    kind: type[Value], folder: str, given: str, base: Path | None, without: str = ""
) -> Value:
    name, document = fitted_document(folder, given, base or Path(), without=without)
    return value_of(kind, document, name=name)


def load_kernels(given: str, base: Path | None = None, *, without: str = "") -> Kernels:
    """The kernels of a name or a path; `without` as in `fitted_document`."""
    return _load(Kernels, "kernels", given, base, without)


def load_protocols(given: str, base: Path | None = None, *, without: str = "") -> Protocols:
    """The protocols of a name or a path; `without` as in `fitted_document`."""
    return _load(Protocols, "protocols", given, base, without)


def load_law(given: str, base: Path | None = None, *, without: str = "") -> PowerLaw:
    """The power law of a name or a path; `without` as in `fitted_document`."""
    return _load(PowerLaw, "power", given, base, without)


def load_runtime(given: str, base: Path | None = None, *, without: str = "") -> Runtime:
    """The runtime of a name or a path; `without` as in `fitted_document`."""
    return _load(Runtime, "runtimes", given, base, without)


def runtime_of(name: str, document: Document) -> Runtime:
    """The runtime that `document` describes."""
    return value_of(Runtime, document, name=name)


def runtime_numbers(name: str, document: Document) -> Mapping[str, Sourced]:
    """What a run takes of a runtime's document, by key, each number with its source."""
    numbers = read(Runtime, document, name=name)[1]
    return {path: number for path, number in numbers.items() if not path.startswith("habits.")}


def load_generation(name: str) -> Generation:
    """One file of residuals."""
    return _load(Generation, "errors", name, None)


@cache
def load_errors() -> Errors:
    """The library's residuals; ConfigError for a file that isn't as it should be."""
    generations = {name: load_generation(name) for name in library.files("errors")}
    rest = generations[OTHERS]
    others: dict[Level, Mapping[str, Residual]] = dict(rest.residuals)
    others["unbuilt"] = {name: each.wider(rest.wider) for name, each in others["estimated"].items()}
    keys = [each.source for each in generations.values() if each.source is not None]
    keys += [key] if (key := _source_of_width()) else []
    return Errors(
        generations=tuple(each for name, each in generations.items() if name not in (EDGE, OTHERS)),
        edge=generations.get(EDGE),
        others=others,
        unbuilt=rest.wider,
        sources=tuple(dict.fromkeys(keys)),
    )


def _source_of_width() -> str | None:
    _, document = fitted_document("errors", OTHERS, Path())
    number = read(Generation, document, name=OTHERS)[1].get("wider")
    return None if number is None else number.source
