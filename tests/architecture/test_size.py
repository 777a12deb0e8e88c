"""Does the house stay as small as it is? Ceilings are raised in `ceilings.json`, and said why."""

from __future__ import annotations

import json

import pytest
from size import CEILINGS, Size, core, functions, report, rooms, untyped

LIMITS = json.loads(CEILINGS.read_text())
MOST_PARAMETERS = 8


def test_every_room_is_below_its_ceiling(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = rooms()
    with capsys.disabled():
        print(f"\n{report()}")  # noqa: T201 - the table is what this test is for
    over = {
        room: size.code for room, size in sizes.items() if size.code > LIMITS["rooms"].get(room, 0)
    }
    assert over == {}, f"rooms over their ceilings in {CEILINGS.name}: raise them and say why"
    assert sorted(LIMITS["rooms"]) == sorted(sizes)  # a room that went takes its ceiling along


def test_the_whole_and_the_core_are_below_their_ceilings() -> None:
    sizes = rooms()
    whole = sum(sizes.values(), Size())
    assert whole.code <= LIMITS["all"]
    assert core(sizes, LIMITS["core_rooms"]) <= LIMITS["core"]
    assert whole.imports / whole.lines <= LIMITS["import_share"]


def test_functions_take_few_parameters() -> None:
    long = [
        f"{place} takes {count}"
        for place, count, compiled in functions()
        if count > MOST_PARAMETERS and not compiled
    ]
    assert long == []


def test_the_kernel_names_its_types() -> None:
    assert untyped("kernel") <= LIMITS["any_in_kernel"]
