"""Values: dataclasses that are their own form. Annotations say unit, range and key of each field.

    @checked
    @dataclass(frozen=True, kw_only=True)
    class Memory:
        capacity_B: Size | None = None
        \"\"\"What it holds.\"\"\"

In a document the field is `capacity`, its name without its unit, and takes "80 GiB"; in Python it
is `capacity_B=85899345920.0` or `capacity="80 GiB"`. Both refuse what is out of range.
`sim.config.forms` reads documents into such values and writes their JSON Schema.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, wraps
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin

from sim.errors import ConfigError, Problem
from sim.quantities import Leaf, unknown_key
from sim.units import HIDDEN, Source, Sourced

Class = TypeVar("Class", bound=type[Any])
Value = TypeVar("Value")


@dataclass(frozen=True)
class Key:
    """Dotted path of a field in the document of its class, where it isn't its name.

    A field with the key "" has its own fields' keys there. `alone`: what stands at the first part
    of the path, if it is no mapping, is meant for every key below it.
    """

    path: str
    alone: bool = False


@dataclass(frozen=True)
class As:
    """In a document the field is written as `kind` instead."""

    kind: Any


HERE: Final = Key("")


@dataclass(frozen=True)
class Keyed:
    """Several things that a document has as a mapping, each by its `field` (or by none: "")."""

    field: str = "name"


@dataclass(frozen=True)
class Named:
    """In a document the name of a `kind` of library file may stand for the thing itself.

    Names in `besides` stand for themselves.
    """

    kind: str
    besides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Short:
    """In a document what is no mapping stands for one that has it under `key`."""

    key: str


@dataclass(frozen=True)
class Through:
    """In a document there is a `form` instead; `make` gets it, the document and its path there."""

    form: Any
    make: Callable[[Any, Any, Any], Any] = lambda form, document, path: form


Numbers = Annotated[Mapping[str, Sourced], HIDDEN]
"""Every number of a value by dotted path, as it was written."""
Bibliography = Annotated[Mapping[str, Source], Keyed("key"), Key("sources")]
"""Sources that a document describes itself, by key."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A field of a class: where its document has it, and what may stand there."""

    name: str
    path: tuple[str, ...]
    type: Any
    required: bool
    default: Any = None
    alone: bool = False
    keyed: Keyed | None = None
    named: Named | None = None
    leaf: Leaf | None = None
    """Of the field, or of each entry of a mapping."""
    entries: bool = False
    """Whether it is such a mapping."""


@cache
def members(kind: Any) -> tuple[Member, ...]:
    """The fields of a dataclass or typed dictionary that documents state."""
    return tuple(member for member in _every_member(kind) if member is not None)


def _every_member(kind: Any) -> list[Member | None]:
    hints = typing.get_type_hints(kind, include_extras=True)
    if not dataclasses.is_dataclass(kind):
        return [_member(name, hint, True, None) for name, hint in hints.items()]
    found = []
    for each in dataclasses.fields(kind):
        required = each.default is each.default_factory is dataclasses.MISSING
        default = None if each.default is dataclasses.MISSING else each.default
        found.append(_member(each.name, hints[each.name], required and each.init, default))
    return found


def _member(name: str, hint: Any, required: bool, default: Any) -> Member | None:
    if get_origin(hint) is typing.NotRequired:
        hint, required = get_args(hint)[0], False
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    if HIDDEN in marks:
        return None
    hint = next((mark.kind for mark in marks if isinstance(mark, As)), hint)
    leaf = leaf_in(hint)
    key = next((mark for mark in marks if isinstance(mark, Key)), None)
    path = _key(name, leaf) if key is None else key.path
    return Member(
        name=name,
        path=tuple(path.split(".")) if path else (),
        type=hint,
        required=required,
        default=default,
        alone=key is not None and key.alone,
        keyed=next((mark for mark in marks if isinstance(mark, Keyed)), None),
        named=next((mark for mark in marks if isinstance(mark, Named)), None),
        leaf=leaf,
        entries=is_mapping(plain(hint)),
    )


def _key(name: str, leaf: Leaf | None) -> str:
    """`name` without its unit."""
    unit = "" if leaf is None or leaf.unit is None else leaf.unit
    ending = f"_{unit}".replace("_/", "_per_").replace("/", "_per_")
    return name.removesuffix(ending) if unit else name


def leaf_in(hint: Any) -> Leaf | None:
    """What one value of an annotation may be: of the field, or of a mapping's or list's entries."""
    if get_origin(hint) is Annotated:
        inner, *marks = get_args(hint)
        return next((mark for mark in marks if isinstance(mark, Leaf)), None) or leaf_in(inner)
    if get_origin(hint) in (Union, types.UnionType, tuple) or is_mapping(hint):
        return next((leaf for each in get_args(hint) if (leaf := leaf_in(each))), None)
    return None


def plain(hint: Any) -> Any:
    """An annotation without its marks, and without None where there is one other kind."""
    while get_origin(hint) in (Annotated, Union, types.UnionType):
        kinds = [each for each in get_args(hint) if each is not type(None)]
        if get_origin(hint) is not Annotated and len(kinds) > 1:
            break
        hint = kinds[0]
    return hint


def is_mapping(hint: Any) -> bool:
    """Whether an annotation is of a mapping with entries of one kind."""
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def checked(kind: Class) -> Class:
    """A dataclass whose constructor takes keys of documents too, and refuses what is wrong."""
    construct = vars(kind)["__init__"]

    @wraps(construct)
    def read(self: Any, *positional: Any, **arguments: Any) -> None:
        construct(self, *positional, **_arguments(kind, arguments))

    setattr(kind, "__init__", read)  # noqa: B010 - mypy
    return kind


def _arguments(kind: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by the fields' names, quantities in base units; ConfigError with all wrong ones."""
    by_name, by_key = _names(kind)
    read: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, value in arguments.items():
        member = by_name.get(name) or by_key.get(name)
        if member is None:
            read[name] = value  # Python itself says what it thinks of it
            continue
        try:
            read[member.name] = _argument(member, value, keyed=name != member.name)
        except ConfigError as error:
            problems += [
                Problem(message=each.message, path=".".join(filter(None, (name, each.path))))
                for each in error.problems
            ]
    if problems:
        raise ConfigError(problems)
    return read


_SIMPLE: Final = (int, float, str)


@cache
def _names(kind: Any) -> tuple[dict[str, Member], dict[str, Member]]:
    known = members(kind)
    fields = {each.name for each in dataclasses.fields(kind)}
    keyed = {member.path[0]: member for member in known if len(member.path) == 1}
    return (
        {member.name: member for member in known},
        {key: member for key, member in keyed.items() if key not in fields},
    )


def _argument(member: Member, value: Any, *, keyed: bool) -> Any:
    leaf = member.leaf
    if leaf is None or value is None or (type(value) in _SIMPLE and value == member.default):
        return value
    if isinstance(value, Mapping) and member.entries:
        return {key: leaf.argument(each) for key, each in value.items()}
    if keyed and isinstance(value, float | int):
        return leaf.read(value)  # without a unit it isn't known what is meant
    return leaf.argument(value)


def build(kind: Callable[..., Value], stated: Mapping[str, Any]) -> Value:
    """The value whose fields are `stated` by key; ConfigError with everything wrong."""
    known = {member.path[0]: member for member in members(kind) if len(member.path) == 1}
    problems = [
        Problem(path=name, message=unknown_key(name, tuple(known)))
        for name in stated
        if name not in known
    ]
    problems += [
        Problem(path=name, message="is missing")
        for name, member in known.items()
        if member.required and stated.get(name) is None
    ]
    try:
        arguments = _arguments(kind, {name: stated[name] for name in stated if name in known})
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    if problems:
        raise ConfigError(problems)
    return kind(**arguments)
