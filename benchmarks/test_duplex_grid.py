"""How long the whole grid of the Duplex paper's Fig. 11 takes: 27 cells on five systems.

At least 500 stages a run, begun in steady state with requests at random progress. Target: 60 s on
two cores; this is one.
"""

from __future__ import annotations

from sim.evidence.papers.duplex import GRID_KINDS, cells, point


def test_figure_11(benchmark) -> None:
    point("duplex+pe+et", cells()[0])  # compiles

    def grid() -> int:
        return sum(point(kind, cell).throughput > 0.0 for cell in cells() for kind in GRID_KINDS)

    assert benchmark.pedantic(grid, rounds=1) == 27 * 5
