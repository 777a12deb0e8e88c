"""Policies of the user's: they do what the built-in ones do, and what they can't is told."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from builders import program, served, trace
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.engines.policy import Iteration, Prompt, View
from sim.engines.scheduler import Scheduler
from sim.engines.serving.outcome import Outcome
from sim.errors import ConfigError
from sim.kernel.records import DONE, REJECTED
from sim.workload.traffic import Trace

PLENTY = 2.0**30
EXACT = 1e-12
Policy = Callable[[View], Iteration]


def left(view: View, number: int) -> int:
    own = view.requests[number]
    return int(own["target"] - own["prefilled"])


def chunked(view: View, budget: int = 24) -> Iteration:
    """Decodes first, then prompts that have begun, then the queue, up to a budget of tokens."""
    room, free_B = view.max_batch - len(view.running), view.free_B
    budget -= len(view.decoding)
    prompts = []
    for number in (*view.prefilling, *view.waiting):
        if number in view.waiting:
            free_B -= view.need_B(number)
            room -= 1
            if room < 0 or free_B < 0.0:
                break
        if budget <= 0:
            break
        prompts.append(Prompt(int(number), min(budget, left(view, number))))
        budget -= prompts[-1].tokens
    return Iteration(view.decoding, prompts)


def layered(view: View, groups: int = 2) -> Iteration:
    """One prompt at a time passes one of two groups of layers an iteration."""
    on_way = [number for number in view.running if view.requests[number]["on_way"]]
    number = next((int(each) for each in (*on_way, *view.waiting)), None)
    if number is None:
        return Iteration(view.decoding)
    first = int(view.requests[number]["layer"])
    prompt = Prompt(number, left(view, number), first, first + view.layers // groups)
    return Iteration(view.decoding, [prompt])


def run(
    policy: Policy | None, requests: Trace, kv_B: float = PLENTY, log: int = 100, **spec: object
) -> Outcome:
    scheduler = Scheduler(policy=policy, watermark=0.0, kv_block=1, **spec)  # type: ignore[arg-type]
    return served(program("dense"), scheduler, kv_B, requests, log=log)


def same(one: Outcome, other: Outcome) -> None:
    assert one.iterations == other.iterations
    for column in ("admitted_s", "first_s", "last_s", "max_gap_s", "preemptions", "status"):
        assert one.requests[column] == pytest.approx(other.requests[column], rel=EXACT, nan_ok=True)
    assert one.seconds == pytest.approx(other.seconds, rel=EXACT)
    assert one.joules == pytest.approx(other.joules, rel=EXACT)
    assert one.kv_peak_B == pytest.approx(other.kv_peak_B, rel=EXACT)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    row = st.tuples(st.floats(0.0, 3e-3), st.integers(1, 40), st.integers(1, 25))
    return trace(*sorted(draw(st.lists(row, min_size=1, max_size=7))))


@settings(max_examples=40)
@given(requests=traces(), max_batch=st.integers(1, 6))
def test_chunked_in_python_is_chunked_compiled(requests: Trace, max_batch: int) -> None:
    spec = {"kind": "chunked-prefill", "token_budget": 24, "max_batch": max_batch}
    same(run(chunked, requests, **spec), run(None, requests, **spec))


def test_layered_in_python_is_layered_compiled() -> None:
    """Prompts so far apart that no two are ever a cohort."""
    requests = trace(*((i * 1e-2, 12 + 5 * i, 9) for i in range(6)))
    spec = {"kind": "layered-prefill", "groups": 2, "group_tokens": 1}
    same(run(layered, requests, log=0, **spec), run(None, requests, log=0, **spec))


@settings(max_examples=40)
@given(requests=traces(), seed=st.integers(0, 99), tokens=st.integers(60, 400))
def test_whatever_a_policy_asks_for_tokens_and_memory_add_up(
    requests: Trace, seed: int, tokens: int
) -> None:
    rng = np.random.default_rng(seed)
    sizes = []

    def whimsical(view: View) -> Iteration:
        """Some of the decodes, some of the prompts, through some of the layers."""
        sizes.append(view.free_B)
        decode = [number for number in view.decoding if rng.random() < 0.8]
        prompts, free_B = [], view.free_B
        for number in (*view.prefilling, *view.waiting):
            own = view.requests[number]
            if own["status"] == 0:
                free_B -= view.need_B(number)
                if free_B < 0.0 or len(view.running) + len(prompts) >= view.max_batch:
                    break
            most = int(own["on_way"]) or int(rng.integers(1, left(view, number) + 1))
            last = int(rng.integers(own["layer"] + 1, view.layers + 1))
            prompts.append(Prompt(int(number), most, int(own["layer"]), last))
        if not decode and not prompts:
            decode = list(view.decoding)
        return Iteration(decode, prompts)

    token_B = float(program("dense").streams["kv_B"].sum())
    got = run(whimsical, requests, kv_B=tokens * token_B, log=0, max_batch=4)
    done = got.requests["status"] == DONE
    assert (done | (got.requests["status"] == REJECTED)).all()
    assert (got.requests["generated"][done] == got.requests["output"][done]).all()
    assert got.generated_tokens == got.requests["output"][done].sum()
    assert got.kv_peak_B <= tokens * token_B * (1.0 + EXACT)
    assert (got.requests["kv_B"] == 0.0).all()
    assert got.seconds.sum() + got.host_s == pytest.approx(got.busy_s, rel=1e-9)


TWO = trace((0.0, 10, 4), (0.0, 12, 4))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Iteration(prompts=[Prompt(7, 1)]), "there is no such request"),
        (Iteration(prompts=[Prompt(-1, 1)]), "there is no such request"),
        (Iteration(decode=[0]), "it does not decode"),
        (Iteration(prompts=[Prompt(0, 11)]), "its tokens are wrong"),
        (Iteration(prompts=[Prompt(0, 0)]), "its tokens are wrong"),
        (Iteration(prompts=[Prompt(0, 10, 1, 4)]), "its layers are wrong"),
        (Iteration(prompts=[Prompt(0, 10, 0, 5)]), "its layers are wrong"),
        (Iteration(prompts=[Prompt(0, 1), Prompt(0, 1)]), "it is named twice"),
        (Iteration(), "nothing more arrives, and it asks for nothing"),
    ],
)
def test_an_impossible_iteration_is_named_with_the_state(answer: Iteration, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        run(lambda view: answer, TWO, log=0)
    assert "2 waiting" in str(caught.value)
    assert "KV memory free" in str(caught.value)


def test_more_than_the_memory_or_the_batch_is_refused() -> None:
    def greedy(view: View) -> Iteration:
        return Iteration((), [Prompt(int(number), left(view, number)) for number in view.waiting])

    token_B = float(program("dense").streams["kv_B"].sum())
    with pytest.raises(ConfigError, match="no KV memory for it"):
        run(greedy, TWO, kv_B=17 * token_B)
    with pytest.raises(ConfigError, match="the batch is full"):
        run(greedy, TWO, max_batch=1)


def test_tokens_on_their_way_go_on_together() -> None:
    def impatient(view: View) -> Iteration:
        if view.requests[0]["on_way"]:
            return Iteration((), [Prompt(0, 3, 2, 4)])
        return Iteration((), [Prompt(0, 8, 0, 2)])

    with pytest.raises(ConfigError, match=r"all of those on their way.*on_way 8"):
        run(impatient, TWO, log=0)


def test_a_prompt_longer_than_what_is_remembered_may_be_cut_by_layers() -> None:
    def halves(view: View) -> Iteration:
        if not len(view.waiting) and not len(view.running):
            return Iteration()
        first = int(view.requests[0]["layer"])
        return Iteration((), [Prompt(0, 20_000, first, first + 2)])

    scheduler = Scheduler(policy=halves, watermark=0.0)
    got = served(program("dense"), scheduler, PLENTY, trace((0.0, 20_000, 1)))
    assert got.iterations == 2
    assert got.seconds.sum() + got.host_s == pytest.approx(got.busy_s, rel=1e-9)


def test_a_timeline_of_cut_layers_is_refused() -> None:
    with pytest.raises(ConfigError, match="can't show prompts that pass some of the layers"):
        run(layered, trace((0.0, 12, 3)))


def test_a_policy_may_let_the_engine_wait_for_more() -> None:
    """Two at a time: nothing is done for the first before the second is there."""

    def pairs(view: View) -> Iteration:
        if len(view.waiting) < 2 and not len(view.running):
            return Iteration()
        prompts = [Prompt(int(number), left(view, number)) for number in view.waiting]
        return Iteration(view.decoding, prompts)

    got = run(pairs, trace((0.0, 10, 3), (1.0, 10, 3)))
    assert got.requests["admitted_s"].tolist() == [1.0, 1.0]
