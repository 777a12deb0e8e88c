"""Catalogue: devices, systems, models and traffic by name, path or mapping, as frozen values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from sim.config import derived
from sim.config.document import Document
from sim.config.forms import read, value_of
from sim.config.library import Given, document_of, referenced
from sim.config.models import to_architecture
from sim.config.sources import unsourced
from sim.errors import ConfigError, Key, Problem
from sim.hardware import Device, System
from sim.hardware.power import PowerLaw
from sim.quantities import shown
from sim.units import Sourced
from sim.workload.architecture import Architecture
from sim.workload.hugging_face import architecture_from_json


def load_device(given: Given, *, law: PowerLaw | None = None) -> Device:
    """The device of a name, an alias, a path or a mapping; with `law` in place of its power law."""
    name, document = document_of("devices", given)
    return device_of(name, document, law)


def device_of(name: str, document: Document, law: PowerLaw | None = None) -> Device:
    """The device that `document` describes, every number with its source."""
    document = derived.with_fitted(document)
    stated = value_of(Device, document, name=name)
    numbers, problems = derived.of_device(stated, document, law)
    device, sources = read(Device, document.filled(numbers), name=name)
    problems += [*_without_memory(device, document), *_unstated(document, device)]
    problems += unsourced(document, sources, device.bibliography)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    power = None if device.power is None else law or device.power
    return replace(device, power=power, sources=sources)


def _without_memory(device: Device, document: Document) -> Iterator[Problem]:
    """A problem for every use of a memory that the device doesn't have."""
    known = [memory.name for memory in device.memories]
    for processor in device.processors:
        for use in ("weights_memory", "kv_memory", "activations_memory"):
            name = getattr(processor, use)
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"did you mean '{near[0]}'? " if near else ""
                message = f"no memory '{name}'; {hint}the device has {', '.join(known)}"
                yield document.problem(("processors", processor.name, "memory"), message)


def _unstated(document: Document, device: Device) -> list[Problem]:
    """A problem for every share and overhead left out: 1 and 0 are what no device reaches."""
    if device.refuses or device.hardwired is not None:
        return []
    share = "is missing: the share that good code reaches is due, e.g. '0.8 [KEY]'"
    time = "is missing: the time it costs is due, e.g. '2 us [KEY]'"
    wanted: list[tuple[Key, str]] = [(("host_step",), time)]
    for processor in device.processors:
        path = ("processors", processor.name)
        runs = processor.operators or ("attention-prefill",)
        shares = ["compute"]
        shares += ["memory"] if processor.level is None else []  # a level gives it, or is wrong
        shares += ["attention"] if any(name.startswith("attention") for name in runs) else []
        wanted += [((*path, "efficiency", name), share) for name in shares]
        wanted.append(((*path, "launch"), time))
    if device.link is not None:
        wanted.append((("link", "efficiency"), share))
    return [
        document.problem(path, message)
        for path, message in wanted
        if not derived.states(document, path)
    ]


def load_system(given: Given) -> System:
    """The system of a name, `DEVICE-xN`, a device's name (one of it), a path or a mapping."""
    name, document = document_of("systems", given)
    return system_of(name, document)


def one_of(device: Device) -> System:
    """The system that is one `device`."""
    return System(name=device.name, device=device, count=1, devices_per_node=1)


def system_of(name: str, document: Document) -> System:
    """The system that `document` describes, its device loaded too."""
    data = document.data
    if not isinstance(data, dict):
        raise ConfigError([document.problem((), f"{shown(data)}: a mapping (key: value) is due")])
    device: Device | None = None
    problems: list[Problem] = []
    try:
        device = _device_in(document, data)
    except ConfigError as error:
        problems += error.problems
    node = 8 if device is not None and device.link is not None else 1
    stated = {key: each for key, each in data.items() if key != "device"}
    rest = replace(document, data={"devices_per_node": node, **stated})
    try:
        system, numbers = read(System, rest, name=name, device=device)
        problems += unsourced(document, numbers, system.bibliography)
    except ConfigError as error:
        problems += [
            each
            for each in error.problems
            if device is not None or (each.path or "").split(".")[-1] != "device"
        ]
    if problems:
        raise ConfigError(problems)
    assert device is not None
    numbers |= {f"device.{path}": number for path, number in device.sources.items()}
    bibliography = {**device.bibliography, **system.bibliography}
    return replace(system, sources=numbers, bibliography=bibliography)


def _device_in(document: Document, data: Mapping[str, Any]) -> Device:
    """The device of a system's document: a name, a path, or written inline."""
    given, path = data.get("device"), ("device",)
    if not isinstance(given, str | Mapping):
        message = "the name of a device is due (`sim list devices`), a path, or a device inline"
        message = "is missing" if given is None else message
        raise ConfigError([document.problem(path, message)])
    return device_of(*referenced("devices", document, path))


def load_model(given: Given, base: Path | None = None) -> Architecture:
    """The architecture of a name, a model YAML, a config.json (or its folder) or a mapping."""
    return model_of(*document_of("models", given, base))


def model_of(name: str, document: Document) -> Architecture:
    """The architecture that `document` describes, or the config.json that is its file."""
    if document.data is None and document.file.endswith(".json"):
        return architecture_from_json(Path(document.file))
    architecture = to_architecture(document)
    return replace(architecture, name=str(document.data.get("name") or name))


def device_numbers(name: str, document: Document) -> Mapping[str, Sourced]:
    """Numbers of the device that `document` describes, each with its source."""
    return device_of(name, document).sources


def system_numbers(name: str, document: Document) -> Mapping[str, Sourced]:
    """Numbers of the system that `document` describes and of its device."""
    return system_of(name, document).sources
