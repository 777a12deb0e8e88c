"""Do the schemas for editors accept every shipped file and refuse what the loader refuses?"""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sim.config import library
from sim.config.document import read_document
from sim.config.schema import schemas

KINDS = {
    "devices": "device", "families": "device", "memories": "memory", "systems": "system",
    "models": "model", "traffic": "traffic", "scenarios": "scenario",
    "studies": "study",
}  # fmt: skip
FILES = [(kind, path) for kind in KINDS for path in library.files(kind).values()]


@cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schemas()[name])


def errors(name: str, data: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator(name).iter_errors(data)]


def schema_for(kind: str, data: dict[str, Any]) -> str:
    return KINDS[kind] + ("-overlay" if "extends" in data or kind == "families" else "")


def test_there_is_a_schema_and_an_overlay_of_every_form() -> None:
    assert set(schemas()) == {
        name + suffix for name in set(KINDS.values()) for suffix in ("", "-overlay")
    }
    for schema in schemas().values():
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    ("kind", "path"), FILES, ids=[f"{kind}/{path.stem}" for kind, path in FILES]
)
def test_every_shipped_file_is_valid(kind: str, path: Path) -> None:
    data = read_document(path).data
    assert errors(schema_for(kind, data), data) == []


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("memories", "sram", "bandwidth"), 21e15),
        (("memories", "sram", "bandwidth"), "21e15"),
        (("memories", "sram", "bandwith"), "21 PB/s"),
        (("processors", "wafer", "kind"), "waffle"),
        (("processors", "wafer", "efficiency", "compute"), 1.5),
        (("processors", "wafer", "operators"), ["fcc"]),
        (("title",), 7),
        (("processors",), None),
    ],
)
@pytest.mark.parametrize("overlay", [False, True])
def test_wrong_values_are_refused(path: tuple[str, ...], wrong: object, overlay: bool) -> None:
    data = deepcopy(read_document(library.files("devices")["wse-3"]).data)
    assert errors("device", data) == []
    at = data
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = wrong
    if overlay and wrong is None:
        assert errors("device-overlay", data) == []  # null removes what the base has
    else:
        assert errors("device-overlay" if overlay else "device", data) != []


def test_only_the_overlay_may_leave_things_out() -> None:
    assert errors("device", {"title": "a device"}) != []
    assert errors("device-overlay", {"title": "a device", "extends": "wse-3"}) == []


def test_quantities_carry_their_unit() -> None:
    quantity = schemas()["device"]["$defs"]["Memory"]["properties"]["bandwidth"]
    assert quantity["type"] == "string"
    assert quantity["x-unit"] == "B/s"
    assert quantity["examples"] == ["3.35 TB/s"]


def test_every_form_describes_itself() -> None:
    for schema in schemas().values():
        assert schema["description"]


@pytest.mark.parametrize(
    "traffic",
    [
        {"trace": "azure-like-2k", "window": ["0 s", "60 s"]},
        {"closed": {"concurrency": 1, "requests": 5, "input": 512, "output": {"constant": 3}}},
        {"poisson": {"rate": "2 /s", "requests": 5, "input": {"gaussian": {"mean": 5, "std": 1}}}},
    ],
)
def test_traffic_forms_are_valid(traffic: dict[str, Any]) -> None:
    data = {"model": "llama-3.1-8b", "system": "h100-x1", "traffic": traffic}
    assert errors("scenario", data) == []


def undescribed(schema: object) -> list[str]:
    """Keys of a schema that say nothing of themselves; a reference says it where it points."""
    if isinstance(schema, list):
        return [key for each in schema for key in undescribed(each)]
    if not isinstance(schema, dict):
        return []
    keys = schema["properties"] if isinstance(schema.get("properties"), dict) else {}
    bare = [
        key
        for key, of in keys.items()
        if not of.get("description") and "$ref" not in json.dumps(of)
    ]
    return bare + [key for each in schema.values() for key in undescribed(each)]


@pytest.mark.parametrize("name", sorted(schemas()))
def test_every_key_has_a_description(name: str) -> None:
    assert undescribed(schemas()[name]) == []
