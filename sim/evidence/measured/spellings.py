"""Spellings: what tables call devices, models and number formats, as names of the library."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from sim.config import library
from sim.config.catalogue import load_model
from sim.config.document import read_document
from sim.config.library import names as library_names
from sim.errors import ConfigError, Problem
from sim.evidence.measured.formats import Unsupported
from sim.evidence.measured.tables import Table
from sim.workload.architecture import Architecture


@cache
def spellings(kind: str) -> Mapping[str, Any]:
    """A part of `spellings.yaml`."""
    part: Mapping[str, Any] = _document()[kind]
    return part


@cache
def _document() -> Mapping[str, Any]:
    data: Mapping[str, Any] = read_document(Path(__file__).with_name("spellings.yaml")).data
    return data


@cache
def device_name(text: str) -> str:
    """Library name of the device that a table calls `text`; ConfigError for an unknown one."""
    known = {*library.files("devices"), *library.aliases()}
    for name in _device_names(text):
        if name in known:
            return library.aliases().get(name, name)
    raise ConfigError([Problem(message=library.unknown("devices", text, known))])


def _device_names(text: str) -> Iterator[str]:
    """What `text` may be called in the library: as it is, without memory, parts of one variant."""
    devices = spellings("devices")
    lower = re.sub(r"\s+", " ", text.lower().strip())
    bare = re.sub(devices["memory"], "", lower)
    texts = [lower, bare]
    for pattern, name in devices["variants"].items():
        if match := re.search(pattern, bare):
            texts.append(match.expand(name) or bare.replace(match[0], ""))
    yield lower.replace(" ", "-")
    for spelling in texts:
        words = re.sub(rf"\b({devices['noise']})\b", " ", spelling.replace("_", " ")).strip()
        plain = re.sub(r"[\s-]+", "-", words).strip("-")
        plain = re.sub(r"\brtx(\d)", r"rtx-\1", plain)
        yield from (devices["names"].get(plain, plain), plain)
        yield from (f"{plain}-sxm", f"rtx-{plain}", f"{plain}-80gb")
    yield re.sub(r"-\d+-core$", "", lower.replace(" ", "-"))


def supported_device(text: str) -> str:
    """As `device_name`; Unsupported for an unknown one."""
    try:
        return device_name(text)
    except ConfigError as error:
        raise Unsupported(f"no device {text} in the library") from error


def device_in(table: Table, pattern: str) -> str:
    """Library name of the device in a table's name, the group "device" of `pattern`.

    ConfigError naming the table where the library has no such device.
    """
    match = re.fullmatch(pattern, f"{table.dataset}/{table.name}")
    text = match["device"] if match else table.name
    try:
        return device_name(text)
    except ConfigError as error:
        message = error.problems[0].message
        raise ConfigError([Problem(file=str(table.path), message=message)]) from None


@cache
def load_named_model(text: str, folder: Path) -> Architecture | None:
    """The model that a table calls `text`: of the library, else of `folder`/models; or None.

    Names of owners ("meta-llama/"), of tuning ("-Instruct") and of releases are left aside.
    """
    models = spellings("models")
    name = models["names"].get(text, text).split("/")[-1]
    plain = re.sub(models["suffixes"], "", name.lower().replace("_", "-").replace(" ", "-"))
    plain = plain.removeprefix("meta-")
    parts = [plain, *(plain.replace(old, new) for old, new in models["parts"].items())]
    for spelling in parts:
        if spelling in library_names("models"):
            return load_model(spelling)
    own = Path(__file__).parent / "models" / f"{plain}.yaml"
    beside = (folder / "models" / f"{spelling}.json" for spelling in (plain, name))
    path = next((path for path in (own, *beside) if path.is_file()), None)
    return load_model(str(path)) if path else None


def model_named(text: str, folder: Path) -> Architecture:
    """The model that a table calls `text`: of the library, else of `folder`/models.

    Raises Unsupported naming it where there is none.
    """
    try:
        model = load_named_model(text, folder)
    except ConfigError as error:
        raise Unsupported(f"model {text}: {error.problems[0].message}") from error
    if model is None:
        raise Unsupported(f"no model {text} in the library or in {folder.name}/models")
    return model
