"""What is decided before the first iteration holds in every later one."""

from __future__ import annotations

import pytest

from sim.config.scenarios import load_scenario
from sim.mapping.capacity import activation_bytes
from sim.simulation.prepare import prepare
from sim.simulation.serve import serve


@pytest.mark.parametrize("prompt", [100, 1024, 6000])
@pytest.mark.parametrize("kind", ["continuous", "prefill-first", "chunked-prefill"])
def test_activations_have_room_in_the_largest_iteration(kind: str, prompt: int) -> None:
    traffic = {"poisson": {"rate": "500 /s", "requests": 60, "input": prompt, "output": 30}}
    scenario = load_scenario(
        "llama-8b-azure-h100",
        traffic=traffic,
        scheduler={"kind": kind, "max_batch": 32, "max_prefill_tokens": 2048},
    )
    prepared = prepare(scenario)
    (outcome,) = serve(prepared, log=5000).outcomes
    most = int((outcome.log[:, 2] + outcome.log[:, 3]).max())
    assert most > 32  # prompts and decodes together
    needed = activation_bytes(prepared.program, most, 32)
    assert needed <= prepared.budget.activations_B
    assert outcome.kv_peak_B <= prepared.budget.kv_B
