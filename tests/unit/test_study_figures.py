"""Figures: files of each kind, the same bytes each time, and clear words where there is nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sim
from sim.config.costs import ledger_of
from sim.errors import ConfigError
from sim.report.figures import (
    plot_breakdown,
    plot_latency,
    plot_roofline,
    plot_slo,
    plot_waterfall,
)
from sim.report.study_figures import MOST_DOTS, plot_pareto, plot_study_slo, study_figures
from sim.results.quantity import digits
from sim.studies.sweep.results import Results

BASE = "llama-8b-azure-h100"
STUDY: dict[str, Any] = {
    "title": "A map",
    "base": BASE,
    "axes": [
        {"path": "system", "values": ["h100-sxm", "a100-sxm-80gb"]},
        {"path": "load.batch", "values": [1, 4, 16, 64]},
        {"path": "load.input", "values": [128, 1024]},
    ],
    "objectives": {"tpot_s": "min", "throughput_tok_per_s": "max", "energy_J_per_tok": "min"},
}


@pytest.fixture(scope="module")
def results() -> Results:
    return sim.sweep(STUDY)


@pytest.fixture(scope="module")
def served() -> dict[str, sim.Run]:
    return {
        name: sim.simulate("mixtral-azure-duplex", system=name, sets=["traffic.limit=20"])
        for name in ("duplex-x4", "h100-x4")
    }


@pytest.mark.parametrize(("suffix", "begin"), [("png", b"\x89PNG"), ("pdf", b"%PDF"),
                                               ("svg", b"<?xml")])  # fmt: skip
def test_figures_of_runs_are_files_of_equal_bytes(
    served: dict[str, sim.Run], tmp_path: Path, suffix: str, begin: bytes
) -> None:
    run, other = served.values()

    def draw(folder: Path) -> list[bytes]:
        folder.mkdir()
        explanation = sim.explain("mixtral-azure-duplex", sets=["system.coprocessing=pe"])
        plot_roofline(explanation, folder / f"roofline.{suffix}")
        plot_breakdown(run, folder / f"breakdown.{suffix}")
        plot_latency(served, folder / f"latency.{suffix}")
        plot_slo({"one": {1.0: run, 2.0: other}}, folder / f"slo.{suffix}")
        plot_waterfall(ledger_of("duplex-x4"), folder / f"cost.{suffix}")
        return [path.read_bytes() for path in sorted(folder.iterdir())]

    files = draw(tmp_path / "a")
    assert len(files) == 5
    assert all(each.startswith(begin) for each in files)
    assert draw(tmp_path / "b") == files


def test_figures_of_studies(results: Results, tmp_path: Path) -> None:
    plot_pareto(results, tmp_path / "two.png", ["tpot_s", "energy_J_per_tok"])
    levels = {"path": "system.device.memories.hbm.bandwidth", "log": ["1 TB/s", "9 TB/s"],
              "levels": 250}  # fmt: skip
    many = sim.sweep(STUDY | {"axes": [*STUDY["axes"], levels]})
    assert len(many.frame) > MOST_DOTS
    plot_pareto(many, tmp_path / "many.png")
    with pytest.raises(ConfigError, match=r"\.pdf"):
        plot_pareto(results, tmp_path / "two.jpeg")
    with pytest.raises(ConfigError, match="did you mean 'tpot_s'"):
        plot_pareto(results, tmp_path / "two.png", ["tpot"])
    with pytest.raises(ConfigError, match="is a rate"):
        plot_study_slo(results, tmp_path / "slo.png")


def test_the_map_of_winners_names_those_that_win(results: Results, tmp_path: Path) -> None:
    """The newer device is the faster one everywhere; the legend has no other."""
    made = [path.name for path in study_figures(results, tmp_path, "svg")]
    assert made == ["pareto.svg", *(f"who-wins-{column}.svg" for column in results.objectives)]
    text = (tmp_path / "who-wins-tpot_s.svg").read_text(encoding="utf-8")
    assert "<!-- h100-sxm -->" in text
    assert "<!-- a100-sxm-80gb -->" not in text
    best = results.frame.pivot_table(index=["load.batch", "load.input"], columns="system",
                                     values="tpot_s", observed=True)  # fmt: skip
    ratios = best["a100-sxm-80gb"] / best["h100-sxm"]
    assert (ratios > 1).all()
    assert all(f"<!-- {digits(ratio)} -->" in text for ratio in ratios)


def test_a_model_in_metal_has_no_roofline(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to draw"):
        plot_roofline(sim.explain("gpt-oss-azure-hnlpu"), tmp_path / "roofline.png")


def test_a_simulated_study_over_rates_has_slo_curves(tmp_path: Path) -> None:
    made = sim.sweep(
        {
            "title": "Rates", "base": BASE, "fidelity": "events",
            "axes": [
                {"path": "system", "values": ["h100-sxm", "a100-sxm-80gb"]},
                {"path": "traffic.rate_scale", "values": [1, 4]},
                {"path": "traffic.limit", "values": [10]},
            ],
            "constraints": ["ttft_p90_s <= 2"],
            "objectives": {"ttft_p90_s": "min", "capex_usd": "min"},
        },
        workers=1,
    )  # fmt: skip
    assert "slo.svg" in {path.name for path in study_figures(made, tmp_path, "svg")}
    text = (tmp_path / "slo.svg").read_text(encoding="utf-8")
    assert "<!-- TTFT p90 (s) -->" in text
    assert "<!-- h100-sxm -->" in text
