"""The timelines of docs/explanation/schedulers.md are what the engine does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simpy
import yaml
from builders import program, trace

from sim.engines.scheduler import Scheduler
from sim.engines.serving import engine as engine_module
from sim.engines.serving.engine import Engine
from sim.kernel.records import REJECTED, RUNNING

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "schedulers.md"


def stories() -> list[str]:
    """Fenced blocks of the page called `timeline`."""
    parts = PAGE.read_text(encoding="utf-8").split("```timeline\n")[1:]
    return [part.split("```")[0] for part in parts]


def drawn(head: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One line a request: tokens of its prompt (and the layers they pass), `d` for a decode.

    Arrivals are counted in iterations: 1.5 is while the second one runs. Memory is in tokens.
    """
    monkeypatch.setattr(engine_module, "ITERATIONS_PER_CALL", 1)
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

    env = simpy.Environment()
    cells: list[list[str]] = [[] for _ in requests]
    engine = Engine(env, of, scheduler, kv_B, on_progress=lambda _: look())
    arrivals = [(when(at), int(prompt), int(output)) for at, prompt, output, *_ in requests]
    made = trace(*arrivals)
    classes = np.array([int(row[3]) if len(row) > 3 else 0 for row in requests])
    engine.submit(made.arrival_s, made.input_tokens, made.output_tokens, priority=classes)
    before = engine.requests.copy()
    begun: list[float] = []
    stage = 0

    def look() -> None:
        nonlocal before, stage
        now, state = engine.requests, engine.state[0]
        begun.append(float(state["now_s"]))
        layered = scheduler.kind == "layered-prefill"
        cohort = [int(each) for each in engine.picked[: max(int(state["picked"]), 0), 0]]
        for number, (old, new) in enumerate(zip(before, now, strict=True)):
            cell = "."
            if new["status"] == REJECTED != old["status"]:
                cell = "x"
            elif new["preemptions"] > old["preemptions"]:
                cell = "!"
            elif layered and new["prefilled"] == old["prefilled"] and number in cohort:
                cell = f"{engine.picked[cohort.index(number), 1]}/{int(state['stage'])}"
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

    env.process(engine.run())
    env.run()
    if len(cells[0]) < int(engine.state[0]["iterations"]):
        look()
    columns = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
    lines = [
        f"{'ABCDEFGH'[number]}  "
        + "  ".join(cell.rjust(width) for cell, width in zip(row, columns, strict=True)).rstrip()
        for number, row in enumerate(cells)
    ]
    return lines, [0.0, *begun]


@pytest.mark.parametrize("story", stories())
def test_a_timeline_is_what_the_engine_does(story: str, monkeypatch: pytest.MonkeyPatch) -> None:
    head, _, picture = story.partition("\n\n")
    assert drawn(yaml.safe_load(head), monkeypatch) == picture.splitlines()


def test_there_are_a_dozen() -> None:
    assert len(stories()) >= 12
