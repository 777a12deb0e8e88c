"""Library: where the YAML of the checkout or of the installed wheel lies, and what is in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Final

from sim.config.document import Document, extended, merged, read_document, value_at
from sim.config.kinds import KINDS
from sim.errors import ConfigError, Key, Problem
from sim.techniques import TECHNIQUES

Given = str | Path | Mapping[str, Any]
"""What names a thing: a name of the library, a path, or the thing itself as a mapping."""
HELD_OUT: Final = "held_out"
"""Section of a fitted file: what differs in constants that haven't seen a part of the data."""


def folder(kind: str) -> Path:
    """The folder of a kind: in the package of a wheel, else beside it in a checkout."""
    top = KINDS[kind].top
    package = Path(__file__).parents[1]
    inside = package / top
    return (inside if inside.is_dir() else package.parent / top) / kind


@cache
def files(kind: str) -> Mapping[str, Path]:
    """Paths of a kind by name."""
    return {path.stem: path for path in sorted(folder(kind).glob("*.yaml"))}


def names(kind: str) -> list[str]:
    """Everything of a kind that the library has."""
    return sorted(TECHNIQUES if kind == "techniques" else files(kind))


@cache
def aliases(kind: str = "devices") -> Mapping[str, str]:
    """Names by the other names that files of a kind give themselves."""
    if not KINDS[kind].aliases:
        return {}
    return {
        alias: name
        for name, path in files(kind).items()
        for alias in read_document(path).data.get("aliases") or ()
    }


def title_of(kind: str, name: str) -> str:
    """The title of one entry."""
    if kind == "techniques":
        return TECHNIQUES[name].title
    data = found_document(kind, name, Path())[1].data
    title = data.get("title") if isinstance(data, dict) else None
    return str(title or name)


def kind_of_file(path: Path) -> str:
    """The kind of thing that a file describes, by its folder or the keys that only it has."""
    folder_name = path.resolve().parent.name
    if path.suffix == ".json":
        return "models"
    data = read_document(path).data
    if folder_name in KINDS and not KINDS[folder_name].marks:
        return folder_name
    keys = set(data) if isinstance(data, dict) else set()
    marked = (name for name, kind in KINDS.items() if keys & set(kind.marks))
    return next(marked, "devices" if "extends" in keys else "models")


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
    close = [near] if near else get_close_matches(name, list(known), n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    path = "" if kind == "techniques" else ", a path works too"
    noun = KINDS[kind].noun if kind in KINDS else kind.removesuffix("s")
    return f"unknown {noun} '{name}'; {hint}`sim list {kind}` shows all{path}"


def found_document(kind: str, name: str, base: Path, *, without: str = "") -> tuple[str, Document]:
    """Name and document, `extends` applied, of a name of the library or a path from `base`.

    Of fitted constants, those that haven't seen the part `without` of the data, if the file has
    such.
    """
    stem, document = _found_document(kind, name, base)
    return stem, _held_out(document, without)


def _held_out(document: Document, without: str) -> Document:
    if not isinstance(document.data, dict) or HELD_OUT not in document.data:
        return document
    parts = document.data[HELD_OUT]
    if not isinstance(parts, dict) or not all(isinstance(part, dict) for part in parts.values()):
        message = "a mapping of parts of the data is due, each with the constants that differ"
        raise ConfigError([document.problem((HELD_OUT,), message)])
    kept = {key: value for key, value in document.data.items() if key != HELD_OUT}
    places = {key: at for key, at in document.places.items() if key[:1] != (HELD_OUT,)}
    whole = replace(document, data=kept, places=places)
    if without not in parts:
        return whole
    part, place = document.under((HELD_OUT, without)), document.place((HELD_OUT, without))
    changed = merged(whole, part).with_value(("fitted", "on"), [], place)
    return changed.with_value(("fitted", "median_error"), {}, place)


def _found_document(kind: str, name: str, base: Path) -> tuple[str, Document]:
    if is_path(name):
        path = path_from(name, base)
        return path.stem, with_bases(kind, read_document(path))
    name = aliases(kind).get(name, name)
    known = files(kind)
    if name not in known:
        raise ConfigError([Problem(message=unknown(kind, name, [*known, *aliases(kind)]))])
    return name, with_bases(kind, read_document(known[name]))


def document_of(kind: str, given: Given, base: Path | None = None) -> tuple[str, Document]:
    """Name and document of a name, a path (relative to `base`) or a mapping."""
    if isinstance(given, Mapping):
        document = with_bases(kind, Document(file="(inline)", data=_plain(given)))
        return str(document.data.get("name") or "inline"), document
    config = config_json(str(given), base or Path()) if kind == "models" else None
    if config is not None:
        return config.stem, Document(file=str(config), data=None)
    counted_kind = KINDS[kind].counts
    if counted_kind:
        return _counted_document(kind, counted_kind, str(given), base or Path())
    return found_document(kind, str(given), base or Path())


def _counted_document(kind: str, of: str, given: str, base: Path) -> tuple[str, Document]:
    """Name and document of a kind; NAME-xN, a name or a file of the kind `of` is N of it."""
    if given.endswith((".yaml", ".yml")):
        path = path_from(given, base)
        if exists(path) and kind_of_file(path) == of:
            return path.stem, Document(file=given, data={"device": str(path.resolve())})
    if is_path(given) or given in files(kind):
        return found_document(kind, given, base)
    name, count = counted(given) or (given, 1)
    known = [*files(of), *aliases(of)]
    if name not in known:
        close = get_close_matches(name, [*files(kind), *known], n=1, cutoff=0.6)
        near = close[0] if close else None
        if near is not None and counted(given) and near not in files(kind):
            near = f"{near}-x{count}"
        elif near not in files(kind):
            near = None
        message = unknown(kind, given, [*files(kind), *known], near)
        raise ConfigError([Problem(message=message)])
    return given, Document(
        file=f"{KINDS[kind].noun} {given}", data={"device": name, "count": count}
    )


def _plain(given: Any) -> Any:
    """What is written in Python as YAML would give it; objects stay as they are."""
    if isinstance(given, Mapping):
        return {str(key): _plain(part) for key, part in given.items()}
    if isinstance(given, list | tuple):
        return [_plain(part) for part in given]
    return str(given) if isinstance(given, Path) else given


def config_json(given: str, base: Path) -> Path | None:
    """The Hugging Face config.json that `given` means, itself or the folder it is in, if any."""
    path = path_from(given, base)
    if given.endswith(".json"):
        return path
    inside = path / "config.json"
    return inside if exists(inside) else None


def folder_of(document: Document, path: Key) -> Path:
    """Folder that relative paths written at `path` start from: the file's, else the current."""
    place = document.place(path)
    in_file = place.line is not None and exists(Path(place.file))
    return Path(place.file).parent if in_file else Path()


def referenced(kind: str, document: Document, path: Key) -> tuple[str, Document]:
    """Name and document of what `document` names, or has written out, at `path`."""
    given = value_at(document.data, path)
    if isinstance(given, Mapping):
        inline = with_bases(kind, document.under(path))
        return str(inline.data.get("name") or "inline"), inline
    try:
        return document_of(kind, given, folder_of(document, path))
    except ConfigError as error:
        raise placed(error, document, path) from None


def placed(error: ConfigError, document: Document, path: Key) -> ConfigError:
    """`error` with `path` of `document` as the place of every problem that has none."""
    return ConfigError([_placed(problem, document, path) for problem in error.problems])


def _placed(problem: Problem, document: Document, path: Key) -> Problem:
    if problem.file and problem.path is None and not exists(Path(problem.file)):
        return document.problem(path, f"{problem.file}: {problem.message}")
    if problem.file:
        return problem
    inside = tuple((problem.path or "").split("."))
    return document.problem(inside if inside[0] == path[0] else path, problem.message)


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
        bases = KINDS[kind].bases or (kind,)
        for place in bases:
            if name in files(place):
                return read_document(files(place)[name])
        known = [base for place in bases for base in files(place)]
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known)}"
        raise ConfigError([own.problem(("extends",), f"nothing called '{name}' to extend{hint}")])

    return extended(document, find)


@cache
def library_sources() -> Mapping[str, Mapping[str, Any]]:
    """The sources files of the library, as written, by key."""
    found: dict[str, Mapping[str, Any]] = {}
    for top in sorted({folder(kind).parent for kind in KINDS}):
        path = top / "sources.yaml"
        if path.is_file():
            found |= read_document(path).data
    return found


_COUNTED: Final = re.compile(r"(.+)-x([1-9][0-9]*)")


def counted(name: str) -> tuple[str, int] | None:
    """Device and count of a system's name like h100-x4."""
    match = _COUNTED.fullmatch(name)
    return (match[1], int(match[2])) if match else None
