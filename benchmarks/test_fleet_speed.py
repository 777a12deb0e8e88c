"""A fleet of 64 replicas: seconds and memory, and whether both grow no faster than requests."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

RUN = """
import json, resource, sys, time
import sim
route, requests = sys.argv[1], int(sys.argv[2])
base = {
    "model": "llama-3.1-8b",
    "system": "h100-x1",
    "scheduler": {"kind": "chunked-prefill"},
    "traffic": {"poisson": {"rate": "256 /s", "requests": 1000}},
    "fleet": {"replicas": 64, "route": route},
}
sim.simulate(base).metrics  # compiled
begin = time.perf_counter()
run = sim.simulate(base, sets=[f"traffic.poisson.requests={requests}"])
found = run.to_json()
print(json.dumps({
    "seconds": time.perf_counter() - begin,
    "MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "completed": found["requests"]["completed"],
    "iterations": found["mapping"]["iterations"],
}))
"""
"""In a process of its own, as the peak of memory is that of a process."""


def run(route: str, requests: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", RUN, route, str(requests)],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("route", ["round-robin", "least-loaded"])
def test_64_replicas(benchmark: BenchmarkFixture, route: str) -> None:
    """From 10^4 to 10^6 requests when asked to measure, else the least."""
    sizes = [10_000, 100_000, 1_000_000] if benchmark.enabled else [2_000]
    found = [run(route, size) for size in sizes[:-1]]
    found.append(benchmark.pedantic(run, args=(route, sizes[-1]), rounds=1))
    for size, each in zip(sizes, found, strict=True):
        assert each["completed"] == size
        print(size, route, each)  # noqa: T201
    assert found[-1]["MiB"] < 2048
    benchmark.extra_info["runs"] = found
