"""Sessions: prompts that hold what was said before, and what a prefix cache makes of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.errors import ConfigError
from sim.results.simulate import simulate
from sim.workload.traffic import Constant, Gaussian, Sessions
from sim.workload.traffic.sessions import BLOCK_TOKENS, session_requests

PLAIN = Sessions(
    rate_per_s=1.0, sessions=20, turns=Constant(tokens=4), input=Constant(tokens=100),
    output=Constant(tokens=50), shared=256, templates=2, think_s=5.0,
)  # fmt: skip


def test_each_prompt_holds_all_that_was_said() -> None:
    found = session_requests(PLAIN, 0)
    lengths = sorted(set(found.input_tokens.tolist()))
    assert lengths == [356, 506, 656, 806]
    assert (np.bincount(found.input_tokens)[lengths] == 20).all()
    assert (np.diff(found.arrival_s) >= 0.0).all()
    assert found.arrival_s[0] == 0.0


def test_sessions_share_their_template_and_nothing_else() -> None:
    found = session_requests(PLAIN, 0)
    assert found.blocks is not None
    rows = [
        tuple(found.blocks.ids[first:last])
        for first, last in zip(found.blocks.starts[:-1], found.blocks.starts[1:], strict=True)
    ]
    heads = {row[: 256 // BLOCK_TOKENS] for row in rows}
    assert len(heads) == 2
    after = [set(row[256 // BLOCK_TOKENS :]) for row in rows]
    longest = [blocks for blocks, size in zip(after, found.input_tokens, strict=True) if size > 800]
    assert len(set.union(*longest)) == sum(map(len, longest))


@settings(max_examples=25)
@given(
    seed=st.integers(0, 9),
    turns=st.integers(1, 6),
    shared=st.integers(0, 300),
    templates=st.integers(1, 3),
)
def test_a_later_turn_begins_with_the_one_before(
    seed: int, turns: int, shared: int, templates: int
) -> None:
    varied = replace(
        PLAIN, sessions=3, turns=Constant(tokens=turns), shared=shared, templates=templates,
        input=Gaussian(mean=90.0, std=40.0), output=Gaussian(mean=120.0, std=60.0),
    )  # fmt: skip
    found = session_requests(varied, seed)
    assert found.blocks is not None
    rows = sorted(
        (
            found.blocks.ids[first:last].tolist()
            for first, last in zip(found.blocks.starts[:-1], found.blocks.starts[1:], strict=True)
        ),
        key=len,
    )
    ends = {row[-1]: row for row in rows if row}
    extended = sum(
        any(row[: len(end)] == end for row in rows if len(row) > len(end)) for end in ends.values()
    )
    assert extended >= len(ends) - 3


def test_the_same_seed_gives_the_same_and_another_rate_stretches() -> None:
    one, other = session_requests(PLAIN, 3), session_requests(PLAIN, 3)
    assert one.arrival_s.tolist() == other.arrival_s.tolist()
    faster = session_requests(replace(PLAIN, rate_per_s=2.0), 3)
    assert sorted(faster.input_tokens.tolist()) == sorted(one.input_tokens.tolist())
    with pytest.raises(ConfigError, match="a number above 0 is due"):
        session_requests(replace(PLAIN, rate_per_s=0.0), 3)


def test_a_prefix_cache_leaves_only_new_messages_to_compute() -> None:
    scenario = {
        "model": "llama-3.1-8b",
        "system": "h100-x1",
        "traffic": {
            "sessions": {
                "rate": "0.5 /s", "sessions": 10, "turns": 5, "input": 64, "output": 64,
                "shared": 640, "think": "20 s",
            }
        },
    }  # fmt: skip
    runs = {
        cache: simulate({**scenario, "scheduler": {"prefix_cache": cache}})
        for cache in (True, False)
    }
    computed = {cache: run.served.outcomes[0].prefill_tokens for cache, run in runs.items()}
    assert computed[False] == sum(10 * (640 + 128 * turn + 64) for turn in range(5))
    # answers are found again too, but for the block whose last token no one had computed
    assert computed[True] == 640 + 10 * 64 + 10 * 4 * (64 + 64)
    assert runs[True].metrics["ttft_s"]["mean"] < runs[False].metrics["ttft_s"]["mean"]
