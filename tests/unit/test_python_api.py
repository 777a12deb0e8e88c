"""Is every command a function, with keywords that are spelled out and results that show?"""

from __future__ import annotations

import inspect
import re
import typing
from pathlib import Path

import pytest

import sim
from sim.config.replacements import Replacements
from sim.config.scenario_form import ScenarioForm
from sim.values import members

SCENARIO = "llama-8b-azure-h100"
FEW = ["traffic.limit=8"]
COMMANDS = ("run", "compare", "explain", "cost", "capacity", "sweep", "reproduce", "validate")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_a_function_whose_keywords_are_spelled_out(name: str) -> None:
    function = getattr(sim, name)
    assert callable(function)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            assert "Unpack[" in str(parameter.annotation)


def test_no_room_hides_a_function() -> None:
    """A module called as a function would replace it once something imports the module."""
    rooms = {path.stem for path in Path(sim.__file__).parent.iterdir() if path.stem != "__init__"}
    assert not rooms & set(sim.__all__)


def test_all_public_names_are_there() -> None:
    for name in sim.__all__:
        assert getattr(sim, name) is not None
    source = Path(sim.__file__).read_text(encoding="utf-8")
    checked = source[source.index("if TYPE_CHECKING") : source.index("_HOMES: ")]
    for name in sim._HOME:
        assert name in sim.__all__
        assert re.search(rf"\b{name}\b", checked)


def test_types_are_part_of_the_package() -> None:
    assert Path(sim.__file__).with_name("py.typed").is_file()


def test_keys_of_a_scenario_are_known_to_type_checkers() -> None:
    keys = set(typing.get_type_hints(Replacements))
    stated = {member.name for member in members(ScenarioForm)}
    assert stated <= keys
    assert keys - stated == {"precision"}  # what `dtype` is in Python


def test_runs_and_comparisons() -> None:
    assert sim.run is sim.simulate
    comparison = sim.compare(
        SCENARIO, ["h100", "raspberry-pi-5", sim.load_system("l40s")], sets=FEW
    )
    alone = sim.run(SCENARIO, sets=FEW)
    assert [run.scenario.system.name for run in comparison.runs] == ["h100", "l40s"]
    assert list(comparison.refused) == ["raspberry-pi-5"]
    assert comparison.frame.loc["h100"].to_dict() == pytest.approx(alone.row, nan_ok=True)
    assert comparison.to_json()["runs"][0]["metrics"] == alone.to_json()["metrics"]
    assert "TTFT p50 (s)" in comparison._repr_html_()
    assert "Throughput" in alone._repr_html_()
    with pytest.raises(sim.ConfigError, match="a list"):
        sim.compare(SCENARIO, "h100")
    with pytest.raises(sim.Infeasible):
        sim.compare(SCENARIO, ["raspberry-pi-5"], sets=FEW)


def test_explanations_and_ledgers_show() -> None:
    assert "decode iteration" in sim.explain(SCENARIO, sets=FEW)._repr_html_()
    ledger = sim.cost("h100-x8")
    assert "<td>" in ledger._repr_html_()
    assert sim.cost(sim.load_system("h100-x8")).to_json() == ledger.to_json()


def test_paths_are_texts_or_paths(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("device: h100-sxm\ncount: 2\n", encoding="utf-8")
    assert sim.cost(path).to_json() == sim.cost(str(path)).to_json()
    study = tmp_path / "study.yaml"
    study.write_text(
        f"title: two\nbase: {SCENARIO}\nload: {{batch: 1, input: 64, output: 8}}\n"
        "axes: [{path: load.batch, values: [1, 2]}]\nobjectives: {tpot_s: min}\n",
        encoding="utf-8",
    )
    results = sim.sweep(study, output=str(tmp_path / "out"))
    assert len(results.frame) == 2
    assert "front of" in results._repr_html_()
    assert len(sim.load_results(tmp_path / "out").frame) == 2


def test_reproductions_show() -> None:
    assert "published" in sim.reproduce("public_chips")._repr_html_()
