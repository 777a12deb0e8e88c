"""Does `sim validate` say clearly what is wrong with data, and score the rest all the same?"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from sim.cli.validate_command import command
from sim.evidence.measured.formats import rows
from sim.evidence.measured.score import determination, ranking, scored, spearman

GEMM = "gemm_dtype,m,n,k,latency_us\nbfloat16,64,4096,4096,40.0\nbfloat16,1,4096,4096,20.0\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SIM_DATA", raising=False)
    (tmp_path / "aic_kernels").mkdir()
    (tmp_path / "aic_kernels" / "gemm_h100_sxm_trtllm.csv").write_text(GEMM)
    return tmp_path


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(command, [str(each) for each in arguments], catch_exceptions=True)
    error = done.exception
    text = str(error) if error is not None and not isinstance(error, SystemExit) else done.stderr
    return done.exit_code, done.stdout, text


def test_scores_a_table_and_skips_unknown_ones(folder: Path) -> None:
    (folder / "aic_kernels" / "quantum_h100.csv").write_text("a\n1\n")
    code, out, _ = run("--data", folder, "--json")
    found = json.loads(out)
    assert code == 0
    (group, *_) = found["groups"]
    assert (group["table"], group["device"]) == ("gemm_h100_sxm_trtllm", "h100-sxm")
    assert group["n"] == 2
    assert found["skipped"] == ["aic_kernels/quantum_h100"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("gemm_h200_sxm_x.csv", b"gemm_dtype,m,n,latency_us\nbfloat16,1,2,3\n", "no column k"),
        ("gemm_h999_sxm_x.csv", GEMM.encode(), "h999"),
        ("gemm_h200_sxm_x.csv.gz", b"not gzip", "gemm_h200_sxm_x.csv.gz"),
        (
            "gemm_h200_sxm_x.csv.gz",
            gzip.compress(GEMM.encode(), mtime=0)[:-12],
            "gemm_h200_sxm_x.csv.gz",
        ),
        ("gemm_h200_sxm_x.csv", b"\xff\xfe\x00\x01", "gemm_h200_sxm_x.csv"),
        ("gemm_h200_sxm_x.csv", b"", "gemm_h200_sxm_x.csv"),
        ("gemm_h200_sxm_x.csv", b"gemm_dtype,m,n,k,latency_us\n", "no row"),
    ],
)
def test_a_bad_table_is_one_error_and_the_others_are_scored(
    folder: Path, name: str, content: bytes, says: str
) -> None:
    (folder / "aic_kernels" / name).write_bytes(content)
    code, out, err = run("--data", folder, "--json")
    assert code == 2
    assert says in err
    assert len(err.strip().splitlines()) == 1
    found = json.loads(out)
    assert len(found["problems"]) == 1
    assert found["groups"][0]["n"] == 2


def test_no_folder_is_a_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIM_DATA", raising=False)
    assert "SIM_DATA" in run()[2]
    assert "no such folder" in run("--data", tmp_path / "none")[2]
    assert "no table" in run("--data", tmp_path)[2]


def test_an_unknown_data_set_names_those_there_are(folder: Path) -> None:
    assert "aic_kernels" in run("vidor", "--data", folder)[2]


def test_scores_are_what_they_say() -> None:
    frame = rows(
        [1.0, 2.0, 4.0], [1.1, 1.8, np.nan], device="d", phase="p", dtype="t",
        reason=["", "", "why"],
    ).assign(split="zero-shot", held_out="")  # fmt: skip
    (group,) = scored("set", "table", frame)
    assert (group.n, group.coverage) == (2, pytest.approx(2 / 3))
    assert group.median_ape == pytest.approx(0.1)
    assert group.bias == pytest.approx(0.0, abs=1e-12)


def test_regret_is_what_the_choice_loses() -> None:
    frame = rows([10.0, 20.0, 40.0], [30.0, 10.0, 50.0], device="d", phase="p", dtype="t").assign(
        split="zero-shot", held_out="", choice="c"
    )
    (group,) = scored("set", "table", frame)
    assert group.regret == pytest.approx(1.0)  # took the one of 20 where 10 was to be had
    assert group.rank == pytest.approx(0.5)


def test_choices_are_among_three_options_or_more() -> None:
    frame = rows(
        [1.0, 2.0, 3.0, 1.0, 2.0], [2.0, 1.0, 3.0, 1.0, 2.0], device="d", phase="p", dtype="t"
    ).assign(choice=["c", "c", "c", "e", "e"])
    rank, regret, count = ranking(frame)
    assert (rank, regret, count) == (pytest.approx(0.5), pytest.approx(1.0), 1)


def test_explained_variance_and_ranks() -> None:
    values = np.array([1.0, 2.0, 3.0])
    assert determination(values, values) == 1.0
    assert determination(values, np.full(3, 2.0)) == 0.0
    assert spearman(values, values**3) == pytest.approx(1.0)
    assert spearman(values, np.ones(3)) is None
