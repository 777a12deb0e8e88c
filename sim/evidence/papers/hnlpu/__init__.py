"""HNLPU (Liu et al., ASPLOS 2026, arXiv 2508.16151): its tables, recomputed from its inputs.

Inputs are in hw_configs/papers/hnlpu.yaml, what it prints in published.csv. Costs and carbon are
closed forms of the inputs; timing is calibrated on two bars of Fig. 14 and the throughput, and its
other bars follow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sim.config.catalogue import load_model
from sim.config.inputs import load_inputs
from sim.evidence.papers.hnlpu import designs, tables
from sim.evidence.papers.published import reproduction
from sim.evidence.reproduction import Reproduction
from sim.workload.layers import build_graph

ASSUMPTIONS: Final = (
    "paper rounding: 27 good dies a wafer and 0.010 MW, as printed; without it 26.7 and 0.00966",
    "6.9 kW a system already holds a factor 1.4 over the chips; the site's PUE of 1.4 comes on top",
    "software of the H100 nodes, 4,500 USD a GPU and year, is what is left of their maintenance",
    "2 bytes an element on links in the first-principles times",
)
UNROUNDED: Final = (
    "no paper rounding: 26.7 good dies a wafer and 0.00966 MW; tolerances are 1 to 4 % instead of "
    "0.5 where the paper rounds"
)


def reproduce(
    progress: Callable[[str], None], *, figures: bool = False, rounding: bool = True
) -> Reproduction:
    """All rows; with `rounding`, intermediate results are rounded where the paper does."""
    inputs = load_inputs("hnlpu")
    graph = build_graph(load_model("gpt-oss-120b"))
    progress("tables 1 to 5, figures 13 and 14")
    return reproduction(
        "hnlpu",
        "Liu et al., Hardwired-Neuron Language Processing Units, ASPLOS 2026",
        tables.simulated(inputs, graph, rounding=rounding) | designs.simulated(inputs, graph),
        assumptions=ASSUMPTIONS if rounding else (UNROUNDED, *ASSUMPTIONS[1:]),
        rounding=rounding,
    )
