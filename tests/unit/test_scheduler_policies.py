"""Each scheduler and memory rule on a few requests, iteration by iteration."""

from __future__ import annotations

import numpy as np
import pytest
from builders import at_once, program, serve_closed, served, trace

from sim.engines.scheduler import Scheduler
from sim.engines.serving.outcome import Outcome
from sim.kernel.records import DONE, REJECTED
from sim.workload.traffic import Closed, Constant

PLENTY = 2.0**30
TOKEN_B = float(program("dense").streams["kv_B"].sum())


def run(
    *requests: tuple[float, int, int], tokens: float = PLENTY / TOKEN_B, **scheduler: object
) -> Outcome:
    settings = {"kv_block": 1, "watermark": 0.0, **scheduler}
    return served(
        program("dense"),
        Scheduler(**settings),  # type: ignore[arg-type]
        tokens * TOKEN_B,
        trace(*requests),
        log=1000,
    )


def iterations(got: Outcome) -> list[tuple[int, int]]:
    """Sequences decoding and prompt tokens of every iteration."""
    return [(int(row[2]), int(row[3])) for row in got.log]


def test_continuous_mixes_a_whole_prompt_with_decodes() -> None:
    got = run((0.0, 10, 4), (1e-9, 100, 2), kind="continuous")
    assert iterations(got) == [(0, 10), (1, 100), (2, 0), (1, 0)]


def test_prefill_first_lets_decodes_wait() -> None:
    got = run((0.0, 10, 4), (1e-9, 100, 2), kind="prefill-first")
    assert iterations(got) == [(0, 10), (0, 100), (2, 0), (1, 0), (1, 0)]


def test_chunked_prefill_decodes_first_and_fills_up_with_chunks() -> None:
    got = run((0.0, 10, 4), (1e-9, 50, 2), kind="chunked-prefill", token_budget=20)
    assert iterations(got) == [(0, 10), (1, 19), (1, 19), (1, 12), (1, 0)]


def test_chunks_of_several_prompts_share_a_budget() -> None:
    got = run((0.0, 12, 1), (0.0, 12, 1), kind="chunked-prefill", token_budget=20)
    assert iterations(got) == [(0, 20), (0, 4)]


def test_decodes_beyond_the_budget_leave_no_room_for_prompts() -> None:
    got = run(*[(0.0, 2, 5)] * 3, (1e-9, 30, 1), kind="chunked-prefill", token_budget=3)
    assert iterations(got)[:3] == [(0, 3), (1, 2), (2, 1)]
    assert all(decoding + prompt <= 3 for decoding, prompt in iterations(got))


def test_whole_prompts_join_up_to_the_limit_and_a_longer_one_goes_alone() -> None:
    got = run((0.0, 30, 1), (0.0, 30, 1), (0.0, 90, 1), kind="continuous", max_prefill_tokens=64)
    assert iterations(got) == [(0, 60), (0, 90)]


def test_max_batch_holds_requests_back() -> None:
    got = run((0.0, 5, 3), (0.0, 5, 3), (0.0, 5, 3), max_batch=2)
    assert iterations(got) == [(0, 10), (2, 0), (2, 0), (0, 5), (1, 0), (1, 0)]
    assert got.requests["admitted_s"][2] == got.requests["last_s"][0]


def test_arrival_during_a_stretch_of_decodes_joins_the_next_iteration() -> None:
    alone = run((0.0, 10, 50))
    middle = alone.log[20, 0] + 0.5 * alone.log[20, 1]
    got = run((0.0, 10, 50), (middle, 7, 1))
    assert iterations(got)[21] == (1, 7)
    assert got.requests["admitted_s"][1] == pytest.approx(alone.log[21, 0], rel=1e-12)


# --- memory -----------------------------------------------------------------------------------


def test_full_reservation_admits_fewer_and_never_preempts() -> None:
    rows = [(0.0, 10, 11)] * 3
    paged = run(*rows, tokens=45)
    full = run(*rows, tokens=45, kv_reserve="full")
    assert iterations(paged)[0] == (0, 30)
    assert paged.preemptions > 0
    assert iterations(full)[0] == (0, 20)
    assert full.preemptions == 0
    assert (paged.requests["status"] == DONE).all()
    assert (full.requests["status"] == DONE).all()


def test_preemption_takes_the_one_admitted_last_and_computes_it_again() -> None:
    # 10 + 10 prompt tokens of 26: both get their 4th token, then one has no room for a 14th
    got = run((0.0, 10, 8), (0.0, 10, 8), tokens=26)
    assert got.requests["preemptions"].tolist() == [0, 1]
    assert iterations(got)[:5] == [(0, 20), (2, 0), (2, 0), (2, 0), (1, 0)]
    recomputed = [prompt for _, prompt in iterations(got)[5:] if prompt]
    assert recomputed == [10 + 4]
    assert got.prefill_tokens == 20 + 14
    assert got.generated_tokens == 16


def test_only_the_one_in_need_goes_when_it_is_the_last() -> None:
    """The youngest makes room by leaving; those before it keep theirs."""
    got = run(*[(0.0, 10, 20)] * 3, tokens=38)
    # 10, 11 and 12 tokens each fit three times; the 13th of the third does not
    assert iterations(got)[:4] == [(0, 30), (3, 0), (3, 0), (2, 0)]
    assert got.requests["preemptions"][0] == 0
    assert (got.requests["status"] == DONE).all()


def test_watermark_keeps_room_at_admission_but_not_for_the_first() -> None:
    two = [(0.0, 10, 2), (0.0, 10, 2)]
    assert iterations(run(*two, tokens=22))[0] == (0, 20)
    assert iterations(run(*two, tokens=22, watermark=0.2))[0] == (0, 10)
    alone = run((0.0, 10, 2), tokens=12, watermark=0.9)
    assert (alone.requests["status"] == DONE).all()


def test_a_request_longer_than_the_memory_is_rejected_and_others_go_on() -> None:
    got = run((0.0, 10, 2), (0.0, 90, 20), (0.0, 10, 2), tokens=100)
    assert got.requests["status"].tolist() == [DONE, REJECTED, DONE]
    assert np.isnan(got.requests["first_s"][1])
    assert got.generated_tokens == 4


def test_blocks_are_allocated_whole() -> None:
    got = run((0.0, 17, 1), kv_block=16)
    assert got.kv_peak_B == 32 * TOKEN_B


# --- closed loop ------------------------------------------------------------------------------


def loop(start: str, **changes: int) -> tuple[Outcome, float]:
    settings = {"concurrency": 4, "requests": 12, **changes}
    closed = Closed(input=Constant(tokens=10), output=Constant(tokens=20), start=start, **settings)  # type: ignore[arg-type]
    number = closed.requests + closed.concurrency
    result = serve_closed(
        program("dense"),
        Scheduler(),
        PLENTY,
        closed,
        at_once(np.full(number, 10), np.full(number, 20)),
        seed=3,
    )
    (outcome,) = result.outcomes
    return outcome, result.window.from_s


def test_cold_start_sends_every_client_at_zero_and_measures_after_a_round() -> None:
    got, measured_from = loop("cold")
    assert (got.requests["arrival_s"][:4] == 0.0).all()
    assert measured_from == got.requests["last_s"][0] == got.requests["arrival_s"][4]
    assert (got.requests["status"] == DONE).sum() == 12


def test_steady_start_has_clients_at_random_progress() -> None:
    got, measured_from = loop("steady")
    ends = np.sort(got.requests["last_s"][:4])
    assert measured_from == 0.0
    assert len(np.unique(ends)) > 1
    assert np.isnan(got.requests["first_s"][:4]).all()
    assert (got.requests["status"] == DONE).sum() >= 12


def test_each_client_sends_its_next_request_when_its_last_one_ends() -> None:
    got, _ = loop("steady")
    ends = np.sort(got.requests["last_s"][got.requests["status"] == DONE])
    begun = got.requests["arrival_s"][4:]
    assert begun == pytest.approx(ends[: len(begun)], rel=1e-12)
