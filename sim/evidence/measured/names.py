"""Names that serving tables have for models and devices, as names of the library.

`named` knows devices and models in general; this adds what tables of servers write, and raises
Unsupported with a reason where a row can't be predicted.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

from sim.config import library
from sim.errors import ConfigError
from sim.evidence.measured.formats import Unsupported
from sim.evidence.measured.named import device_name as known_device
from sim.evidence.measured.named import load_named_model
from sim.workload.architecture import Architecture

_MEMORY: Final = re.compile(r"[\s_-]+(\d+)\s*gb\b(?:[\s_-]*hbm\w*)?|[\s_-]*\(tensorrt\)")
_SPELLINGS: Final = (
    (r"gh200.*", "gh200"), (r"gb200.*", "gb200"), (r"gb300.*", "gb300"), (r"b200.*", "b200"),
    (r"h200.*", "h200"), (r"habana[\s-]*", ""), (r"gaudi[\s-]*(\d).*", r"gaudi-\1"),
    (r"mi(\d{3}x?).*", r"mi\1"), (r"h100[\s_-]*nvl.*", "h100-nvl"), (r"sn40l.*", "sn40l"),
)  # fmt: skip
"""Parts that come in one variant, or whose variants the library has as one device."""


@cache
def device_name(text: str) -> str:
    """Library name of the device that a table calls `text`; Unsupported for an unknown one."""
    lower = re.sub(r"\s+", " ", text.lower().strip())
    candidates = [lower, _MEMORY.sub("", lower)]
    for pattern, plain in _SPELLINGS:
        found = re.search(pattern, candidates[1])
        if found:
            candidates.append(found.expand(plain) or candidates[1].replace(found[0], ""))
    for candidate in candidates:
        try:
            return known_device(candidate)
        except ConfigError:
            continue
    raise Unsupported(f"no device {text} in the library")


def device_or(preferred: str, text: str) -> str:
    """`preferred` where the library has it, else the device that a table calls `text`."""
    return preferred if preferred in library.files("devices") else device_name(text)


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
