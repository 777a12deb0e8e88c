"""JSON Schema of values: keys, units, ranges, defaults, and descriptions from their docstrings."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
import types
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from sim.config.keys import has_members
from sim.config.kinds import KINDS
from sim.quantities import Leaf
from sim.values import Keyed, Named, Short, Through, is_mapping, members

_MODELS: Final = "#/$defs/{model}"
_APART: Final = ("models", "systems", "sites", "costs", "runtimes")
"""Kinds of file that a schema doesn't describe where a document names one."""


def schema_of(kind: Any) -> dict[str, Any]:
    """The JSON Schema of documents that `kind` is read from."""
    definitions: dict[str, Any] = {}
    schema = _section(kind, definitions)
    return schema | ({"$defs": definitions} if definitions else {})


def _section(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = _object(kind.__name__, _first_paragraph(kind.__doc__))
    schema["properties"]["source"] = {
        "type": "string",
        "description": "Key of the source of all numbers below that bring none of their own.",
    }
    _fill(schema, kind, definitions)
    return schema


def _object(title: str, description: str) -> dict[str, Any]:
    return {
        "title": title,
        "description": description,
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }


def _fill(schema: dict[str, Any], kind: Any, definitions: dict[str, Any]) -> None:
    texts = descriptions(kind)
    for member in members(kind):
        if not member.path:
            _fill(schema, _class_of(member.type), definitions)
            continue
        at = schema
        required = member.required and member.name != "name"  # the name of its file, or its key
        for part in member.path[:-1]:
            inner = at["properties"].setdefault(part, _object(part, "A section."))
            if required and part not in at.setdefault("required", []):
                at["required"].append(part)
            at = inner
        own = _hint(member.type, definitions)
        own = {"allOf": [own]} if "$ref" in own else own
        own["description"] = texts.get(member.name) or own.get("description") or member.name
        stated = not member.required and member.default == member.default  # what isn't known: NaN
        if stated and isinstance(member.default, str | int | float | bool | tuple):
            own["default"] = member.default
        at["properties"][member.path[-1]] = own
        if required:
            at.setdefault("required", []).append(member.path[-1])
    for member in members(kind):
        part = member.path[0] if member.path else ""
        section = schema["properties"].get(part, {})
        if member.alone and "properties" in section:
            own = section["properties"][member.path[1]]
            schema["properties"][part] = {
                "anyOf": [own, section],
                "description": section["description"],
            }


def _class_of(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _hint(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _annotated(inner[0], inner[1:], definitions)
    if origin in (Union, types.UnionType):
        parts = [_hint(each, definitions) for each in inner if each is not type(None)]
        return parts[0] if len(parts) == 1 else {"anyOf": parts}
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (tuple, list):
        return {"type": "array", "items": _hint(inner[0], definitions)}
    if is_mapping(hint):
        return _entries(inner[0], _hint(inner[1], definitions))
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        schema = hint.model_json_schema(ref_template=_MODELS)
        definitions |= schema.pop("$defs", {})
        return schema
    if has_members(hint):
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = {}
            definitions[hint.__name__] = _section(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    return {"type": "string"} if hint is str else {}


def _annotated(hint: Any, marks: tuple[Any, ...], definitions: dict[str, Any]) -> dict[str, Any]:
    leaf = next((mark for mark in marks if isinstance(mark, Leaf)), None)
    if leaf is not None:
        return dict(leaf.schema)
    through = next((mark for mark in marks if isinstance(mark, Through)), None)
    if through is not None:
        return _hint(through.form, definitions)
    named = next((mark for mark in marks if isinstance(mark, Named)), None)
    if named is not None:
        if named.kind in _APART:
            return {"type": ["string", "object"]}
        form = _hint(KINDS[named.kind].load_form(), definitions)
        return {"anyOf": [{"type": "string"}, form]}
    short = next((mark for mark in marks if isinstance(mark, Short)), None)
    if short is not None:
        member = next(each for each in members(hint) if each.path == (short.key,))
        return {"anyOf": [_hint(member.type, definitions), _hint(hint, definitions)]}
    schema = _hint(hint, definitions)
    if any(isinstance(mark, Keyed) for mark in marks):
        entries = schema["items"] if schema["type"] == "array" else schema["additionalProperties"]
        schema = {"type": "object", "additionalProperties": entries}
    return schema


def _entries(key: Any, entry: dict[str, Any]) -> dict[str, Any]:
    if get_origin(key) is not Literal:
        return {"type": "object", "additionalProperties": entry}
    source = {"source": {"type": "string", "description": "Key of the source of all entries."}}
    properties = source | dict.fromkeys(get_args(key), entry)
    return {"type": "object", "properties": properties, "additionalProperties": False}


@cache
def descriptions(kind: Any) -> Mapping[str, str]:
    """Docstrings of the fields of a class, by field."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    except (OSError, TypeError):
        return {}
    if not isinstance(body, ast.ClassDef):
        return {}
    texts: dict[str, str] = {}
    for base in body.bases:  # typed dictionaries forget theirs
        if isinstance(base, ast.Name):
            texts |= descriptions(getattr(sys.modules[kind.__module__], base.id))
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(field.target, ast.Name)
            if isinstance(text.value, ast.Constant) and isinstance(text.value.value, str):
                texts[field.target.id] = " ".join(text.value.value.split())
    return texts


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())
