"""The timelines of docs/explanation/schedulers.md are what the engine does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from builders import program, trace

from sim.engines.scheduler import Scheduler
from sim.engines.serving import Kind, Requests
from sim.engines.serving.pool import OF_SYSTEM, Pool
from sim.kernel.records import REJECTED, RUNNING

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "schedulers.md"


def stories() -> list[str]:
    """Fenced blocks of the page called `timeline`."""
    parts = PAGE.read_text(encoding="utf-8").split("```timeline\n")[1:]
    return [part.split("```")[0] for part in parts]


def drawn(head: dict[str, Any]) -> list[str]:
    """One line a request: tokens of its prompt (and the layers they pass), `d` for a decode.

    Arrivals are counted in iterations: 1.5 is while the second one runs. Memory is in tokens.
    """
    of = program("dense")
    token_B = float(of.streams["kv_B"].sum())
    spec = {"kv_block": 1, "watermark": 0.0, **head["scheduler"]}
    memory = head.get("memory", 1_000_000)
    starts: list[float] = []
    for _ in range(20):  # arrivals fall into iterations, whose times arrivals move
        rows, found = once(of, Scheduler(**spec), memory * token_B, head["requests"], starts)
        if found == starts:
            return rows
        starts = found
    raise AssertionError("arrivals don't settle")


def once(
    of: Any, scheduler: Scheduler, kv_B: float, requests: list[list[float]], starts: list[float]
) -> tuple[list[str], list[float]]:
    def when(iteration: float) -> float:
        whole = int(iteration)
        if whole + 1 >= len(starts):
            return 0.0 if iteration == 0 else 1e-4 * iteration
        return starts[whole] + (iteration - whole) * (starts[whole + 1] - starts[whole])

    cells: list[list[str]] = [[] for _ in requests]
    arrivals = [(when(at), int(prompt), int(output)) for at, prompt, output, *_ in requests]
    made = trace(*arrivals)
    classes = np.array([int(row[3]) if len(row) > 3 else 0 for row in requests])
    kind = Kind(program=of, scheduler=scheduler, kv_B=kv_B)
    sent = Requests.of(kind, replace(made, priority=classes))
    room = replace(OF_SYSTEM, iterations=1)
    pool = Pool(kind=kind, count=1, requests=sent, room=room, on_pause=lambda: look())
    before, picked = sent.table.copy(), pool.flows.picked[0]
    begun: list[float] = []
    stage = 0

    def look() -> None:
        nonlocal before, stage
        now, state = sent.table, pool.states[0]
        begun.append(float(state["now_s"]))
        layered = scheduler.kind == "layered-prefill"
        cohort = [int(each) for each in picked[: max(int(state["picked"]), 0), 0]]
        for number, (old, new) in enumerate(zip(before, now, strict=True)):
            cell = "."
            if new["status"] == REJECTED != old["status"]:
                cell = "x"
            elif new["preemptions"] > old["preemptions"]:
                cell = "!"
            elif layered and new["prefilled"] == old["prefilled"] and number in cohort:
                cell = f"{picked[cohort.index(number), 1]}/{int(state['stage'])}"
            elif new["prefilled"] > old["prefilled"]:
                cell = str(int(new["prefilled"] - old["prefilled"]))
                if layered:
                    cell += f"/{int(state['stages'])}"
            elif new["generated"] > old["generated"]:
                cell = "d"
            elif new["status"] == RUNNING:
                cell = "-"
            cells[number].append(cell)
        before = now.copy()

    pool.hand_over(0, np.arange(len(requests)), 0.0)
    pool.advance(np.inf)
    if len(cells[0]) < int(pool.states[0]["iterations"]):
        look()
    columns = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
    lines = [
        f"{'ABCDEFGH'[number]}  "
        + "  ".join(cell.rjust(width) for cell, width in zip(row, columns, strict=True)).rstrip()
        for number, row in enumerate(cells)
    ]
    return lines, [0.0, *begun]


@pytest.mark.parametrize("story", stories())
def test_a_timeline_is_what_the_engine_does(story: str) -> None:
    head, _, picture = story.partition("\n\n")
    assert drawn(yaml.safe_load(head)) == picture.splitlines()


def test_there_are_a_dozen() -> None:
    assert len(stories()) >= 12
