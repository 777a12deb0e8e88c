"""The hardwired LPU under traffic: closed form, saturation and memory agree with its pipeline."""

from __future__ import annotations

import numpy as np
import pytest

import sim
from sim.config.scenarios import load_scenario
from sim.engines.roofline import decode_batch, prefill_batch, request_times, step
from sim.errors import Infeasible
from sim.hardware.hardwired.pipeline import KI, Pipeline
from sim.simulation.prepare import Prepared, prepare

PIPELINE = Pipeline(
    layers=36, collective_s=2e-6, operator_s=400e-9, non_linear_s=80e-9,
    attention_s_per_token=40e-9 / KI,
)  # fmt: skip


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(load_scenario("gpt-oss-azure-hnlpu"))


@pytest.mark.parametrize("context", [1, 2048, 65536])
def test_one_sequence_takes_what_one_token_takes(prepared: Prepared, context: int) -> None:
    seconds = step(prepared.program, decode_batch(1, context)).seconds
    assert seconds == pytest.approx(PIPELINE.token_s(context))


@pytest.mark.parametrize("batch", [130, 216])
def test_many_sequences_leave_one_a_slot(prepared: Prepared, batch: int) -> None:
    seconds = step(prepared.program, decode_batch(batch, 256)).seconds
    assert seconds == pytest.approx(max(batch * PIPELINE.slot_s(256), PIPELINE.token_s(256)))


def test_prompts_fill_slots_token_by_token(prepared: Prepared) -> None:
    short, long = (step(prepared.program, prefill_batch(1, n)).seconds for n in (10, 2000))
    assert short == pytest.approx(PIPELINE.token_s(5.5))
    assert long == pytest.approx(2000 * PIPELINE.slot_s(0.0))


def test_full_pipeline_saturates_at_the_published_rate() -> None:
    """Table 2: 249,960 tokens/s; 216 clients that decode 1,000 tokens each."""
    traffic = {"closed": {"concurrency": 216, "requests": 432, "input": 8, "output": 1000}}
    run = sim.simulate("gpt-oss-azure-hnlpu", traffic=traffic)
    rate = run.metrics["throughput_tok_per_s"] + run.metrics["prefill_tok_per_s"]
    assert rate == pytest.approx(249_960, rel=0.01)


def test_events_equal_closed_form_without_contention(prepared: Prepared) -> None:
    traffic = {"closed": {"concurrency": 1, "requests": 1, "input": 100, "output": 50,
                          "start": "cold"}}  # fmt: skip
    run = sim.simulate("gpt-oss-azure-hnlpu", traffic=traffic)
    times = request_times(prepared.program, 100, 50)
    assert run.requests["e2e_s"].iloc[0] == pytest.approx(times[-1])


def test_long_contexts_wait_for_attention_then_for_memory(prepared: Prepared) -> None:
    """Attention passes the slot at 100 Ki tokens; at 8 bits a chip holds 138,889 / 16 x 16."""
    rates = [216 / step(prepared.program, decode_batch(216, int(n * KI))).seconds
             for n in (2, 64, 128, 256)]  # fmt: skip
    assert (np.diff(rates) <= 1e-6).all()
    assert rates[0] == pytest.approx(250_000, rel=1e-3)
    # 1 TB/s a chip: 128 Ki tokens of 2,304 B each are 0.3 ms a sequence
    held = 128 * KI * 2304 * 216 - 320e6
    assert rates[2] == pytest.approx(216 / (held / 1e12), rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "gpt-oss-20b"}, "has gpt-oss-120b in its metal layers"),
        ({"system": {"device": "hnlpu", "count": 8}}, "grid of 4 x 4 chips, not on 8"),
    ],
)
def test_metal_cannot_change(changes: dict[str, object], words: str) -> None:
    with pytest.raises(Infeasible, match=words):
        prepare(load_scenario("gpt-oss-azure-hnlpu", **changes))
