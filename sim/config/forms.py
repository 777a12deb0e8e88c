"""Forms: documents read into the values they describe, with every problem and source at its place.

A value's own annotations are its form: see `sim.values`. A pydantic model serves where a document
differs from what it is read into.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel

from sim.config.document import Document
from sim.config.keys import bare, has_members, meant, tree
from sim.config.validate import validated
from sim.errors import ConfigError, Key, Problem
from sim.quantities import ENDS, Leaf, shown, split_source, text_of, unknown_key, unknown_name
from sim.units import Sourced
from sim.values import Keyed, Member, is_mapping, members

Value = TypeVar("Value")
Numbers = dict[str, Sourced]


def read(kind: type[Value], document: Document, **rest: Any) -> tuple[Value, Numbers]:
    """The value that `document` describes, and every number in it by dotted path with its source.

    `rest` are fields for what the document leaves out, such as the name of its file. A number's
    source is its own, else the nearest around it in the file it was written in, else "".
    ConfigError has everything that is wrong.
    """
    reader = _Reader(document)
    value: Value = reader.section(kind, document.data, (), None, rest)
    if reader.problems:
        raise ConfigError(list(dict.fromkeys(reader.problems)))
    return value, reader.numbers


def value_of(kind: type[Value], document: Document, **rest: Any) -> Value:
    """The value that `document` describes; see `read`."""
    return read(kind, document, **rest)[0]


@dataclass
class _Reader:
    """Reads one document; `source` is the nearest one around what is read."""

    document: Document
    problems: list[Problem] = field(default_factory=list)
    numbers: Numbers = field(default_factory=dict)

    def value(self, hint: Any, data: Any, path: Key, source: str | None) -> Any:
        """`data` as the annotation `hint` says; None and a problem where it isn't so."""
        origin, inner = get_origin(hint), get_args(hint)
        if origin is Annotated:
            leaf = next((mark for mark in inner[1:] if isinstance(mark, Leaf)), None)
            if leaf is not None:
                return self._leaf(leaf, data, path, source)
            keyed = next((mark for mark in inner[1:] if isinstance(mark, Keyed)), None)
            if keyed is not None:
                return self._keyed(inner[0], keyed, data, path, source)
            return self.value(inner[0], data, path, source)
        if origin in (Union, types.UnionType):
            return self.value(meant(inner, data), data, path, source)
        if hint is type(None):
            return None
        if origin is Literal:
            return data if data in inner else self._wrong(path, unknown_name(data, inner))
        if origin is tuple:
            return self._list(inner[0], data, path, source)
        if is_mapping(hint):
            return self._mapping(inner, data, path, source)
        if isinstance(hint, type) and issubclass(hint, BaseModel):
            return self._model(hint, path)
        if has_members(hint):
            return self.section(hint, data, path, source, {})
        if hint is str:
            return (
                data if isinstance(data, str) else self._wrong(path, f"{shown(data)}: text is due")
            )
        return data

    def _wrong(self, path: Key, message: str) -> None:
        self.problems.append(self.document.problem(path, message))

    def _leaf(self, leaf: Leaf, data: Any, path: Key, source: str | None) -> Any:
        try:
            value = leaf.read(data)
        except ConfigError as error:
            for each in error.problems:
                at = (*path, *((each.path,) if each.path else ()))
                self._wrong(at, each.message)
            return None
        if leaf.ends is not None:
            source = _source(data, source)
            for end in ENDS:
                part = data[end] if isinstance(data, Mapping) else data
                self._number(leaf.ends, leaf.ends.read(part), part, (*path, end), source)
        elif leaf.unit is not None:
            self._number(leaf, value, data, path, source)
        return value

    def _number(self, leaf: Leaf, value: float, data: Any, path: Key, source: str | None) -> None:
        key = data.source if isinstance(data, Sourced) else None
        if isinstance(data, str):
            key = split_source(data)[1]
        place = self.document.places.get(path)
        key = key or (source if place is None else place.source) or ""
        number = Sourced(value=float(value), text=text_of(data), unit=leaf.unit or "", source=key)
        self.numbers[".".join(map(str, path))] = number

    def _list(self, hint: Any, data: Any, path: Key, source: str | None) -> Any:
        if not isinstance(data, list | tuple):
            return self._wrong(path, f"{shown(data)}: a list is due")
        read = [self.value(hint, each, (*path, i), source) for i, each in enumerate(data)]
        return tuple(read)

    def _mapping(self, hints: Sequence[Any], data: Any, path: Key, source: str | None) -> Any:
        if not isinstance(data, Mapping):
            return self._wrong(path, f"{shown(data)}: a mapping (key: value) is due")
        known = get_args(hints[0]) if get_origin(hints[0]) is Literal else None
        source = _source(data, source)
        read: dict[str, Any] = {}
        for key, each in data.items():
            if known is not None and key not in known:
                if key != "source":
                    self._wrong((*path, key), unknown_key(key, known))
            elif each is not None:
                read[key] = self.value(hints[1], each, (*path, key), source)
        return read

    def _keyed(self, hint: Any, keyed: Keyed, data: Any, path: Key, source: str | None) -> Any:
        """Things whose name is their key, as a mapping or a tuple of them."""
        if isinstance(data, tuple):
            return data
        if not isinstance(data, Mapping):
            return self._wrong(path, f"{shown(data)}: a mapping (key: value) is due")
        kind = get_args(hint)[1 if is_mapping(hint) else 0]
        read = {
            key: self.section(
                kind, each, (*path, key), source, {keyed.field: key} if keyed.field else {}
            )
            for key, each in data.items()
        }
        return read if is_mapping(hint) else tuple(read.values())

    def _model(self, form: type[BaseModel], path: Key) -> Any:
        try:
            return validated(form, self.document.under(path))
        except ConfigError as error:
            self.problems += error.problems
            return None

    def section(
        self, kind: Any, data: Any, path: Key, source: str | None, rest: Mapping[str, Any]
    ) -> Any:
        """`data` as a value with fields, which `rest` fills in."""
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(data, kind):
            return data
        if not isinstance(data, Mapping):
            return self._wrong(path, f"{shown(data)}: a mapping (key: value) is due")
        before = len(self.problems)
        arguments = {**rest, **self._arguments(kind, data, path, source, rest)}
        self._unknown(tree(kind), data, path)
        return None if len(self.problems) > before else self._made(kind, arguments, path)

    def _arguments(
        self, kind: Any, data: Any, path: Key, source: str | None, rest: Mapping[str, Any]
    ) -> dict[str, Any]:
        read: dict[str, Any] = {}
        for member in members(kind):
            before = len(self.problems)
            if not member.path:
                inner = self._arguments(bare(member.type), data, path, source, {})
                if len(self.problems) == before:
                    read[member.name] = self._made(bare(member.type), inner, path)
                continue
            datum, nearest = self._datum(member, data, path, _source(data, source))
            if datum is not None:
                read[member.name] = self.value(member.type, datum, (*path, *member.path), nearest)
            elif member.required and member.name not in rest and len(self.problems) == before:
                self._wrong((*path, *_missing(member.path, data)), "is missing")
        return read

    def _datum(self, member: Member, data: Any, path: Key, source: str | None) -> tuple[Any, Any]:
        """What stands at a member's path, None where nothing does, and the nearest source."""
        for depth, part in enumerate(member.path[:-1], 1):
            data = data.get(part)
            if data is None or (member.alone and not isinstance(data, Mapping)):
                return data, source
            if not isinstance(data, Mapping):
                where = (*path, *member.path[:depth])
                self._wrong(where, f"{shown(data)}: a mapping (key: value) is due")
                return None, source
            source = _source(data, source)
        return data.get(member.path[-1]), source

    def _unknown(self, known: Mapping[str, Any], data: Mapping[str, Any], path: Key) -> None:
        for key, each in data.items():
            if key in known:
                if known[key] and isinstance(each, Mapping):
                    self._unknown(known[key], each, (*path, key))
            elif key != "source":
                self._wrong((*path, key), unknown_key(key, [*known, "source"]))
            elif not isinstance(each, str | None):
                self._wrong((*path, key), f"{shown(each)}: text is due")

    def _made(self, kind: Callable[..., Any], arguments: dict[str, Any], path: Key) -> Any:
        try:
            return kind(**arguments)
        except ConfigError as error:
            for each in error.problems:
                self._wrong((*path, *(each.path.split(".") if each.path else ())), each.message)
            return None


def _missing(path: tuple[str, ...], data: Any) -> tuple[str, ...]:
    """The part of `path` up to the first key that isn't there."""
    for depth, part in enumerate(path, 1):
        data = data.get(part)
        if data is None:
            return path[:depth]
    return path


def _source(data: Any, source: str | None) -> str | None:
    stated = data.get("source") if isinstance(data, Mapping) else None
    return stated if isinstance(stated, str) else source
