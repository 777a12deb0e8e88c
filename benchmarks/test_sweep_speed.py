"""Design points a second: one decode iteration of a whole 70B model at each."""

from __future__ import annotations

import time

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from sim.config.catalogue import load_model, load_system
from sim.dtypes import Precision
from sim.engines import roofline
from sim.engines.roofline import decode_batch
from sim.mapping.assemblies import assemble
from sim.mapping.layout import Parallel
from sim.mapping.parallelism import plan
from sim.mapping.program import Program
from sim.workload.layers import build_graph

POINTS = 1_000_000
BATCH = [decode_batch(16, 1024)]


def program(system: str) -> Program:
    graph, machines = build_graph(load_model("llama-3.1-70b")), load_system(system)
    return assemble(graph, machines, plan(graph, machines, Parallel(tp=4)), Precision())


def design_space(of: Program, points: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hardware records of `points` designs, no two alike in bandwidth, peak, link or launch."""
    random = np.random.default_rng(0)

    def spread(*shape: int) -> np.ndarray:
        return random.uniform(0.5, 2.0, (points, *shape))

    units = np.repeat(of.units[None], points, axis=0)
    links = np.repeat(of.links[None], points, axis=0)
    bandwidth = spread(1)
    for name in ("weights_B_per_s", "kv_B_per_s", "activations_B_per_s"):
        units[name] *= bandwidth
    units["flop_per_s"] *= spread(1, 1)
    units["launch_s"] *= spread(1)
    units["memory_efficiency"] *= random.uniform(0.7, 1.0, (points, 1))
    links["B_per_s"] *= spread(1)
    machines = np.repeat(of.machine, points)
    machines["host_step_s"] *= spread()
    return units, links, machines


@pytest.mark.parametrize("system", ["h100-x4", "duplex-x4"])
def test_sweep(benchmark: BenchmarkFixture, system: str) -> None:
    """One processor, and two to place operators on; with efficiencies and energy."""
    of = program(system)
    units, links, machines = design_space(of, POINTS)
    out = roofline.sweep(of, BATCH, units, links, machines)
    assert len(np.unique(out[:, 0])) > 0.999 * POINTS
    assert np.isfinite(out).all()
    benchmark.pedantic(
        roofline.sweep, args=(of, BATCH, units, links, machines), rounds=3, warmup_rounds=1
    )
    if benchmark.stats:
        rate = POINTS / benchmark.stats.stats.min
        benchmark.extra_info["points_per_s"] = rate
        print(f"{system}: {rate / 1e6:.2f} M points/s")  # noqa: T201


def test_sweep_is_far_faster_than_a_loop_over_points() -> None:
    of = program("duplex-x4")
    units, links, machines = design_space(of, 100_000)
    roofline.sweep(of, BATCH, units[:10], links[:10], machines[:10])
    begin = time.perf_counter()
    out = roofline.sweep(of, BATCH, units, links, machines)
    swept = (time.perf_counter() - begin) / 100_000
    begin = time.perf_counter()
    for point in range(200):
        one = slice(point, point + 1)
        single = roofline.sweep(of, BATCH, units[one], links[one], machines[one])
        assert single[0, 0] == out[point, 0]
    looped = (time.perf_counter() - begin) / 200
    print(f"sweep {swept * 1e6:.2f} us a point, loop {looped * 1e6:.0f}: {looped / swept:.0f} x")  # noqa: T201
    assert looped / swept >= 50.0
