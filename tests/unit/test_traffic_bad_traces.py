"""Does a bad trace file get an answer that says where and what to do?"""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from sim.errors import ConfigError, Problem
from sim.workload.traffic import Trace
from sim.workload.traffic.readers import read_lengths, read_trace, write_trace

HEADER = "arrival_s,context_tokens,generated_tokens\n"


def _problems(folder: Path, content: str | bytes, name: str = "bad.csv") -> tuple[Problem, ...]:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as error:
        read_trace(path)
    assert all(problem.file == str(path) for problem in error.value.problems)
    return error.value.problems


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        ("0.5,0,4", "context_tokens", "at least 1 token"),
        ("0.5,-3,4", "context_tokens", "-3 is negative"),
        ("0.5,7,-4", "generated_tokens", "-4 is negative"),
        ("0.5,nan,4", "context_tokens", "nan is not a number of tokens"),
        ("0.5,7,inf", "generated_tokens", "inf is not a number of tokens"),
        ("0.5,7.5,4", "context_tokens", "7.5 is not a whole number"),
        ("0.5,7e30,4", "context_tokens", "right column"),
        ("0.5,1_000,4", "context_tokens", "'1_000' is not a number"),
        ("0.5,seven,4", "context_tokens", "'seven' is not a number"),
        ("0.5,,4", "context_tokens", "is empty"),
        ("nan,7,4", "arrival_s", "nan is not an arrival time"),
        ("inf,7,4", "arrival_s", "inf is not an arrival time"),
        ("-0.5,7,4", "arrival_s", "-0.5 s is negative"),
        ("1e12,7,4", "arrival_s", "is it in seconds?"),
        ("0.1,7,4", "arrival_s", "0.1 s, before the row above (0.25 s; 1 row comes too early)"),
    ],
)
def test_one_bad_cell(tmp_path: Path, row: str, column: str, words: str) -> None:
    problems = _problems(tmp_path, f"{HEADER}0,5,5\n0.25,5,5\n{row}\n")
    assert len(problems) == 1
    assert (problems[0].line, problems[0].path) == (4, column)
    assert words in problems[0].message


def test_everything_wrong_is_told_at_once_up_to_ten(tmp_path: Path) -> None:
    three = _problems(tmp_path, f"{HEADER}0,x,5\n1,5,y\nz,5,5\n")
    assert sorted((p.line, p.path) for p in three) == [
        (2, "context_tokens"),
        (3, "generated_tokens"),
        (4, "arrival_s"),
    ]
    many = _problems(tmp_path, HEADER + "0,0,5\n" * 25)
    assert len(many) == 11
    assert many[-1].message == "and 15 more like these"


def test_unsorted_says_what_to_do(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, HEADER + "3,5,5\n1,5,5\n2,5,5\n1,5,5\n")
    assert problem.line == 3
    assert "2 rows come too early" in problem.message
    assert "sort the rows by 'arrival_s'" in problem.message


def test_unsorted_wall_clock(tmp_path: Path) -> None:
    text = (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:40.0000000,396,109\n"
    )
    (problem,) = _problems(tmp_path, text)
    assert (problem.line, problem.path) == (3, "TIMESTAMP")
    assert "sort the rows" in problem.message


@pytest.mark.parametrize("moment", ["2023-13-16 18:15:46", "soon", "2023-11-16", ""])
def test_bad_moment(tmp_path: Path, moment: str) -> None:
    text = (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        f"2023-11-16 18:15:46.6805900,374,44\n{moment},396,109\n"
    )
    (problem,) = _problems(tmp_path, text)
    assert (problem.line, problem.path) == (3, "TIMESTAMP")
    assert "YYYY-MM-DD" in problem.message


def test_missing_column_names_the_nearest(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, "arrival_s,context_tokens,generated_token\n0,1,2\n")
    assert problem.line == 1
    assert "output tokens: 'generated_token' is not known" in problem.message
    assert "did you mean 'generated_tokens'?" in problem.message
    (problem,) = _problems(tmp_path, "arival_s,context_tokens,generated_tokens\n0,1,2\n")
    assert "did you mean 'arrival_s'?" in problem.message
    both = _problems(tmp_path, "when,who\n0,1\n")
    assert [p.message.split(":")[0] for p in both] == [
        "no column for the input tokens, such as 'context_tokens'; there are",
        "no column for the output tokens, such as 'generated_tokens'; there are",
    ]


def test_two_columns_of_one_meaning(tmp_path: Path) -> None:
    problems = _problems(tmp_path, "arrival_s,input_tokens,context_tokens,output_tokens\n0,1,2,3\n")
    assert "'input_tokens' and 'context_tokens' mean the same" in problems[0].message


def test_no_header(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, "0,374,44\n1,5,5\n")
    assert "first line is data" in problem.message


@pytest.mark.parametrize("text", ["", "\n \n", "\ufeff"])
def test_empty_file(tmp_path: Path, text: str) -> None:
    assert [p.message for p in _problems(tmp_path, text)] == ["is empty"]


def test_header_only_and_all_failed(tmp_path: Path) -> None:
    assert "no rows" in _problems(tmp_path, HEADER)[0].message
    assert "all 2 rows have 0 output" in _problems(tmp_path, HEADER + "0,5,0\n1,5,0\n")[0].message


def test_cut_last_row(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, f"{HEADER}0,5,5\n1,5\n")
    assert (problem.line, problem.message) == (
        3,
        "has 2 columns, the header 3: the file looks cut off here",
    )
    (problem,) = _problems(tmp_path, f"{HEADER}0,5\n1,5,5\n")
    assert (problem.line, problem.message) == (2, "has 2 columns, the header 3")


def test_cut_and_damaged_gzip(tmp_path: Path) -> None:
    whole = gzip.compress((HEADER + "".join(f"{i},{i + 1},7\n" for i in range(999))).encode())
    for size in (3, 12, len(whole) // 2, len(whole) - 4):
        (problem,) = _problems(tmp_path, whole[:size], "cut.csv.gz")
        assert "cut off" in problem.message
    broken = whole[:-8] + bytes(8)
    (problem,) = _problems(tmp_path, broken, "broken.csv.gz")
    assert "damaged" in problem.message


@pytest.mark.parametrize(
    "content",
    [b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", bytes(range(256)), b"a\0b\n1\n", b"PAR1\x15\x04"],
)
def test_binary(tmp_path: Path, content: bytes) -> None:
    _problems(tmp_path, content)


def test_json_lines_problems(tmp_path: Path) -> None:
    good = '{"timestamp": 0, "input_length": 5, "output_length": 5}\n'
    problems = _problems(
        tmp_path,
        good
        + '{"timestamp": 1, "input_length": "5", "output_length": 5}\n'
        + '{"timestamp": 1, "output_length": true}\n'
        + "[1]\n"
        + '{"timestamp": 1, "input_le',
        "bad.jsonl",
    )
    found = [(p.line, p.path, p.message) for p in problems]
    assert found[0] == (2, "input_length", "'5' is not a number")
    assert found[1] == (3, "input_length", "is missing")
    assert found[2] == (3, "output_length", "'True' is not a number")
    assert found[3] == (4, None, "a JSON object is due")
    assert found[4][0] == 5
    assert "cut off" in found[4][2]


def test_json_values_are_checked_like_csv(tmp_path: Path) -> None:
    good = '{"timestamp": 9, "input_length": 5, "output_length": 5}\n'
    (early,) = _problems(tmp_path, good + good.replace("9", "8"), "bad.jsonl")
    assert (early.line, early.path) == (2, "timestamp")
    (empty,) = _problems(tmp_path, good.replace('h": 5, "o', 'h": 0, "o'), "bad.jsonl")
    assert (empty.line, empty.path) == (1, "input_length")
    (nan,) = _problems(tmp_path, good.replace("9", "NaN"), "bad.jsonl")
    assert "nan is not an arrival time" in nan.message
    (huge,) = _problems(tmp_path, good.replace("9", "1" + "0" * 400), "bad.jsonl")
    assert "not an arrival time" in huge.message
    (digits,) = _problems(tmp_path, good.replace("9", "1" * 5000), "bad.jsonl")
    assert "not valid JSON" in digits.message


def test_json_nearest_name_and_unknown_document(tmp_path: Path) -> None:
    text = '{"timestamp": 0, "input_lenght": 5, "output_length": 5}\n'
    (problem,) = _problems(tmp_path, text, "bad.jsonl")
    assert "did you mean 'input_length'?" in problem.message
    assert "JSON object a line" in _problems(tmp_path, "[]", "bad.json")[0].message
    assert "not a known trace" in _problems(tmp_path, '{\n"a": 1\n}', "bad.json")[0].message
    (cut,) = _problems(tmp_path, '{\n"input_lens": [1, 2,', "bad.json")
    assert "cut off" in cut.message
    deep = _problems(tmp_path, "[" * 200_000, "deep.json")
    assert "nested too deeply" in deep[0].message


def test_vllm_problems(tmp_path: Path) -> None:
    (brief, _) = _problems(tmp_path, '{"request_throughput": 3.0}', "v.json")
    assert "--save-detailed" in brief.message
    (uneven,) = _problems(
        tmp_path, '{"input_lens": [1, 2], "output_lens": [1], "request_rate": "inf"}', "v.json"
    )
    assert (uneven.path, "1 elements" in uneven.message) == ("output_lens", True)
    (word,) = _problems(
        tmp_path, '{"input_lens": [1, "x"], "output_lens": [1, 2], "start_times": [0, 1]}', "v.json"
    )
    assert word.path == "input_lens[1]"
    (zero,) = _problems(
        tmp_path, '{"input_lens": [5, 0], "output_lens": [1, 2], "start_times": [7, 6]}', "v.json"
    )
    assert zero.path == "input_lens[1]"
    (none,) = _problems(
        tmp_path, '{"input_lens": [], "output_lens": [], "start_times": []}', "v.json"
    )
    assert "no requests" in none.message
    wide = '{"input_lens": [5, 5], "output_lens": [1, 2], "start_times": [-1.5e308, 1.5e308]}'
    assert "start_times[1]" in str(_problems(tmp_path, wide, "v.json")[0])


def test_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "azure.csv").write_text(HEADER)
    with pytest.raises(ConfigError, match=r"no such file: did you mean '.*azure\.csv'"):
        read_trace(tmp_path / "azur.csv")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_lengths(tmp_path)
    with pytest.raises(ConfigError, match="NUL"):
        read_trace("a\0b")
    (tmp_path / "one.csv").write_text(HEADER + "0,1,1\n")
    trace: Trace = read_trace(tmp_path / "one.csv")
    with pytest.raises(ConfigError, match="no such file"):
        write_trace(trace, tmp_path / "nowhere" / "out.csv")
