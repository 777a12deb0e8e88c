"""Technique: a published method as a rewrite of a graph, with its parameters as a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sim.graph import Graph, verify, verify_pass
from sim.values import build


@dataclass(frozen=True, kw_only=True)
class Technique:
    """A published method; `rewrite` turns a graph into the graph that the method runs.

    `parameters` is the class of what it is told: a dataclass whose fields say units, ranges and
    defaults (`sim.values`). `quality` is what the source claims about answers, which this simulator
    cannot check. `conserved` names what the rewrite leaves as it was (`sim.graph.TOTALS`).
    """

    kind: str
    title: str
    citation: str
    quality: str
    parameters: type[Any]
    rewrite: Callable[[Graph, Any], Graph]
    conserved: tuple[str, ...] = ()

    def apply(self, graph: Graph, parameters: Mapping[str, Any]) -> Graph:
        """The graph under this technique; ConfigError for parameters that cannot be."""
        rewritten = self.rewrite(graph, build(self.parameters, parameters))
        verify(rewritten, self.kind)
        return verify_pass(graph, rewritten, self.kind, conserved=self.conserved)
