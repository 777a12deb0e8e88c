"""Catalogue: devices, systems, models and traffic by name, path or mapping, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache, lru_cache
from pathlib import Path

from sim.config import library
from sim.config.device_form import DeviceForm, SystemForm, to_device, to_system
from sim.config.document import Document
from sim.config.fitted_files import fitted_form
from sim.config.kernels_form import KernelsForm, ProtocolsForm
from sim.config.library import Given, document_of, folder_of
from sim.config.memory_form import MemoryKind, memory_kind
from sim.config.memory_levels import at_levels, stacks_of, with_technologies
from sim.config.models import to_architecture
from sim.config.power_form import law_form, to_law
from sim.config.power_numbers import with_law
from sim.config.sources import USER, readings, sources_of
from sim.config.traffic_form import TrafficFileForm
from sim.config.validate import validated
from sim.errors import ConfigError, Problem
from sim.hardware import Device, System
from sim.hardware.power import PowerLaw
from sim.units import Source, Sourced
from sim.workload.architecture import Architecture
from sim.workload.hugging_face import architecture_from_json
from sim.workload.traffic import Trace
from sim.workload.traffic.readers import read_trace


@cache
def load_sources() -> Mapping[str, Source]:
    """Sources of the library's numbers, by key."""
    return {
        key: Source(key=key, kind=item["kind"], title=item["title"], note=item.get("note", ""))
        for key, item in library.library_sources().items()
    } | {USER.key: USER}


def load_device(given: Given, *, law: PowerLaw | None = None) -> Device:
    """The device of a name, an alias, a path or a mapping; with `law` in place of its power law."""
    name, document = document_of("devices", given)
    return device_of(name, document, law)


def device_of(name: str, document: Document, law: PowerLaw | None = None) -> Device:
    """The device that `document` describes, every number with its source."""
    form = validated(DeviceForm, document)
    kinds, problems = _technologies(form, document)
    form, wrong_levels = at_levels(form, document, kinds)
    problems += wrong_levels
    form = _process_from_file(with_technologies(form, kinds), document)
    form = _with_fitted(form, document)
    form, law, without_energy = _with_power(form, document, law)
    problems += without_energy
    numbers = readings(form, document)
    for key, processor in form.processors.items():
        for use in ("weights", "kv", "activations"):
            memory_name = getattr(processor.memory, use)
            if memory_name not in form.memories:
                near = get_close_matches(memory_name, list(form.memories), n=1)
                hint = f"did you mean '{near[0]}'? " if near else ""
                has = ", ".join(form.memories)
                problems.append(
                    document.problem(
                        ("processors", key, "memory"),
                        f"no memory '{memory_name}'; {hint}the device has {has}",
                    )
                )
    problems += _unstated(document, form)
    theirs = {key: source for kind in kinds.values() for key, source in kind.sources.items()}
    problems += _unsourced(document, numbers, theirs | sources_of(form.sources))
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    device = to_device(form, form.name or name, stacks_of(form, kinds))
    return replace(device, power=law, sources=numbers)


def _technologies(
    form: DeviceForm, document: Document
) -> tuple[dict[str, MemoryKind], list[Problem]]:
    """The technology of each memory that has one; a path starts from the device's file."""
    kinds: dict[str, MemoryKind] = {}
    problems: list[Problem] = []
    for key, memory in form.memories.items():
        if memory.technology is None:
            continue
        path = ("memories", key, "technology")
        try:
            kinds[key] = memory_kind(memory.technology, folder_of(document, path))
        except ConfigError as error:
            problems += [
                each if each.file else document.problem(path, each.message)
                for each in error.problems
            ]
    return kinds, problems


def _with_fitted(form: DeviceForm, document: Document) -> DeviceForm:
    """`form` with the kernels and protocols that it names; a path starts from the device's file."""
    processors = dict(form.processors)
    for key, processor in processors.items():
        if isinstance(processor.kernels, str):
            path = ("processors", key, "kernels")
            _, kernels, _ = fitted_form(
                "kernels", KernelsForm, processor.kernels, folder_of(document, path)
            )
            kernels = kernels.model_copy(update={"name": processor.kernels})
            processors[key] = processor.model_copy(update={"kernels": kernels})
    link = form.link
    if link is not None and isinstance(link.protocols, str):
        base = folder_of(document, ("link", "protocols"))
        _, protocols, _ = fitted_form("protocols", ProtocolsForm, link.protocols, base)
        protocols = protocols.model_copy(update={"name": link.protocols})
        link = link.model_copy(update={"protocols": protocols})
    return form.model_copy(update={"processors": processors, "link": link})


def _with_power(
    form: DeviceForm, document: Document, law: PowerLaw | None
) -> tuple[DeviceForm, PowerLaw | None, list[Problem]]:
    """`form` with what the power law that it names makes of it, and that law or `law` instead."""
    stated = form.power.law
    if stated is None:
        return form, None, []
    name = "inline"
    if isinstance(stated, str):
        name, stated = law_form(stated, folder_of(document, ("power", "law")))
    power = form.power.model_copy(update={"law": stated})
    law = law or to_law(stated, name)
    form, problems = with_law(
        form.model_copy(update={"power": power}), document, law, stated.source
    )
    return form, law, problems


def _process_from_file(form: DeviceForm, document: Document) -> DeviceForm:
    """`form` with the path of its process, if it is one, made absolute from the device's file."""
    process = form.die.process
    if process is None or not process.endswith((".yaml", ".yml")):
        return form
    path = library.path_from(process, folder_of(document, ("die", "process"))).resolve()
    return form.model_copy(update={"die": form.die.model_copy(update={"process": str(path)})})


def _unstated(document: Document, form: DeviceForm) -> list[Problem]:
    """A problem for every share and overhead left out: 1 and 0 are what no device reaches."""
    if form.refuses or form.hardwired is not None:
        return []
    share = "is missing: the share that good code reaches is due, e.g. '0.8 [KEY]'"
    time = "is missing: the time it costs is due, e.g. '2 us [KEY]'"
    wanted: list[tuple[tuple[str, ...], object, str]] = [
        (("host_step",), form.host_step, time),
    ]
    for key, processor in form.processors.items():
        path = ("processors", key)
        runs = processor.operators or ("attention-prefill",)
        shares = ["compute"]
        shares += ["memory"] if processor.level is None else []  # a level gives it, or is wrong
        shares += ["attention"] if any(name.startswith("attention") for name in runs) else []
        wanted += [
            ((*path, "efficiency", name), getattr(processor.efficiency, name), share)
            for name in shares
        ]
        wanted.append(((*path, "launch"), processor.launch, time))
    if form.link is not None:
        wanted.append((("link", "efficiency"), form.link.efficiency, share))
    return [document.problem(path, message) for path, value, message in wanted if value is None]


def _unsourced(
    document: Document, numbers: Mapping[str, Sourced], own: Mapping[str, Source]
) -> list[Problem]:
    """A problem for every number without a source, or with one that nobody describes."""
    known = {**load_sources(), **own}
    problems = []
    for path, number in numbers.items():
        if number.source in known:
            continue
        where = tuple(path.split("."))
        if number.source:
            near = get_close_matches(number.source, list(known), n=1)
            hint = f"; did you mean '{near[0]}'?" if near else "; describe it under `sources:`"
            message = f"unknown source '{number.source}'{hint}"
        else:
            message = (
                f"'{number.text}' has no source: write `source: KEY` above it, or "
                f"'{number.text} [KEY]', and describe KEY under `sources:`"
            )
        problems.append(document.problem(where, message))
    return problems


def load_system(given: Given) -> System:
    """The system of a name, `DEVICE-xN`, a device's name (one of it), a path or a mapping."""
    name, document = document_of("systems", given)
    return system_of(name, document)


def one_of(device: Device) -> System:
    """The system that is one `device`."""
    return System(name=device.name, device=device, count=1, devices_per_node=1)


def system_of(name: str, document: Document) -> System:
    """The system that `document` describes, its device loaded too."""
    form = validated(SystemForm, document)
    device = device_of(*library.referenced("devices", document, ("device",)))
    numbers = readings(form, document)
    problems = _unsourced(document, numbers, sources_of(form.sources))
    if problems:
        raise ConfigError(problems)
    numbers |= {f"device.{path}": number for path, number in device.sources.items()}
    return replace(to_system(form, form.name or name, device), sources=numbers)


def load_model(given: Given, base: Path | None = None) -> Architecture:
    """The architecture of a name, a model YAML, a config.json (or its folder) or a mapping."""
    config = None if isinstance(given, Mapping) else config_json(str(given), base or Path())
    if config is not None:
        return architecture_from_json(config)
    name, document = document_of("models", given, base)
    return model_of(name, document)


def config_json(given: str, base: Path) -> Path | None:
    """The Hugging Face config.json that `given` means, itself or the folder it is in, if any."""
    path = library.path_from(given, base)
    if given.endswith(".json"):
        return path
    inside = path / "config.json"
    return inside if library.exists(inside) else None


def model_of(name: str, document: Document) -> Architecture:
    """The architecture that `document` describes."""
    architecture = to_architecture(document)
    return replace(architecture, name=str(document.data.get("name") or name))


def trace_file(given: str, base: Path | None = None) -> tuple[Path, TrafficFileForm | None]:
    """Path of a trace's rows, and what the library says of it where it is one of its own."""
    if library.is_path(given) and not given.endswith((".yaml", ".yml")):
        return library.path_from(given, base or Path()), None
    _, document = document_of("traffic", given, base)
    form = validated(TrafficFileForm, document)
    return library.path_from(form.trace, folder_of(document, ("trace",))), form


def load_trace(given: str | Path, base: Path | None = None) -> Trace:
    """The requests of a trace: a name of the library or a file of any known format."""
    path = trace_file(str(given), base)[0]
    try:
        found = path.stat()
    except OSError:
        return read_trace(path)  # which says what is wrong
    return _read_once(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=4)
def _read_once(path: Path, _changed_ns: int, _size: int) -> Trace:
    """A trace as its file is now; studies read the same one many times."""
    return read_trace(path)


def device_numbers(name: str, document: Document) -> Mapping[str, Sourced]:
    """Numbers of the device that `document` describes, each with its source."""
    return device_of(name, document).sources


def system_numbers(name: str, document: Document) -> Mapping[str, Sourced]:
    """Numbers of the system that `document` describes and of its device."""
    return system_of(name, document).sources
