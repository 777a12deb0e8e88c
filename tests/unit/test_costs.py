"""Costs: mistakes are one error at their line; shared masks, markups and years do what they say."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sim
from sim.config.catalogue import one_of
from sim.config.costs import costs_of, ledger_of, load_practice, load_process, load_site
from sim.config.library import files, names
from sim.economics.ledger import ledger
from sim.economics.lines import Floats, Ledger
from sim.economics.per_token import Served, owned
from sim.economics.practice import Costs
from sim.economics.sensitivity import inputs_of, with_only
from sim.errors import ConfigError, Infeasible
from sim.hardware import System
from sim.results.conclusion import conclude

HNLPU = files("devices")["hnlpu"].read_text(encoding="utf-8")


def costs(system: System) -> Costs:
    return costs_of(system, load_site(), load_practice())


def line(found: Ledger, name: str) -> Floats:
    return next(each.value for each in found.lines if each.name == name)


@pytest.mark.parametrize(
    ("old", "new", "path", "words"),
    [
        ("827.08 mm2", "900 mm2", "die.area", "larger than the reticle's 858 mm2"),
        ("827.08 mm2", "80000 mm2", "die.area", "larger than a wafer of 300 mm"),
        ("products: 16", "products: 16\n  yield: 1.2", "die.yield", "1.2: a number from"),
        ("products: 16", "products: 16\n  yield: 0", "die.yield", "0: a number from"),
        ("low: 1900 USD", "low: -5 USD", "making.board.low", "negative"),
        ("{duv: 10}", "{euv: 80, duv: 10}", "die.own_layers.euv", "80 of 12 EUV layers"),
        ("5 nm (simulated)", "4 nm", "die.process", "did you mean '5 nm'? known: 10nm, 16 nm"),
        ("low: 16,", "low: 400,", "making.units", "low 400, base 160, high 800 must not fall"),
        ("low: 16,", "low: 0,", "making.units.low", "0: a number from 1 to"),
        ("high: 800", "high: .inf", "making.units.high", "inf: a number from 1 to"),
        ("markup: 1 ", "markup: 0 ", "making.markup", "0: a number from 0.01"),
    ],
)
def test_a_mistake_is_one_error_at_its_line(
    tmp_path: Path, old: str, new: str, path: str, words: str
) -> None:
    assert HNLPU.count(old) == 1
    file = tmp_path / "chip.yaml"
    file.write_text(HNLPU.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        ledger_of(str(file))
    (problem,) = caught.value.problems
    assert problem.path == path
    assert words in problem.message
    assert problem.line is not None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("cost.practice.years=0", "0: a number from 0.1 to 100"),
        ("cost.practice.units=.inf", "inf: a number from 1"),
        ("cost.practice.utilisation=0", "0: a number from 1e-06 to 1"),
        ("cost.practice.markup=0", "0: a number from 0.01"),
        ("cost.site.pue=0.5", "0.5: a number from 1"),
        ("cost.practice.design_shares.ip=7", "the four shares add up to 7.62"),
    ],
)
def test_no_input_of_cost_makes_tokens_free_or_endless(change: str, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        sim.load_scenario("llama-8b-azure-h100", sets=[change])


def test_dies_that_do_not_fit_or_never_work_are_infeasible(tmp_path: Path) -> None:
    text = files("processes")["5nm"].read_text(encoding="utf-8")
    chip = tmp_path / "chip.yaml"
    chip.write_text(HNLPU.replace("5 nm (simulated)", "mine.yaml"), encoding="utf-8")
    for change, words in (
        (text + "wafer_mm: 36 [cset-wafers]\n", "no whole die of 827.08 mm2 fits a wafer"),
        (text.replace("base: 0.1, high: 0.13", "base: 0.1, high: 1e9"), "work"),
    ):
        (tmp_path / "mine.yaml").write_text(change, encoding="utf-8")
        with pytest.raises(Infeasible, match=words):
            ledger_of(str(chip))


def test_memory_without_a_price_is_not_free() -> None:
    chip = sim.load_device("h100-sxm")
    (memory,) = chip.memories
    with pytest.raises(Infeasible, match=r"memories\.hbm\.price"):
        ledger_of(one_of(replace(chip, memories=(replace(memory, price_USD_per_GB=None),))))


def test_what_is_sold_costs_less_to_make_than_its_price() -> None:
    for name in names("devices"):
        chip = sim.load_device(name)
        if chip.price_USD is None or chip.process is None or chip.die_area_mm2 is None:
            continue
        unit = ledger_of(name).totals["unit_cost_usd"]
        assert unit is not None
        assert unit[1] < chip.price_USD[1], name


def test_nobody_shares_the_nre_of_more_devices_than_are_made() -> None:
    found = ledger_of("hnlpu-x16")
    spread, nre = line(found, "NRE a device"), found.totals["nre_usd"]
    assert nre is not None
    assert (spread * 16 <= nre * (1.0 + 1e-12)).all()
    many = ledger_of(System(name="many", device=sim.load_device("hnlpu"), count=1600))
    assert line(many, "their NRE") == pytest.approx(many.totals["nre_usd"])


def test_carbon_lines_add_up() -> None:
    for name in ("hnlpu-x16", "wse-3-x2"):
        found = ledger_of(name)
        made = sum(each.value for each in found.lines if each.unit == "kgCO2e, embodied")
        assert made == pytest.approx(found.totals["embodied_kgCO2e"])
    wafer_kg = np.pi * 15.0**2 * load_process("5nm").carbon_kg_per_cm2
    assert line(ledger_of("wse-3"), "dies' carbon") == pytest.approx(wafer_kg)


def test_more_euv_layers_than_layers_is_one_error(tmp_path: Path) -> None:
    text = files("processes")["5nm"].read_text(encoding="utf-8")
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("euv: 12", "euv: 82"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"masks\.euv: 82 EUV layers of 70 layers"):
        load_process(str(file))


def test_a_process_by_path_starts_from_the_device_s_file(tmp_path: Path) -> None:
    text = files("processes")["5nm"].read_text(encoding="utf-8")
    dear = text.replace("low: 14500 USD, base: 16988 USD, high: 18500", "low: 3e4 USD, base: 3e4 "
                        "USD, high: 30000")  # fmt: skip
    (tmp_path / "mine.yaml").write_text(dear, encoding="utf-8")
    (tmp_path / "chip.yaml").write_text(
        HNLPU.replace("5 nm (simulated)", "mine.yaml"), encoding="utf-8"
    )
    mine, usual = ledger_of(str(tmp_path / "chip.yaml")), ledger_of("hnlpu")
    ratio = line(mine, "dies")[1] / line(usual, "dies")[1]
    assert ratio == pytest.approx(30_000 / 16_988)


def test_hnlpu_s_masks_are_those_of_its_paper() -> None:
    """Section 3.2: 13.85 to 27.69 shared, 18.46 to 36.92 M USD of 16 products' own."""
    found = ledger_of("hnlpu-x16")
    shared, own = line(found, "masks shared by all products"), line(found, "masks of each product")
    assert shared[[0, 2]] == pytest.approx([13.85e6, 27.69e6], rel=1e-3)
    assert own[[0, 2]] == pytest.approx([18.46e6, 36.92e6], rel=1e-3)


@given(st.integers(1, 64), st.integers(0, 58), st.integers(0, 12))
def test_shared_layers_never_cost_more(products: int, duv: int, euv: int) -> None:
    chip = sim.load_device("hnlpu")

    def nre(own_euv: int, own_duv: int) -> Floats:
        making = replace(chip.making, products=products, own_euv=own_euv, own_duv=own_duv)
        system = one_of(replace(chip, making=making))
        found = ledger(system, costs(system)).totals["nre_usd"]
        assert found is not None
        return found

    assert (nre(euv, duv) <= nre(12, 58) * (1.0 + 1e-12)).all()


@given(st.floats(50.0, 850.0), st.floats(1.0, 1.5), st.floats(1e3, 1e6), st.floats(1.0, 10.0))
def test_cost_rises_with_area_and_falls_with_volume(
    area: float, more: float, units: float, times: float
) -> None:
    chip = replace(sim.load_device("h100-sxm"), price_USD=None, die_area_mm2=area)

    def capital(device: sim.Device) -> Floats:
        found = ledger(one_of(device), costs(one_of(device))).totals["capex_usd"]
        assert found is not None
        return found

    larger = replace(chip, die_area_mm2=min(area * more, 858.0))
    assert (capital(chip) <= capital(larger) * (1.0 + 1e-12)).all()
    made = [replace(chip, making=replace(chip.making, units=(count,) * 3))
            for count in (units, units * times)]  # fmt: skip
    assert (capital(made[1]) <= capital(made[0]) * (1.0 + 1e-12)).all()


def test_at_cost_nothing_has_a_markup_or_a_list_price() -> None:
    for name in ("h100-x8", "duplex-x4"):
        priced, plain = ledger_of(name), ledger_of(name, basis="cost")
        unit, spread = plain.totals["unit_cost_usd"], line(plain, "NRE a device")
        count = sim.load_system(name).count
        assert unit is not None
        assert line(plain, "devices") == pytest.approx(unit * count)
        assert line(plain, "their NRE") == pytest.approx(spread * count)
        assert line(plain, "devices")[1] < line(priced, "devices")[1]
    assert ledger_of("h100-x8").basis == "list price"


def test_logic_pim_s_silicon_is_in_the_ledger() -> None:
    """Five stacks with 17.81 mm2 more each."""
    added = line(ledger_of("duplex"), "logic-pim in the stacks")
    per_mm2 = load_practice().stack_silicon_USD_per_mm2
    assert added == pytest.approx(5 * 17.81 * per_mm2)


@pytest.mark.parametrize("name", ["h100-x8", "hnlpu-x16", "duplex-x4"])
def test_one_input_at_a_time_stays_within_all_at_once(name: str) -> None:
    system = sim.load_system(name)
    served = Served(tok_per_s=1000.0, power_W=3000.0)
    together = owned(system, served, costs(system)).USD_per_Mtok
    assert together is not None
    names = inputs_of(system, costs(system))
    assert {"site.pue", "practice.years", "practice.utilisation"} <= set(names)
    for key in names:
        alone = owned(*_of(system, key, served)).USD_per_Mtok
        assert alone is not None
        assert alone[1] == pytest.approx(together[1])
        assert together[0] * (1 - 1e-9) <= alone[0] <= alone[1] * (1 + 1e-9), key
        assert alone[1] * (1 - 1e-9) <= alone[2] <= together[2] * (1 + 1e-9), key
    nothing = owned(*_of(system, "no such input", served)).USD_per_Mtok
    assert nothing is not None
    assert np.ptp(nothing) == 0.0


def _of(system: System, key: str, served: Served) -> tuple[System, Served, Costs]:
    kept, those = with_only(system, costs(system), key)
    return kept, served, those


def test_the_conclusion_says_what_would_change_it() -> None:
    traffic = {"traffic": {"trace": "azure-like-2k", "limit": 100}}
    runs = [
        sim.simulate("gpt-oss-azure", system=name, **traffic) for name in ("h100-x8", "duplex-x4")
    ]
    found = conclude(runs)
    assert found is not None
    usd = {run.scenario.system.name: run.metrics["cost_usd_per_Mtok"] for run in runs}
    assert found.winner == min(usd, key=lambda name: usd[name])
    assert found.ratio == pytest.approx(max(usd.values()) / min(usd.values()))
    spans = [move.span for move in found.moves]
    assert spans == sorted(spans, reverse=True)
    assert len(found.to_json()["inputs"]) == 5
    assert conclude(runs[:1]) is None
    assert conclude([runs[0], runs[0]]).ratio == 1.0  # type: ignore[union-attr]


def test_inputs_of_the_cost_are_reached_from_a_scenario() -> None:
    few = {"trace": "azure-like-2k", "limit": 50}

    def usd(*sets: str) -> float:
        run = sim.simulate("llama-8b-azure-h100", sets=sets, traffic=few)
        return float(run.metrics["cost_usd_per_Mtok"])

    base = usd()
    assert usd("cost.site.electricity_USD_per_kWh=0.5") > base
    assert usd("cost.practice.utilisation=0.1") > base
    assert usd("system.device.price=90000 USD") > base
    assert usd("cost.basis=cost") < base
    assert usd("cost.site=low-carbon") != base
    with pytest.raises(ConfigError, match="did you mean 'utilisation'"):
        usd("cost.practice.utilization=0.1")


def test_a_device_that_sleeps_in_hours_without_traffic_costs_less() -> None:
    def usd(*sets: str) -> float:
        run = sim.simulate("llama-8b-azure-h100", sets=["traffic.limit=5", *sets])
        cost = run.metrics["cost_usd_per_Mtok"]
        assert cost is not None
        return float(cost)

    static = "system.device.power.static=80 W"
    asleep = usd(static, "system.device.power.unused=5 W")
    assert asleep < usd(static)
    assert usd(static, "system.device.power.unused=80 W") == usd(static)
