"""Validate: a document against a form, with every problem at its line and the nearest right key."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from sim.config.document import Document
from sim.config.fields import shown, unknown_key, unknown_name
from sim.errors import ConfigError, Problem

FormType = TypeVar("FormType", bound=BaseModel)


def validated(form: type[FormType], document: Document) -> FormType:
    """`document` as `form`; ConfigError with all that is wrong in it."""
    try:
        return form.model_validate(document.data)
    except ValidationError as error:
        problems = [_problem(form, document, each) for each in error.errors(include_url=False)]
        raise ConfigError(list(dict.fromkeys(problems))) from None


def _problem(form: type[BaseModel], document: Document, error: Any) -> Problem:
    path = _in_document(document.data, error["loc"])
    missing = error["type"] == "missing"
    if missing:
        path = (*path, error["loc"][-1])
    path = (*path, *error.get("ctx", {}).get("at", ()))
    return document.problem(path, _message(form, path, error))


def _in_document(data: Any, loc: Sequence[str | int]) -> tuple[str | int, ...]:
    """The part of pydantic's location that is in the data; union tags and the like are not."""
    path: list[str | int] = []
    for key in loc:
        inside = isinstance(data, dict) and key in data
        inside = inside or (isinstance(data, list) and isinstance(key, int) and key < len(data))
        if inside:
            path.append(key)
            data = data[key]
    return tuple(path)


def _message(form: type[BaseModel], path: Sequence[str | int], error: Any) -> str:
    match error["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return unknown_key(str(path[-1]), keys_at(form, path[:-1]) or ())
        case "config":
            return str(error["msg"])
        case "literal_error":
            due = _names(error["ctx"]["expected"])
            return unknown_name(error["input"], due)
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{shown(error['input'])}: a mapping (key: value) is due"
        case "tuple_type" | "list_type":
            return f"{shown(error['input'])}: a list is due"
        case "string_type":
            return f"{shown(error['input'])}: text is due"
    return str(error["msg"])


def _names(expected: str) -> list[str]:
    return [part.strip(" '") for part in expected.replace(" or ", ", ").split(",")]


def keys_at(form: Any, path: Sequence[str | int]) -> list[str] | None:
    """Keys that `form` knows at `path`; None where any name may stand (or nothing can)."""
    found = form_at(form, path)
    if isinstance(found, type) and issubclass(found, BaseModel):
        return [field.alias or name for name, field in found.model_fields.items()]
    return None


def form_at(form: Any, path: Sequence[str | int]) -> Any:
    """The type that `form` has at `path`, unions and optionals seen through; None if none."""
    found = _inner(form)
    for key in path:
        if isinstance(found, type) and issubclass(found, BaseModel):
            fields = {field.alias or name: field for name, field in found.model_fields.items()}
            if key not in fields:
                return None
            found = _inner(fields[str(key)].annotation)
        elif get_origin(found) in (dict, Mapping):
            found = _inner(get_args(found)[1])
        elif get_origin(found) in (tuple, list):
            found = _inner(get_args(found)[0])
        else:
            return None
    return found


def _inner(kind: Any) -> Any:
    """`kind` without Annotated and Optional; of a union, its mapping member."""
    while True:
        origin = get_origin(kind)
        if origin is Annotated:
            kind = get_args(kind)[0]
        elif origin in (Union, types.UnionType):
            members = [each for each in get_args(kind) if each is not type(None)]
            forms = [
                each
                for each in members
                if isinstance(_inner(each), type) and issubclass(_inner(each), BaseModel)
            ]
            kind = (forms or members)[0]
        else:
            return kind
