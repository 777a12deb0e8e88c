"""Lists of the library: names with what one wants to know first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from rich.markup import escape
from rich.table import Table

from sim.config.catalogue import load_device, load_model, load_system
from sim.config.fleets import with_system
from sim.config.library import document_of, names, title_of
from sim.dtypes import Precision
from sim.engines.fleet import ROUTES, Fleet
from sim.engines.scheduler import Scheduler
from sim.engines.scheduler_kinds import CHOICES
from sim.evidence.papers import PAPERS
from sim.report.tables import table
from sim.results.describe import describe_model
from sim.results.quantity import UNKNOWN, binary, digits, si
from sim.techniques import TECHNIQUES

Entry = dict[str, Any]


def entries(kind: str) -> list[Entry]:
    """One mapping for each entry of `kind`, by name."""
    if kind == "papers":
        return [{"name": name, "title": title} for name, title in PAPERS.items()]
    if kind == "schedulers":
        return _schedulers()
    make = _MAKERS.get(kind)
    return [
        make(name) if make else {"name": name, "title": title_of(kind, name)}
        for name in names(kind)
    ]


def _schedulers() -> list[Entry]:
    """What a scheduler and a fleet's router may be told by name, with the key that takes it."""
    keys = [(f"scheduler.{name}", getattr(Scheduler, name), CHOICES[name]) for name in CHOICES]
    return [
        {"name": name, "key": key, "default": name == default, "title": title}
        for key, default, known in (*keys, ("fleet.route", Fleet.route, ROUTES))
        for name, title in known.items()
    ]


def library_table(kind: str, rows: Sequence[Entry]) -> Table:
    """`rows` as a table: a column for every key."""
    columns = list(rows[0]) if rows else ["name"]
    shown = table(f"{kind}: {len(rows)}", *columns, left=len(columns))
    for entry in rows:
        shown.add_row(*(escape(_text(entry[column])) for column in columns))
    return shown


def details(kind: str, about: Entry) -> Table:
    """Everything of one entry, a row a value, with the source of each number."""
    shown = table(f"{about.get('title') or about.get('name')} ({kind})", "path", "value", "source",
                 left=3)  # fmt: skip
    for path, value, source in _flat(about):
        shown.add_row(path, escape(_text(value)), source)
    return shown


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any, str]]:
    """Leaves of nested mappings and lists, with their dotted paths and sources."""
    if isinstance(value, Mapping) and set(value) == {"value", "text", "source", "unit"}:
        yield path, value["text"] or value["value"], value["source"]
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        for index, item in enumerate(value):
            yield from _flat(item, f"{path}.{index}")
    else:
        yield path, value, ""


def _text(value: Any) -> str:
    if value is None:
        return UNKNOWN
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,}" if isinstance(value, int) else f"{value:,.10g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _device(name: str) -> Entry:
    device = load_device(name)
    memory = device.memories[0]
    peaks = [each.peak_flop_per_s.get("fp16") for each in device.processors]
    best = max((peak for peak in peaks if peak is not None), default=None)
    return {
        "name": name,
        "title": device.title,
        "units": ", ".join(each.name for each in device.processors),
        "fp16": si(best, "FLOPS"),
        "memory": f"{binary(memory.capacity_B)} {memory.technology or memory.name}",
        "bandwidth": si(memory.bandwidth_B_per_s, "B/s"),
        "note": "refuses to run" if device.refuses else ("" if device.built else "not built"),
    }


def _system(name: str) -> Entry:
    system = load_system(name)
    return {
        "name": name,
        "title": title_of("systems", name),
        "device": system.device.name,
        "count": system.count,
        "devices per node": min(system.devices_per_node, system.count),
    }


def _model(name: str) -> Entry:
    model = load_model(name)
    about = describe_model(model, Precision())
    return {
        "name": name,
        "title": model.title,
        "parameters": digits(about["parameters"] / 1e9) + " B",
        "active": digits(about["active_parameters_per_token"] / 1e9) + " B",
        "KV a token at 16 bit": binary(about["kv_bytes_per_token"]),
        "decoder layers": len(model.layers),
    }


def _scenario(name: str) -> Entry:
    about = with_system(document_of("scenarios", name)[1]).data
    return {
        "name": name,
        "title": about["title"],
        "model": about["model"],
        "system": about["system"],
        "traffic": next(iter(about["traffic"])),
        "scheduler": about.get("scheduler", {}).get("kind", Scheduler.kind),
    }


def _technique(name: str) -> Entry:
    technique = TECHNIQUES[name]
    return {
        "name": name,
        "title": technique.title,
        "parameters": ", ".join(each.name for each in fields(technique.parameters)),
        "citation": technique.citation,
    }


_MAKERS: dict[str, Callable[[str], Entry]] = {
    "devices": _device,
    "systems": _system,
    "models": _model,
    "scenarios": _scenario,
    "techniques": _technique,
}
