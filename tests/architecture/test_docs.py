"""Do the docs tell the truth: their Python runs, their YAML loads, their commands exist?"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from sim.cli import main
from sim.config.catalogue import load_device
from sim.config.library import names
from sim.config.scenarios import load_scenario
from sim.workload.hugging_face.families import FAMILIES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
HERE = re.compile(r"my-chip\.yaml|path/to|PATH|-o |--json  |SCENARIO")
"""Commands that name a file the reader has to bring, or write files."""


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of one language ("" for plain ones)."""
    found: list[str] = []
    fence: str | None = None
    for line in page.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.startswith("```"):
            fence = line.strip().removeprefix("```") if fence is None else None
            if fence == language:
                found.append("")
        elif fence == language:
            found[-1] += line
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_of_a_page_runs(page: Path) -> None:
    names_so_far: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), names_so_far)
    assert names_so_far["sim"]


def commands() -> list[str]:
    lines = [line for page in PAGES for block in blocks(page, "") for line in block.splitlines()]
    found = [line.split("  #")[0].strip() for line in lines if line.startswith("sim ")]
    return [line for line in dict.fromkeys(found) if not HERE.search(line)]


def test_there_are_commands_to_try() -> None:
    assert len(commands()) >= 10


@pytest.mark.parametrize("line", commands())
def test_command_of_a_page_runs(
    line: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = shlex.split(line)[1:]
    if "--timeline" in arguments or arguments[0] in ("sweep", "pareto", "report"):
        monkeypatch.chdir(tmp_path)  # these write a file into the current folder
    if "sessions" in line:
        arguments += ["--set", "traffic.sessions.sessions=10"]
    elif arguments[0] in ("run", "compare") and "closed" not in line:
        arguments += ["--set", "traffic.limit=10"]
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 0, capsys.readouterr().err


def test_the_guide_s_device_is_complete(tmp_path: Path) -> None:
    guide = ROOT / "docs" / "guides" / "add-a-device.md"
    path = tmp_path / "my-chip.yaml"
    path.write_text(blocks(guide, "yaml")[0], encoding="utf-8")
    device = load_device(str(path))
    assert device.processors[0].peak_flop_per_s["fp8"] == 800e12
    scenario = load_scenario(
        "llama-8b-azure-h100", sets=[f"system={{device: {path}, count: 4}}", "traffic.limit=5"]
    )
    assert scenario.system.count == 4


@pytest.mark.parametrize("name", names("scenarios"))
def test_every_scenario_loads_with_its_sources(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.digest
    assert {each.source for each in scenario.sources.values()} == set(scenario.bibliography)


def test_readme_scenario_loads(tmp_path: Path) -> None:
    (block,) = blocks(ROOT / "README.md", "yaml")
    path = tmp_path / "mine.yaml"
    path.write_text(block, encoding="utf-8")
    assert load_scenario(str(path)).model.name == "mixtral-8x7b"


def test_readme_counts_are_true() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for kind in ("devices", "models"):
        said = f"**{len(names(kind))} {kind}**"
        assert said in text, f"README.md should say {said}"
    assert f"of {len(set(FAMILIES) - {'grok-1'})} families" in text  # one family under two names


def test_readme_table_is_what_the_first_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = (
        line for line in blocks(ROOT / "README.md", "sh")[0].splitlines() if "compare" in line
    )
    with pytest.raises(SystemExit):
        main(shlex.split(command)[1:])
    printed = capsys.readouterr().out
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| ")]
    for name, label in (("time per output", "TPOT p50"), ("time to first", "TTFT p50"),
                        ("energy per token", "Energy per token")):  # fmt: skip
        row = next(line for line in rows if line.startswith(f"| {name}"))
        cells = [cell.strip() for cell in row.split("|")[2:4]]
        found = next(line for line in printed.splitlines() if line.strip().startswith(label))
        assert all(cell in found for cell in cells), f"{cells} against {found.strip()}"
    for words in ("1.84 Op/B", "2.8x faster than xpu", "279 Op/B", "7.5x faster than logic-pim"):
        assert words in printed
