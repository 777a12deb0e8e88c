"""Techniques: published methods as rewrites of the graph, one small file each.

A file with a `TECHNIQUE` in it is all it takes: it is found here by being in this folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Final

from sim.graph import Graph
from sim.techniques.technique import Technique

__all__ = ["TECHNIQUES", "Technique", "apply"]


def _found() -> Iterator[Technique]:
    """The technique of every file of this folder that has one."""
    for module in iter_modules(__path__):
        technique = getattr(import_module(f"{__name__}.{module.name}"), "TECHNIQUE", None)
        if technique is not None:
            yield technique


TECHNIQUES: Final[Mapping[str, Technique]] = {
    technique.kind: technique for technique in sorted(_found(), key=lambda each: each.kind)
}
"""Every technique a scenario can name, by its kind."""


def apply(graph: Graph, techniques: tuple[Mapping[str, Any], ...]) -> Graph:
    """`graph` rewritten by each of `techniques` in turn; ConfigError for bad parameters."""
    for technique in techniques:
        parameters = {name: value for name, value in technique.items() if name != "kind"}
        graph = TECHNIQUES[technique["kind"]].apply(graph, parameters)
    return graph
