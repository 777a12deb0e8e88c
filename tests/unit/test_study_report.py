"""The report of a study: one file without a network, safe against what is named in it, usable."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sim
from sim.cli import main
from sim.errors import ConfigError
from sim.report.html import study_page
from sim.report.study_figures import study_figures
from sim.report.thinning import MOST_POINTS, MOST_VALUES, thinned
from sim.results import metrics
from sim.studies.sweep.results import Results, load_results
from tests.browser import KEYS, Browser, chromium

CLOSED_FORM = tuple(column.name for column in metrics.CLOSED_FORM)
EVENTS = tuple(column.name for column in metrics.EVENTS)
BANDWIDTH = "system.device.memories.hbm.bandwidth"
BASE = "llama-8b-azure-h100"
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
TITLE = f'It\'s <b>"A & B"</b> %%DATA%% {EVIL}'
STUDY: dict[str, Any] = {
    "title": TITLE,
    "base": BASE,
    "load": {"batch": 8, "input": 512, "output": 64},
    "axes": [
        {"path": "name", "values": [EVIL, 'it\'s "A & B"']},
        {"path": "load.batch", "values": [1, 16, 100000]},
        {"path": BANDWIDTH, "log": ["1 TB/s", "8 TB/s"], "levels": 6},
        {"path": "system.device.price", "values": ["9000 USD", "30000 USD"]},
    ],
    "constraints": ["tpot_s <= 0.02"],
    "objectives": {"tpot_s": "min", "cost_usd_per_Mtok": "min", "energy_J_per_tok": "min"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("study") / "out"
    sim.sweep(STUDY, output=made)
    return made


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return load_results(folder)


@pytest.fixture(scope="module")
def page(results: Results) -> str:
    return study_page(results)


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert found
    read: dict[str, Any] = json.loads(found[1])
    return read


def unpacked(text: str, kind: str) -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(text), kind)


def random_results(points: int, columns: tuple[str, ...], seed: int = 0) -> Results:
    """Points without a folder: two axes and random results."""
    draw = np.random.default_rng(seed)
    names = pd.Categorical.from_codes(draw.integers(0, 3, points), ["a", "b", "c"])
    frame = pd.DataFrame(
        {
            "key": draw.integers(0, 2**63, points).astype(np.uint64),
            "model": names,
            "load.batch": draw.integers(1, 5, points).astype(float),
            "status": "ok",
            "reason": "",
            **{column: draw.lognormal(size=points) for column in columns},
        }
    ).drop_duplicates("key")
    about = {
        "identity": "0" * 16, "version": "0", "name": "no such study", "title": "Random",
        "fidelity": "events", "load": None, "per": [], "constraints": [],
        "axes": [
            {"paths": ["model"], "levels": [["a"], ["b"], ["c"]], "unit": ""},
            {"paths": ["load.batch"], "levels": [["1"], ["2"], ["3"], ["4"]], "unit": ""},
        ],
        "objectives": {columns[0]: "min", columns[1]: "max"}, "columns": list(columns),
    }  # fmt: skip
    return Results(folder=Path("nowhere"), about=about, loaded=frame)


# --- the file -----------------------------------------------------------------------------------


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    outside = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert re.findall(r'\b(?:src|href)="([^"]*)"', outside) == ["data:,", "#explore"]
    assert "<script src" not in page
    assert "url(" not in outside
    assert "@import" not in page
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")


def test_names_are_never_markup(page: str) -> None:
    assert "<img" not in page
    assert page.count("<script") == 2
    assert "alert(1)</script>" not in page
    assert "It&#x27;s &lt;b&gt;" in page  # the title element
    assert data_of(page)["title"] == TITLE


def test_equal_results_give_equal_bytes(folder: Path, page: str, tmp_path: Path) -> None:
    assert study_page(load_results(folder)) == page
    parts = sorted(folder.glob("part-*.parquet"))
    frame = pd.concat([pd.read_parquet(path) for path in parts])
    (tmp_path / "study.json").write_bytes((folder / "study.json").read_bytes())
    frame.iloc[::-1][:20].to_parquet(tmp_path / "part-1.parquet")
    frame.iloc[::-1][20:].to_parquet(tmp_path / "part-0.parquet")
    assert data_of(study_page(load_results(tmp_path))) == data_of(page)


def test_packed_columns_are_those_of_the_table(results: Results, page: str) -> None:
    data = data_of(page)
    frame = results.frame.set_index("key")
    keys = unpacked(data["keys"], "<u8")
    frame = frame.loc[keys]
    assert len(frame) == data["rows"] == (results.frame["status"] == "ok").sum()
    for column in data["results"]:
        np.testing.assert_array_equal(unpacked(column["data"], "<f8"), frame[column["name"]])
    for axis in data["axes"]:
        told = [axis["levels"][code] for code in unpacked(axis["data"], "<i4")]
        if axis["numbers"]:
            told = [axis["numbers"][axis["levels"].index(each)] for each in told]
        assert told == frame[axis["name"]].tolist()
    flags = unpacked(data["flags"], "u1")
    best = set(results.pareto()["key"])
    assert {key for key, flag in zip(keys, flags, strict=True) if flag & 2} == best
    assert keys[flags & 4 > 0].tolist() == [results.knee()["key"]]
    assert data["status"] == {"infeasible": 24, "ok": 48}
    assert sum(count for _, count in data["reasons"]) == 24


def test_provenance_comes_with_studies_of_the_library(tmp_path: Path) -> None:
    found = data_of(study_page(sim.sweep("duplex-vs-gpu", output=tmp_path)))
    assert found["base"] == "mixtral-azure-duplex"
    assert sum(found["provenance"]["constants"].values()) > 10
    assert len(found["provenance"]["sources"]) > 3
    assert found["per"] == ["load.batch", "load.input"]
    other = sim.sweep(STUDY | {"name": "duplex-vs-gpu"})  # the base counts, not the name
    assert data_of(study_page(other))["base"] == STUDY["base"]


@pytest.mark.parametrize("columns", [CLOSED_FORM, EVENTS])
def test_many_points_are_thinned_to_a_bounded_file(columns: tuple[str, ...]) -> None:
    made = random_results(100_000, columns)
    points = thinned(made)
    assert len(points.table) <= min(MOST_POINTS, MOST_VALUES // len(columns))
    assert points.front.sum() == len(made.pareto())
    assert points.knee.sum() == 1
    for level in ("a", "b", "c"):
        own = made.pareto(per=["model"])
        assert set(own[own["model"] == level]["key"]) <= set(points.table["key"])
    assert len(study_page(made)) < 15e6


def test_good_points_are_not_crowded_out() -> None:
    made = random_results(100_000, CLOSED_FORM)
    made.about["constraints"].append("power_W <= 0.02")  # type: ignore[index]
    good = int(made.good.sum())
    assert 0 < good < 1000
    points = thinned(made)
    assert points.good.sum() == good
    assert 0.99 * MOST_POINTS < len(points.table) <= MOST_POINTS  # some are there for two reasons


def test_a_study_without_a_good_point_has_a_page(tmp_path: Path) -> None:
    made = sim.sweep(STUDY | {"constraints": ["tpot_s <= 1e-9"]})
    data = data_of(study_page(made))
    assert data["front"] == 0
    assert data["rows"] == 48
    assert data["sensitivity"]["attribution"] == []
    with pytest.raises(ConfigError, match="nothing to draw"):
        list(study_figures(made, tmp_path))


def test_levels_that_only_the_folder_has_keep_their_values(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    about = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    for axis in about["axes"]:
        axis["levels"] = axis["levels"][:1]
    (tmp_path / "study.json").write_text(json.dumps(about), encoding="utf-8")
    data = data_of(study_page(load_results(tmp_path)))
    for axis in data["axes"]:
        assert unpacked(axis["data"], "<i4").min() == 0
    assert sorted(data["axes"][0]["levels"]) == sorted([EVIL, 'it\'s "A & B"'])


def test_labels_have_units_and_directions() -> None:
    assert metrics.column_of("ttft_p90_s").titled == "TTFT p90 (s)"
    assert metrics.column_of("throughput_tok_per_s").better == "max"
    assert metrics.column_of("cost_usd_per_Mtok_high").unit == "USD/Mtok"
    made = random_results(10, CLOSED_FORM)
    assert made.better("power_W") == "min"
    made.about["objectives"]["power_W"] = "max"
    assert made.better("power_W") == "max"
    for column in (*CLOSED_FORM, *EVENTS):
        label = metrics.column_of(column)
        assert label.text != column
        assert label.unit or column in ("kv_share", "completed", "rejected")


# --- the command --------------------------------------------------------------------------------


def run(*line: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(line))
    return int(str(stopped.value.code))


def test_command_writes_a_page_and_figures(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], page: str
) -> None:
    html, figures = tmp_path / "r.html", tmp_path / "figures"
    assert run("report", str(folder), "--html", str(html), "--figures", str(figures)) == 0
    assert html.read_text(encoding="utf-8") == page
    names = {path.name for path in figures.iterdir()}
    assert {"pareto.pdf", "who-wins-tpot_s.pdf"} <= names
    assert "wrote" in capsys.readouterr().err
    assert run("report", str(folder)) == 2
    assert "nothing to write" in capsys.readouterr().err
    assert run("report", str(folder), "--html", str(tmp_path / "none" / "r.html")) == 2
    assert "No such file" in capsys.readouterr().err
    assert run("report", str(tmp_path), "--html", str(html)) == 2
    assert "no study's folder" in capsys.readouterr().err


# --- in a browser -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def opened(browser: Browser, page: str, tmp_path: Path) -> Iterator[Browser]:
    """The page, open; nothing may have reached the console when the test ends."""
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    browser.open(path)
    browser.until("return document.documentElement.dataset.ready !== undefined")
    yield browser
    assert browser.errors() == []


def shown(browser: Browser) -> int:
    text = browser.text("#shown")
    found = re.match(r"([\d,]+) of", text)
    assert found, text
    return int(found[1].replace(",", ""))


def test_axes_change_and_filters_leave_fewer_points(opened: Browser) -> None:
    assert opened.text("#title") == TITLE
    assert opened.run("return document.images.length") == 0
    all_good = shown(opened)
    assert opened.run("return document.querySelectorAll('#front-table tbody tr').length") > 0
    opened.choose("#x", "energy_J_per_tok")
    opened.choose("#y", BANDWIDTH)
    opened.choose("#colour", "name")
    opened.until("return /bandwidth.*over Energy per token/.test("
                 "document.querySelector('#scatter').getAttribute('aria-label'))")  # fmt: skip
    assert EVIL in opened.text("#legend")
    opened.type('[id="range-tpot_s-max"]', "0.0055")
    opened.until(f"return !document.querySelector('#shown').textContent.startsWith('{all_good} ')")
    fewer = shown(opened)
    assert 0 < fewer < all_good
    opened.click("#levels fieldset:nth-of-type(1) .choices input")
    opened.until(f"return !document.querySelector('#shown').textContent.startsWith('{fewer} ')")
    assert shown(opened) < fewer
    opened.click("#reset")
    opened.until(f"return document.querySelector('#shown').textContent.startsWith('{all_good} ')")
    opened.click("#only-good")
    opened.until(f"return !document.querySelector('#shown').textContent.startsWith('{all_good} ')")
    assert shown(opened) == 48


def column_of(browser: Browser, position: int) -> list[float]:
    return [float(text.replace(",", "")) for text in browser.run(
        "return [...document.querySelectorAll('#front-table tbody tr')]"
        ".map((row) => row.cells[arguments[0]].textContent)", position)]  # fmt: skip


def test_the_table_sorts_by_mouse_and_by_keyboard(opened: Browser) -> None:
    cost = 1 + len(STUDY["axes"]) + 1
    header = f"#front-table th:nth-of-type({cost}) button"  # the first cell is no header
    opened.click(header)
    values = column_of(opened, cost)
    assert len(values) > 3
    assert values == sorted(values)
    opened.type(header, KEYS["enter"])
    assert column_of(opened, cost) == sorted(values, reverse=True)
    sort = f"return document.querySelector('{header}').parentNode.getAttribute('aria-sort')"
    assert opened.run(sort) == "descending"


def test_the_front_downloads_as_csv(opened: Browser, results: Results) -> None:
    opened.run("""
        const make = URL.createObjectURL;
        URL.createObjectURL = (blob) => { blob.text().then((text) => { window.csv = text; });
          return make(blob); };""")
    opened.click("#csv")
    opened.until("return window.csv !== undefined")
    rows = list(csv.DictReader(io.StringIO(opened.run("return window.csv"))))
    best = results.pareto()
    assert {int(row["key"], 16) for row in rows} == set(best["key"])
    assert sorted(float(row["tpot_s"]) for row in rows) == sorted(best["tpot_s"])
    assert {row["name"] for row in rows} == set(best["name"])


def test_a_click_opens_a_point_and_says_how_to_reproduce_it(
    opened: Browser, results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    size = opened.run("const box = document.querySelector('#scatter').getBoundingClientRect();"
                      "return [box.width, box.height]")  # fmt: skip
    hidden = "return document.querySelector('#point').hidden"
    assert opened.run(hidden)
    places = [(x, y) for x in np.linspace(-0.45, 0.45, 30) for y in np.linspace(-0.45, 0.4, 12)]
    for x, y in places:
        opened.click_at("#scatter", int(x * size[0]), int(y * size[1]))
        if not opened.run(hidden):
            break
    key = int(re.findall(r"Key (\w{16})", opened.text("#point-kind"))[0], 16)
    row = results.frame.set_index("key").loc[key]
    assert BANDWIDTH in opened.text("#point-axes")
    explain, simulate = opened.text("#point-command").replace("BASE", BASE).split("\n\n")
    assert run(*shlex.split(explain.replace("\\\n", ""))[1:], "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["iteration_s"] == pytest.approx(row["step_s"], rel=1e-6)
    assert run(*shlex.split(simulate.replace("\\\n", ""))[1:], "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["metrics"]["throughput_tok_per_s"] == pytest.approx(
        row["throughput_tok_per_s"], rel=0.15
    )


def test_a_drag_zooms_and_keys_reach_every_point_of_the_front(opened: Browser) -> None:
    opened.drag("#scatter", (-200, -100), (150, 100))
    opened.until("return !document.querySelector('#unzoom').hidden")
    opened.type("#scatter", KEYS["escape"])
    opened.until("return document.querySelector('#unzoom').hidden")
    seen = set()
    for _ in range(40):
        opened.type("#scatter", KEYS["right"])
        seen.add(opened.text("#shown").split(":")[0])
    assert len(seen) == opened.run(
        "return document.querySelectorAll('#front-table tbody tr').length"
    )
    opened.type("#scatter", KEYS["enter"])
    assert not opened.run("return document.querySelector('#point').hidden")
    assert opened.run("return document.activeElement.id") == "point"


def test_every_control_has_a_name(opened: Browser) -> None:
    nameless = opened.run("""
        return [...document.querySelectorAll('input, select, button')].filter((each) =>
          !(each.labels?.length && [...each.labels].some((label) => label.textContent.trim()))
          && !each.getAttribute('aria-label') && !each.textContent.trim())
          .map((each) => each.outerHTML)""")
    assert nameless == []


def test_it_fits_a_phone_in_the_dark(opened: Browser) -> None:
    opened.narrow(360, 800)
    opened.devtools("Emulation.setEmulatedMedia",
                    features=[{"name": "prefers-color-scheme", "value": "dark"}])  # fmt: skip
    try:
        opened.click("#show-knee")
        assert opened.run("return document.documentElement.scrollWidth") <= 360
        back = opened.run("return getComputedStyle(document.body).backgroundColor")
        assert back == "rgb(20, 23, 27)"
    finally:
        opened.devtools("Emulation.clearDeviceMetricsOverride")
        opened.devtools("Emulation.setEmulatedMedia", features=[])


def test_forty_thousand_points_are_there_at_once(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "large.html"
    path.write_text(study_page(random_results(100_000, CLOSED_FORM)), encoding="utf-8")
    browser.open(path)
    browser.until("return document.documentElement.dataset.ready !== undefined")
    assert int(browser.run("return document.documentElement.dataset.ready")) < 3000  # ms
    assert shown(browser) > 0.99 * MOST_POINTS
    assert browser.errors() == []
