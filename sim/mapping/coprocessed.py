"""Co-processed: sharded, with two units of each device that share its experts."""

from __future__ import annotations

from dataclasses import replace

from sim.dtypes import Precision
from sim.graph import STORED, Graph, verify, verify_pass
from sim.hardware import System
from sim.mapping.coprocessing import coprocess, given_masks, memory_spaces, policy_of
from sim.mapping.layout import Layout
from sim.mapping.program import Choices, Program
from sim.mapping.sharded import SHARDED, Sharing, sharded_program


def _program(
    graph: Graph, system: System, layout: Layout, precision: Precision, choices: Choices
) -> Program:
    def rewrite(sharded: Graph) -> Graph:
        shared = verify(coprocess(sharded, layout, system), "co-processing", expert_ranks=layout.ep)
        return verify_pass(sharded, shared, "co-processing", conserved=STORED)

    sharing = Sharing(rewrite=rewrite, policy=policy_of(system), spaces=memory_spaces(system))
    program = sharded_program(graph, system, layout, precision, choices, sharing)
    routing = program.routing
    if not routing.loads.size or routing.masks is None or not callable(system.split):
        return program
    masks, tokens = given_masks(program.table, routing.loads, program.units, system)
    return replace(program, routing=routing._replace(masks=masks, mask_tokens=tokens))


CO_PROCESSED = replace(
    SHARDED,
    name="co-processed",
    applies=lambda system, choices: system.coprocessing != "none",
    assemble=_program,
)
