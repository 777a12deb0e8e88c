"""Technique: a named rewrite of a graph, with its parameters as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from sim.errors import ConfigError, Problem
from sim.graph import Graph


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A number a technique takes, from `low` to `high`, both included; required if no default."""

    name: str
    description: str
    low: float
    high: float
    whole: bool = False
    default: float | None = None


@dataclass(frozen=True, kw_only=True)
class Technique:
    """A published method; `rewrite` turns a graph into the graph that the method runs.

    `quality` is what the source claims about answers, which this simulator cannot check.
    """

    kind: str
    title: str
    citation: str
    quality: str
    parameters: tuple[Parameter, ...]
    rewrite: Callable[[Graph, Mapping[str, float]], Graph]

    def check(self, given: Mapping[str, Any]) -> dict[str, float]:
        """The parameters with defaults filled in; ConfigError lists all that is wrong."""
        known = {parameter.name: parameter for parameter in self.parameters}
        problems = [_unknown(name, known) for name in given if name not in known]
        values: dict[str, float] = {}
        for name, parameter in known.items():
            value = given.get(name, parameter.default)
            problem = _wrong(parameter, value)
            if problem:
                problems.append(Problem(path=name, message=problem))
            else:
                values[name] = value
        if problems:
            raise ConfigError(problems)
        return values

    def apply(self, graph: Graph, given: Mapping[str, Any]) -> Graph:
        """The graph under this technique with parameters `given`."""
        return self.rewrite(graph, self.check(given))


def _unknown(name: str, known: Mapping[str, Parameter]) -> Problem:
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
    return Problem(path=name, message=f"unknown parameter; {hint}")


def _wrong(parameter: Parameter, value: object) -> str | None:
    due = f"a {'whole ' if parameter.whole else ''}number"
    due += f" from {parameter.low:g} to {parameter.high:g} is due"
    if value is None:
        return f"is missing: {due} ({parameter.description})"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{value!r}: {due}"
    if not parameter.low <= value <= parameter.high or (parameter.whole and value != int(value)):
        return f"{value:g}: {due}"
    return None
