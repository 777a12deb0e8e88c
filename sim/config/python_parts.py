"""Scenarios and their parts that were made in Python rather than written in YAML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

from sim.config import catalogue
from sim.config.digest import digest
from sim.config.sources import load_sources
from sim.config.traces import load_trace
from sim.errors import ConfigError, Key, Place, Problem
from sim.hardware.runtime import under
from sim.quantities import unknown_key
from sim.scenario import Scenario

SETTINGS: Final = {"dtype": "precision"}
"""Keys of the YAML whose value in Python has another name."""


def changed_scenario(
    scenario: Scenario, sets: Sequence[str], replacements: Mapping[str, Any]
) -> Scenario:
    """`scenario` with parts replaced by names, paths or objects; its digest and sources follow."""
    if sets:
        raise ConfigError("`sets` change what a YAML says; change a ready Scenario by `replace`")
    loaders: dict[str, Callable[[Any], Any]] = {
        "model": catalogue.load_model,
        "system": catalogue.load_system,
        "traffic": load_trace,
    }
    known = [each.name for each in fields(Scenario)]
    unknown = [Problem(message=unknown_key(key, known)) for key in replacements if key not in known]
    if unknown:
        raise ConfigError(unknown)
    if "runtime" in replacements:
        raise ConfigError(
            "the system of a ready Scenario has its runtime's numbers: load it with the other one"
        )
    loaded = {
        key: loaders[key](value) if key in loaders and isinstance(value, str | Path) else value
        for key, value in replacements.items()
    }
    if "system" in loaded and scenario.runtime is not None:
        loaded["system"] = under(loaded["system"], scenario.runtime)
    made = replace(scenario, **loaded)
    numbers = {
        path: each for path, each in made.sources.items() if path.split(".")[0] not in replacements
    }
    if "system" in replacements:
        numbers |= {f"system.{path}": each for path, each in made.system.sources.items()}
    keys = {value: key for key, value in SETTINGS.items()}
    replaced = [(keys.get(key, key),) for key in replacements]
    known_sources = {**load_sources(), **scenario.bibliography}
    places: dict[Key, Place] = {
        path: place for path, place in made.places.items() if path[:1] not in replaced
    }
    used = {number.source for number in numbers.values()} & set(known_sources)
    return replace(
        made,
        digest=digest(made),
        places=places | {key: Place(file=f"argument {key[0]}") for key in replaced},
        sources=numbers,
        bibliography={key: known_sources[key] for key in sorted(used)},
    )
