"""Compose: systems that differ from a base in several ways at once, from those that differ in one.

A study has many combinations of few values. Each value is loaded once, alone; what it changes in
the base is found by comparing, and combinations take the changes of all their values. Two values
that change the same leaf cannot be put together so, and say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final

import numpy as np

Path = tuple[str | int, ...]
_ASIDE: Final = frozenset({"sources", "title", "name"})
"""What does not decide a result."""


def _children(value: Any) -> list[tuple[str | int, Any]] | None:
    """Named parts of a value; None for a leaf."""
    if is_dataclass(value) and not isinstance(value, type):
        return [(each.name, getattr(value, each.name)) for each in fields(value)
                if each.name not in _ASIDE]  # fmt: skip
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, tuple) and value and is_dataclass(value[0]):
        return list(enumerate(value))
    return None


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return bool(np.array_equal(one, other, equal_nan=True))
    return bool(one == other)


def changes(base: Any, variant: Any, at: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Leaves of `variant` that differ from `base`, by path."""
    below, own = _children(base), _children(variant)
    if below is None or own is None or [key for key, _ in below] != [key for key, _ in own]:
        if not _equal(base, variant):
            yield at, variant
        return
    for (key, one), (_, other) in zip(below, own, strict=True):
        yield from changes(one, other, (*at, key))


def clash(one: Sequence[Path], other: Sequence[Path]) -> bool:
    """Whether two sets of changed leaves touch: the same leaf, or one within the other."""
    return any(a[: min(len(a), len(b))] == b[: min(len(a), len(b))] for a in one for b in other)


def with_changes(base: Any, found: Sequence[tuple[Path, Any]]) -> Any:
    """`base` with leaves replaced."""
    for path, value in found:
        base = _replaced(base, path, value)
    return base


def _replaced(value: Any, path: Path, new: Any) -> Any:
    if not path:
        return new
    key, rest = path[0], path[1:]
    if isinstance(value, tuple):
        return tuple(_replaced(each, rest, new) if i == key else each
                     for i, each in enumerate(value))  # fmt: skip
    if isinstance(value, Mapping):
        return {**value, key: _replaced(value.get(key), rest, new)}
    return replace(value, **{str(key): _replaced(getattr(value, str(key)), rest, new)})
