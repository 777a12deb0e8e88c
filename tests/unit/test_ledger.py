"""The ledger: lines add up, unknowns are null, wrong dies and processes are clear errors."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import sim
from sim.cli import main
from sim.config.costs import ledger_of, load_process, load_site
from sim.config.document import parse_document
from sim.config.forms import value_of
from sim.config.library import names
from sim.economics.lines import Ledger
from sim.economics.practice import Practice
from sim.errors import ConfigError, Infeasible
from sim.hardware import Device, System


def added(found: Ledger, *units: str) -> np.ndarray:
    return np.asarray(sum(line.value for line in found.lines if line.unit in units))


@pytest.mark.parametrize("name", ["h100-x8", "duplex-x4", "wse-3-x2", "b200", "mi300x"])
def test_lines_add_up_to_totals_and_ends_rise(name: str) -> None:
    found = ledger_of(name)
    count = sim.load_system(name).count
    assert added(found, "USD") == pytest.approx(found.totals["unit_cost_usd"])
    assert added(found, "kgCO2e") * count == pytest.approx(
        added(found, "kgCO2e, embodied"), rel=0.1
    )
    assert added(found, "kgCO2e, embodied") == pytest.approx(found.totals["embodied_kgCO2e"])
    assert added(found, "USD, capital") == pytest.approx(found.totals["capex_usd"])
    if found.totals["tco_usd"] is not None:
        both = added(found, "USD, capital", "USD, running")
        assert both == pytest.approx(found.totals["tco_usd"])
    for line in found.lines:
        falls = line.name == "yield"
        assert (np.diff(line.value) * (-1 if falls else 1) >= 0).all(), line.name
        assert line.bounds == tuple(sorted(line.bounds))
        assert line.formula


def test_every_process_and_site_loads_and_every_named_process_has_data() -> None:
    for name in names("devices"):
        process = sim.load_device(name).process
        if process is not None:
            assert (load_process(process).wafer_USD > 0).all()
    assert {np.shape(load_site(name).pue) for name in ("default", "hnlpu-paper", "low-carbon")} == {
        (3,)
    }


def device(**changes: object) -> System:
    made: Device = replace(sim.load_device("h100-sxm"), **changes)  # type: ignore[arg-type]
    return System(name="mine", device=made)


def test_silicon_of_h100_is_that_of_public_estimates() -> None:
    """Analysts: some 60 dies a wafer, a die of 200 to 400 USD; units in reserve save many."""
    lines = {line.name: line.bounds for line in ledger_of(device()).lines}
    assert lines["dies a wafer"][1] == 60
    low, base, high = lines["dies"]
    assert low < 400.0 < high
    assert 200.0 < base < 500.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"die_area_mm2": 900.0}, "larger than the reticle's 858"),
        ({"die_area_mm2": 80_000.0, "wafer_scale": True}, "larger than a wafer of 300 mm"),
        ({"process": "TSMC 4M"}, "no data for 'TSMC 4M'; did you mean 'TSMC 4N"),
    ],
)
def test_impossible_dies_are_one_clear_error(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ledger_of(device(**changes))


def test_an_unknown_die_is_infeasible_to_cost() -> None:
    with pytest.raises(Infeasible, match=r"die\.area"):
        ledger_of(device(die_area_mm2=None))


def test_without_rated_power_ownership_is_not_known() -> None:
    totals = ledger_of(device(tdp_W=None)).totals
    assert totals["tco_usd"] is None
    assert totals["operational_kgCO2e"] is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("units: {low: 3, base: 2, high: 5}", "must not fall"),
        ("package_kg: -1", "a number from 0"),
        ("yeers: 3", "did you mean 'years'"),
    ],
)
def test_wrong_practice_is_one_clear_error(line: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        value_of(Practice, parse_document(f"title: x\n{line}\n", "x.yaml"))


def test_command_prints_json_and_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["cost", "h100-x8", "--json"], ["cost", "h100-x8", "--site", "low-carbon"]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 0
        printed = capsys.readouterr().out
        if "--json" in arguments:
            assert set(json.loads(printed)["totals"]) >= {"tco_usd", "nre_usd", "embodied_kgCO2e"}
        else:
            assert "electricity" in printed


def test_a_run_costs_less_per_token_when_it_makes_more_of_them() -> None:
    few, many = (
        sim.simulate("llama-8b-azure-h100", traffic={"trace": "azure-like-2k", "limit": 300,
                                                     "rate_scale": rate})
        for rate in (0.5, 2.0)
    )  # fmt: skip
    assert many.metrics["cost_usd_per_Mtok"] < few.metrics["cost_usd_per_Mtok"]
    assert many.metrics["carbon_kgCO2e_per_Mtok"] < few.metrics["carbon_kgCO2e_per_Mtok"]
