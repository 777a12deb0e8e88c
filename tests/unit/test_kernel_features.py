"""What a sequence sees and holds in each kind of stream, counted one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.kernel import sequences
from sim.kernel.records import (
    ALL,
    CACHED,
    CAUSAL,
    CROSS,
    DECODE,
    ENCODER,
    FIXED,
    GENERATED,
    LOGITS,
    PAIRS,
    POLICY,
    PREFILL,
    STREAM,
    TOKENS,
)


def streams(**fields: float) -> np.ndarray:
    record = np.zeros(1, STREAM)
    record["keep"], record["kv_B"] = 1.0, 1.0
    for name, value in fields.items():
        record[name] = value
    return record


def policy(block: int = 1, state_B: float = 0.0) -> np.void:
    record = np.zeros(1, POLICY)
    record["kv_block"], record["state_B"] = block, state_B
    return record[0]


def prefill(stream: np.ndarray, prompt: int, begin: int, tokens: int, target: int) -> np.ndarray:
    features = np.zeros((1, 4, 4))
    sequences.add_prefill(stream, features, prompt, begin, tokens, target)
    return features[0]


def decode(stream: np.ndarray, prompt: int, context: int) -> np.ndarray:
    features = np.zeros((1, 4, 4))
    sequences.add_decode(stream, features, prompt, context)
    return features[0]


@given(st.integers(1, 60), st.integers(1, 40), st.integers(0, 20), st.booleans())
def test_chunks_of_a_prompt_add_up_to_its_pairs(
    prompt: int, chunk: int, window: int, chunked: bool
) -> None:
    stream = streams(window=window, chunked=chunked and window > 0)
    whole = prefill(stream, prompt, 0, prompt, prompt)
    parts = [
        prefill(stream, prompt, begin, min(chunk, prompt - begin), prompt)
        for begin in range(0, prompt, chunk)
    ]
    total = sum(part[PREFILL] for part in parts)
    assert total[PAIRS] == whole[PREFILL, PAIRS]
    assert total[TOKENS] == prompt
    assert sum(part[LOGITS, TOKENS] for part in parts) == 1.0
    # a later chunk reads the cache again
    assert total[CACHED] >= whole[PREFILL, CACHED]


@given(st.integers(1, 60), st.integers(1, 40), st.integers(0, 20), st.booleans())
def test_decoding_on_sees_what_a_longer_prompt_would_have_seen(
    prompt: int, steps: int, window: int, chunked: bool
) -> None:
    stream = streams(window=window, chunked=chunked and window > 0)
    longer = prefill(stream, prompt + steps, 0, prompt + steps, prompt + steps)[PREFILL, PAIRS]
    own = prefill(stream, prompt, 0, prompt, prompt)[PREFILL, PAIRS]
    decoded = sum(
        decode(stream, prompt, prompt + generated)[DECODE, PAIRS]
        for generated in range(1, steps + 1)
    )
    assert own + decoded == longer


@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(0, 20), st.booleans(),
    st.sampled_from((1.0, 0.5, 0.3)), st.integers(1, 60),
)  # fmt: skip
def test_growth_holds_over_the_steady_steps(
    prompt: int, generated: int, window: int, chunked: bool, keep: float, steps: int
) -> None:
    (stream,) = streams(window=window, chunked=chunked and window > 0, keep=keep)
    context = prompt + generated
    first = sequences.attended(stream, prompt, context)
    growth = sequences.grows(stream, prompt, context)
    for ahead in range(min(steps, sequences.steady_steps(stream, prompt, context))):
        assert sequences.attended(stream, prompt, context + ahead) == pytest.approx(
            first + ahead * growth, abs=1e-9
        )


@pytest.mark.parametrize(
    ("begin", "tokens", "want"),
    [(0, 10, 10), (3, 4, 7), (10, 5, 5), (8, 4, 12), (25, 2, 7), (10, 20, 20)],
)
def test_chunked_windows_read_from_the_last_multiple(begin: int, tokens: int, want: int) -> None:
    seen = prefill(streams(window=10, chunked=1), 100, begin, tokens, 100)
    assert seen[PREFILL, CACHED] == want


def test_pruned_prompt_is_short_but_what_was_generated_is_whole() -> None:
    stream = streams(keep=0.5)
    assert prefill(stream, 40, 0, 40, 40)[PREFILL, TOKENS] == 20
    assert decode(stream, 40, 47)[DECODE, CACHED] == 20 + 7
    # computed again after a preemption: 20 kept, 6 generated
    again = prefill(stream, 40, 0, 46, 46)[PREFILL]
    assert again[TOKENS] == again[CACHED] == 26
    assert again[PAIRS] == 26 * 27 / 2
    assert sequences.kv_bytes(stream, policy(), 40, 46) == 26


def test_encoder_runs_once_with_the_first_chunk() -> None:
    for kind, tokens, size in ((ENCODER, 0, 30), (FIXED, 12, 12)):
        stream = streams(kind=kind, tokens=tokens)
        first = prefill(stream, 30, 0, 10, 30)
        assert first[PREFILL, TOKENS] == size
        assert first[PREFILL, PAIRS] == size * size
        assert first[LOGITS, TOKENS] == 0
        assert prefill(stream, 30, 10, 20, 30)[PREFILL].sum() == 0
        assert decode(stream, 30, 35).sum() == 0


def test_decoder_of_an_encoder_decoder_starts_with_one_token() -> None:
    own, memory = streams(kind=GENERATED), streams(kind=CROSS)
    first = prefill(own, 30, 0, 30, 30)
    assert (first[PREFILL, TOKENS], first[PREFILL, PAIRS], first[LOGITS, TOKENS]) == (1, 1, 1)
    assert prefill(memory, 30, 0, 30, 30)[PREFILL, PAIRS] == 30
    # the first token generated is the second its decoder sees
    assert decode(own, 30, 31)[DECODE, CACHED] == 2
    assert decode(memory, 30, 31)[DECODE, CACHED] == 30
    assert decode(streams(kind=CROSS, tokens=1500), 30, 31)[DECODE, CACHED] == 1500


def test_phases_add_up_to_all() -> None:
    features = np.zeros((1, 4, 4))
    sequences.add_prefill(streams(), features, 20, 0, 20, 20)
    sequences.add_decode(streams(), features, 5, 9)
    assert (features[0, ALL] == features[0, PREFILL] + features[0, DECODE]).all()


@pytest.mark.parametrize(
    ("fields", "context", "want"),
    [
        ({"kind": CAUSAL}, 33, 48.0),  # three blocks of 16
        ({"kind": CAUSAL}, 32, 32.0),
        ({"kind": CAUSAL, "window": 20}, 33, 32.0),
        ({"kind": GENERATED}, 33, 16.0),  # 13 generated and the start token
        ({"kind": CROSS}, 33, 32.0),  # 20 of the prompt
        ({"kind": CROSS, "tokens": 5}, 33, 16.0),
    ],
)
def test_cache_is_held_in_whole_blocks(fields: dict[str, int], context: int, want: float) -> None:
    held = sequences.kv_bytes(streams(**fields), policy(block=16, state_B=7.0), 20, context)
    assert held == want + 7.0
