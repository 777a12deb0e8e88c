"""Library: where the YAML of the checkout or of the installed wheel lies, and what is in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Final

from sim.config.document import Document, extended, read_document
from sim.errors import ConfigError, Problem

FOLDERS: Final[Mapping[str, tuple[str, str]]] = {
    "devices": ("hw_configs", "devices"),
    "families": ("hw_configs", "families"),
    "systems": ("hw_configs", "systems"),
    "memories": ("hw_configs", "memories"),
    "kernels": ("hw_configs", "kernels"),
    "protocols": ("hw_configs", "protocols"),
    "runtimes": ("hw_configs", "runtimes"),
    "power": ("hw_configs", "power"),
    "errors": ("hw_configs", "errors"),
    "hosts": ("hw_configs", "hosts"),
    "models": ("workloads", "models"),
    "scenarios": ("workloads", "scenarios"),
    "traffic": ("workloads", "traffic"),
    "studies": ("workloads", "studies"),
    "papers": ("hw_configs", "papers"),
    "processes": ("hw_configs", "processes"),
    "sites": ("hw_configs", "sites"),
    "costs": ("hw_configs", "costs"),
}
BASES: Final[Mapping[str, tuple[str, ...]]] = {"devices": ("families", "devices")}
"""Where `extends` of a kind looks, if not among its own kind."""


def folder(kind: str) -> Path:
    """The folder of a kind: in the package of a wheel, else beside it in a checkout."""
    top, name = FOLDERS[kind]
    package = Path(__file__).parents[1]
    inside = package / top
    return (inside if inside.is_dir() else package.parent / top) / name


@cache
def files(kind: str) -> Mapping[str, Path]:
    """Paths of a kind by name."""
    return {path.stem: path for path in sorted(folder(kind).glob("*.yaml"))}


@cache
def aliases() -> Mapping[str, str]:
    """Other names of devices."""
    found: dict[str, str] = {}
    for name, path in files("devices").items():
        data = read_document(path).data
        for alias in data.get("aliases") or ():
            found[alias] = name
    return found


def is_path(name: str) -> bool:
    """Whether `name` is meant as a file rather than as a name of the library."""
    return "/" in name or "\\" in name or name.endswith((".yaml", ".yml", ".json", ".csv", ".gz"))


def path_from(name: str, base: Path) -> Path:
    """The path `name`, from the folder `base` unless absolute."""
    path = Path(name)
    with suppress(RuntimeError):  # "~nobody" is then a plain name, and no such file
        path = path.expanduser()
    return path if path.is_absolute() else base / path


def exists(path: Path) -> bool:
    """Whether there is a file at `path`; names that no file can have are no error."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def unknown(kind: str, name: str, known: Iterable[str], near: str | None = None) -> str:
    """What to say of a name the library doesn't have."""
    single = {
        "traffic": "trace", "studies": "study", "processes": "process", "kernels": "kernels",
        "power": "power law", "errors": "table of errors", "families": "family",
    }.get(kind, kind.removesuffix("s"))  # fmt: skip
    close = [near] if near else get_close_matches(name, list(known), n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    path = "" if kind == "techniques" else ", a path works too"
    return f"unknown {single} '{name}'; {hint}`sim list {kind}` shows all{path}"


def found_document(kind: str, name: str, base: Path) -> tuple[str, Document]:
    """Name and document, `extends` applied, of a name of the library or a path from `base`."""
    if is_path(name):
        path = path_from(name, base)
        return path.stem, with_bases(kind, read_document(path))
    known = files(kind)
    if kind == "devices" and name not in known:
        name = aliases().get(name, name)
    if name not in known:
        names = [*known, *(aliases() if kind == "devices" else ())]
        raise ConfigError([Problem(message=unknown(kind, name, names))])
    return name, with_bases(kind, read_document(known[name]))


def with_bases(kind: str, document: Document) -> Document:
    """`document` on top of what it extends; so is a device that a system has inline."""
    document = _with_base(kind, document)
    data = document.data
    if kind == "systems" and isinstance(data, dict) and isinstance(data.get("device"), dict):
        own = _with_base("devices", document.under(("device",)))
        document = document.with_value(("device",), own.data, own.places)
    return document


def _with_base(kind: str, document: Document) -> Document:

    def find(name: str, own: Document) -> Document:
        if is_path(name):
            return read_document(path_from(name, Path(own.file).parent))
        for place in BASES.get(kind, (kind,)):
            if name in files(place):
                return read_document(files(place)[name])
        known = [each for place in BASES.get(kind, (kind,)) for each in files(place)]
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known)}"
        raise ConfigError([own.problem(("extends",), f"nothing called '{name}' to extend{hint}")])

    return extended(document, find)


@cache
def library_sources() -> Mapping[str, Mapping[str, Any]]:
    """The sources files of the library, as written, by key."""
    found: dict[str, Mapping[str, Any]] = {}
    for top in sorted({folder(kind).parent for kind in FOLDERS}):
        path = top / "sources.yaml"
        if path.is_file():
            found |= read_document(path).data
    return found


_COUNTED: Final = re.compile(r"(.+)-x([1-9][0-9]*)")


def counted(name: str) -> tuple[str, int] | None:
    """Device and count of a system's name like h100-x4."""
    match = _COUNTED.fullmatch(name)
    return (match[1], int(match[2])) if match else None
