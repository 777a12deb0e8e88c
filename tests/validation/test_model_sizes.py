"""Do parameters follow from published configurations, within 0.5 % of counts made by others?

The table is in the README of the data folder: parameters computed from the same dimensions by an
independent script, and compared there with the published sizes. Rounding of the table's four digits
is far below the tolerance; what the tolerance leaves room for is norms, biases and position tables.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from sim.cli import main
from sim.config.catalogue import load_model
from sim.config.library import names
from sim.workload.hugging_face import architecture_from_json
from sim.workload.layers import build_graph

TOLERANCE = 0.005
DATA = os.environ.get("SIM_DATA")
ROW = re.compile(r"^\| (\S+\.json) \|(.*)$", re.MULTILINE)


def table() -> dict[str, tuple[float, float]]:
    """Computed and active parameters in billions, by file."""
    if not DATA:
        return {}
    text = (Path(DATA) / "README.md").read_text(encoding="utf-8")
    rows = {match[1]: match[2].split("|") for match in ROW.finditer(text)}
    return {name: (float(cells[3]), float(cells[4])) for name, cells in rows.items()}


needs_data = pytest.mark.skipif(not DATA, reason="set SIM_DATA to the folder of models/*.json")


@needs_data
def test_every_file_has_a_row() -> None:
    files = {path.name for path in (Path(str(DATA)) / "models").glob("*.json")}
    assert files == set(table())
    assert len(files) == 45


@needs_data
@pytest.mark.parametrize("name", sorted(table()))
def test_parameters_follow_from_the_configuration(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["show", f"{DATA}/models/{name}", "--json"])
    assert stopped.value.code == 0
    about = json.loads(capsys.readouterr().out)
    computed, active = table()[name]
    assert about["parameters"] == pytest.approx(computed * 1e9, rel=TOLERANCE)
    assert about["active_parameters_per_token"] == pytest.approx(active * 1e9, rel=TOLERANCE)


VOCABULARY_ADDED = {"gpt3-175b"}
"""The file has no vocabulary; the library's model has GPT-3's."""


@needs_data
@pytest.mark.parametrize("name", sorted(table()))
def test_the_library_has_the_same_model(name: str) -> None:
    stem = name.removesuffix(".json")
    assert stem in names("models")
    if stem in VOCABULARY_ADDED:
        return
    ours = build_graph(load_model(stem))
    theirs = build_graph(architecture_from_json(f"{DATA}/models/{name}"))
    assert ours.ops == theirs.ops
    assert (ours.layers, ours.hidden) == (theirs.layers, theirs.hidden)


@pytest.mark.parametrize(
    ("name", "billions", "source"),
    [
        ("gpt3-175b", 174.6, "GPT-3 paper, table 2.1, with embeddings"),
        ("glam-143b", 143.8, "counted by hand for the Duplex paper's model"),
        ("bert-tiny", 0.00439, "Turc et al. 2019, table 1: 4.4 M"),
    ],
)
def test_models_without_a_file_have_their_published_size(
    name: str, billions: float, source: str
) -> None:
    assert build_graph(load_model(name)).parameters == pytest.approx(billions * 1e9, rel=0.005), (
        source
    )
