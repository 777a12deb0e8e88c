"""Forms: documents read into the values they describe, with every problem and source at its place.

A value's own annotations are its form: see `sim.values`. A pydantic model serves where a document
differs from what it is read into.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel

from sim.config import library
from sim.config.document import Document
from sim.config.keys import bare, has_members, meant, tree
from sim.config.kinds import KINDS
from sim.config.validate import validated
from sim.errors import ConfigError, Key, Problem
from sim.quantities import ENDS, Leaf, shown, split_source, text_of, unknown_key, unknown_name
from sim.units import Sourced
from sim.values import Keyed, Member, Named, Short, Through, is_mapping, leaf_in, members

Value = TypeVar("Value")
Numbers = dict[str, Sourced]


def read(kind: type[Value], document: Document, **rest: Any) -> tuple[Value, Numbers]:
    """The value that `document` describes, and every number in it by dotted path with its source.

    `rest` are fields for what the document leaves out, such as the name of its file. A number's
    source is its own, else the nearest around it in the file it was written in, else "".
    ConfigError has everything that is wrong.
    """
    made = reading(kind, document, **rest)
    return made.value, made.numbers


def value_of(kind: type[Value], document: Document, **rest: Any) -> Value:
    """The value that `document` describes; see `read`."""
    return read(kind, document, **rest)[0]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a document names, or has written out or as an object: its kind, and its document."""

    kind: str
    value: Any
    name: str = ""
    document: Document | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A value, its numbers by dotted path, and what its document names, by path."""

    value: Any
    numbers: Numbers
    references: Mapping[Key, Reference]


def reading(kind: type[Any], document: Document, *, sourced: bool = True, **rest: Any) -> Reading:
    """The value that `document` describes, with all that it was read from; see `read`.

    Unless `sourced`, no section of it has a `source` for its numbers.
    """
    reader = _Reader(document, sourced=sourced)
    value = reader.section(kind, document.data, (), None, rest)
    if reader.problems:
        raise ConfigError(list(dict.fromkeys(reader.problems)))
    return Reading(value=value, numbers=reader.numbers, references=reader.references)


@dataclass
class _Reader:
    """Reads one document; `source` is the nearest one around what is read."""

    document: Document
    sourced: bool = True
    problems: list[Problem] = field(default_factory=list)
    numbers: Numbers = field(default_factory=dict)
    references: dict[Key, Reference] = field(default_factory=dict)
    loaded: list[tuple[Any, Any]] = field(default_factory=list)
    """Values by kind, folder and what names them: equal ones are one."""

    def value(self, hint: Any, data: Any, path: Key, source: str | None) -> Any:
        """`data` as the annotation `hint` says; None and a problem where it isn't so."""
        origin, inner = get_origin(hint), get_args(hint)
        if origin is Annotated:
            leaf = next((mark for mark in inner[1:] if isinstance(mark, Leaf)), None)
            if leaf is not None:
                return self._leaf(leaf, data, path, source)
            for mark in inner[1:]:
                match mark:
                    case Keyed():
                        return self._keyed(inner[0], mark, data, path, source)
                    case Named():
                        return self._named(mark, inner[0], data, path, source)
                    case Through():
                        return self._through(mark, inner[0], data, path, source)
                    case Short() if not isinstance(data, Mapping):
                        return self._short(inner[0], mark.key, data, path, source)
            return self.value(inner[0], data, path, source)
        if origin in (Union, types.UnionType):
            if any(is_value(data, bare(each)) for each in inner):
                return data
            kind = meant(inner, data)
            named = bare(kind) is str and any(has_members(bare(each)) for each in inner)
            if named and not isinstance(data, str):
                message = "a name, or the thing itself as a mapping (key: value), is due"
                return self._wrong(path, message)
            return self.value(kind, data, path, source)
        if hint is type(None):
            return None
        if origin is Literal:
            return data if data in inner else self._wrong(path, unknown_name(data, inner))
        if origin is tuple:
            return self._list(inner, data, path, source)
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

    def _list(self, hints: Sequence[Any], data: Any, path: Key, source: str | None) -> Any:
        if not isinstance(data, list | tuple):
            return self._wrong(path, f"{shown(data)}: a list is due")
        if hints[-1] is Ellipsis:
            hints = [hints[0]] * len(data)
        elif len(data) != len(hints):
            return self._wrong(path, f"{shown(data)}: a list of {len(hints)} is due")
        return tuple(
            self.value(hint, part, (*path, index), source)
            for index, (hint, part) in enumerate(zip(hints, data, strict=True))
        )

    def _mapping(self, hints: Sequence[Any], data: Any, path: Key, source: str | None) -> Any:
        if not isinstance(data, Mapping):
            return self._wrong(path, f"{shown(data)}: a mapping (key: value) is due")
        known = get_args(hints[0]) if get_origin(hints[0]) is Literal else None
        source = _source(data, source)
        read: dict[Any, Any] = {}
        names = leaf_in(hints[0])
        for key, each in data.items():
            if known is not None and key not in known:
                if key != "source":
                    self._wrong((*path, key), unknown_key(key, known))
            elif each is not None:
                name = key if names is None else self._leaf(names, key, (*path, key), source)
                read[name] = self.value(hints[1], each, (*path, key), source)
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

    def _named(self, named: Named, hint: Any, data: Any, path: Key, source: str | None) -> Any:
        """The value that a name, a path or a mapping stands for; an object is one itself."""
        if isinstance(data, str) and data in named.besides:
            return data
        if not KINDS[named.kind].value:
            return self.value(hint, data, path, source)
        if is_value(data, bare(hint)):
            self.references[path] = Reference(kind=named.kind, value=data)
            return data
        if not isinstance(data, str | Mapping):
            besides = f"{', '.join(named.besides)}, or a {KINDS[named.kind].noun} is due: "
            message = "a name, a path, or the thing itself written inline"
            return self._wrong(path, besides + message if named.besides else f"{message} is due")
        near = get_close_matches(str(data), named.besides, n=1)
        if near and data not in library.files(named.kind):
            return self._wrong(path, f"unknown {path[-1]} '{data}'; did you mean '{near[0]}'?")
        folder = library.folder_of(self.document, path)
        for known, value in self.loaded:
            if known == (named.kind, folder, data):
                return value
        try:
            name, document = library.referenced(named.kind, self.document, path)
            value = KINDS[named.kind].load(name, document)
        except ConfigError as error:
            self.problems += library.placed(error, self.document, path).problems
            return None
        self.loaded.append(((named.kind, folder, data), value))
        self.references[path] = Reference(
            kind=named.kind, value=value, name=name, document=document
        )
        return value

    def _through(
        self, through: Through, hint: Any, data: Any, path: Key, source: str | None
    ) -> Any:
        """What is made of a form; an object is made already."""
        if not isinstance(data, str | int | float | Mapping | list | tuple):
            if any(is_value(data, bare(kind)) for kind in get_args(hint) or (hint,)):
                return data
            return self._wrong(path, f"{shown(data)}: no value that belongs here")
        before = len(self.problems)
        form = self.value(through.form, data, path, source)
        if len(self.problems) > before:
            return None
        try:
            return through.make(form, self.document, path)
        except ConfigError as error:
            self.problems += library.placed(error, self.document, path).problems
            return None

    def _short(self, hint: Any, key: str, data: Any, path: Key, source: str | None) -> Any:
        """The value whose one key `data` stands for, with problems at its own place."""
        kind = bare(hint)
        if isinstance(data, kind):
            return data
        before = len(self.problems)
        member = next(each for each in members(kind) if each.path == (key,))
        value = self.value(member.type, data, path, source)
        if len(self.problems) > before:
            return None
        return self._made(kind, {member.name: value}, path)

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
        if is_value(data, kind):
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
            elif key != "source" or not self.sourced:
                more = ["source"] if self.sourced else []
                self._wrong((*path, key), unknown_key(key, [*known, *more]))
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


def is_value(data: Any, kind: Any) -> bool:
    """Whether `data` is what `kind` describes already, made in Python."""
    return isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(data, kind)


def _source(data: Any, source: str | None) -> str | None:
    stated = data.get("source") if isinstance(data, Mapping) else None
    return stated if isinstance(stated, str) else source
