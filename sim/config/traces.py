"""Traces: rows of requests by name or path, and what the library says of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from sim.config import library
from sim.config.document import Document
from sim.config.forms import value_of
from sim.config.library import document_of, folder_of
from sim.quantities import Count, Index, Text
from sim.values import Bibliography
from sim.workload.traffic import Trace
from sim.workload.traffic.readers import read_trace


@dataclass(frozen=True, kw_only=True)
class TrafficFileForm:
    """A trace of the library: where its rows are, and how it was made."""

    title: Text
    """What traffic this is."""
    trace: Text
    """Path of its rows, from this file."""
    source: Text | None = None
    """Key of the source of its rows."""
    sources: Bibliography = field(default_factory=dict)
    """Sources of its own, by key."""
    requests: Count | None = None
    """How many rows it has."""
    seed: Index | None = None
    """What it was generated with."""
    statistics: Mapping[str, Any] = field(default_factory=dict)
    """What its rows come to."""
    recorded: Mapping[str, Any] = field(default_factory=dict)
    """What the published trace comes to that it stands for."""


def trace_document(given: str, base: Path | None = None) -> Document | None:
    """What the library says of a trace; None of a file of rows."""
    if library.is_path(given) and not given.endswith((".yaml", ".yml")):
        return None
    return document_of("traffic", given, base)[1]


def load_trace(given: str | Path, base: Path | None = None) -> Trace:
    """The requests of a trace: a name of the library or a file of any known format."""
    path = library.path_from(str(given), base or Path())
    about = trace_document(str(given), base)
    if about is not None:
        form = value_of(TrafficFileForm, about)
        path = library.path_from(form.trace, folder_of(about, ("trace",)))
    try:
        found = path.stat()
    except OSError:
        return read_trace(path)  # which says what is wrong
    return _read_once(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=4)
def _read_once(path: Path, _changed_ns: int, _size: int) -> Trace:
    """A trace as its file is now; studies read the same one many times."""
    return read_trace(path)
