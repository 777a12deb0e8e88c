"""Changes: `--set path=value` on a scenario and on everything its references name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, get_origin

from sim.config import catalogue, library
from sim.config.document import Document, parse_document, value_at
from sim.config.fields import Reading, unknown_key
from sim.config.keys import is_number, keys_at, type_at
from sim.config.model_form import ModelForm
from sim.config.scenario_form import ScenarioForm
from sim.config.sources import USER
from sim.economics.ownership import Site
from sim.economics.practice import Practice
from sim.errors import ConfigError, Key, Place, Problem
from sim.hardware import Device, System
from sim.values import plain

_FORMS: Final[tuple[tuple[Key, type[Any]], ...]] = (
    (("cost", "site"), Site),
    (("cost", "practice"), Practice),
    (("system", "device"), Device),
    (("system",), System),
    (("model",), ModelForm),
    ((), ScenarioForm),
)
"""The form that rules below a path, the longest path first."""


def changed(document: Document, sets: Sequence[str]) -> Document:
    """`document` with each "path=value" of `sets` applied; ConfigError names every wrong one."""
    problems: list[Problem] = []
    for text in sets:
        try:
            document = _set(document, text)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return document


def _set(document: Document, text: str) -> Document:
    place = Place(file=f"--set {text}", source=USER.key)
    name, equals, value = text.partition("=")
    parts = [part for part in name.strip().split(".") if part]
    if not equals or not parts:
        message = "path=value is due, e.g. scheduler.max_batch=64"
        raise ConfigError([Problem(file=place.file, message=message)])
    path: Key = tuple(int(part) if part.isdecimal() else part for part in parts)
    new = parse_document(value, place.file).data
    document = _expanded(document, path)
    _check(document, path, place)
    ruled = _ruled(path)[0]
    number = is_number(ruled) or plain(ruled) is Reading
    if isinstance(new, str | int | float) and number:
        new = f"{new} [{USER.key}]" if "[" not in str(new) else new
    document = document.with_value(path, new, place)
    if path in (("system", "device"), ("system", "count")):  # no longer what its name says
        system = document.data["system"]
        device, count = system.get("device"), system.get("count", 1)
        device = device.get("name") if isinstance(device, dict) else device
        name = f"{Path(str(device)).stem if library.is_path(str(device)) else device}-x{count}"
        document = document.with_value(("system", "name"), name, place)
    return document


def _expanded(document: Document, path: Key) -> Document:
    """`document` with the references on the way to `path` replaced by what they name."""
    if path[:1] == ("system",) and len(path) > 1:
        given = document.data.get("system")
        if isinstance(given, str):
            base = library.folder_of(document, ("system",))
            name, own = library.document_of("systems", given, base)
            document = _inline(document, ("system",), own, name)
        system = document.data.get("system")
        device = system.get("device") if isinstance(system, dict) else None
        if path[1] == "device" and len(path) > 2 and isinstance(device, str):
            base = library.folder_of(document, ("system", "device"))
            name, own = library.document_of("devices", device, base)
            document = _inline(document, ("system", "device"), own, name)
    if path[:1] == ("model",) and len(path) > 1 and isinstance(document.data.get("model"), str):
        given = document.data["model"]
        base = library.folder_of(document, ("model",))
        if catalogue.config_json(given, base) is not None:
            message = f"'{given}' is a config.json: write a model YAML to change it by --set"
            raise ConfigError([document.problem(("model",), message)])
        name, own = library.document_of("models", given, base)
        document = _inline(document, ("model",), own, name)
    kind = {"site": "sites", "practice": "costs"}.get(str(path[1])) if len(path) > 2 else None
    if path[0] == "cost" and kind is not None:
        given = (document.data.get("cost") or {}).get(path[1], "default")
        if isinstance(given, str):
            base = library.folder_of(document, ("cost", str(path[1])))
            name, own = library.document_of(kind, given, base)
            document = _inline(document, path[:2], own, name)
    if path[:1] == ("traffic",) and len(path) > 1 and isinstance(document.data.get("traffic"), str):
        given = document.data["traffic"]
        document = document.with_value(("traffic",), {"trace": given}, document.place(path[:1]))
    return document


def _inline(document: Document, path: Key, own: Document, name: str) -> Document:
    places = dict(own.places) or {(): Place(file=own.file)}
    return document.with_value(path, {"name": name, **own.data}, places)


def _ruled(path: Key) -> tuple[Any, list[str] | None]:
    """What stands at `path` by the forms, and the keys known beside it (None: any name)."""
    for prefix, form in _FORMS:
        if len(path) > len(prefix) and path[: len(prefix)] == prefix:
            rest = path[len(prefix) :]
            return type_at(form, rest), keys_at(form, rest[:-1])
    return None, None


def _check(document: Document, path: Key, place: Place) -> None:
    """ConfigError at the first part of `path` that neither is there nor may be."""
    for length in range(1, len(path) + 1):
        part = path[:length]
        try:
            here = value_at(document.data, part[:-1])
        except (KeyError, IndexError, TypeError):
            here = None
        if isinstance(here, dict) and part[-1] in here:
            continue
        if isinstance(here, list) and isinstance(part[-1], int) and part[-1] < len(here):
            continue
        found, known = _ruled(part)
        if known is not None and part[-1] in known:
            continue
        free = isinstance(here, dict) and known is None and found is not None
        if free and length == len(path) and get_origin(found) is None and not here:
            continue  # the first entry of a free mapping, like placement
        if known is None and isinstance(here, dict):
            known = [str(key) for key in here]
        if _open_mapping(part) and length == len(path) and not isinstance(here, list):
            continue
        message = unknown_key(str(part[-1]), known or ())
        if isinstance(here, list) and isinstance(part[-1], int):
            message = f"there is no entry {part[-1]}: of {len(here)}, the first is 0"
        raise ConfigError(
            [Problem(file=place.file, path=".".join(map(str, part)), message=message)]
        )


def _open_mapping(part: Key) -> bool:
    """Whether any key may be added here: placements, and techniques' parameters."""
    return part[0] in ("placement", "techniques")
