"""Names that tables have for devices and models, as names of the library."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

from sim.config import library
from sim.config.catalogue import load_model
from sim.config.library import names as library_names
from sim.errors import ConfigError, Problem
from sim.evidence.measured.formats import Unsupported
from sim.evidence.measured.tables import Table
from sim.workload.architecture import Architecture

_NOISE: Final = re.compile(
    r"\b(nvidia|amd|intel|apple|gpu|geforce|tesla|instinct|google|meta|ai|80gb|94gb|141gb)\b"
)
_USUAL: Final = {
    "a100": "a100-sxm-80gb", "a100-sxm": "a100-sxm-80gb", "h100": "h100-sxm",
    "a100-pcie": "a100-pcie-80gb", "h200-sxm": "h200", "b300-sxm": "b300", "a800": "a800-sxm",
    "a6000": "rtx-a6000", "rtxa6000": "rtx-a6000", "dgx-spark-gb10": "dgx-spark",
    "gb10": "dgx-spark", "rtx-pro-6000-server": "rtx-pro-6000", "a100-40gb": "a100-sxm-40gb",
}  # fmt: skip
"""What a table means that names a device only in part."""
_MEMORY: Final = re.compile(r"[\s_-]+(\d+)\s*gb\b(?:[\s_-]*hbm\w*)?|[\s_-]*\(tensorrt\)")
_SPELLINGS: Final = (
    (r"gh200.*", "gh200"), (r"gb200.*", "gb200"), (r"gb300.*", "gb300"), (r"b200.*", "b200"),
    (r"h200.*", "h200"), (r"habana[\s-]*", ""), (r"gaudi[\s-]*(\d).*", r"gaudi-\1"),
    (r"mi(\d{3}x?).*", r"mi\1"), (r"h100[\s_-]*nvl.*", "h100-nvl"), (r"sn40l.*", "sn40l"),
)  # fmt: skip
"""Parts that come in one variant, or whose variants the library has as one device."""


_SUFFIXES: Final = re.compile(r"(-instruct|-it|-chat|-hf|-base|-v0\.\d|-fp8|-dynamic)+$")


@cache
def device_name(text: str) -> str:
    """Library name of the device that a table calls `text`; ConfigError for an unknown one."""
    for spelling in _spellings(text):
        found = _found(spelling)
        if found:
            return found
    known = {*library.files("devices"), *library.aliases()}
    raise ConfigError([Problem(message=library.unknown("devices", text, known))])


def _spellings(text: str) -> list[str]:
    """`text`, without what it says of memory, and as parts of one variant are called."""
    lower = re.sub(r"\s+", " ", text.lower().strip())
    spellings = [lower, _MEMORY.sub("", lower)]
    for pattern, plain in _SPELLINGS:
        found = re.search(pattern, spellings[1])
        if found:
            spellings.append(found.expand(plain) or spellings[1].replace(found[0], ""))
    return spellings


def _found(text: str) -> str | None:
    plain = re.sub(r"[\s_]+", "-", _NOISE.sub(" ", text.lower().replace("_", " ")).strip())
    plain = re.sub(r"-+", "-", plain).strip("-")
    plain = re.sub(r"\brtx(\d)", r"rtx-\1", plain)
    known = {*library.files("devices"), *library.aliases()}
    for candidate in (_USUAL.get(plain), plain, f"{plain}-sxm", f"rtx-{plain}", f"{plain}-80gb"):
        if candidate in known:
            return library.aliases().get(candidate, candidate)
    return None


def supported_device(text: str) -> str:
    """As `device_name`; Unsupported for an unknown one."""
    try:
        return device_name(text)
    except ConfigError as error:
        raise Unsupported(f"no device {text} in the library") from error


def device_in(table: Table, pattern: str) -> str:
    """Library name of the device in a table's name, the first group of `pattern`.

    ConfigError naming the table where the library has no such device.
    """
    match = re.search(pattern, table.name)
    text = match[1] if match else table.name
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
    plain = text.split("/")[-1].lower().replace("_", "-").replace(" ", "-")
    plain = _SUFFIXES.sub("", plain).removeprefix("meta-")
    spellings = (plain, plain.replace("qwen2.5-", "qwen2-"), plain.replace("llama2", "llama-2"))
    for spelling in spellings:
        if spelling in library_names("models"):
            return load_model(spelling)
    for spelling in (plain, text.split("/")[-1]):
        path = folder / "models" / f"{spelling}.json"
        if path.is_file():
            return load_model(str(path))
    return None


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
