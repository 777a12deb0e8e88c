"""YAML files that the program writes: one layout for fitted constants and residuals."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

WIDTH: Final = 100
_BLOCK: Final = re.compile(r"^[-?:,\[\]{}#&*!|>'\"%@`\s]|: | #|:$|^$")
_FLOW: Final = re.compile(_BLOCK.pattern + r"|[,\[\]{}]")
"""What text must be quoted for, alone on a line and within brackets."""


def yaml_text(data: Mapping[str, Any], comment: str = "") -> str:
    """The text of a file: mappings, lists and scalars; None is null, text is a number's too.

    Mappings of scalars have a key a line at the top, stand on one line where they fit in it below
    that, and in brackets further down.
    """
    lines = [f"# {line}" for line in comment.splitlines()]
    return "\n".join([*lines, *_mapping(data, 0)]) + "\n"


def _mapping(data: Mapping[str, Any], depth: int) -> Iterator[str]:
    for key, item in data.items():
        start = f"{'  ' * depth}{key}:"
        if not isinstance(item, Mapping | list | tuple):
            yield f"{start} {_scalar(item, _BLOCK)}"
            continue
        nested = any(isinstance(inner, Mapping) for inner in _values(item))
        line = "" if nested else f"{start} {_flow(item)}"
        if line and (not item or (len(line) <= WIDTH and (depth or isinstance(item, list)))):
            yield line
        elif line and depth > 1:
            yield from _wrapped(line, len(start) + 2)
        elif isinstance(item, Mapping):
            yield start
            yield from _mapping(item, depth + 1)
        else:
            yield start
            yield from (f"{'  ' * (depth + 1)}- {_scalar(inner, _BLOCK)}" for inner in item)


def _values(item: Any) -> Any:
    return item.values() if isinstance(item, Mapping) else item


def _flow(item: Any) -> str:
    if isinstance(item, Mapping):
        pairs = (f"{key}: {_scalar(inner, _FLOW)}" for key, inner in item.items())
        return "{" + ", ".join(pairs) + "}"
    return "[" + ", ".join(_scalar(inner, _FLOW) for inner in item) + "]"


def _wrapped(line: str, indent: int) -> Iterator[str]:
    """The line in lines that fit, broken after commas; text of scalars here holds none."""
    while len(line) > WIDTH:
        end = line.rfind(", ", 0, WIDTH) + 1
        if end <= indent:
            break
        yield line[:end]
        line = " " * indent + line[end + 1 :]
    yield line


def _scalar(value: object, quoted: re.Pattern[str]) -> str:
    if value is None:
        return "null"
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if quoted.search(text) else text


def difference(base: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What makes `other` of `base`: only what differs, null for what `other` hasn't."""
    changed: dict[str, Any] = {}
    for key, item in base.items():
        if key not in other:
            changed[key] = None
        elif isinstance(item, Mapping) and isinstance(other[key], Mapping):
            inner = difference(item, other[key])
            changed |= {key: inner} if inner else {}
        elif item != other[key]:
            changed[key] = other[key]
    return changed | {key: item for key, item in other.items() if key not in base}
