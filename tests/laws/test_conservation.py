"""What serving conserves: requests, tokens, cache bytes, seconds and joules."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from builders import SCHEDULERS, program, served, trace
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import TRACES, check_sums, schedulers

from sim.engines.scheduler import Scheduler
from sim.engines.serving.outcome import Outcome
from sim.engines.serving.replica import policy_record
from sim.kernel import sequences
from sim.kernel.records import DECODE, DONE, LOG_COLUMNS, PREFILL, REJECTED, TOKENS
from sim.mapping.program import Program
from sim.workload.traffic import Trace

PROGRAMS = {
    kind: program(kind, "PIM")
    for kind in ("dense", "sliding", "moe", "hybrid", "encoder-decoder", "vision-language")
}
PROGRAMS["shared experts"] = program("moe", "PIM", coprocessing="pe")
PROGRAMS["groups"] = program("moe", "PIM", count=4, attention_dp=2, ep=2, coprocessing="pe+et")


def any_run(test: Callable[..., None]) -> Callable[..., None]:
    """Run `test` on any small trace, scheduler, model and memory."""
    run = given(
        st.sampled_from(sorted(PROGRAMS)), schedulers(SCHEDULERS), TRACES, st.floats(0.5, 5.0)
    )(test)
    return settings(max_examples=60)(run)


def run(kind: str, scheduler: Scheduler, requests: Trace, room: float) -> tuple[Program, Outcome]:
    of = PROGRAMS[kind]
    kv_B = (of.streams["kv_B"].sum() * 180 + of.state_B) * room
    return of, served(of, scheduler, kv_B, requests, log=20_000)


@any_run
def test_every_request_ends_and_gets_its_tokens(
    kind: str, scheduler: Scheduler, requests: Trace, room: float
) -> None:
    _, got = run(kind, scheduler, requests, room)
    made = got.requests
    done = made["status"] == DONE
    assert (done | (made["status"] == REJECTED)).all()
    assert (made["generated"] == np.where(done, made["output"], 0)).all()
    assert got.generated_tokens == made["output"][done].sum()
    assert got.preemptions == made["preemptions"].sum()
    if not got.preemptions:
        assert got.prefill_tokens == made["input"][done].sum()
    else:
        assert got.prefill_tokens > made["input"][done].sum()
    gaps = made["output"][done].sum() - done.sum()
    assert got.gaps[:, 1].sum() == gaps


@any_run
def test_times_are_in_order(kind: str, scheduler: Scheduler, requests: Trace, room: float) -> None:
    _, got = run(kind, scheduler, requests, room)
    made = got.requests[got.requests["status"] == DONE]
    assert (made["admitted_s"] >= made["arrival_s"]).all()
    assert (made["first_s"] > made["admitted_s"]).all()
    assert (made["last_s"] >= made["first_s"]).all()
    assert (made["last_s"] <= got.end_s).all()
    assert (np.diff(made["admitted_s"]) >= 0.0).all()  # first come, first served
    total = (made["last_s"] - made["first_s"]).sum()
    assert (got.gaps[:, 0] * got.gaps[:, 1]).sum() == pytest.approx(total, rel=1e-9)
    if len(made):
        assert made["max_gap_s"].max() == pytest.approx(got.gaps[:, 0].max(initial=0.0), rel=1e-9)


@any_run
def test_memory_is_never_overdrawn_and_comes_back(
    kind: str, scheduler: Scheduler, requests: Trace, room: float
) -> None:
    of, got = run(kind, scheduler, requests, room)
    assert got.kv_peak_B <= got.kv_capacity_B
    assert (got.requests["kv_B"] == 0.0).all()
    rejected = got.requests[got.requests["status"] == REJECTED]
    policy = policy_record(scheduler, got.kv_capacity_B, of)[0]
    for request in rejected:
        whole = sequences.kv_bytes(
            of.streams, policy, request["input"], request["input"] + request["output"]
        )
        assert whole > got.kv_capacity_B


@any_run
def test_seconds_and_joules_add_up(
    kind: str, scheduler: Scheduler, requests: Trace, room: float
) -> None:
    of, got = run(kind, scheduler, requests, room)
    check_sums(of, got)
    # iterations follow one another
    assert (got.log[1:, 0] >= (got.log[:-1, 0] + got.log[:-1, 1]) * (1 - 1e-12)).all()


@any_run
def test_bytes_written_to_the_cache_are_the_bytes_it_holds(
    kind: str, scheduler: Scheduler, requests: Trace, room: float
) -> None:
    """Tokens computed are the prompts, what was computed again, and each output but the last."""
    of, got = run(kind, scheduler, requests, room)
    if of.streams["kind"][0] != 0:
        return  # the decoder's tokens are counted in its own stream
    features = got.log[:, LOG_COLUMNS:].reshape(len(got.log), len(of.streams), 4, 4)
    prompts = features[:, 0, PREFILL, TOKENS].sum()
    assert prompts == got.prefill_tokens == got.log[:, 3].sum()
    decoded = features[:, 0, DECODE, TOKENS].sum()
    assert decoded == got.log[:, 2].sum()
    prefills = (got.requests["status"] == DONE).sum() + got.preemptions
    # a prefill that runs to its end gives a token too; one preempted in its midst does not
    emitted = got.generated_tokens - decoded
    assert emitted <= prefills
    if not got.preemptions:
        assert emitted == prefills
        done = got.requests[got.requests["status"] == DONE]
        held = done["input"] + done["output"] - 1
        per_token = of.streams["kv_B"].sum()
        assert (prompts + decoded) * per_token == pytest.approx(held.sum() * per_token, rel=1e-12)


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_kv_peak_is_what_the_last_step_of_a_stretch_holds(kind: str) -> None:
    """The memory is fullest just before a request gives it back."""
    of = program("dense")
    scheduler = Scheduler(kind=kind, kv_block=1, watermark=0.0)  # type: ignore[arg-type]
    got = served(of, scheduler, 2.0**30, trace((0.0, 10, 31), (0.0, 20, 31)))
    held = (10 + 30) + (20 + 30)  # the last token of each is never cached
    assert got.kv_peak_B == held * of.streams["kv_B"].sum()
