"""Showing: what a name means and what it resolves to, for `sim show`."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from sim.config import library
from sim.config.json_schema import descriptions
from sim.config.kinds import KINDS, SHOWN
from sim.errors import ConfigError, Problem
from sim.techniques import TECHNIQUES
from sim.units import Sourced


def find_kinds(name: str) -> list[str]:
    """The kinds of things that `name`, of the library or a path, is; at least one."""
    if library.is_path(name):
        return [library.kind_of_file(Path(name))]
    kinds = [kind for kind in SHOWN if name in library.names(kind)]
    if kinds or name in library.aliases():
        return kinds or ["devices"]
    if library.counted(name):
        return ["systems"]
    if library.config_json(name, Path()) is not None:
        return ["models"]
    every = dict.fromkeys(entry for kind in SHOWN for entry in library.names(kind))
    near = get_close_matches(name, [*every, *library.aliases()], n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise ConfigError(
        [Problem(message=f"nothing is called '{name}'; {hint}`sim list KIND` shows what there is")]
    )


def resolved(kind: str, name: str) -> Mapping[str, Any]:
    """What `name` resolves to: its YAML with every base applied, numbers with value and source."""
    if kind == "techniques":
        technique = TECHNIQUES[name]
        chosen: Any = technique.parameters
        return {
            "name": name,
            "title": technique.title,
            "citation": technique.citation,
            "quality": technique.quality,
            "parameters": dict(descriptions(chosen)),
        }
    known_as, document = library.document_of(kind, name)
    numbers = KINDS[kind].load_numbers(known_as, document)
    if not isinstance(document.data, dict):
        raise ConfigError([document.problem((), "a mapping (key: value) is due")])
    result = {"name": known_as}
    result |= {key: item for key, item in document.data.items() if key != "name"}
    for path, number in numbers.items():
        _put(result, path.split("."), _as_mapping(number))
    return result


def _put(into: dict[str, Any], path: list[str], value: Any) -> None:
    """Write `value` at `path`, replacing what stands in the way: a device's name by its numbers."""
    head, rest = path[0], path[1:]
    if not rest:
        into[head] = value
        return
    inner = into.get(head)
    into[head] = dict(inner) if isinstance(inner, dict) else {}
    _put(into[head], rest, value)


def _as_mapping(number: Sourced) -> dict[str, Any]:
    return {
        "value": number.value,
        "unit": number.unit,
        "text": number.text,
        "source": number.source,
    }
