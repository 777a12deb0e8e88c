"""Derived: numbers of a device that follow from its memories' technologies and its power law.

They are put into the document where it leaves them out, each with its source and with how it was
made as text; what a device states itself stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from sim.config import library
from sim.config.document import Document, value_at
from sim.config.fitted import fitted_document
from sim.config.keys import bare, has_members
from sim.config.library import folder_of
from sim.config.memories import energy_of, memory_kind
from sim.errors import ConfigError, Key, Problem
from sim.hardware import Device, Processor
from sim.hardware.dram import HOST, MemoryKind
from sim.hardware.power import PowerLaw
from sim.quantities import ENDS, unknown_name
from sim.units import Sourced
from sim.values import is_mapping, members

Derived = dict[Key, Any]
"""Numbers by their path in the document."""


def with_fitted(document: Document) -> Document:
    """A device's `document` with the fitted constants that it names; paths start from its file."""
    for path, kind in list(_named(Device, document.data, ())):
        given = value_at(document.data, path)
        name, fitted = fitted_document(kind, given, folder_of(document, path))
        data = fitted.data if isinstance(fitted.data, dict) else {}
        places = fitted.places or {(): document.place(path)}
        document = document.with_value(path, {**data, "name": data.get("name", name)}, places)
    return document


def _named(kind: Any, data: Any, path: Key) -> Iterator[tuple[Key, str]]:
    """Paths where the name of a library file stands for its content, and the kind of file."""
    for member in members(kind):
        at: Any = data
        for part in member.path:
            at = at.get(part) if isinstance(at, Mapping) else None
        if member.named is not None and isinstance(at, str):
            yield (*path, *member.path), member.named.kind
            continue
        inner = bare(member.type)
        if member.keyed is not None and not is_mapping(inner) and isinstance(at, Mapping):
            for name, each in at.items():
                yield from _named(get_args(inner)[0], each, (*path, *member.path, name))
        elif has_members(inner) and isinstance(at, Mapping):
            yield from _named(inner, at, (*path, *member.path))


def of_device(
    device: Device, document: Document, law: PowerLaw | None
) -> tuple[Derived, list[Problem]]:
    """What follows for `device`, as its `document` states it, and what keeps it from following.

    `law` goes before the power law that it names.
    """
    kinds, problems = _technologies(device, document)
    numbers: Derived = {}
    for memory in device.memories:
        if memory.name in kinds:
            numbers |= _of_technology(kinds[memory.name], ("memories", memory.name), document)
            numbers |= _stacks(kinds[memory.name], memory.name, memory.capacity_B, document)
    for processor in device.processors:
        levels, wrong = _of_level(device, processor, document, kinds)
        numbers |= levels
        problems += wrong
    law = (law or device.power) if device.power is not None else None
    if law is not None:
        source = str(value_at(document.data, ("power", "law")).get("source", ""))
        by_law, wrong = _of_law(device, document, law, source)
        numbers |= by_law
        problems += wrong
    numbers |= _process_from_file(device, document)
    return numbers, problems


def states(document: Document, path: Key) -> bool:
    """Whether `document` has a value at `path`."""
    try:
        return value_at(document.data, path) is not None
    except (KeyError, TypeError):
        return False


def _left_out(document: Document, numbers: Derived) -> Derived:
    return {path: each for path, each in numbers.items() if not states(document, path)}


def _technologies(
    device: Device, document: Document
) -> tuple[dict[str, MemoryKind], list[Problem]]:
    """The technology of each memory that has one; a path starts from the device's file."""
    kinds: dict[str, MemoryKind] = {}
    problems: list[Problem] = []
    for memory in device.memories:
        if memory.technology is None:
            continue
        path = ("memories", memory.name, "technology")
        try:
            kinds[memory.name] = memory_kind(memory.technology, folder_of(document, path))
        except ConfigError as error:
            problems += [
                each if each.file else document.problem(path, each.message)
                for each in error.problems
            ]
    return kinds, problems


def _of_technology(kind: MemoryKind, path: Key, document: Document) -> Derived:
    """Energy, price and carbon of a memory, and the sources that its technology's file brings."""
    numbers: Derived = {(*path, "energy"): energy_of(kind)}
    for key, ends in (("price", kind.price_USD_per_GB), ("carbon", kind.carbon_kg_per_GB)):
        if ends is not None:
            numbers[(*path, key)] = {end: kind.sources[f"{key}.{end}"] for end in ENDS}
    for key, source in kind.bibliography.items():
        about = {"kind": source.kind, "title": source.title, "note": source.note}
        numbers[("sources", key)] = about
    return _left_out(document, numbers)


def _stacks(kind: MemoryKind, name: str, capacity_B: float | None, document: Document) -> Derived:
    if kind.stack_B is None:
        return {}
    count = max(round((capacity_B or 0.0) / kind.stack_B), 1)
    return _left_out(document, {("memories", name, "stacks"): count})


def _of_level(
    device: Device, processor: Processor, document: Document, kinds: Mapping[str, MemoryKind]
) -> tuple[Derived, list[Problem]]:
    """What reading at a level of its memory's technology gives a processor."""
    name, at = processor.weights_memory, ("processors", processor.name)
    memory = next((each for each in device.memories if each.name == name), None)
    if processor.level is None or memory is None:
        return {}, []
    if memory.technology is None:
        message = "needs a memory with a `technology` that has levels"
        return {}, [document.problem((*at, "level"), message)]
    kind = kinds.get(name)
    if kind is None:
        return {}, []  # what is wrong with it is said elsewhere
    if kind.technology is None or processor.level not in kind.levels:
        known = unknown_name(processor.level, list(kind.levels) or ["none"])
        return {}, [document.problem((*at, "level"), f"{kind.name}: {known}")]
    technology, level = kind.technology, kind.levels[processor.level]
    where = f"level {processor.level} of {kind.name}"
    timing = kind.sources["timing.rcd"].source

    def number(value: float, shown: str, unit: str = "", source: str = timing) -> Sourced:
        return Sourced(value=value, text=f"{shown}: {where}", unit=unit, source=source)

    scale = technology.peak_B_per_s(level) / technology.peak_B_per_s(technology.levels[HOST])
    bundles = technology.organisation.banks_per_channel / level.banks
    share = technology.sustained_share(level)
    joules = technology.energy_J_per_B(level)
    source = kind.sources[f"levels.{processor.level}.read"].source
    numbers: Derived = {
        (*at, "efficiency", "memory"): number(share, f"{share:.3f}"),
        (*at, "bandwidth_scale"): number(scale, f"{scale:.4g}"),
        (*at, "bundles"): number(bundles, f"{bundles:g}"),
        (*at, "memory_energy"): number(joules, f"{joules / 8e-12:.4g} pJ/bit", "J/B", source),
    }
    return _left_out(document, numbers), []


def _of_law(
    device: Device, document: Document, law: PowerLaw, source: str
) -> tuple[Derived, list[Problem]]:
    """Static power, and energies of a device's GPUs, by its power law."""
    numbers: Derived = {}
    problems: list[Problem] = []
    area, tdp = device.die_area_mm2, device.tdp_W
    static = law.static_W(area, tdp)
    if static is not None:
        by_area = area is not None and static == law.static_W(area, None)
        of = f"by {area:g} mm2" if by_area else f"{law.static_share:g} of {tdp:g} W"
        text = f"{static:.4g} W: {of}"
        numbers["power", "static"] = Sourced(value=static, text=text, unit="W", source=source)
    for processor in device.processors:
        if processor.kind != "gpu":
            continue
        scale, path = law.scale(device.process), ("processors", processor.name)
        stated = "fp16" in processor.energy_J_per_flop or "fp16" not in processor.peak_flop_per_s
        if scale is None and not stated:
            known = ", ".join(each for each, _ in law.processes)
            message = (
                f"is missing, and the power law {law.name} doesn't know the process "
                f"'{device.process}' ({known}): state the energy of a flop"
            )
            problems.append(document.problem((*path, "energy", "fp16"), message))
            continue
        numbers |= _energies(processor, path, law, scale or 1.0, source)
    return _left_out(document, numbers), problems


def _energies(processor: Processor, at: Key, law: PowerLaw, scale: float, source: str) -> Derived:
    numbers: Derived = {}
    for name, share in (("fp16", 1.0), ("fp8", law.narrow), ("int8", law.narrow)):
        if name in processor.peak_flop_per_s:  # else wider units do it, at their energy
            joules = law.flop_J * scale * share
            more = "" if share == 1.0 else f" x {share:.3g}"
            text = f"{joules * 1e12:.3g} pJ/flop: {law.flop_J * 1e12:.3g} x {scale:g}{more}"
            numbers[(*at, "energy", name)] = Sourced(
                value=joules, text=text, unit="J/flop", source=source
            )
    for key, joules in (("path_energy", law.path_J_per_B), ("kv_path_energy", law.kv_path_J_per_B)):
        text = f"{joules * 1e12:.4g} pJ/B"
        numbers[(*at, key)] = Sourced(value=joules, text=text, unit="J/B", source=source)
    return numbers


def _process_from_file(device: Device, document: Document) -> Derived:
    """The path of a process, if it is one, made absolute from the device's file."""
    process, path = device.process, ("die", "process")
    if process is None or not process.endswith((".yaml", ".yml")):
        return {}
    return {path: str(library.path_from(process, folder_of(document, path)).resolve())}
