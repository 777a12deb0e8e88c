"""Are several answers to a prompt fanned out, shared, counted and told as they should be?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from builders import program, serve_trace, trace

import sim
from sim.engines.offload import Tier
from sim.engines.scheduler import Scheduler
from sim.engines.serving.outcome import Outcome
from sim.errors import ConfigError
from sim.workload.traffic import Blocks, Closed, Constant, Gaussian, Poisson, Sessions, Trace
from sim.workload.traffic.arrivals import requests_of
from sim.workload.traffic.samples import BLOCK_TOKENS, fan_out, with_blocks

LENGTHS = {"input": Gaussian(mean=200.0, std=80.0), "output": Gaussian(mean=50.0, std=20.0)}
BASE: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "system": "h100-x1",
    "scheduler": {"kind": "chunked-prefill"},
    "slo": {"ttft": "36 ms", "tbt": "20 ms"},
    "traffic": {
        "poisson": {"rate": "8 /s", "requests": 40, "input": 600,
                    "output": {"gaussian": {"mean": 40, "std": 15}}},
    },
}  # fmt: skip


# --- requests ---------------------------------------------------------------------------------


def test_answers_follow_each_other_and_more_leave_those_before_alone() -> None:
    plain = Poisson(rate_per_s=2.0, requests=300, **LENGTHS)
    one, two, four = (requests_of(replace(plain, samples=n), 7) for n in (1, 2, 4))
    assert one.parent is None
    assert two.parent is not None
    assert two.parent.tolist() == [1 + row // 2 for row in range(600)]
    for name in ("arrival_s", "input_tokens"):
        assert np.array_equal(getattr(four, name), np.repeat(getattr(one, name), 4))
    outputs = four.output_tokens.reshape(-1, 4)
    assert np.array_equal(outputs[:, 0], one.output_tokens)
    assert np.array_equal(outputs[:, :2], two.output_tokens.reshape(-1, 2))
    assert abs(np.corrcoef(outputs.T) - np.eye(4)).max() < 0.2  # drawn apart
    assert abs(outputs.mean(axis=0) - 50.0).max() < 4 * 20 / 300**0.5


def test_a_trace_is_answered_as_long_as_it_was_recorded() -> None:
    made = requests_of(replace(trace((0.0, 9, 2), (1.0, 8, 5)), samples=3), 0)
    assert made.output_tokens.tolist() == [2, 2, 2, 5, 5, 5]
    assert made.arrival_s.tolist() == [0.0] * 3 + [1.0] * 3
    assert made.samples == 1


def test_answers_to_one_prompt_have_its_whole_blocks_in_common_and_nothing_else() -> None:
    made = with_blocks(fan_out(trace((0.0, 40, 9), (0.0, 16, 9), (0.0, 15, 9)), 2, None, 0))
    assert made.blocks is not None
    assert made.blocks.tokens == BLOCK_TOKENS
    parts = np.split(made.blocks.ids, made.blocks.starts[1:-1])
    assert [part.tolist() for part in parts] == [[0, 1], [0, 1], [2], [2], [], []]
    alone = trace((0.0, 40, 9))
    assert with_blocks(alone) is alone  # single answers share nothing


def test_a_session_goes_on_from_its_first_answer() -> None:
    talks = Sessions(
        rate_per_s=1.0, sessions=20, turns=Constant(tokens=3), shared=128, wait=True,
        input=Constant(tokens=70), output=Constant(tokens=130),
    )  # fmt: skip
    one, made = requests_of(talks, 2), requests_of(replace(talks, samples=3), 2)
    assert one.blocks is not None
    assert made.blocks is not None
    assert made.follows is not None
    whole = np.split(one.blocks.ids, one.blocks.starts[1:-1])
    for row, part in enumerate(np.split(made.blocks.ids, made.blocks.starts[1:-1])):
        own, prompt = whole[row // 3], int(made.input_tokens[row]) // 64
        assert np.array_equal(part, own if row % 3 == 0 else own[:prompt])
    later = made.follows.previous >= 0
    assert (made.follows.previous[later] % 3 == 0).all()
    assert later.sum() == 20 * 2 * 3


def test_replicas_get_whole_requests() -> None:
    made = fan_out(trace(*((float(at), 9, 2) for at in range(5))), 2, None, 0)
    of = program("dense", count=2, tp=1, dp=2)
    both = serve_trace(of, Scheduler(), 2.0**40, made).outcomes
    parents = [each.requests["parent"].tolist() for each in both]
    assert parents == [[1, 1, 3, 3, 5, 5], [2, 2, 4, 4]]


# --- by hand ----------------------------------------------------------------------------------

PROMPT, OUTPUTS = 100, (10, 20, 30, 40)
TOKEN_B = float(program("dense").streams["kv_B"].sum())


def by_hand(*, cache: bool, **changes: Any) -> Outcome:
    """One prompt of 100 tokens, 6 whole blocks of 16 and 4 tokens, and four answers."""
    made = replace(
        fan_out(trace((0.0, PROMPT, OUTPUTS[0])), 4, None, 0), output_tokens=np.array(OUTPUTS)
    )
    scheduler = Scheduler(prefix_cache=cache, kv_block=1, watermark=0.0, **changes)
    (outcome,) = serve_trace(program("dense"), scheduler, 2.0**40, with_blocks(made)).outcomes
    return outcome


def most_tokens(prompt: int) -> int:
    """Of answers that get a token each step; a step has memory for what it writes."""
    return max(sum(prompt + step for n in OUTPUTS if n > step) for step in range(max(OUTPUTS)))


@pytest.mark.parametrize("kind", ["continuous", "chunked-prefill", "layered-prefill"])
def test_the_prompt_is_held_and_computed_once_with_a_cache(kind: str) -> None:
    apart, shared = by_hand(cache=False, kind=kind), by_hand(cache=True, kind=kind)
    assert apart.prefill_tokens == 4 * 100
    assert shared.prefill_tokens == 100 + 3 * 4  # the last block isn't whole
    assert apart.kv_peak_B == most_tokens(100) * TOKEN_B
    assert shared.kv_peak_B == (96 + most_tokens(4)) * TOKEN_B
    for each in (apart, shared):
        assert each.generated_tokens == sum(OUTPUTS)
    assert shared.requests["cached"].tolist() == [0, 96, 96, 96]
    assert len(set(shared.requests["first_s"])) == 1  # found in the step that computes it


def test_one_by_one_answers_find_what_the_one_before_left() -> None:
    got = by_hand(cache=True, max_batch=1)
    assert got.requests["cached"].tolist() == [0, 96, 96, 96]
    assert got.kv_peak_B == (PROMPT + OUTPUTS[-1] - 1) * TOKEN_B


def test_chunks_come_one_after_the_other_before_any_answer() -> None:
    """33 tokens a step: the fourth has the last one of the prompt, and 4 of each further answer."""
    got = by_hand(cache=True, kind="chunked-prefill", token_budget=33)
    assert got.requests["cached"].tolist() == [0, 96, 96, 96]
    assert len(set(got.requests["first_s"])) == 1
    assert got.iterations == 4 + OUTPUTS[-1] - 1


def test_without_a_cache_answers_are_requests_of_their_own() -> None:
    plain = trace(*((0.0, PROMPT, each) for each in OUTPUTS))
    scheduler = Scheduler(kv_block=1, watermark=0.0)
    (want,) = serve_trace(program("dense"), scheduler, 2.0**40, plain).outcomes
    got = by_hand(cache=False).requests.copy()
    assert got["parent"].tolist() == [1, 1, 1, 1]
    got["parent"] = 0
    assert got.tobytes() == want.requests.tobytes()


def test_a_loaded_prompt_that_finds_no_place_holds_up_its_own_answers_only() -> None:
    """Two prompts have their first half in a tier; the second doesn't fit beside the first."""
    halves, rests = (
        (list(range(10)), list(range(10, 20))),
        (list(range(20, 30)), list(range(30, 40))),
    )
    rows = [*halves, list(range(100, 140)), list(range(140, 180))]  # one decodes, one fills
    rows += [half + rest for half, rest in zip(halves, rests, strict=True)]
    tokens = [len(row) * 16 + 1 for row in rows]
    arrivals, outputs = (0.0, 0.1, 0.2, 0.3, 1.0, 1.0), (2, 2, 90_000, 2, 3, 3)
    made = trace(*zip(arrivals, tokens, outputs, strict=True))
    named = Blocks(ids=np.concatenate(rows), starts=np.cumsum([0, *map(len, rows)]), tokens=16)
    made = fan_out(replace(made, blocks=named), 2, None, 0)
    tier = Tier(
        name="dram", size_B=2.0**40, bandwidth_B_per_s=np.inf, latency_s=1e-9, energy_J_per_B=0.0
    )
    scheduler = Scheduler(
        kind="continuous", prefix_cache=True, prefix_blocks=80, kv_tiers=(tier,), watermark=0.0,
        max_prefill_tokens=200,
    )  # fmt: skip
    (got,) = serve_trace(program("dense"), scheduler, 2.0**40, made).outcomes
    first, _, second, other = got.requests[-4:]
    assert first["loaded"] == second["loaded"] == 160
    assert second["admitted_s"] == first["admitted_s"]
    assert second["first_s"] > first["first_s"]
    assert other["cached"] == 320
    assert other["first_s"] >= second["first_s"]


# --- results ----------------------------------------------------------------------------------


def test_one_answer_is_as_before() -> None:
    said, unsaid = sim.simulate(BASE, sets=["traffic.samples=1"]), sim.simulate(BASE)
    alike = [{**each.to_json(), "provenance": None} for each in (said, unsaid)]
    assert alike[0] == alike[1]
    assert said.scenario.digest == unsaid.scenario.digest
    assert "samples" not in said.accounts
    assert "parent" not in said.requests
    # the digest of a scenario that says nothing of samples
    assert unsaid.scenario.digest == DIGEST
    assert sim.simulate(BASE, sets=["traffic.samples=2"]).scenario.digest != DIGEST


DIGEST = "de596b5aa1d4cf9d9ae337415dd4733a"


@pytest.mark.parametrize("cache", ["true", "false"])
def test_requests_are_counted_whole(cache: str) -> None:
    run = sim.simulate(BASE, sets=["traffic.samples=3", f"scheduler.prefix_cache={cache}"])
    found = run.to_json()["samples"]
    rows = run.requests
    whole = rows.groupby("parent").agg(
        arrival=("arrival_s", "first"), ttft=("ttft_s", "min"), e2e=("e2e_s", "max"),
        gap=("max_tbt_s", "max"), count=("e2e_s", "size"),
    )  # fmt: skip
    assert len(whole) == 40
    assert (whole["count"] == 3).all()
    duration = run.served.window.until_s - run.served.window.from_s
    assert (found["samples_per_request"], found["arrived"], found["completed"]) == (3.0, 40, 40)
    assert found["rejected"] == 0
    assert found["ttft_s"]["p50"] == pytest.approx(whole["ttft"].median(), rel=1e-12)
    assert found["e2e_s"]["max"] == pytest.approx(whole["e2e"].max(), rel=1e-12)
    assert found["request_rate_per_s"] == pytest.approx(40 / duration)
    assert found["sample_rate_per_s"] == pytest.approx(120 / duration)
    assert run.metrics["request_rate_per_s"] == found["sample_rate_per_s"]
    good = (whole["ttft"] <= 0.036) & (whole["gap"].fillna(0.0) <= 0.02)
    assert 0 < good.sum() < 40
    assert found["attainment"] == good.sum() / 40
    assert found["goodput_req_per_s"] == pytest.approx(good.sum() / duration)


def test_a_long_prompt_is_waited_for_once() -> None:
    """Prompts of 8,000 tokens go one at a time: the last of four answers begins after four."""
    one = {"rate": "1 /s", "requests": 1, "input": 8000, "output": 5}
    alone, apart, shared = (
        sim.simulate(
            BASE | {"traffic": {"poisson": one, "samples": samples},
                    "scheduler": {"kind": "continuous", "prefix_cache": cache}}
        ).requests["ttft_s"].max()
        for samples, cache in ((1, False), (4, False), (4, True))
        if samples > 1 or not cache
    )  # fmt: skip
    assert apart == pytest.approx(4 * alone, rel=0.1)
    assert alone <= shared < 1.2 * alone


def test_clients_that_wait_for_all_answers_send_fewer_requests() -> None:
    closed = {"concurrency": 4, "requests": 30, "input": 300, "output": 40, "start": "cold"}
    run = sim.simulate(BASE | {"traffic": {"closed": closed, "samples": 4}})
    assert "samples" in run.accounts
    assert run.accounts["samples"]["completed"] >= 30
    assert run.accounts["samples"]["arrived"] <= 34
    again = sim.simulate(
        BASE | {"traffic": {"closed": closed, "samples": 4},
                "scheduler": {"kind": "chunked-prefill", "prefix_cache": True}}
    )  # fmt: skip
    assert "prefix_cache" in again.accounts
    # 288 of 300 tokens of three answers of four
    assert again.accounts["prefix_cache"]["hit_rate"] == pytest.approx(0.75 * 288 / 300, rel=0.01)
    explained = sim.explain(run.scenario)
    assert explained.batch["sequences"] == 16


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["traffic.samples=0"], "a whole number from 1 is due"),
        (["traffic.samples=5000"], "a number of answers from 1 to 1,024 is due"),
        (["traffic={closed: {concurrency: 2, requests: 9}, samples: 2}"], "closed.start: cold"),
        (["scheduler.prefix_cache=true"], "or several answers to a prompt (`traffic.samples`)"),
    ],
)
def test_what_can_t_be_is_told(changes: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        sim.simulate(BASE, sets=changes)
    assert words in str(error.value)
    assert len(error.value.problems) == 1


def test_a_python_object_is_checked_too() -> None:
    loop = Closed(concurrency=2, requests=9, start="cold", samples=0, **LENGTHS)
    with pytest.raises(ConfigError, match="a number of answers from 1"):
        requests_of(loop, 0)
    assert isinstance(requests_of(replace(loop, samples=2), 0), Trace)
