"""Changes: `--set path=value` on a scenario and on everything its references name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sim.config import library
from sim.config.document import Document, parse_document, value_at
from sim.config.keys import is_number, keys_at, mark_of, type_at
from sim.config.scenario_form import ScenarioForm
from sim.config.sources import USER
from sim.errors import ConfigError, Key, Place, Problem
from sim.quantities import unknown_key
from sim.values import Named, Short


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
    return with_change(document, path, parse_document(value, place.file).data, place)


def with_change(document: Document, path: Key, value: Any, place: Place) -> Document:
    """`document` with `value`, of a document or an object, at a path that a scenario may have."""
    if path[0] == "cost":
        document = with_usual_cost(document)
    for depth in range(1, len(path)):
        document = _expanded(document, path[:depth], path[depth])
    _check(document, path, place)
    hint = type_at(ScenarioForm, path)
    if isinstance(value, str | int | float) and is_number(hint):
        value = f"{value} [{USER.key}]" if "[" not in str(value) else value
    document = document.with_value(path, value, place)
    if path in (("system", "device"), ("system", "count")):  # no longer what its name says
        system = document.data["system"]
        device, count = system.get("device"), system.get("count", 1)
        device = device.get("name") if isinstance(device, dict) else device
        name = f"{Path(str(device)).stem if library.is_path(str(device)) else device}-x{count}"
        document = document.with_value(("system", "name"), name, place)
    return document


def with_usual_cost(document: Document) -> Document:
    """`document` with the usual site and practice where its cost names none."""
    for part in ("site", "practice"):
        cost = document.data.get("cost")
        if (cost is None or isinstance(cost, dict)) and (cost or {}).get(part) is None:
            document = document.with_value(("cost", part), "default", document.place(("cost",)))
    return document


def _expanded(document: Document, path: Key, below: str | int) -> Document:
    """`document` with what stands at `path` written out: what it names, or what it is short for."""
    try:
        stated = value_at(document.data, path)
    except (KeyError, IndexError, TypeError):
        return document
    hint = type_at(ScenarioForm, path)
    named, short = mark_of(hint, Named), mark_of(hint, Short)
    if isinstance(stated, str) and named is not None and stated not in named.besides:
        name, inline = library.referenced(named.kind, document, path)
        if inline.data is None:
            message = f"'{stated}' is a config.json: write a model YAML to change it by --set"
            raise ConfigError([document.problem(path, message)])
        places = dict(inline.places) or {(): Place(file=inline.file)}
        return document.with_value(path, {"name": name, **inline.data}, places)
    if short is not None and not isinstance(stated, dict | None) and isinstance(below, str):
        return document.with_value(path, {short.key: stated}, document.place(path))
    return document


def _check(document: Document, path: Key, place: Place) -> None:
    """ConfigError at the first part of `path` that neither is there nor may be."""
    for length in range(1, len(path) + 1):
        part = path[:length]
        try:
            here = value_at(document.data, part[:-1])
        except (KeyError, IndexError, TypeError):
            here = None
        if not isinstance(here, dict | list | str | int | float | None):
            where = ".".join(map(str, part[:-1]))
            message = f"{where} is a Python object: change it by `replace`"
            raise ConfigError([Problem(file=place.file, message=message)])
        if isinstance(here, dict) and part[-1] in here:
            continue
        if isinstance(here, list) and isinstance(part[-1], int) and part[-1] < len(here):
            continue
        if _may_be_added(part, here, last=length == len(path)):
            continue
        known = keys_at(ScenarioForm, part[:-1])
        if known is None and isinstance(here, dict):
            known = [str(key) for key in here]
        message = unknown_key(str(part[-1]), known or ())
        if isinstance(here, list) and isinstance(part[-1], int):
            message = f"there is no entry {part[-1]}: of {len(here)}, the first is 0"
        raise ConfigError(
            [Problem(file=place.file, path=".".join(map(str, part)), message=message)]
        )


def _may_be_added(path: Key, here: Any, *, last: bool) -> bool:
    """Whether the key that `path` ends with may be new where it is in the document."""
    known = keys_at(ScenarioForm, path[:-1])
    if known is not None:
        return path[-1] in known
    if not last or isinstance(here, list):
        return False
    if path[0] in ("placement", "techniques"):  # by operator; parameters of any technique
        return True
    return isinstance(here, dict) and not here and type_at(ScenarioForm, path) is not None
