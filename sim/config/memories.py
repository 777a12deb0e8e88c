"""Memories: technologies by name or path, energies of their levels added up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from sim.config import library
from sim.config.document import Document
from sim.config.forms import read
from sim.errors import ConfigError, Key, Problem
from sim.hardware.dram import HOST, MemoryKind
from sim.quantities import split_source, unknown_name
from sim.units import ENERGY_PER_BYTE, Sourced, parse


def memory_kind(given: str, base: Path | None = None) -> MemoryKind:
    """The memory technology of a name of the library, or of a path from the folder `base`."""
    if not library.is_path(given):
        return _of_library(given)
    return kind_of(*library.found_document("memories", given, base or Path()))


@cache
def _of_library(name: str) -> MemoryKind:
    return kind_of(*library.found_document("memories", name, Path()))


def kind_of(name: str, document: Document) -> MemoryKind:
    """The memory technology that `document` describes; every number has its source."""
    document, problems = _added_up(document)
    try:
        kind, numbers = read(MemoryKind, document, name=name)
    except ConfigError as error:
        raise ConfigError([*error.problems, *problems]) from None
    if problems:
        raise ConfigError(problems)
    return replace(kind, sources=numbers)


def energy_of(kind: MemoryKind) -> Sourced:
    """Energy of a byte that the host reads, with its source."""
    if kind.technology is None:
        return kind.sources["energy"]
    joules = kind.technology.energy_J_per_B(kind.levels[HOST])
    read_energy = kind.sources[f"levels.{HOST}.read"]
    text = f"{joules / 8e-12:.4g} pJ/bit: reading and opening rows"
    return replace(read_energy, value=joules, text=text)


def _added_up(document: Document) -> tuple[Document, list[Problem]]:
    """`document` with every sum of segments a number, and what is wrong with segments.

    A sum has its first segment's source.
    """
    data = document.data if isinstance(document.data, dict) else {}
    segments, levels = data.get("segments"), data.get("levels")
    segments = segments if isinstance(segments, dict) else {}
    sums: dict[Key, Any] = {}
    problems: list[Problem] = []
    for name, level in levels.items() if isinstance(levels, dict) else ():
        named = level.get("read") if isinstance(level, dict) else None
        if not isinstance(named, list | tuple):
            continue
        path = ("levels", name, "read")
        wrong = _wrong_segments(named, segments)
        if wrong is not None:
            problems.append(document.problem(path, wrong))
        sums[path] = _sum(named, segments, document) if wrong is None else None
        if sums[path] is None:  # what is wrong is said here or at the segment
            sums[path] = Sourced(value=0.0, text="", unit="J/B", source="")
    return document.filled(sums), problems


def _wrong_segments(named: Any, segments: Mapping[str, Any]) -> str | None:
    if not named or len({str(each) for each in named}) < len(named):
        return "names each segment on the way once"
    for segment in named:
        if segment not in segments:
            return unknown_name(segment, list(segments) or ["no segments are given"])
    return None


def _sum(named: Sequence[str], segments: Mapping[str, Any], document: Document) -> Sourced | None:
    try:
        texts = [split_source(segments[each]) for each in named]
        joules = math.fsum(parse(text, ENERGY_PER_BYTE) for text, _ in texts)
    except (ConfigError, TypeError):
        return None
    place = document.place(("segments", named[0]))
    around = segments.get("source") or document.data.get("source")
    return Sourced(
        value=joules,
        text=f"{joules / 8e-12:.4g} pJ/bit: {' + '.join(named)}",
        unit=ENERGY_PER_BYTE.unit,
        source=texts[0][1] or place.source or around or "",
    )
