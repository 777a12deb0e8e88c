"""Does the program still answer as it did when these digests were recorded?

They are change alarms, not evidence: a commit that means to change an answer records them again
(`python tests/architecture/contracts.py`) and says why.
"""

from __future__ import annotations

import json
from pathlib import Path

from contracts import DIGESTS, digests, other_answers, scenario_answers

RECORDED = json.loads(DIGESTS.read_text())


def _changed(now: dict[str, object]) -> list[str]:
    """Names of the answers, and of the parts of them, that are not as recorded."""
    changed = []
    for name, parts in now.items():
        before = RECORDED.get(name)
        if isinstance(parts, dict) and isinstance(before, dict):
            keys = sorted({*parts, *before})
            changed += [f"{name}: {key}" for key in keys if parts.get(key) != before.get(key)]
        elif parts != before:
            changed.append(name)
    return changed


def test_scenarios_answer_as_recorded() -> None:
    assert _changed(digests(dict(scenario_answers()))) == []


def test_the_library_a_study_the_schema_and_errors_are_as_recorded(tmp_path: Path) -> None:
    assert _changed(digests(dict(other_answers(tmp_path)))) == []


def test_every_recorded_answer_is_still_asked_for(tmp_path: Path) -> None:
    shipped = {path.stem for path in (Path(__file__).parents[2] / "workloads/scenarios").iterdir()}
    recorded = {name.split(" ", 1)[1] for name in RECORDED if name.startswith("run ")}
    assert shipped <= recorded
