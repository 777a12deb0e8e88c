"""Digest: a name for the content of a scenario, whatever file or order it was written in."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from sim.economics.ownership import Site
from sim.economics.practice import Practice
from sim.hardware import Device, System
from sim.scenario import Scenario
from sim.workload.architecture import Architecture
from sim.workload.traffic import Trace

_NOT_CONTENT: Final = frozenset(
    {"sources", "bibliography", "digest", "source", "title", "dropped", "runtime"}
    | {"places", "written", "names", "aliases", "level", "note", "date", "median_error"}
)
"""What says nothing that isn't elsewhere: a runtime's numbers are in the system."""

_WHERE_GIVEN: Final = frozenset({"samples"})
"""What counts only where it isn't as by default, as everything does whose default is None: a new
optional key leaves the digests of what doesn't have it alone."""

_NAMED_BY_FILE: Final = (Scenario, System, Device, Architecture, Trace, Site, Practice)
"""What takes its name from its file; names of processors and memories are content."""


def digest(scenario: Scenario) -> str:
    """blake2b of the values of `scenario`, as canonical JSON.

    Titles, sources and names that come from files are left out.
    """
    return content(scenario)


def content(value: Any) -> str:
    """blake2b of what any value of ours says, as `digest` does it."""
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            "": type(value).__name__,
            **{
                each.name: _plain(getattr(value, each.name))
                for each in dataclasses.fields(value)
                if each.name not in _NOT_CONTENT
                and not _left_out(each, getattr(value, each.name))
                and not (each.name == "name" and isinstance(value, _NAMED_BY_FILE))
            },
        }
    if isinstance(value, np.ndarray):
        return hashlib.blake2b(value.tobytes(), digest_size=16).hexdigest()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if callable(value):  # a policy of the user's
        code = getattr(value, "__code__", None)
        named = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value)}"
        body = b"" if code is None else code.co_code + repr(code.co_consts).encode()
        return f"{named} {hashlib.blake2b(body, digest_size=16).hexdigest()}"
    return value


def _left_out(field: dataclasses.Field[Any], value: Any) -> bool:
    """Whether an optional field is as if it weren't there."""
    return value is field.default and (value is None or field.name in _WHERE_GIVEN)
