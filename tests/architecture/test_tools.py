"""Is the house in order: format, lint, types, and rooms that import only rooms below them?"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tool(*command: str) -> str:
    """Output of one tool run over the checkout; fails the test with it if the tool complains."""
    path = shutil.which(command[0], path=str(Path(sys.executable).parent))
    assert path, f'{command[0]} is missing: pip install ".[test]"'
    done = subprocess.run([path, *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_code_is_formatted() -> None:
    tool("ruff", "format", "--check", "sim", "tests", "benchmarks")


def test_lint_is_clean() -> None:
    tool("ruff", "check", "sim", "tests", "benchmarks")


def test_types_are_strict() -> None:
    tool("mypy")


def test_rooms_import_only_rooms_below() -> None:
    tool("lint-imports")


@pytest.mark.parametrize(
    ("library", "room"),
    [
        ("numba", "sim/kernel/"),
        ("simpy", "sim/engines/serving/"),
        ("yaml", "sim/config/"),
        ("pydantic", "sim/config/"),
        ("rich", "sim/report/"),
    ],
)
def test_a_library_stays_in_its_room(library: str, room: str) -> None:
    wanted = re.compile(rf"^\s*(?:import|from) {library}\b", re.MULTILINE)
    users = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "sim").rglob("*.py")
        if wanted.search(path.read_text(encoding="utf-8"))
    ]
    assert users
    assert [user for user in users if not user.startswith(room)] == []


def test_no_room_hides_what_is_inside() -> None:
    vague = {"utils", "util", "common", "helpers", "core", "base", "manager", "misc"}
    assert [path for path in (ROOT / "sim").rglob("*") if path.stem in vague] == []


def test_docs_link_to_files_that_exist() -> None:
    missing = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                missing.append(f"{page.relative_to(ROOT)}: {target}")
    assert missing == []
