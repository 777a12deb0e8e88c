"""Validate: a document against a form, with every problem at its line and the nearest right key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sim.config.document import Document
from sim.config.keys import keys_at
from sim.errors import ConfigError, Problem
from sim.quantities import shown, unknown_key, unknown_name

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
