"""Document: strict YAML as plain data that remembers where every value was written.

YAML 1.2 scalars only: `NO`, `on`, `0123`, `12:30` and dates stay text, `80e9` is a number.
Duplicate keys, tags, anchors, several documents and deep nesting are errors. Built from parser
events, so nothing recurses and no object is ever constructed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import yaml

from sim.errors import ConfigError, Key, Place, Places, Problem, nearest

MAX_BYTES: Final = 10_000_000
MAX_DEPTH: Final = 40
_CONSTANTS: Final = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, kw_only=True)
class Document:
    """Plain data, and the place of every path in it; `prefix` is its own path in a larger one."""

    file: str
    data: Any
    places: Places = field(default_factory=dict)
    prefix: Key = ()

    def place(self, path: Sequence[str | int]) -> Place:
        """Where `path` was written, or the nearest thing around it that was."""
        return nearest(self.places, path) or Place(file=self.file)

    @property
    def written(self) -> Places:
        """The places, and the file itself for what isn't written."""
        return {(): Place(file=self.file), **self.places}

    def problem(self, path: Sequence[str | int], message: str) -> Problem:
        """A problem at `path` of this document."""
        place = self.place(path)
        return Problem(
            message=message,
            file=place.file,
            line=place.line,
            column=place.column,
            path=".".join(map(str, (*self.prefix, *path))) or None,
        )

    def under(self, path: Key) -> Document:
        """The part at `path` as a document."""
        depth = len(path)
        return Document(
            file=self.place(path).file,
            data=value_at(self.data, path),
            places={key[depth:]: at for key, at in self.places.items() if key[:depth] == path},
            prefix=(*self.prefix, *path),
        )

    def with_value(self, path: Key, new: Any, place: Place | Places) -> Document:
        """A copy with `new` at `path`; `place` is where it was written, or where its parts were."""
        depth = len(path)
        places = {key: at for key, at in self.places.items() if key[:depth] != path}
        if isinstance(place, Place):
            places[path] = place
        else:
            places |= {(*path, *key): at for key, at in place.items()}
            places.setdefault(path, self.place(path))
        return Document(
            file=self.file,
            data=_with(self.data, path, new),
            places=places,
            prefix=self.prefix,
        )

    def filled(self, values: Mapping[Key, Any]) -> Document:
        """A copy with `values` at their paths, which nobody wrote."""
        data = self.data
        for path, new in values.items():
            data = _with(data, path, new)
        return replace(self, data=data)


def value_at(data: Any, path: Sequence[str | int]) -> Any:
    """What `data` has at `path`; KeyError, IndexError or TypeError where there is nothing."""
    for key in path:
        data = data[key]
    return data


def _with(data: Any, path: Key, new: Any) -> Any:
    if not path:
        return new
    if isinstance(data, list):
        index = int(path[0])
        return [_with(each, path[1:], new) if i == index else each for i, each in enumerate(data)]
    own = data if isinstance(data, dict) else {}
    return {**own, path[0]: _with(own.get(path[0]), path[1:], new)}


def read_text(path: Path) -> str:
    """The text of a file; ConfigError if there is none or it isn't UTF-8."""
    file = str(path)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError([Problem(file=file, message=f"{size:,} bytes are no configuration")])
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError([Problem(file=file, message="no such file" + _nearest(path))]) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            [Problem(file=file, message=f"is not a text file (UTF-8): {error.reason}")]
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError([Problem(file=file, message=f"cannot be read ({reason})")]) from None


def _nearest(path: Path) -> str:
    try:
        names = [each.name for each in path.parent.iterdir()]
    except OSError:
        return ""
    near = get_close_matches(path.name, names, n=1)
    return f": did you mean '{path.parent / near[0]}'?" if near else ""


def read_document(path: Path) -> Document:
    """The document in a YAML file."""
    return parse_document(read_text(path), str(path))


def parse_document(text: str, file: str) -> Document:
    """The document in `text`; ConfigError with line and column for what isn't strict YAML."""
    builder = _Builder(file)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"is not YAML: {error.problem or error.context}"
        if "nesting depth" in message:  # the parser's own limit, where it has one
            message = f"nested more than {MAX_DEPTH} deep"
        if "\t" in text and "cannot start any token" in message:
            message = "is not YAML: indent with spaces, not tabs"
        builder.add(mark, message)
    except (yaml.YAMLError, UnicodeError) as error:
        reason = getattr(error, "reason", None) or str(error)
        position = getattr(error, "position", None)
        line = text.count("\n", 0, position) + 1 if isinstance(position, int) else None
        problem = Problem(file=file, line=line, message=f"is not YAML: {reason}")
        builder.problems.append(problem)
    if builder.problems:
        raise ConfigError(builder.problems)
    _credit(builder.root, (), None, builder.places)
    return Document(file=file, data=builder.root, places=builder.places)


def _credit(data: Any, path: Key, source: str | None, places: dict[Key, Place]) -> None:
    """Note at every place which source the file itself gives for it, before anything extends it."""
    if isinstance(data, dict) and isinstance(data.get("source"), str):
        source = data["source"]
    if source is not None and path in places:
        places[path] = replace(places[path], source=source)
    children: Any = data.items() if isinstance(data, dict) else ()
    children = enumerate(data) if isinstance(data, list) else children
    for key, child in children:
        _credit(child, (*path, key), source, places)


def scalar(text: str) -> Any:
    """A plain scalar by YAML 1.2's core schema."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text) and len(text) < 40:
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", "").lower())
    return text


@dataclass
class _Open:
    """A mapping or sequence being read."""

    value: dict[str, Any] | list[Any]
    path: Key
    key: str | None = None
    lines: dict[str, int] = field(default_factory=dict)


class _Builder:
    """Builds data from parser events with a stack of its own."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root: Any = None
        self.places: dict[Key, Place] = {}
        self.problems: list[Problem] = []
        self._stack: list[_Open] = []
        self._documents = 0

    def add(self, mark: Any, message: str) -> None:
        line = column = None
        if mark is not None:
            line, column = mark.line + 1, mark.column + 1
        self.problems.append(Problem(file=self.file, line=line, column=column, message=message))

    def take(self, event: Any) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents == 2:
                    self.add(event.start_mark, "a second document ('---'): one is due")
            case yaml.AliasEvent():
                self.add(event.start_mark, f"alias *{event.anchor}: write the value out, or extend")
                self._place(None, event)
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.MappingStartEvent():
                self._open({}, event)
            case yaml.SequenceStartEvent():
                self._open([], event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._stack.pop()

    def _checked(self, event: Any, *, tag: bool) -> None:
        if tag:
            self.add(event.start_mark, f"tag {event.tag}: tags are not allowed, write plain values")

    def _scalar(self, event: Any) -> None:
        top = self._stack[-1] if self._stack else None
        self._checked(event, tag=event.tag is not None)
        if top is not None and isinstance(top.value, dict) and top.key is None:
            self._key(top, event)
            return
        plain = event.implicit[0] and not event.style
        self._place(scalar(event.value) if plain else event.value, event)

    def _key(self, top: _Open, event: Any) -> None:
        name = event.value
        line = event.start_mark.line + 1
        if name == "<<":
            self.add(event.start_mark, "'<<' merges are not supported: use `extends`")
        if name in top.lines:
            self.add(
                event.start_mark,
                f"duplicate key '{name}', first on line {top.lines[name]}: keep one",
            )
        top.lines[name] = line
        top.key = name
        self.places[(*top.path, name)] = self._at(event)

    def _at(self, event: Any) -> Place:
        mark = event.start_mark
        return Place(file=self.file, line=mark.line + 1, column=mark.column + 1)

    def _place(self, value: Any, event: Any) -> Key:
        """Put `value` where the open container wants it; returns its path."""
        if not self._stack:
            self.root = value
            return ()
        top = self._stack[-1]
        if isinstance(top.value, list):
            path: Key = (*top.path, len(top.value))
            top.value.append(value)
            self.places[path] = self._at(event)
            return path
        if top.key is None:  # a container as a key
            self.add(event.start_mark, "a key is text, not a list or mapping")
            top.key = "?"
        path = (*top.path, top.key)
        top.value[top.key] = value
        top.key = None
        return path

    def _open(self, value: dict[str, Any] | list[Any], event: Any) -> None:
        self._checked(event, tag=event.tag is not None)
        if len(self._stack) == MAX_DEPTH:
            self.add(event.start_mark, f"nested more than {MAX_DEPTH} deep")
            raise ConfigError(self.problems)
        path = self._place(value, event)
        self._stack.append(_Open(value=value, path=path))


def merged(base: Document, own: Document) -> Document:
    """`own` on top of `base`: mappings merge, null deletes, anything else replaces (RFC 7386).

    Every leaf keeps the place where it was written.
    """
    places: dict[Key, Place] = {}
    data = _merge(base, own, (), places)
    return Document(file=own.file, data=data, places=places)


def _merge(base: Document, own: Document, path: Key, places: dict[Key, Place]) -> Any:
    below, above = value_at(base.data, path), value_at(own.data, path)
    if not (isinstance(below, dict) and isinstance(above, dict)):
        _copy(own, path, places)
        return above
    places[path] = own.place(path)
    result: dict[str, Any] = {}
    for key in [*below, *(key for key in above if key not in below)]:
        if key not in above:
            _copy(base, (*path, key), places)
            result[key] = below[key]
        elif key not in below and above[key] is not None:
            _copy(own, (*path, key), places)
            result[key] = above[key]
        elif above[key] is not None:
            result[key] = _merge(base, own, (*path, key), places)
    return result


def _copy(document: Document, path: Key, places: dict[Key, Place]) -> None:
    for each in _paths(value_at(document.data, path), path):
        places[each] = document.place(each)


def _paths(data: Any, path: Key) -> Iterator[Key]:
    yield path
    items: Any = ()
    if isinstance(data, dict):
        items = data.items()
    elif isinstance(data, list):
        items = enumerate(data)
    for key, value in items:
        yield from _paths(value, (*path, key))


def extended(document: Document, find: Callable[[str, Document], Document]) -> Document:
    """`document` on top of what its `extends` names; `find(name, document)` gives that document.

    One level: a base that extends again is an error, and so is a circle.
    """
    data = document.data
    if not isinstance(data, dict) or "extends" not in data:
        return document
    name = data["extends"]
    if not isinstance(name, str):
        raise ConfigError([document.problem(("extends",), "the name of one base is due")])
    base = find(name, document)
    own = Document(
        file=document.file,
        data={key: value for key, value in data.items() if key != "extends"},
        places=document.places,
    )
    if base.file == document.file:
        raise ConfigError([document.problem(("extends",), f"'{name}' extends itself: a circle")])
    if isinstance(base.data, dict) and "extends" in base.data:
        again = base.data["extends"]
        circle = isinstance(again, str) and Path(again).stem == Path(document.file).stem
        what = "that is a circle" if circle else "only one level is allowed"
        message = f"'{name}' itself extends '{again}': {what}"
        raise ConfigError([document.problem(("extends",), message)])
    return merged(base, own)
