"""Whatever the bytes: a trace that keeps its promises, or a ConfigError."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim.errors import ConfigError
from sim.workload.traffic import Trace
from sim.workload.traffic.readers import read_lengths, read_trace, write_trace

AZURE = (
    b"TIMESTAMP,ContextTokens,GeneratedTokens\n"
    b"2023-11-16 18:15:46.6805900,374,44\n"
    b"2023-11-16 18:15:50.9951690,396,109\n"
)
BURSTGPT = (
    b"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    b'5,ChatGPT,472,18,490,"Conversation, log"\n118,GPT-4,417,0,417,API log\n'
)
PLAIN = b"arrival_s,context_tokens,generated_tokens\n0.0,5,6\n0.25,7,8\n1e2,9,10\n"
MOONCAKE = (
    b'{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}\n'
    b'{"timestamp": 3000, "input_length": 7322, "output_length": 490, "hash_ids": [0, 2]}\n'
)
VLLM = json.dumps(
    {
        "request_rate": "inf",
        "input_lens": [100, 200],
        "output_lens": [10, 20],
        "start_times": [1000.5, 1001.75],
        "errors": ["", ""],
    },
    indent=1,
).encode()
VALID = (AZURE, BURSTGPT, PLAIN, MOONCAKE, VLLM, gzip.compress(PLAIN, mtime=0))

FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# Pieces that mean something to a parser of numbers, CSV or JSON.
PIECES = st.one_of(
    st.binary(min_size=0, max_size=6),
    st.sampled_from(
        [
            *(b"nan", b"inf", b"-1", b"1e400", b"1e308", b"-1.5e308", b"9" * 30, b"1_0", b"0"),
            *(b'"', b",", b"\n", b"\r", b"\0", b"\xff", b".", b"{", b"}", b"[", b"]", b'"\\ud800"'),
            *(b"null", b"true", b"NaN", "\u0663".encode()),
            *(b"2023-02-30 00:00:00", b"0001-01-01 00:00:00+14:00"),
        ]
    ),
)


def _read(path: Path) -> Trace | ConfigError:
    try:
        return read_trace(path)
    except ConfigError as error:
        return error


def _reads_or_tells(path: Path) -> None:
    trace = _read(path)
    if isinstance(trace, ConfigError):
        assert all(problem.message.strip() for problem in trace.problems)
        assert str(trace).encode("utf-8")  # a lone surrogate could not be printed
    try:
        inputs, outputs = read_lengths(path)
    except ConfigError:
        assert isinstance(trace, ConfigError)
        return
    assert len(inputs) == len(outputs) > 0
    assert inputs.min() >= 1
    assert outputs.min() >= 1
    if isinstance(trace, ConfigError):
        return
    assert len(trace.arrival_s) == len(inputs)
    assert np.isfinite(trace.arrival_s).all()
    assert (np.diff(trace.arrival_s) >= 0).all()
    assert trace.arrival_s[0] >= 0
    assert trace.dropped >= 0


@pytest.mark.parametrize("content", VALID)
def test_the_seeds_of_the_fuzz_are_valid(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "seed"
    path.write_bytes(content)
    assert len(read_trace(path).arrival_s) >= 1


@FUZZ
@given(content=st.binary(max_size=300))
def test_random_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bytes"
    for body in (content, b"\x1f\x8b" + content, gzip.compress(content, mtime=0)):
        path.write_bytes(body)
        _reads_or_tells(path)


@FUZZ
@given(content=st.text(max_size=200))
def test_random_text_under_a_header(tmp_path: Path, content: str) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"arrival_s,input_tokens,output_tokens\n" + content.encode())
    _reads_or_tells(path)


@FUZZ
@given(
    content=st.sampled_from(VALID),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), PIECES), min_size=1, max_size=4),
    tail=st.booleans(),
)
def test_mutated_valid_files(
    tmp_path: Path, content: bytes, cuts: list[tuple[float, int, bytes]], tail: bool
) -> None:
    for place, size, piece in cuts:
        at = int(place * len(content))
        content = content[:at] + piece + (content[at + size :] if tail else b"")
    path = tmp_path / "mutated"
    path.write_bytes(content)
    _reads_or_tells(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@FUZZ
@given(
    document=st.dictionaries(
        st.sampled_from(
            [
                "timestamp",
                "input_length",
                "output_length",
                "input_lens",
                "output_lens",
                "start_times",
                "errors",
                "request_rate",
                "max_concurrency",
                "x",
            ]
        ),
        JSON | st.lists(st.floats() | st.integers(0, 9), max_size=3),
    )
)
def test_json_of_the_right_names_and_wrong_values(
    tmp_path: Path, document: dict[str, object]
) -> None:
    path = tmp_path / "document"
    path.write_text(json.dumps(document) + "\n" + json.dumps(document))
    _reads_or_tells(path)
    path.write_text(json.dumps(document))
    _reads_or_tells(path)


@FUZZ
@given(
    rows=st.lists(
        st.tuples(
            st.floats(0, 1e9, allow_subnormal=True),
            st.integers(1, 2**31 - 1),
            st.integers(1, 2**31 - 1),
        ),
        min_size=1,
        max_size=20,
    ),
    packed=st.booleans(),
)
def test_any_trace_survives_the_file(
    tmp_path: Path, rows: list[tuple[float, int, int]], packed: bool
) -> None:
    rows.sort()
    arrival, inputs, outputs = zip(*rows, strict=True)
    trace = Trace(
        name="x",
        arrival_s=np.array(arrival, dtype=np.float64),
        input_tokens=np.array(inputs, dtype=np.int64),
        output_tokens=np.array(outputs, dtype=np.int64),
    )
    path = tmp_path / ("x.csv.gz" if packed else "x.csv")
    write_trace(trace, path)
    again = read_trace(path)
    assert again.arrival_s.tolist() == list(arrival)
    assert again.input_tokens.tolist() == list(inputs)
    assert again.output_tokens.tolist() == list(outputs)
