"""Does no module import itself by way of others? Imports in functions and for types count too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


def modules() -> dict[str, Path]:
    """Every module of the package by its name."""
    files = sorted((ROOT / "sim").rglob("*.py"))
    return {_name(file): file for file in files}


def _name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(file: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules of the package that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in known else node.module for name in submodules)


def circles(arrows: dict[str, set[str]]) -> list[frozenset[str]]:
    """Groups of modules that all reach each other."""
    reached: dict[str, set[str]] = {}
    for start in arrows:
        seen: set[str] = set()
        ahead = list(arrows[start])
        while ahead:
            name = ahead.pop()
            if name not in seen:
                seen.add(name)
                ahead += arrows[name]
        reached[start] = seen
    groups = {
        frozenset(other for other in reached[name] if name in reached[other])
        for name in arrows
        if name in reached[name]
    }
    return sorted(groups, key=sorted)


def test_no_import_circles() -> None:
    """`sim` itself only gives names a short home; commands import it for its version."""
    known = {name: file for name, file in modules().items() if name != "sim"}
    arrows = {name: set(imported(file, known)) - {name} for name, file in known.items()}
    found = circles(arrows)
    assert not found, "\n".join(", ".join(sorted(group)) for group in found)


def test_circles_are_found() -> None:
    """Those of three modules, and not what merely leads into one."""
    arrows = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}
    assert circles(arrows) == [frozenset("abc")]
