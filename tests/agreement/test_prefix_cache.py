"""The prefix cache against plain counts of what earlier prompts have left."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import program, serve_trace, trace
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.engines.scheduler import Scheduler
from sim.engines.serving.outcome import Outcome
from sim.errors import ConfigError, Infeasible
from sim.kernel.records import DONE
from sim.results.simulate import simulate
from sim.workload.traffic import Blocks, Trace
from sim.workload.traffic.readers import read_trace

PLENTY = 2.0**50
TOKENS = 8
"""Of a block of the small traces here."""


def with_blocks(requests: Trace, rows: list[list[int]], tokens: int = TOKENS) -> Trace:
    ids = np.array([block for row in rows for block in row], np.int64)
    starts = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return replace(requests, blocks=Blocks(ids=ids, starts=starts, tokens=tokens))


def run(requests: Trace, kv_B: float = PLENTY, kind: str = "dense", **spec: object) -> Outcome:
    chosen = {"kv_block": 1, "watermark": 0.0, **spec}
    scheduler = Scheduler(prefix_cache=True, **chosen)  # type: ignore[arg-type]
    (outcome,) = serve_trace(program(kind), scheduler, kv_B, requests).outcomes
    return outcome


def served_by(scheduler: str, requests: Trace) -> Outcome:
    spec = Scheduler(kind=scheduler, prefix_cache=True, kv_block=1, watermark=0.0)  # type: ignore[arg-type]
    (outcome,) = serve_trace(program("dense"), spec, PLENTY, requests).outcomes
    return outcome


def whole_blocks(requests: Trace) -> list[list[int]]:
    """Blocks that a prompt fills, of each request."""
    assert requests.blocks is not None
    of = requests.blocks
    return [
        of.ids[first : first + min(last - first, int(prompt) // of.tokens)].tolist()
        for first, last, prompt in zip(
            of.starts[:-1], of.starts[1:], requests.input_tokens, strict=True
        )
    ]


def counted(requests: Trace, most: int | None = None) -> list[int]:
    """Tokens that each request finds, one after the other, with room for `most` blocks.

    The block used least recently goes; the first of a prompt counts as used last.
    """
    assert requests.blocks is not None
    tokens, kept, found = requests.blocks.tokens, OrderedDict[int, None](), []
    for prompt, blocks in zip(requests.input_tokens, whole_blocks(requests), strict=True):
        known = 0
        while known < min(len(blocks), (int(prompt) - 1) // tokens) and blocks[known] in kept:
            known += 1
        found.append(known * tokens)
        own: list[int] = []
        for block in blocks:
            if block not in kept and most is not None and len(kept) >= most:
                oldest = next((each for each in kept if each not in own), None)
                if oldest is None:
                    break
                del kept[oldest]
            kept[block] = None
            own.append(block)
        for block in reversed(own):
            kept.move_to_end(block)
    return found


@st.composite
def conversations(draw: st.DrawFn) -> Trace:
    """Requests whose prompts begin with some of a few texts."""
    rows, arrivals = [], []
    for index in range(draw(st.integers(1, 12))):
        text = draw(st.integers(0, 2))
        rows.append([text * 10 + block for block in range(draw(st.integers(0, 6)))])
        arrivals.append((index * draw(st.sampled_from((1e-5, 1.0))), 1 + len(rows[-1]) * TOKENS, 3))
    return with_blocks(trace(*sorted(arrivals)), rows)


@pytest.mark.parametrize("kind", ["chunked-prefill", "continuous", "layered-prefill"])
@settings(max_examples=50)
@given(requests=conversations())
def test_without_a_limit_every_whole_block_is_found_again(kind: str, requests: Trace) -> None:
    got = served_by(kind, requests)
    assert got.requests["cached"].tolist() == counted(requests)


@settings(max_examples=80)
@given(requests=conversations(), most=st.integers(1, 14))
def test_one_at_a_time_with_some_blocks_it_is_lru(requests: Trace, most: int) -> None:
    got = run(requests, max_batch=1, prefix_blocks=most)
    assert got.requests["cached"].tolist() == counted(requests, most)


@settings(max_examples=60)
@given(requests=conversations(), tokens=st.integers(60, 200), kind=st.sampled_from(
    ["chunked-prefill", "continuous", "layered-prefill", "prefill-first"]))  # fmt: skip
def test_memory_adds_up_whatever_is_shared(requests: Trace, tokens: int, kind: str) -> None:
    token_B = float(program("dense").streams["kv_B"].sum())
    scheduler = Scheduler(
        kind=kind,  # type: ignore[arg-type]
        prefix_cache=True, kv_block=1, watermark=0.0, token_budget=16,
    )  # fmt: skip
    (got,) = serve_trace(program("dense"), scheduler, tokens * token_B, requests).outcomes
    assert got.kv_peak_B <= tokens * token_B * (1.0 + 1e-12)
    assert (got.requests["status"] == DONE).all()
    assert (got.requests["shared"] == 0).all()
    assert (got.requests["kv_B"] == 0.0).all()
    if not got.preemptions:
        computed = requests.input_tokens.sum() - got.cached_tokens
        assert got.prefill_tokens == computed


def test_a_prompt_preempted_on_its_way_leaves_only_what_it_computed() -> None:
    """Two sequences grow into the memory of a third, which is cut in chunks."""
    rows = [[0], [1], list(range(2, 22))]
    requests = with_blocks(trace((0.0, 9, 60), (0.0, 9, 60), (1e-9, 161, 3)), rows)
    token_B = float(program("dense").streams["kv_B"].sum())
    scheduler = Scheduler(
        kind="chunked-prefill", prefix_cache=True, kv_block=1, watermark=0.0, token_budget=9
    )
    (got,) = serve_trace(program("dense"), scheduler, 190 * token_B, requests).outcomes
    assert got.preemptions > 0
    assert got.prefill_tokens >= requests.input_tokens.sum()


def test_a_cached_prompt_is_not_computed_again() -> None:
    rows = [[1, 2, 3, 4], [1, 2, 3, 4]]
    apart = with_blocks(trace((0.0, 33, 2), (1.0, 33, 2)), rows)
    got = run(apart)
    first, second = got.requests["first_s"] - got.requests["arrival_s"]
    assert second < first
    assert got.prefill_tokens == 33 + 1
    assert run(replace(apart, blocks=None)).prefill_tokens == 66


def test_models_that_can_t_share_say_so() -> None:
    requests = with_blocks(trace((0.0, 33, 2)), [[1, 2]])
    for kind in ("sliding", "hybrid", "encoder-decoder"):
        with pytest.raises(Infeasible, match="prefix cache needs attention to all earlier tokens"):
            run(requests, kind=kind)


def test_a_trace_without_blocks_is_refused() -> None:
    with pytest.raises(ConfigError, match="hash_ids"):
        simulate("llama-8b-azure-h100", sets=["traffic.limit=5", "scheduler.prefix_cache=true"])


@pytest.fixture(scope="module")
def mooncake(measured_data: Path) -> Trace:
    return read_trace(measured_data / "traces" / "mooncake_conversation.jsonl.gz")


def test_mooncake_with_room_for_all_is_the_offline_count(mooncake: Trace) -> None:
    got = run(mooncake, kv_block=16, max_batch=256)
    assert got.requests["cached"].tolist() == counted(mooncake)
    assert 0.3 < got.cached_tokens / got.asked_tokens < 0.5


@pytest.mark.parametrize("most", [1000, 10_000])
def test_mooncake_with_some_blocks_one_at_a_time_is_lru(mooncake: Trace, most: int) -> None:
    got = run(mooncake, kv_block=16, max_batch=1, prefix_blocks=most)
    assert got.requests["cached"].tolist() == counted(mooncake, most)
