"""Keys: what the annotations of a value, or a pydantic model, have at each path of a document."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel

from sim.config.kinds import KINDS
from sim.quantities import Leaf
from sim.values import Member, Named, Through, is_mapping, members

Mark = TypeVar("Mark")


def tree(kind: Any) -> dict[str, Any]:
    """Keys of a value's document, nested: what a section has inside, {} for what is read whole."""
    known: dict[str, Any] = {}
    for path, _ in placed(kind):
        inner = known
        for part in path:
            inner = inner.setdefault(part, {})
    return known


def placed(kind: Any) -> Iterator[tuple[tuple[str, ...], Member]]:
    """Members of a value by their path in its document, those of values that share it too."""
    for member in members(kind):
        if member.path:
            yield member.path, member
        else:
            yield from placed(bare(member.type))


def keys_at(form: Any, path: Sequence[str | int]) -> list[str] | None:
    """Keys that `form` knows at `path`; None where any name may stand (or nothing can)."""
    kind = type_at(form, path)
    if isinstance(kind, dict):
        return list(kind)
    kind = written(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [each.alias or name for name, each in kind.model_fields.items()]
    if has_members(kind):
        return [*tree(kind), "source"]
    if is_mapping(kind) and get_origin(get_args(kind)[0]) is Literal:
        return list(get_args(get_args(kind)[0]))
    return None


def type_at(form: Any, path: Sequence[str | int]) -> Any:
    """The annotation that `form` has at `path`; of a section of it, its tree of keys.

    None where there is nothing.
    """
    for index, key in enumerate(path):
        kind = written(form)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            known = {
                each.alias or name: Annotated[each.annotation, None, *each.metadata]
                for name, each in kind.model_fields.items()
            }
            form = known.get(str(key))
        elif has_members(kind):
            return _type_within(kind, path[index:])
        elif is_mapping(kind):
            form = get_args(kind)[1]
        elif get_origin(kind) in (tuple, list):
            form = get_args(kind)[0]
        else:
            return None
    return form


def _type_within(kind: Any, path: Sequence[str | int]) -> Any:
    for at, member in placed(kind):
        if tuple(path[: len(at)]) == at:
            hint = member.type
            if member.keyed is not None:
                hint = _keyed_type(hint)
            return type_at(hint, path[len(at) :])
    known: Any = tree(kind)
    for part in path:
        known = known.get(part) if known else None
    return known


def _keyed_type(hint: Any) -> Any:
    """Of several things by name: a mapping of them."""
    kind = bare(hint)
    return kind if is_mapping(kind) else Mapping[str, get_args(kind)[0]]  # type: ignore[misc]


def is_number(hint: Any) -> bool:
    """Whether what stands there is a number with a source of its own."""
    if get_origin(hint) is Annotated:
        inner, *marks = get_args(hint)
        leaf = next((mark for mark in marks if isinstance(mark, Leaf)), None)
        return is_number(inner) if leaf is None else leaf.unit is not None
    if get_origin(hint) in (Union, types.UnionType):
        return any(is_number(each) for each in get_args(hint))
    return False


def meant(hints: Sequence[Any], data: Any) -> Any:
    """Of the members of a union the one that `data` is meant for."""
    if data is None and type(None) in hints:
        return type(None)
    hints = [hint for hint in hints if hint is not type(None)]
    mapped = [hint for hint in hints if has_members(bare(hint)) or is_mapping(bare(hint))]
    plain = [hint for hint in hints if hint not in mapped]
    return ((mapped or plain) if isinstance(data, Mapping) or not plain else plain)[0]


def mark_of(hint: Any, kind: type[Mark]) -> Mark | None:
    """The mark of a kind that an annotation has, also where None may stand instead."""
    if get_origin(hint) in (Union, types.UnionType):
        return next((mark for part in get_args(hint) if (mark := mark_of(part, kind))), None)
    if get_origin(hint) is not Annotated:
        return None
    for mark in get_args(hint)[1:]:
        if isinstance(mark, kind):
            return mark
        if isinstance(mark, Through):
            return mark_of(mark.form, kind)
    return None


def written(hint: Any) -> Any:
    """The form that documents have of what an annotation says, without its marks and None."""
    named, through = mark_of(hint, Named), mark_of(hint, Through)
    if named is not None:
        return KINDS[named.kind].load_form()
    return bare(hint if through is None else through.form)


def bare(hint: Any) -> Any:
    """An annotation without its marks, and without None."""
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif get_origin(hint) in (Union, types.UnionType):
            hint = meant([each for each in get_args(hint) if each is not type(None)], {})
        else:
            return hint


def has_members(hint: Any) -> bool:
    """Whether an annotation is a dataclass or a typed dictionary."""
    return typing.is_typeddict(hint) or (isinstance(hint, type) and dataclasses.is_dataclass(hint))
