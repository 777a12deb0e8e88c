"""Do the notebooks run, top to bottom, and is what they say true?"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGE = ROOT / "docs" / "tutorial" / "notebooks.md"
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

CLAIMS = {
    "01-first-run": (
        "set(by_unit.loc['experts'].loc[lambda own: own > 0].index) == {'xpu', 'logic-pim'}",
        "experts['logic-pim'] > experts['xpu']",
        "max(tpot.values()) == tpot['four H100 instead']",
        "abs(tpot[\"0.70 of Logic-PIM's arithmetic\"] / tpot['as it is'] - 1.0) < 0.02",
        "tpot['0.50 of its bandwidth'] > 1.05 * tpot['as it is']",
        "tpot['15 us a launch, not 5'] > 1.05 * tpot['as it is']",
    ),
    "02-what-if-bandwidth": (
        "(gain.iloc[1:-1].to_numpy() > gain.iloc[2:].to_numpy()).all()",
        "1.5 < gain.iloc[2] < 2.0",
        "all(0.7 < halfway(each)[1] / H100 < 1.4 for each in (1, 8, 32, 128))",
        "traffic['J a token'].iloc[:3].is_monotonic_increasing",
        "1.1 < traffic['J a token'].iloc[2] / traffic['J a token'].iloc[1] < 1.4",
        "(traffic['J a token'].iloc[3:] / traffic['J a token'].iloc[3] - 1.0).abs().max() < 0.05",
        "step(H100, 8, FEWER).seconds > step(2 * H100, 8).seconds",
        "step(16 * H100, 8, FEWER).seconds < step(32 * H100, 8).seconds",
    ),
    "03-duplex-vs-gpu": (
        "all((ratio(column).stack().dropna() > 1.0).all() for column in TITLES)",
        "ratio('step_s').loc[256, 16] > 2.0",
        "ratio('tpot_s').loc[16384, 64] < ratio('tpot_s').loc[256, 16]",
        "last['Op/B'] > 2.0 * ridge['logic-pim'] and first['Op/B'] < ridge['xpu']",
        "96 <= best <= 192",
        "joules.loc[16, 'Duplex'] < 0.25 * joules.loc[16, 'H100']",
        "0.4 < (served['J a token']['Duplex'] / served['J a token']['H100']).iloc[0] < 0.6",
        "(served['J a token']['Duplex'] / served['J a token']['H100']).is_monotonic_increasing",
        "(served['TPOT p50, ms']['Duplex'] < 0.65 * served['TPOT p50, ms']['H100']).all()",
    ),
    "04-hardwired-or-rented": (
        "best.loc['8 H100', 'TPOT p50, ms'] > 3.0 * best.loc['metal', 'TPOT p50, ms']",
        "RATE['8 H100'] < RATE['metal'] < 2.0 * RATE['8 H100']",
        "expected < RENT",
        "7.0 < moved['as above'] < 14.0",
        "moved['rent 4 USD'] < moved['as above'] < moved['demand half of the time']",
        "moved['the model never changes'] < moved['as above'] < moved['it changes every year']",
    ),
    "05-pareto-from-yaml": (
        "0 < results.good.sum() < len(points)",
        "all(table['axis'].iloc[0] == 'load.batch' for table in effects.values())",
        "knee['key'] in set(front['key'])",
        "abs(simulated['prefill-first'] / knee['tpot_s'] - 1.0) < 0.1",
        "simulated['continuous'] < simulated['prefill-first']",
    ),
}
"""What the prose of each says without printing it, as expressions on the notebook's names."""


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return found


def text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small sizes, and plots that nobody looks at."""
    monkeypatch.setenv("SIM_NOTEBOOK_SIZE", "small")
    monkeypatch.setenv("MPLBACKEND", "agg")
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    yield
    plt.close("all")


def test_there_are_notebooks() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(CLAIMS)


@every_notebook
def test_notebook_is_well_formed_and_stripped(path: Path) -> None:
    raw = path.read_text(encoding="utf-8")
    book = json.loads(raw)
    assert set(book) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert book["metadata"]["kernelspec"]["name"] == "python3"
    assert raw == json.dumps(book, indent=1, ensure_ascii=False) + "\n"  # small differences
    ids = [cell["id"] for cell in book["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in book["cells"]:
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell["id"])
        assert cell["metadata"] == {}
        assert isinstance(cell["source"], list)
        assert text(cell).strip()
        code = {"execution_count", "outputs"} if cell["cell_type"] == "code" else set()
        assert set(cell) == {"cell_type", "id", "metadata", "source"} | code
        if code:
            assert cell["execution_count"] is None, f"{cell['id']}: clear the outputs"
            assert cell["outputs"] == [], f"{cell['id']}: clear the outputs"
        else:
            assert cell["cell_type"] == "markdown"
        assert max(map(len, text(cell).splitlines())) <= 100, cell["id"]


@every_notebook
def test_notebook_begins_with_its_one_question(path: Path) -> None:
    first = cells(path)[0]
    assert first["cell_type"] == "markdown"
    title = text(first).splitlines()[0]
    assert title.startswith("# ")
    assert title.endswith("?")
    assert text(first).count("?") == 1
    assert "calibrated" in text(first), "say that efficiencies are estimates"
    assert "**Answer.**" in text(cells(path)[-1])
    assert any("SIM_NOTEBOOK_SIZE" in text(each) for each in cells(path)[:2]), (
        "say how to shrink it"
    )


@every_notebook
def test_notebook_is_listed(path: Path) -> None:
    title = text(cells(path)[0]).splitlines()[0].removeprefix("# ")
    assert f"[{path.name}](../../notebooks/{path.name})" in PAGE.read_text(encoding="utf-8")
    assert title in PAGE.read_text(encoding="utf-8")


@every_notebook
def test_notebook_names_pages_that_exist(path: Path) -> None:
    prose = "\n".join(text(cell) for cell in cells(path) if cell["cell_type"] == "markdown")
    for name in re.findall(r"`(docs/[\w./-]+)`", prose):
        assert (ROOT / name).is_file(), name
    for name in re.findall(r"`([\w-]+\.ipynb)`", prose):
        assert (path.parent / name).is_file(), name


@every_notebook
def test_notebook_runs_and_tells_the_truth(path: Path) -> None:
    import matplotlib.pyplot as plt

    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells(path):
        if cell["cell_type"] == "code":
            exec(compile(text(cell), f"{path.name}:{cell['id']}", "exec"), names)
    assert plt.get_fignums(), "a plot is due"
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
    for claim in CLAIMS[path.stem]:
        assert eval(claim, names), claim
