"""Does every trace format come in as the numbers the file states?"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from sim.errors import ConfigError
from sim.workload.traffic import Trace
from sim.workload.traffic.readers import read_lengths, read_trace, write_trace


def _file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def _columns(trace: Trace) -> list[tuple[float, int, int]]:
    return list(
        zip(
            trace.arrival_s.tolist(),
            trace.input_tokens.tolist(),
            trace.output_tokens.tolist(),
            strict=True,
        )
    )


def _recorded(name: str) -> Path:
    folder = os.environ.get("SIM_DATA")
    if not folder:
        pytest.skip("set SIM_DATA to the folder of measured data to test on recorded traces")
    return Path(folder) / "traces" / name


def test_azure_wall_clock_counts_from_the_first_row_to_the_tick(tmp_path: Path) -> None:
    trace = read_trace(
        _file(
            tmp_path,
            "AzureLLMInferenceTrace_conv.csv",
            "TIMESTAMP,ContextTokens,GeneratedTokens\n"
            "2023-11-16 18:15:46.6805900,374,44\n"
            "2023-11-16 18:15:50.9951690,396,109\n"
            "2023-11-16 18:15:50.9951691,879,55\n",
        )
    )
    assert trace.name == "AzureLLMInferenceTrace_conv"
    assert _columns(trace) == [(0.0, 374, 44), (4.314579, 396, 109), (4.3145791, 879, 55)]
    assert trace.arrival_s.dtype == np.float64
    assert trace.input_tokens.dtype == trace.output_tokens.dtype == np.int64


def test_azure_2024_times_carry_a_zone_and_any_number_of_digits(tmp_path: Path) -> None:
    trace = read_trace(
        _file(
            tmp_path,
            "AzureLLMInferenceTrace_conv_1week.csv",
            "TIMESTAMP,ContextTokens,GeneratedTokens\n"
            "2024-05-11 23:59:59.5+00:00,10,1\n"
            "2024-05-12 00:00:00+00:00,20,2\n"
            "2024-05-12 02:00:00.009930+02:00,30,3\n",
        )
    )
    assert trace.arrival_s.tolist() == [0.0, 0.5, 0.50993]


def test_relative_times_stay_as_written(tmp_path: Path) -> None:
    text = "arrival_s,context_tokens,generated_tokens\r\n2100.5,7,3\r\n2101,8,4\r\n\r\n"
    trace = read_trace(_file(tmp_path, "part.csv", text))
    assert _columns(trace) == [(2100.5, 7, 3), (2101.0, 8, 4)]


def test_header_is_matched_without_case_order_or_signs(tmp_path: Path) -> None:
    text = "\ufeffOutput Tokens,user,Arrival_S,INPUT-TOKENS\n4,a,0.5,9\n"
    assert _columns(read_trace(_file(tmp_path, "x.csv", text))) == [(0.5, 9, 4)]


def test_vidur_columns(tmp_path: Path) -> None:
    text = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.25,100,10\n"
    assert _columns(read_trace(_file(tmp_path, "x.csv", text))) == [(0.25, 100, 10)]


def test_actual_output_wins_over_the_trace_where_it_was_logged(tmp_path: Path) -> None:
    text = (
        "arrival_s,context_tokens,trace_generated_tokens,actual_generated_tokens\n"
        "3.5,304,822,\n4.5,497,1783,1700\n"
    )
    assert read_trace(_file(tmp_path, "x.csv", text)).output_tokens.tolist() == [822, 1700]


def test_burstgpt_failures_are_dropped_and_counted(tmp_path: Path) -> None:
    trace = read_trace(
        _file(
            tmp_path,
            "BurstGPT_1.csv",
            "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
            "5,ChatGPT,472,18,490,Conversation log\n"
            "45,ChatGPT,1087,230,1317,Conversation log\n"
            "118,GPT-4,417,0,417,API log\n"
            "118,GPT-4,0,0,0,API log\n"
            '119,"GPT-4, new",417,276,693,Conversation log\n',
        )
    )
    assert _columns(trace) == [(5.0, 472, 18), (45.0, 1087, 230), (119.0, 417, 276)]
    assert trace.dropped == 2


def test_burstgpt_with_session_and_elapsed_time(tmp_path: Path) -> None:
    text = (
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,"
        "Log Type\n5.0,ab-1,2.5,ChatGPT,472,18,490,Conversation log\n"
    )
    assert _columns(read_trace(_file(tmp_path, "x.csv", text))) == [(5.0, 472, 18)]


def test_mooncake_times_are_milliseconds(tmp_path: Path) -> None:
    text = (
        '{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1, 2]}\n'
        '{"timestamp": 27482, "input_length": 7322, "output_length": 490, "hash_ids": []}\n'
    )
    assert _columns(read_trace(_file(tmp_path, "conversation.jsonl", text))) == [
        (0.0, 6758, 500),
        (27.482, 7322, 490),
    ]


def test_mooncake_aliases_and_one_failed_request(tmp_path: Path) -> None:
    text = (
        '{"created_time": 1.5, "input_tokens": 8, "output_tokens": 2, "session_id": "a"}\n\n'
        '{"created_time": 2, "input_tokens": 8, "output_tokens": 0}\n'
    )
    trace = read_trace(_file(tmp_path, "x.jsonl", text))
    assert _columns(trace) == [(0.0015, 8, 2)]
    assert trace.dropped == 1


VLLM = {
    "backend": "vllm",
    "request_rate": 2.0,
    "max_concurrency": None,
    "completed": 3,
    "input_lens": [100, 200, 300, 50],
    "output_lens": [10, 20, 30, 5],
    "ttfts": [0.1, 0.1, 0.1, 0.1],
    "itls": [[0.01], [0.02], [0.01], []],
    "start_times": [1000.5, 1001.75, 1000.25, 1003.0],
    "errors": ["", "", "", "Traceback"],
}


@pytest.mark.parametrize("indent", [None, 2])
def test_vllm_requests_are_sorted_by_when_they_were_sent(
    tmp_path: Path, indent: int | None
) -> None:
    trace = read_trace(_file(tmp_path, "vllm.json", json.dumps(VLLM, indent=indent)))
    assert _columns(trace) == [(0.0, 300, 30), (0.25, 100, 10), (1.5, 200, 20)]
    assert trace.dropped == 1


def test_vllm_without_times_is_known_only_if_all_were_sent_at_once(tmp_path: Path) -> None:
    older = {key: value for key, value in VLLM.items() if key != "start_times"}
    at_once = {**older, "request_rate": "inf"}
    trace = read_trace(_file(tmp_path, "inf.json", json.dumps(at_once)))
    assert trace.arrival_s.tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(ConfigError, match=r"no 'start_times'.*poisson: \{rate: 2 /s"):
        read_trace(_file(tmp_path, "rate.json", json.dumps(older)))
    limited = {**at_once, "max_concurrency": 8}
    with pytest.raises(ConfigError, match=r"closed: \{concurrency: 8"):
        read_trace(_file(tmp_path, "closed.json", json.dumps(limited)))


def test_lengths_come_from_any_format(tmp_path: Path) -> None:
    pairs = _file(tmp_path, "l.csv", "num_prefill_tokens,num_decode_tokens\n2015,156\n1920,267\n")
    inputs, outputs = read_lengths(pairs)
    assert (inputs.tolist(), outputs.tolist()) == ([2015, 1920], [156, 267])
    with pytest.raises(ConfigError, match=r"no arrival times.*empirical: .*l\.csv"):
        read_trace(pairs)
    single = _file(tmp_path, "t.csv", "tokens\n5\n6\n")
    assert [column.tolist() for column in read_lengths(single)] == [[5, 6], [5, 6]]
    lines = _file(tmp_path, "m.jsonl", '{"input_length": 3, "output_length": 4}\n')
    assert [column.tolist() for column in read_lengths(lines)] == [[3], [4]]
    with pytest.raises(ConfigError, match="no arrival times"):
        read_trace(lines)
    vllm = _file(tmp_path, "v.json", json.dumps({**VLLM, "start_times": [0, 1, 2, 3]}))
    assert read_lengths(vllm)[0].tolist() == [100, 200, 300]


def test_gzip_is_told_by_content(tmp_path: Path) -> None:
    text = b"arrival_s,context_tokens,generated_tokens\n0,7,3\n"
    packed, unpacked = tmp_path / "packed.csv", tmp_path / "unpacked.csv.gz"
    packed.write_bytes(gzip.compress(text))
    unpacked.write_bytes(text)
    assert _columns(read_trace(packed)) == _columns(read_trace(unpacked)) == [(0.0, 7, 3)]
    assert read_trace(unpacked).name == "unpacked"


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz"])
def test_written_traces_read_back_equal_in_equal_bytes(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(1)
    trace = Trace(
        name="out",
        arrival_s=np.cumsum(rng.exponential(0.1, 500)),
        input_tokens=rng.integers(1, 10_000, 500),
        output_tokens=rng.integers(1, 1_000, 500),
    )
    path = tmp_path / name
    write_trace(trace, path)
    written = path.read_bytes()
    assert (written[:2] == b"\x1f\x8b") == name.endswith(".gz")
    if name.endswith(".gz"):
        assert written[3:8] == bytes(5)  # gzip's flags (no file name) and time stamp
    again = read_trace(path)
    assert again.name == "out"
    assert _columns(again) == _columns(trace)
    write_trace(again, tmp_path / f"copy-{name}")
    assert (tmp_path / f"copy-{name}").read_bytes() == written


def test_many_rows_keep_their_line_numbers_across_chunks(tmp_path: Path) -> None:
    rows = [f"{i},10,5" for i in range(70_000)]
    rows[69_000] = "69000,x,5"
    path = _file(tmp_path, "long.csv", "\n".join(["arrival_s,input_tokens,output_tokens", *rows]))
    with pytest.raises(ConfigError) as error:
        read_trace(path)
    assert [problem.line for problem in error.value.problems] == [69_002]


@pytest.mark.parametrize(
    ("name", "requests", "last"),
    [
        ("azure2023_conv.csv.gz", 12_337, (2099.954711, 388, 100)),
        ("azure2023_code.csv", 6_621, (2080.768972, 1313, 9)),
        ("mooncake_conversation.jsonl.gz", 5_719, (1797.0, 9586, 543)),
        ("mooncake_synthetic.jsonl.gz", 1_996, (532.489, 26090, 69)),
        ("sharegpt_llama-3.1-8b_300.csv", 300, (29.1837632, 582, 768)),
        ("apex_llama_creation_05.csv", 512, (1097.98815, 556, 2105)),
    ],
)
def test_recorded_traces(name: str, requests: int, last: tuple[float, int, int]) -> None:
    trace = read_trace(_recorded(name))
    assert len(trace.arrival_s) == requests
    assert _columns(trace)[-1] == last
