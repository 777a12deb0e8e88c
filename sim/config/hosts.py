"""Hosts of the library, whose numbers stand where a scenario leaves some out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Final

from sim.config import library
from sim.config.document import Document, value_at
from sim.config.sources import sourced
from sim.engines.offload import Host
from sim.errors import Key
from sim.quantities import Text
from sim.values import HERE, Bibliography, Numbers

_COPIES: Final = ("memory", "bandwidth", "latency", "energy")


@dataclass(frozen=True, kw_only=True)
class HostFile:
    """A host of the library, with the sources of its numbers."""

    title: Text
    """What host this is."""
    host: Annotated[Host, HERE]
    sources: Numbers = field(default_factory=dict)
    bibliography: Bibliography = field(default_factory=dict)
    """Sources of its own, by key."""


@cache
def _default() -> Document:
    """The host that is taken where a scenario doesn't say otherwise, checked."""
    _, document = library.document_of("hosts", "default")
    sourced(HostFile, document)
    return document


def with_default_host(document: Document) -> Document:
    """A scenario with the default host's numbers where its scheduler leaves some out.

    What swaps has a host, named or not.
    """
    scheduler = document.data.get("scheduler")
    swaps = isinstance(scheduler, dict) and scheduler.get("preemption") == "swap"
    if swaps and scheduler.get("host") is None:
        place = document.place(("scheduler", "preemption"))
        document = document.with_value(("scheduler", "host"), {}, place)
    for path, keys in _open(document):
        stated = value_at(document.data, path)
        for key in (key for key in keys if isinstance(stated, dict) and stated.get(key) is None):
            place = _default().place((key,))
            document = document.with_value((*path, key), _default().data[key], place)
    return document


def _open(document: Document) -> Iterator[tuple[Key, tuple[str, ...]]]:
    """Paths in a scenario at which a host's numbers may be left out, and which of them."""
    scheduler = document.data.get("scheduler")
    if not isinstance(scheduler, dict):
        return
    if scheduler.get("host") is not None:
        yield ("scheduler", "host"), _COPIES
    tiers = scheduler.get("kv_tiers")
    for index in range(len(tiers) if isinstance(tiers, list) else 0):
        yield ("scheduler", "kv_tiers", index), ("energy",)
