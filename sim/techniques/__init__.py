"""Techniques: published methods as rewrites of the graph, one small file each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sim.graph import Graph
from sim.techniques.technique import Parameter, Technique
from sim.techniques.token_pruning import TOKEN_PRUNING

__all__ = ["TECHNIQUES", "Parameter", "Technique", "apply"]

TECHNIQUES: Final[Mapping[str, Technique]] = {
    technique.kind: technique for technique in (TOKEN_PRUNING,)
}
"""Every technique a scenario can name, by its kind."""


def apply(graph: Graph, techniques: tuple[Mapping[str, Any], ...]) -> Graph:
    """`graph` rewritten by each of `techniques` in turn; ConfigError for bad parameters."""
    for asked in techniques:
        parameters = {name: value for name, value in asked.items() if name != "kind"}
        graph = TECHNIQUES[asked["kind"]].apply(graph, parameters)
    return graph
