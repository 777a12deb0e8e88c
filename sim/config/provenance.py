"""Numbers of a scenario with where each comes from, and the sources its files bring along."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from typing import Any, Final

from sim.config import library
from sim.config.document import Document
from sim.config.fitted import runtime_numbers
from sim.config.forms import Reading, Reference
from sim.config.sources import USER, load_sources
from sim.config.traces import trace_document
from sim.config.traffic_form import library_trace
from sim.errors import Key
from sim.units import Source, Sourced
from sim.workload.architecture import Architecture

Numbers = dict[str, Sourced]

_PLAIN: Final = ("traffic", "fleet", "disaggregate", "split", "speculation")
"""Keys of a scenario whose plain numbers are the user's."""


def numbers_of(read: Reading, document: Document) -> Numbers:
    """Every number that a scenario rests on, by its path there."""
    numbers: Numbers = {}
    drafted = read.value.speculation
    left_out = "speculation" if drafted is not None and drafted.tokens == 0 else None
    # a runtime's numbers go before those of the systems that it runs on
    for path, reference in sorted(
        read.references.items(), key=lambda item: item[1].kind != "runtimes"
    ):
        if path[0] != left_out:
            numbers |= _named_numbers(reference, path, numbers)
    for key in _PLAIN:
        for path, number in leaves(document.data.get(key), (key,)):
            if path[:2] != ("speculation", "draft") and key != left_out:
                numbers[_dotted(path)] = _plain(number, USER.key)
    swaps = read.value.scheduler.preemption == "swap"
    for name, quantity in read.numbers.items():
        section = ".".join(name.split(".")[:2])
        counts = section == "scheduler.kv_tiers" or (swaps and section == "scheduler.host")
        counts |= bool(quantity.unit) and section in ("traffic.poisson", "traffic.sessions")
        if counts:
            numbers[name] = replace(quantity, source=quantity.source or USER.key)
    about = _traffic_document(document)
    if about is not None and about.data.get("source") is not None:
        numbers["traffic"] = Sourced(
            value=None, text=about.data["title"], unit="", source=about.data["source"]
        )
    return numbers


def _named_numbers(reference: Reference, path: Key, known: Numbers) -> Numbers:
    """Numbers of what a scenario names at `path`, but those of a system that are `known` else."""
    value, document = reference.value, reference.document
    if isinstance(value, Architecture):
        return dict(model_numbers(value, document, path))
    if reference.kind == "runtimes":
        stated = {} if document is None else runtime_numbers(reference.name, document)
        return {f"runtime.{name}": number for name, number in stated.items()}
    return {
        _dotted((*path, name)): number
        for name, number in value.sources.items()
        if reference.kind != "systems" or name.replace("device", "runtime", 1) not in known
    }


def model_numbers(
    model: Architecture, document: Document | None, at: Key
) -> Iterator[tuple[str, Sourced]]:
    """Numbers of a model by their path; those of its document, where it has one."""
    key = model.source or USER.key
    stated = document is not None and document.data is not None
    assert document is not None or not stated
    for path, number in leaves(document.data if document and stated else _dimensions(model), ()):
        place = document.places.get(path) if document is not None else None
        source = place.source if place is not None and place.source == USER.key else key
        yield _dotted((*at, *path)), _plain(number, str(source))


def _dimensions(model: Architecture) -> dict[str, Any]:
    """What a model made in Python or read from a config.json states, a layer of each kind once."""
    stated = {field.name: getattr(model, field.name) for field in fields(model)}
    kinds = [asdict(block) for block in dict.fromkeys(model.layers)]
    encoder = model.encoder
    if encoder is not None:
        stated["encoder"] = asdict(replace(encoder, layers=tuple(dict.fromkeys(encoder.layers))))
    return stated | {"layers": len(model.layers), "blocks": kinds}


def sources_of_files(read: Reading, document: Document) -> dict[str, Source]:
    """Sources that the files of a scenario describe themselves, by key."""
    sources: dict[str, Source] = {}
    for reference in read.references.values():
        value = reference.value
        if isinstance(value, Architecture) and value.source and value.source not in load_sources():
            key = value.source
            sources[key] = Source(key=key, kind="datasheet", title=key)
        sources |= getattr(value, "bibliography", {})
        if reference.document is not None:
            sources |= _described(reference.document)
            if reference.kind == "systems":
                device = library.referenced("devices", reference.document, ("device",))[1]
                sources |= _described(device)
    about = _traffic_document(document)
    return sources | ({} if about is None else _described(about))


def _described(document: Document) -> dict[str, Source]:
    described = document.data.get("sources") if isinstance(document.data, dict) else None
    return {
        key: Source(key=key, kind=item["kind"], title=item["title"], note=item.get("note", ""))
        for key, item in (described or {}).items()
    }


def _traffic_document(document: Document) -> Document | None:
    """What the library says of the trace that a scenario's requests or their lengths are of."""
    stated = document.data.get("traffic")
    name = library_trace(stated)
    if name is None:
        return None
    path: Key = ("traffic", "trace") if isinstance(stated, dict) else ("traffic",)
    return trace_document(name, library.folder_of(document, path))


def leaves(data: Any, path: Key) -> Iterator[tuple[Key, float]]:
    """Paths and values of the plain numbers in `data`."""
    if isinstance(data, int | float) and not isinstance(data, bool):
        yield path, data
    items: Any = data.items() if isinstance(data, Mapping) else ()
    items = enumerate(data) if isinstance(data, list | tuple) else items
    for key, item in items:
        yield from leaves(item, (*path, key))


def _plain(number: float, source: str) -> Sourced:
    return Sourced(value=float(number), text=f"{number}", unit="", source=source)


def _dotted(path: Key) -> str:
    return ".".join(map(str, path))
