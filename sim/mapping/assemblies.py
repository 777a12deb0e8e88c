"""The ways of putting a graph on a system, and the program that the right one makes."""

from __future__ import annotations

from typing import Final

from sim.dtypes import Precision
from sim.graph import Graph
from sim.hardware import System
from sim.mapping.coprocessed import CO_PROCESSED
from sim.mapping.expert_disaggregation import EXPERTS_APART
from sim.mapping.hardwired.metal import IN_METAL
from sim.mapping.layout import Layout
from sim.mapping.program import Assembly, Choices, Program
from sim.mapping.sharded import SHARDED

ASSEMBLIES: Final = (EXPERTS_APART, IN_METAL, CO_PROCESSED, SHARDED)
"""The first that applies is taken."""


def assembly_of(system: System, choices: Choices) -> Assembly:
    """How a graph goes on `system`."""
    return next(assembly for assembly in ASSEMBLIES if assembly.applies(system, choices))


def assemble(
    graph: Graph,
    system: System,
    layout: Layout,
    precision: Precision,
    choices: Choices | None = None,
) -> Program:
    """The program of `graph` on one replica of `layout` in `system`.

    Raises Infeasible where the device cannot run, ConfigError for choices that cannot be.
    """
    choices = choices or Choices()
    return assembly_of(system, choices).assemble(graph, system, layout, precision, choices)
