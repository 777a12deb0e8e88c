"""Laws of speculation: its limits, what it conserves, and when it pays."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from builders import drafted, program, served, trace
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import TRACES, check_sums, schedulers

from sim.config.scenarios import load_scenario
from sim.engines.roofline import decode_batch, drafting, step
from sim.engines.scheduler import Scheduler
from sim.kernel.records import BUSY_S, DONE, REJECTED, SECONDS
from sim.kernel.speculation import accepted_tokens
from sim.mapping.program import Program
from sim.simulation.prepare import Prepared, prepare
from sim.workload.speculation import Speculation, draws_of
from sim.workload.traffic import Trace

KINDS = ("chunked-prefill", "continuous", "prefill-first", "static")
PLENTY = 2.0**30
PROGRAMS = {
    "dense": drafted("dense"),
    "windows": drafted("sliding", "small", 4, (0.9, 0.2, 1.0, 0.5), on="PIM"),
    "mtp": drafted("moe", "mtp", 1, on="PIM"),
    "self": drafted("dense", "self", 6),
    "groups": drafted("moe", "mtp", 2, count=4, attention_dp=2, ep=4),
}


def many(count: int, prompt: int = 30, output: int = 60, apart_s: float = 1e-4) -> Trace:
    return trace(*((apart_s * i, prompt + i % 7, output + i % 11) for i in range(count)))


# --- limits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [1, 3, 5])
def test_all_accepted_gives_all_of_them_and_one_more_each_step(tokens: int) -> None:
    output = 61
    got = served(drafted("dense", tokens=tokens, acceptance=1.0), Scheduler(), PLENTY,
                 trace((0.0, 10, output)))  # fmt: skip
    steps = -(-(output - 1) // (tokens + 1))
    assert got.iterations == 1 + steps
    assert got.verified == steps
    assert got.accepted_tokens == steps * tokens  # drawn, also where the answer ends before
    assert got.gaps[:, 1].sum() == steps
    assert got.generated_tokens == output


def test_none_accepted_gives_one_token_a_step_and_costs_more() -> None:
    requests = many(20)
    got = served(drafted("dense", acceptance=0.0), Scheduler(), PLENTY, requests)
    plain = served(program("dense"), Scheduler(), PLENTY, requests)
    assert got.accepted_tokens == 0
    assert got.verified == (requests.output_tokens - 1).sum()
    assert got.generated_tokens == plain.generated_tokens
    assert (got.requests["last_s"] > plain.requests["last_s"]).all()
    assert got.operator_joules > plain.operator_joules


def test_speed_up_follows_from_two_iteration_times() -> None:
    """One request alone whose drafts are all accepted, timed by hand."""
    of, plain = drafted("dense", tokens=3, acceptance=1.0), program("dense")
    prompt, output = 32, 41  # 10 steps of 4 tokens, or 40 of one
    own_s = sum(step(of, decode_batch(1, prompt + n)).seconds for n in range(1, output, 4))
    plain_s = sum(step(plain, decode_batch(1, prompt + n)).seconds for n in range(1, output))
    requests = trace((0.0, prompt, output))
    times = []
    for each in (of, plain):
        (request,) = served(each, Scheduler(), PLENTY, requests).requests
        times.append(request["last_s"] - request["first_s"])
    assert times[0] == pytest.approx(own_s, rel=1e-9)
    assert times[1] / times[0] == pytest.approx(plain_s / own_s, rel=1e-9)
    assert times[1] > times[0]


def test_a_draft_pass_is_what_the_draft_alone_takes() -> None:
    """In the model's table as by itself: operators, layers and features are the same."""
    of = drafted("dense", tokens=3)
    alone = served_alone()
    rows = step(of, decode_batch(4, 50)).rows[of.drafts]
    passes = sum(
        step(alone, decode_batch(4, 50 + number)).rows[:, SECONDS].sum() for number in range(3)
    )
    assert rows[:, SECONDS].sum() == pytest.approx(passes, rel=1e-9)


def served_alone() -> Program:
    """The small draft as a model of its own."""
    from builders import DEVICES, SMALL, system

    from sim.dtypes import Precision
    from sim.mapping.assemblies import assemble
    from sim.mapping.layout import Parallel
    from sim.mapping.parallelism import plan
    from sim.workload.layers import build_graph

    graph, machines = build_graph(SMALL), system(DEVICES["one unit"])
    return assemble(graph, machines, plan(graph, machines, Parallel()), Precision())


def test_verification_reads_weights_and_cache_once() -> None:
    """What the model reads a step doesn't grow with the tokens drafted; experts touched do."""
    few, lots = (step(drafted("moe", tokens=k), decode_batch(3, 40)) for k in (1, 7))
    weights = few.features[0, 0, 0], lots.features[0, 0, 0]
    assert weights == (6.0, 24.0)
    assert lots.features[0, 2, 2] - few.features[0, 2, 2] == 3 * 6  # the new tokens themselves
    assert lots.experts[0, 0] > few.experts[0, 0]


# --- acceptance -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "acceptance", [(0.7,) * 4, (0.85,), (0.9, 0.6, 0.3), (0.0, 1.0), (1.0, 0.5)]
)
def test_accepted_tokens_follow_the_acceptance(acceptance: tuple[float, ...]) -> None:
    """How often 0, 1 ... tokens are accepted, against the products of probabilities: chi-squared.

    A fixed seed; the bound is exceeded by chance once in 10,000.
    """
    from scipy.stats import chi2

    speculation = Speculation(draft="mtp", tokens=len(acceptance), acceptance=acceptance)
    keys = draws_of(3, np.arange(400))
    found = np.array([[accepted_tokens(speculation.reached, key, n) for n in range(1, 51)]
                      for key in keys])  # fmt: skip
    reached = np.concatenate([[1.0], speculation.reached, [0.0]])
    wanted = found.size * -np.diff(reached)
    counts = np.bincount(found.ravel(), minlength=len(acceptance) + 1)
    assert (counts[wanted == 0.0] == 0).all()
    there = wanted > 0.0
    distance = ((counts - wanted)[there] ** 2 / wanted[there]).sum()
    assert distance <= chi2.ppf(0.9999, max(there.sum() - 1, 1))
    # what comes next doesn't follow from what came
    if there.sum() > 1:
        for one, other in ((found[:, :-1], found[:, 1:]), (found[:-1], found[1:])):
            related = np.corrcoef(one.ravel(), other.ravel())[0, 1]
            assert abs(related) < 4.0 / np.sqrt(one.size)


@pytest.mark.parametrize(("tokens", "each"), [(1, 0.85), (4, 0.7), (8, 0.9)])
def test_mean_tokens_a_step_equal_the_closed_form(tokens: int, each: float) -> None:
    """(1 - a^(k + 1)) / (1 - a), equation 1 of Leviathan et al., within four standard errors."""
    of = drafted("dense", tokens=tokens, acceptance=each)
    got = served(of, Scheduler(max_batch=64), PLENTY, many(300, output=100))
    expected = (1.0 - each ** (tokens + 1)) / (1.0 - each)
    assert of.tokens_per_step == pytest.approx(expected, rel=1e-12)
    chances = -np.diff(np.concatenate([[1.0], each ** np.arange(1, tokens + 1), [0.0]]))
    squares = (chances * np.arange(tokens + 1) ** 2).sum()
    error = np.sqrt((squares - (expected - 1.0) ** 2) / got.verified)
    assert abs(1.0 + got.accepted_tokens / got.verified - expected) < 4.0 * error


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_tokens_are_accepted_whoever_schedules(kind: str) -> None:
    requests = many(40)
    base = served(PROGRAMS["dense"], Scheduler(), PLENTY, requests)
    got = served(
        PROGRAMS["dense"],
        Scheduler(kind=kind, max_batch=5, token_budget=24),  # type: ignore[arg-type]
        PLENTY,
        requests,
    )
    assert (got.verified, got.accepted_tokens) == (base.verified, base.accepted_tokens)
    other = served(drafted("dense", seed=1), Scheduler(), PLENTY, requests)
    assert other.accepted_tokens != base.accepted_tokens


def test_time_a_token_falls_as_more_is_accepted() -> None:
    requests = many(200)
    times = []
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0):
        got = served(drafted("dense", acceptance=share), Scheduler(), PLENTY, requests).requests
        times.append(float(((got["last_s"] - got["first_s"]) / (got["output"] - 1)).mean()))
    assert (np.diff(times) < 0.0).all()


# --- conservation -----------------------------------------------------------------------------


@settings(max_examples=80)
@given(
    name=st.sampled_from(sorted(PROGRAMS)),
    scheduler=schedulers(KINDS),
    requests=TRACES,
    room=st.floats(0.5, 5.0),
)
def test_requests_tokens_memory_seconds_and_joules_are_conserved(
    name: str, scheduler: Scheduler, requests: Trace, room: float
) -> None:
    of = PROGRAMS[name]
    got = served(of, scheduler, of.streams["kv_B"].sum() * 180 * room, requests, log=20_000)
    made = got.requests
    done = made["status"] == DONE
    assert (done | (made["status"] == REJECTED)).all()
    assert (made["generated"] == np.where(done, made["output"], 0)).all()
    assert got.generated_tokens == made["output"][done].sum()
    assert got.accepted_tokens <= got.verified * of.ahead
    assert (got.preemptions > 0) == (got.prefill_tokens > made["input"][done].sum())
    # memory
    assert got.kv_peak_B <= got.kv_capacity_B
    assert (made["kv_B"] == 0.0).all()
    # every step of a sequence ends one gap, but for those in which a prefill gives its first token
    total_s = (made["last_s"] - made["first_s"])[done].sum()
    assert (got.gaps[:, 0] * got.gaps[:, 1]).sum() == pytest.approx(total_s, rel=1e-9, abs=1e-15)
    again = got.gaps[:, 1].sum() - got.verified
    assert 0 <= again <= got.preemptions
    # seconds and joules
    check_sums(of, got)


def test_candidates_need_room_in_memory() -> None:
    """A request fits where its answer and the tokens drafted beyond it do, and not in one less."""
    of = PROGRAMS["dense"]
    scheduler = Scheduler(kv_block=1, watermark=0.0)
    tokens = 20 + 30 + of.ahead
    for room, status in ((tokens, DONE), (tokens - 1, REJECTED)):
        got = served(of, scheduler, of.streams["kv_B"].sum() * room, trace((0.0, 20, 30)))
        assert got.requests["status"].tolist() == [status]
    # without speculation the answer is enough
    plain = program("dense")
    got = served(plain, scheduler, plain.streams["kv_B"].sum() * 50, trace((0.0, 20, 30)))
    assert got.requests["status"].tolist() == [DONE]


# --- on real devices --------------------------------------------------------------------------

SMALL_DRAFT = {"draft": "llama-3.2-1b", "tokens": 4, "acceptance": 0.7}


@cache
def ready(model: str, system: str, draft: str = "", **more: Any) -> Prepared:
    speculation = {**SMALL_DRAFT, "draft": draft, **more} if draft else None
    return prepare(
        load_scenario(
            {
                "model": model,
                "system": system,
                "traffic": {"closed": {"concurrency": 8, "requests": 16, "input": 900}},
                "scheduler": {"kind": "chunked-prefill", "max_batch": 512},
                "speculation": speculation,
            }
        )
    )


def speedup(own: Program, plain: Program, batch: int, context: int = 1024) -> float:
    alone_s, own_s = (step(each, decode_batch(batch, context)).seconds for each in (plain, own))
    return own.tokens_per_step * alone_s / own_s


def test_speculation_pays_for_few_sequences_and_not_for_many() -> None:
    """Verification rides on weights that are read anyway, until arithmetic is what takes time."""
    own = ready("llama-3.1-70b", "h100-x4", "llama-3.2-1b").program
    plain = ready("llama-3.1-70b", "h100-x4").program
    gains = [speedup(own, plain, batch) for batch in (1, 16, 64, 256, 512)]
    assert (np.diff(gains) < 0.0).all()
    assert gains[0] > 2.0
    assert gains[-1] < 0.9


def test_one_sequence_gains_what_leviathans_formula_says() -> None:
    """Theorem 3.8: (1 - a^(k + 1)) / ((1 - a) (k c + 1)), c a draft's pass over the model's.

    It takes verification to cost no more than a pass with one token; at one sequence that is
    nearly so, and never less.
    """
    own = ready("llama-3.1-70b", "h100-x4", "llama-3.2-1b").program
    plain = ready("llama-3.1-70b", "h100-x4").program
    alone = step(plain, decode_batch(1, 1024))
    rows = step(own, decode_batch(1, 1024)).rows[drafting(own).drafts]
    ratio = rows[:, BUSY_S].sum() / 4.0 / alone.seconds
    assert 0.0 < ratio < 0.2
    formula = (1.0 - 0.7**5) / ((1.0 - 0.7) * (4.0 * ratio + 1.0))
    assert 0.95 * formula < speedup(own, plain, 1) < formula


def test_the_module_of_deepseek_v3_gains_about_what_its_paper_says() -> None:
    """85 to 90 % of second tokens accepted, 1.8 times the tokens a second (section 5.4.3).

    The paper doesn't say at which batch. Here one sequence gains 1.74 to 1.78 times, and where
    each further token means further experts to read it is less: never above what is accepted.
    """
    plain = ready("deepseek-v3", "h200-x8").program
    for share in (0.85, 0.9):
        own = ready("deepseek-v3", "h200-x8", "mtp", tokens=1, acceptance=share).program
        gains = [speedup(own, plain, batch) for batch in (1, 64)]
        assert 1.7 < gains[0] < 1.0 + share
        assert 1.4 < gains[1] < gains[0]


def test_the_draft_takes_memory() -> None:
    """Its weights, and keys and values of its own, but for what is the model's."""
    base = ready("llama-3.1-8b", "h100-x1")
    small = ready("llama-3.1-8b", "h100-x1", "llama-3.2-1b")
    itself = ready("llama-3.1-8b", "h100-x1", "self", layers=8)
    weights = small.budget.weights_B - base.budget.weights_B
    assert weights == pytest.approx(1.236e9 * 2, rel=0.002)
    assert itself.budget.weights_B == base.budget.weights_B
    per_token = [each.program.streams["kv_B"].sum() for each in (base, small, itself)]
    assert per_token[1] - per_token[0] == 2 * 2 * 8 * 64 * 16  # bytes, K and V, heads, dim, layers
    assert per_token[2] == per_token[0]
