"""Server tables: public measurements of vLLM, TensorRT-LLM and SGLang against the event engine."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sim.config.fitted import load_runtime
from sim.evidence.calibration.documents import fitted_text, runtime_numbers
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.formats import COLUMNS, Unsupported
from sim.evidence.measured.registry import formats_of
from sim.evidence.measured.servers import (
    Case,
    Deployment,
    Servers,
    case_rows,
    lognormal,
    parts_of,
    precision_of,
)
from sim.evidence.measured.spellings import model_named, supported_device
from sim.evidence.measured.tables import VARIABLE, read_table

MEASURED = pytest.mark.skipif(
    not os.environ.get(VARIABLE), reason=f"{VARIABLE} names no folder of measured data"
)


def folder() -> Path:
    """The folder of measured data."""
    return Path(os.environ.get(VARIABLE, "."))


def predicted(name: str) -> pd.DataFrame:
    """Rows of a table with their errors."""
    path = folder() / f"{name}.csv"
    form = formats_of(name)[0]
    found = form.predict(read_table(path, form.required), Constants())
    return found.assign(error=(found["predicted"] / found["measured"] - 1.0).abs())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("h100_sxm", "h100-sxm"), ("h200_sxm", "h200"), ("b200_sxm", "b200"), ("gb200", "gb200"),
        ("l40s", "l40s"), ("a100-80gb", "a100-sxm-80gb"), ("NVIDIA H100-SXM-80GB", "h100-sxm"),
        ("AMD MI250 GPU", "mi250"), ("RTX4090", "rtx-4090"), ("Habana Gaudi2", "gaudi-2"),
        ("AMD MI300X GPU", "mi300x"), ("NVIDIA H100-PCIe-80GB", "h100-pcie"),
        ("NVIDIA H100-NVL-94GB", "h100-nvl"), ("A100 40GB", "a100-sxm-40gb"),
    ],
)  # fmt: skip
def test_names_of_devices(text: str, name: str) -> None:
    assert supported_device(text) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("meta-llama/Meta-Llama-3-8B", "llama-3-8b"), ("Qwen/Qwen3-32B", "qwen3-32b"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("meta-llama/Llama-2-7b-hf", "llama-2-7b"),
    ],
)  # fmt: skip
def test_names_of_models(text: str, name: str) -> None:
    assert model_named(text, Path()).name == name


def test_what_is_unknown_has_a_reason() -> None:
    with pytest.raises(Unsupported, match="Deci/DeciLM-7B"):
        model_named("Deci/DeciLM-7B", Path("data"))
    with pytest.raises(Unsupported, match="abacus"):
        supported_device("abacus")


def test_a_case_that_cannot_be_asked_is_a_row_with_a_reason() -> None:
    def ask(servers: Servers) -> dict[str, float]:
        servers(Deployment(model="llama-3.1-405b", device="rtx-4090", runtime="vllm"))
        return {}

    case = Case(device="rtx-4090", dtype="bf16", runtime="vllm", measured={"ttft": 1.0}, ask=ask)
    found = case_rows([case], Servers(Constants(), Path()))
    assert set(COLUMNS) <= set(found.columns)
    assert np.isnan(found["predicted"].iloc[0])
    assert "does not fit" in found["reason"].iloc[0]


def test_more_clients_wait_longer_and_get_more_done() -> None:
    """First waves queue for prefill; tokens a second grow with the batch until memory is full."""
    server = Servers(Constants(), Path())(
        Deployment(
            model="llama-3.1-8b", device="h100-sxm", runtime="vllm", precision=precision_of("bf16")
        )
    )
    few, many = (server.clients(count, 1024, 128) for count in (4, 32))
    assert many.ttft_s.mean() > few.ttft_s.mean()
    assert many.tpot_s.mean() > few.tpot_s.mean()
    assert len(many.ttft_s) / many.end_s > len(few.ttft_s) / few.end_s


def test_a_request_takes_its_time_to_the_engine_and_back() -> None:
    """First tokens are later by it; what an iteration takes is not."""
    deployment = Deployment(model="llama-3.1-8b", device="h100-sxm", runtime="vllm")
    runtime = load_runtime("vllm")
    assert runtime.habits is not None
    slow = replace(runtime, habits=replace(runtime.habits, request_s=0.05))
    plain, late = (
        Servers(Constants(), Path(), tried={"vllm": each})(deployment).together(4, 512, 16)
        for each in (runtime, slow)
    )
    assert late.ttft_s == pytest.approx(plain.ttft_s + 0.05)
    assert late.tpot_s == pytest.approx(plain.tpot_s)


def test_a_library_is_no_server() -> None:
    with pytest.raises(Unsupported, match="no server"):
        Servers(Constants(), Path())(
            Deployment(model="llama-3.1-8b", device="h100-sxm", runtime="executorch")
        )


def test_parts_of_degrees_and_models() -> None:
    """A degree of 2 is hidden as one part, a model under every spelling of its owner."""

    assert [parts_of("m", tp)["degrees"] for tp in (1, 2, 4, 8)] == [0, 1, 2, 3]
    assert parts_of("Qwen/Qwen3-32B", 1) == parts_of("qwen3-32b", 1)


def test_a_runtime_s_file_reads_as_it_was_written(tmp_path: Path) -> None:
    runtime = load_runtime("vllm-0.12")
    path = tmp_path / "vllm-0.12.yaml"
    path.write_text(
        fitted_text(
            "runtimes",
            "vllm-0.12",
            runtime_numbers("vllm-0.12", runtime),
            date="2026-11-28",
            fitted_on=runtime.fitted_on,
            errors={"a b": 0.1},
            held_out={},
        )
    )
    assert load_runtime(str(path)) == runtime


@MEASURED
def test_every_silicon_row_is_predicted() -> None:
    found = predicted("e2e/silicon_agg_h100_dense")
    assert found["predicted"].notna().all()


def test_drawn_lengths_have_the_mean_asked_for() -> None:
    drawn = lognormal(300.0, 300.0, 1024, 20_000, (1,))
    assert abs(drawn.mean() / 300.0 - 1.0) < 0.05
    assert drawn.max() <= 1024


@MEASURED
@pytest.mark.parametrize(
    ("name", "phase", "bar"),
    [
        ("e2e/silicon_agg_h100_dense", "tpot", 0.07),
        ("e2e/silicon_agg_h100_dense", "ttft", 0.14),
        ("e2e/vllm_serving_RTX4090_Llama-3.1-8B", "makespan", 0.12),
        ("e2e/vllm_serving_RTX4090_Llama-3.1-8B", "ttft-mean", 0.12),
        ("e2e/vllm_serving_RTX4090_Llama-3.1-8B", "tpot-mean", 0.12),
    ],
)
def test_median_error_is_below_the_bar(name: str, phase: str, bar: float) -> None:
    """Looser than the scores reached: the host's time differs between machines of one kind."""
    found = predicted(name)
    own = found[found["phase"] == phase]
    assert own["predicted"].notna().mean() > 0.95
    assert own["error"].median() < bar


@MEASURED
@pytest.mark.parametrize("name", ["e2e/apex_plus_vllm_h100_summary", "e2e/splitwise_a100"])
def test_every_row_is_predicted_or_has_a_reason(name: str) -> None:
    found = predicted(name)
    assert ((found["reason"] != "") == found["predicted"].isna()).all()
