"""Bands: what is known of a device, what commands show of it, and files that are wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import sim
from sim.cli import main
from sim.config.document import parse_document
from sim.config.fitted import load_errors
from sim.config.forms import value_of
from sim.errors import ConfigError
from sim.hardware.residuals import Generation
from sim.report.page_data import page_data
from sim.report.plots import error_of, levels_of
from sim.report.study_figures import plot_pareto
from sim.results.bands.band import Band, alike
from sim.results.explain import explain

LIBRARY = Path(__file__).parents[2] / "hw_configs"
SHORT = ("traffic.limit=200",)


def bands(scenario: str = "llama-8b-azure-h100", *sets: str, **changes: Any) -> dict[str, Band]:
    return dict(sim.simulate(scenario, sets=[*SHORT, *sets], **changes).bands)


def levels(*sets: str, **changes: Any) -> tuple[str, str]:
    found = bands("llama-8b-azure-h100", *sets, **changes)
    return found["tpot_p50_s"].level, found["energy_J_per_tok"].level


def run(*line: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(line))
    return int(str(stopped.value.code))


# --- what is known ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "time", "energy"),
    [
        ("h100", "calibrated", "calibrated"),
        ("h200", "held-out", "held-out"),
        ("b200", "unmeasured", "unmeasured"),
        ("mi300x", "estimated", "estimated"),
        ("duplex", "unbuilt", "unbuilt"),
    ],
)
def test_what_is_known_of_a_device(system: str, time: str, energy: str) -> None:
    assert levels(system=system) == (time, energy)


def test_a_what_if_is_a_device_that_nobody_measured() -> None:
    assert levels("system.device.memories.hbm.bandwidth=5 TB/s")[0] == "held-out"
    assert levels("system.device.processors.gpu.peak.fp16=1500 TFLOPS")[0] == "held-out"


def test_bands_are_wider_where_less_is_known() -> None:
    widths = []
    for system in ("h100", "h200", "b200"):
        band = bands(system=system)["tpot_p50_s"]
        widths.append(math.log(band.high / band.low))
    assert widths == sorted(widths)
    assert widths[2] > 1.5 * widths[0]


def test_servers_that_were_measured_decide() -> None:
    """TensorRT-LLM was measured on H100s, vLLM's release of 2023 on A100s."""
    found = bands(runtime="trtllm")["tpot_p50_s"]
    assert (found.level, found.basis) == ("calibrated", "NVIDIA Hopper GPUs")
    assert bands(runtime="vllm-2023")["tpot_p50_s"].level == "held-out"
    assert "what servers add" in bands()["tpot_p50_s"].basis
    assert "what servers add" in bands(runtime="trtllm", system="b200")["tpot_p50_s"].basis


def test_edge_runtimes_that_were_measured_decide() -> None:
    plain = sim.simulate("llama-1b-pi5").bands["tpot_p50_s"]
    found = sim.simulate("llama-1b-pi5", runtime="llama-cpp-cpu").bands["tpot_p50_s"]
    assert (plain.level, found.level) == ("estimated", "calibrated")
    assert found.high / found.low < 0.6 * plain.high / plain.low


def test_open_loops_below_saturation_have_their_rate_from_arrivals() -> None:
    found = bands()["throughput_tok_per_s"]
    assert 1.0 < found.high / found.low < 1.1
    closed = sim.simulate("llama-70b-closed-h100")
    rate, tpot = closed.bands["throughput_tok_per_s"], closed.bands["tpot_mean_s"]
    assert closed.metrics["throughput_tok_per_s"] / rate.low == pytest.approx(
        tpot.high / closed.metrics["tpot_s"]["mean"]
    )


def test_every_band_holds_its_value_and_costs_have_none() -> None:
    made = sim.simulate("llama-8b-azure-h100", sets=SHORT)
    assert {f"{name}_{part}_s" for name in ("ttft", "tbt", "tpot", "e2e")
            for part in ("mean", "p50", "p90", "p99", "max")} <= set(made.bands)  # fmt: skip
    for name, band in made.bands.items():
        value = made.metrics.get(name)
        if value is None:
            base, part = name.removesuffix("_s").rsplit("_", 1)
            value = made.metrics[f"{base}_s"][part]
        assert band.low <= value <= band.high, name
    assert not {name for name in made.bands if "usd" in name or "goodput" in name}


# --- what commands show -------------------------------------------------------------------------


def test_run_shows_bands_and_says_that_a_chip_is_unbuilt(
    capsys: pytest.CaptureFixture[str],
) -> None:
    limit = ("--set", "traffic.limit=50")
    assert run("run", "llama-8b-azure-h100", *limit) == 0
    text = capsys.readouterr().out
    assert "(p50)" in text
    (tpot,) = (line for line in text.splitlines() if line.strip().startswith("TPOT"))
    assert tpot.count(" to ") == 1
    assert "time calibrated on this device" in text
    assert "hw_configs/fitted/errors" in text
    assert run("run", "llama-8b-azure-h100", "--set", "system=duplex", *limit) == 0
    assert "unbuilt: of a chip that doesn't exist" in capsys.readouterr().out


def test_json_extends_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("run", "llama-8b-azure-h100", "--set", "traffic.limit=50", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["bands"]["ttft_p90_s"]) == {"low", "high", "level", "basis"}
    found = told["bands"]["energy_J_per_tok"]
    assert found["low"] < told["metrics"]["energy_J_per_tok"] < found["high"]


def test_compare_marks_what_the_bands_do_not_tell_apart(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = ["compare", "llama-8b-azure-h100", "--set", "traffic.limit=100"]
    for system in ("h100", "h200", "rtx-3060"):
        line += ["--system", system]
    assert run(*line, "--set", "dtype.weights=int4") == 0
    text = capsys.readouterr().out
    (tpot,) = (each for each in text.splitlines() if each.strip().startswith("TPOT p99"))
    assert tpot.count("≈") == 1, tpot  # H200 is near; the small card is far
    assert "not distinguishable from the first" in text
    assert run(*line, "--set", "dtype.weights=int4", "--json") == 0
    near, far = json.loads(capsys.readouterr().out)["alike"]
    assert (near["system"], far["system"]) == ("h200", "rtx-3060")
    assert "tpot_p50_s" in near["metrics"]
    assert "tpot_p50_s" not in far["metrics"]


def test_readme_s_comparison_is_within_its_bands(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["compare", "mixtral-azure-duplex", "--system", "h100-x4", "--system", "duplex-x4"]
    assert run(*line, "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)["alike"]
    assert {"tpot_p50_s", "ttft_p50_s", "energy_J_per_tok"} <= set(found["metrics"])
    text = (LIBRARY.parent / "README.md").read_text(encoding="utf-8")
    assert "marks all three differences `≈`" in text


@pytest.mark.parametrize(
    ("value", "near"), [(1.0, False), (1.2, True), (1.5, False), (0.8, True), (0.6, False)]
)
def test_values_are_alike_within_their_bands(value: float, near: bool) -> None:
    """20 % either way of both: a factor of 1.2 ** sqrt(2) = 1.29 is the edge."""
    one, other = (
        Band(low=each / 1.2, high=each * 1.2, level="calibrated", basis="") for each in (value, 1.0)
    )
    assert alike(one, value, other, 1.0) is near
    assert alike(one, value, None, 1.0) is False


def test_explain_shows_the_band_of_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("explain", "llama-8b-azure-h100") == 0
    assert "10 to 90 % of what measurements were" in capsys.readouterr().out
    told = explain("llama-8b-azure-h100")
    band = told.to_json()["bands"]["iteration_s"]
    assert band["low"] < told.seconds < band["high"]


def test_a_study_has_the_bands_that_explain_gives() -> None:
    made = {
        "title": "t", "base": "llama-8b-azure-h100",
        "load": {"batch": 8, "input": 512, "output": 64},
        "axes": [{"path": "system", "values": ["h100", "b200", "duplex"]}],
        "objectives": {"step_s": "min", "energy_J_per_tok": "min"},
    }  # fmt: skip
    frame = sim.sweep(made).frame.set_index("system")
    for system, level in (("h100", "calibrated"), ("b200", "unmeasured"), ("duplex", "unbuilt")):
        row = frame.loc[system]
        told = explain("llama-8b-azure-h100", system=system, sequences=8, context=544)
        assert row["known"] == level
        assert row["step_s_low"] == pytest.approx(told.bands["iteration_s"].low)
        assert row["step_s_high"] == pytest.approx(told.bands["iteration_s"].high)
        assert row["throughput_tok_per_s_low"] / row["throughput_tok_per_s"] == pytest.approx(
            row["tpot_s"] / row["tpot_s_high"]
        )


def test_pages_and_plots_of_a_study_have_the_bands_of_its_objectives(tmp_path: Path) -> None:
    made = {
        "title": "t", "base": "llama-8b-azure-h100",
        "load": {"batch": 8, "input": 512, "output": 64},
        "axes": [{"path": "system", "values": ["h100", "duplex"]}],
        "objectives": {"tpot_s": "min", "cost_usd_per_Mtok": "min"},
    }  # fmt: skip
    results = sim.sweep(made)
    data = page_data(results)
    assert [(each["level"], each["points"]) for each in data["known"]] == [
        ("calibrated", 1), ("unbuilt", 1),
    ]  # fmt: skip
    assert [each["name"] for each in data["results"] if "low" in each] == ["tpot_s"]
    frame = results.frame
    down, up = error_of(results, frame, "tpot_s")
    assert (down > 0).all()
    assert np.allclose(up, frame["tpot_s_high"] - frame["tpot_s"])
    assert error_of(results, frame, "cost_usd_per_Mtok") is None
    assert "1 calibrated, 1 unbuilt" in levels_of(frame)
    with_bars, without = tmp_path / "with.png", tmp_path / "without.png"
    plot_pareto(results, with_bars, ["tpot_s", "cost_usd_per_Mtok"])
    results.about["banded"].clear()
    plot_pareto(results, without, ["tpot_s", "cost_usd_per_Mtok"])
    assert with_bars.read_bytes() != without.read_bytes()


def test_a_simulated_study_has_the_bands_of_its_runs() -> None:
    made = {
        "title": "t", "base": "llama-8b-azure-h100", "fidelity": "events",
        "axes": [{"path": "traffic.limit", "values": [50]}], "objectives": {"ttft_p90_s": "min"},
    }  # fmt: skip
    row = sim.sweep(made, workers=1).frame.iloc[0]
    band = sim.simulate("llama-8b-azure-h100", sets=["traffic.limit=50"]).bands["ttft_p90_s"]
    assert (row["ttft_p90_s_low"], row["ttft_p90_s_high"]) == (band.low, band.high)
    assert row["known"] == "calibrated"


# --- files --------------------------------------------------------------------------------------


def test_files_are_sourced_and_cover_devices_that_there_are() -> None:
    sources = yaml.safe_load((LIBRARY / "sources.yaml").read_text(encoding="utf-8"))
    errors = load_errors()
    assert {"residuals-2026-11", "unbuilt-error-estimate"} <= set(errors.sources) <= set(sources)
    devices = {path.stem for path in (LIBRARY / "devices").glob("*.yaml")}
    covered = [name for each in errors.generations for name in each.covers]
    assert set(covered) <= devices
    assert len(covered) == len(set(covered))
    for each in (*errors.generations, errors.edge):
        assert each is not None
        assert each.fitted_on
        assert {name for names in each.measured.values() for name in names} <= devices


@pytest.mark.parametrize(
    ("regime", "change", "message"),
    [
        ("product", {"p10": 1.5}, "p10, p50 and p90 are due in this order"),
        ("product", {"rows": 0}, "from 1 is due"),
        ("product", {"p95": 1}, "unknown key 'p95'"),
        ("producs", {}, "unknown key 'producs'"),
    ],
)
def test_a_wrong_file_is_one_clear_error(
    regime: str, change: dict[str, float], message: str
) -> None:
    entry = {"p10": 0.8, "p50": 1.0, "p90": 1.25, "rows": 9, "tables": 2} | change
    made = {
        "title": "t", "source": "s", "fitted": {"on": ["a/b"], "date": "2026-11-28"},
        "levels": {"calibrated": {regime: entry}},
    }  # fmt: skip
    document = parse_document(yaml.safe_dump(made), "mine.yaml")
    with pytest.raises(ConfigError, match=message):
        value_of(Generation, document, name="x")
