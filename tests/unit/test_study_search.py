"""Search: close to the grid for few evaluations, the same again after a kill, nothing twice."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sim
from sim.cli import main
from sim.errors import ConfigError
from sim.studies.sweep import jobs as runner
from sim.studies.sweep import search, store
from sim.studies.sweep.evolution import Breed
from sim.studies.sweep.pareto import hypervolume, scaled
from sim.studies.sweep.results import Results, load_results
from sim.studies.sweep.search import search_history, search_line, search_summary
from sim.studies.sweep.study import load_study
from sim.studies.sweep.summary import summarize, volume

BANDWIDTH = "system.device.memories.hbm.bandwidth"
PEAK = "system.device.processors.gpu.peak.fp16"
GRID: dict[str, Any] = {
    "title": "One to choose from",
    "base": "llama-8b-azure-h100",
    "load": {"batch": 8, "input": 512, "output": 64},
    "axes": [
        {"zip": {"system.count": [1, 2, 4], "parallel.tp": [1, 2, 4]}},
        {"path": "load.batch", "linear": [4, 64], "levels": 61},
        {"zip": {
            BANDWIDTH: ["1 TB/s", "2 TB/s", "3 TB/s", "4 TB/s", "6 TB/s", "8 TB/s"],
            "system.device.memories.hbm.price": [
                "10 USD", "15 USD", "20 USD", "25 USD", "35 USD", "45 USD",
            ],
        }},
        {"zip": {
            PEAK: ["100 TFLOPS", "200 TFLOPS", "400 TFLOPS", "600 TFLOPS", "800 TFLOPS"],
            "system.device.die.area": ["400 mm2", "450 mm2", "550 mm2", "650 mm2", "750 mm2"],
        }},
    ],
    "objectives": {"tpot_s": "min", "throughput_tok_per_s": "max", "capex_usd": "min"},
}  # fmt: skip
"""5,490 points, of which two zipped axes trade worth for cost."""
SMALL = {"evaluations": 48, "population": 12, "seed": 1}


def study(**changes: Any) -> dict[str, Any]:
    return {**GRID, "search": SMALL, **changes}


EVENTS = study(
    fidelity="events",
    axes=[
        {"path": "system", "values": ["h100-sxm", "a100-sxm-80gb", "l40s"]},
        {"path": "traffic.limit", "values": [10, 20, 30, 40]},
        {"path": "traffic.rate_scale", "values": [1, 2, 4]},
    ],
    objectives={"ttft_p90_s": "min", "energy_J_per_tok": "min"},
    search={"evaluations": 14, "population": 6},
)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return sim.sweep(GRID, output=tmp_path_factory.mktemp("grid") / "out").in_memory()


def told(results: Results) -> dict[str, Any]:
    found = search_summary(results)
    assert found is not None
    return dict(found)


def canonical(results: Results) -> pd.DataFrame:
    return results.frame.sort_values("key", ignore_index=True)


def same(one: Results, other: Results) -> None:
    """Equal rows in canonical order, and the same course."""
    pd.testing.assert_frame_equal(canonical(one), canonical(other), check_exact=True)
    assert one.about == other.about


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Points computed, a number a job."""
    computed: list[int] = []
    work = runner.work

    def count(job: runner.Job) -> int:
        computed.append(len(job.rows))
        return work(job)

    monkeypatch.setattr(runner, "work", count)
    return computed


def stopped(made: dict[str, Any], jobs: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a study that is interrupted after so many jobs."""
    done: list[int] = []
    work = runner.work

    def stop(job: runner.Job) -> int:
        if len(done) == jobs:
            raise KeyboardInterrupt
        done.append(len(job.rows))
        return work(job)

    with monkeypatch.context() as patch:
        patch.setattr(runner, "work", stop)
        with pytest.raises(KeyboardInterrupt):
            sim.sweep(made, output=folder, workers=1)


# --- what it is worth ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_95_percent_of_the_grid_s_hypervolume_at_5_percent_of_its_evaluations(
    grid: Results, seed: int
) -> None:
    """In the folder of the grid, so that values are read there; the course is the same."""
    frame = grid.frame.set_index("key")
    budget = len(frame) // 20
    made = study(search={"evaluations": budget, "population": 16, "seed": seed})
    found = told(sim.sweep(made, output=grid.folder))
    assert found["evaluations"] == budget == 274
    bounds = summarize(grid)

    def worth(rows: pd.DataFrame) -> float:
        values, _ = grid.signed(rows, grid.objectives)
        return hypervolume(scaled(values, bounds.low, bounds.high), np.ones(3))

    chosen = worth(frame.loc[[int(key, 16) for key in found["front"]]])
    assert chosen >= 0.95 * worth(frame)
    assert chosen > worth(frame.sample(budget, random_state=seed))


def test_points_are_those_of_the_grid_each_once(grid: Results) -> None:
    found = sim.sweep(study()).frame.set_index("key")
    assert found.index.is_unique
    whole = grid.frame.set_index("key").loc[found.index]
    for column in GRID["objectives"]:
        assert np.array_equal(whole[column], found[column])


def test_the_course_ends_with_the_hypervolume_of_the_results() -> None:
    found = sim.sweep(study(constraints=["tpot_s <= 0.01", "throughput_tok_per_s > 300"]))
    course = search_history(found)
    assert list(course["evaluations"]) == [12, 24, 36, 48]
    assert course["hypervolume"].is_monotonic_increasing
    share = volume(found, summarize(found), found.wanted())
    assert course["hypervolume"].iloc[-1] == pytest.approx(share, rel=1e-12)
    assert told(found)["front"] == sorted(f"{key:016x}" for key in found.pareto()["key"])
    assert told(found)["hypervolume"] == course["hypervolume"].iloc[-1]
    line = search_line(found)
    assert line is not None
    assert "48 evaluations of 5,490 points" in line
    assert f"hypervolume {share:.4f}" in line


def test_one_objective_finds_the_best_point(grid: Results) -> None:
    wanted = {"cost_usd_per_Mtok": "min"}
    found = sim.sweep(study(objectives=wanted, search={"evaluations": 144, "population": 16}))
    best = found.pareto().iloc[0]["cost_usd_per_Mtok"]
    assert best == pytest.approx(grid.frame["cost_usd_per_Mtok"].min(), rel=0.02)


@pytest.mark.parametrize("sign", ["<=", "<"])
def test_constraints_lead_the_search_to_where_they_are_kept(grid: Results, sign: str) -> None:
    """Few points of the grid are as fast: of a search, most are."""
    bound = float(f"{grid.frame['tpot_s'].quantile(0.05):.3g}")
    constraints = [f"tpot_s {sign} {bound:g}"]
    found = sim.sweep(study(constraints=constraints, search=SMALL | {"evaluations": 72}))
    assert found.good.sum() > 5 * 0.05 * len(found.frame)
    assert told(found)["generations"][-1]["front"] == len(found.pareto())


def test_points_without_values_are_passed_over(grid: Results) -> None:
    """No KV of such batches fits, three devices divide no heads: rows all the same."""
    axes = [
        {"path": "load.batch", "values": [1, 8, 64, 100000, 200000, 300000, 400000]},
        {"path": "parallel.tp", "values": [1, 3, 5]},
        {"path": BANDWIDTH, "log": ["1 TB/s", "8 TB/s"], "levels": 12},
    ]
    found = sim.sweep(study(axes=axes, search={"evaluations": 80, "population": 10}))
    assert set(found.frame["status"]) == {"ok", "infeasible", "failed"}
    assert (found.frame["status"] == "ok").sum() >= 25
    never = sim.sweep(study(constraints=["tpot_s <= 1e-9"]))
    assert told(never)["hypervolume"] is None
    assert told(never)["low"] is None
    assert never.pareto().empty
    assert len(never.frame) == 48


def test_conditional_and_given_axes(tmp_path: Path) -> None:
    axes = [
        {"path": "model", "values": ["llama-3-8b", "mixtral-8x7b"]},
        {"path": "dtype.weights", "values": ["fp16", "fp8", "int4"],
         "when": {"model": ["llama-3-8b"]}},
        {"path": BANDWIDTH, "log": ["1 TB/s", "8 TB/s"], "levels": 30},
        {"path": "load.batch", "values": [1, 2, 4, 8]},
    ]  # fmt: skip
    made = study(axes=axes, per=["model"], search={"evaluations": 60, "population": 10})
    totals: list[tuple[int, int]] = []
    found = sim.sweep(
        made, output=tmp_path, on_progress=lambda done, total, _: totals.append((done, total))
    )
    assert totals == [(each, 120) for each in range(20, 121, 20)]
    frame = found.frame
    assert frame["key"].is_unique
    assert frame["model"].value_counts().to_dict() == {"llama-3-8b": 60, "mixtral-8x7b": 60}
    assert frame.loc[frame["model"] == "mixtral-8x7b", "dtype.weights"].isna().all()
    assert set(frame.loc[frame["model"] == "llama-3-8b", "dtype.weights"]) == {
        "fp16", "fp8", "int4",
    }  # fmt: skip


def test_a_space_that_the_budget_covers_is_enumerated() -> None:
    axes = [{"path": "load.batch", "values": [1, 2, 3]}, {"path": "seed", "values": [0, 1]}]
    found = sim.sweep(study(axes=axes, search={"evaluations": 6, "population": 4}))
    assert len(found.frame) == 6
    assert search_summary(found) is None
    assert search_line(found) is None
    assert search_history(found).empty


def test_a_search_of_nearly_all_ends_where_nothing_is_left() -> None:
    """Six places are three points: the condition leaves the other axis out."""
    axes = [
        {"path": "load.batch", "values": [1, 2]},
        {"path": "seed", "values": [0, 1, 2], "when": {"load.batch": [3]}},
    ]
    found = sim.sweep(study(axes=axes, search={"evaluations": 5, "population": 4}))
    assert len(found.frame) == told(found)["evaluations"] == 2


def test_a_space_of_more_points_than_a_word_counts() -> None:
    axes = [
        {"path": f"system.device.{path}", "log": [low, high], "levels": 100}
        for path, low, high in [
            ("memories.hbm.bandwidth", "1 TB/s", "8 TB/s"),
            ("processors.gpu.peak.fp16", "100 TFLOPS", "2000 TFLOPS"),
            ("link.bandwidth", "100 GB/s", "900 GB/s"),
            ("memories.hbm.price", "5 USD", "50 USD"),
            ("power.static", "50 W", "200 W"),
        ]
    ] + [{"path": f"load.{name}", "linear": [1, 10000], "levels": 10000} for name in (
        "batch", "input", "output")]  # fmt: skip
    found = load_study(study(axes=axes))
    assert found.space.size == 100**5 * 10000**3 > 2**63
    breed = Breed(
        space=found.space, given={}, objectives=2, population=20, seed=(0, 0), seen=set(),
        keys=lambda rows: found.space.keys(rows, 0),
    )  # fmt: skip
    for _ in range(3):
        rows = breed.ask(20)
        assert len(np.unique(rows, axis=0)) == 20
        breed.tell(rows[:, :2].astype(float), np.zeros(20))
    assert len(breed.seen) == 60


# --- running ------------------------------------------------------------------------------------


def test_a_search_stopped_at_any_generation_goes_on_without_computing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sim.sweep(study(), output=tmp_path / "whole")
    assert len(store.parts(tmp_path / "whole")) == 4
    stopped(study(), 2, tmp_path / "part", monkeypatch)
    assert search_summary(load_results(tmp_path / "part")) is None
    computed = counted(monkeypatch)
    resumed = sim.sweep(study(), output=tmp_path / "part")
    assert sum(computed) == 24
    same(whole, resumed)
    names = [{path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())}
             for name in ("whole", "part")]  # fmt: skip
    assert names[0] == names[1]
    computed.clear()
    sim.sweep(study(search=SMALL | {"evaluations": 60}), output=tmp_path / "part")
    assert sum(computed) == 12


def test_killed_at_any_moment_the_same_command_ends_the_same(tmp_path: Path) -> None:
    made = study(search={"evaluations": 240, "population": 8})
    (tmp_path / "study.yaml").write_text(json.dumps(made), encoding="utf-8")
    line = [sys.executable, "-m", "sim", "sweep", "study.yaml", "--json", "-o", "killed"]
    environment = os.environ | {"PYTHONPATH": str(Path(sim.__file__).parents[1])}
    broken = subprocess.Popen(
        line, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while len(store.parts(tmp_path / "killed")) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    broken.send_signal(signal.SIGKILL)
    broken.wait()
    before = {path.name: path.stat().st_mtime_ns for path in store.parts(tmp_path / "killed")}
    assert 3 <= len(before) < 30
    resumed = sim.sweep(tmp_path / "study.yaml", output=tmp_path / "killed")
    for name, written in before.items():
        assert (tmp_path / "killed" / name).stat().st_mtime_ns == written
    same(sim.sweep(tmp_path / "study.yaml", output=tmp_path / "whole"), resumed)


def test_a_corrupt_generation_is_computed_again(tmp_path: Path) -> None:
    whole = sim.sweep(study(), output=tmp_path / "whole")
    sim.sweep(study(), output=tmp_path / "hurt")
    part = store.parts(tmp_path / "hurt")[1]
    part.write_bytes(part.read_bytes()[:100])
    warned: list[str] = []
    same(whole, sim.sweep(study(), output=tmp_path / "hurt", warn=warned.append))
    assert len(warned) == 1


def test_points_of_an_enumerated_study_are_taken_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim.sweep(GRID, output=tmp_path / "both")
    alone = sim.sweep(study())
    computed = counted(monkeypatch)
    found = sim.sweep(study(), output=tmp_path / "both")
    assert sum(computed) == 0
    assert told(found) == told(alone)
    assert len(found.frame) == 5490
    again = sim.sweep(GRID, output=tmp_path / "both")
    assert search_summary(again) is None


def test_seeds_differ_and_one_seed_does_not() -> None:
    one, other = (sim.sweep(study(search=SMALL | {"seed": seed})) for seed in (1, 2))
    assert set(one.frame["key"]) != set(other.frame["key"])
    same(one, sim.sweep(study()))


def test_events_on_one_worker_and_on_two_are_the_same(tmp_path: Path) -> None:
    found = [sim.sweep(EVENTS, output=tmp_path / str(n), workers=n) for n in (1, 2)]
    same(*found)
    assert len(found[0].frame) == 14
    names = [{path.name: path.read_bytes() for path in store.parts(tmp_path / str(n))}
             for n in (1, 2)]  # fmt: skip
    assert names[0] == names[1]


def test_a_simulated_generation_is_kept_point_by_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(EVENTS, 8, tmp_path / "part", monkeypatch)
    computed = counted(monkeypatch)
    resumed = sim.sweep(EVENTS, output=tmp_path / "part", workers=1)
    assert sum(computed) == 14 - 8
    same(sim.sweep(EVENTS, workers=1), resumed)


def test_a_dask_cluster_gives_the_same(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="needs the package distributed")
    here = sim.sweep(study(), output=tmp_path / "here")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        there = sim.sweep(study(), output=tmp_path / "there", dask=cluster.scheduler_address)
    same(here, there)


def test_closed_forms_on_two_workers_are_the_same() -> None:
    same(sim.sweep(study(), workers=2), sim.sweep(study()))


def test_two_stages_search_the_closed_form_and_simulate_the_best(tmp_path: Path) -> None:
    made = study(
        fidelity="two-stage",
        axes=[
            {"path": BANDWIDTH, "log": ["1 TB/s", "8 TB/s"], "levels": 20},
            {"path": PEAK, "log": ["200 TFLOPS", "900 TFLOPS"], "levels": 10},
            {"path": "traffic.limit", "values": [10]},
        ],
        objectives={"ttft_p90_s": "min", "energy_J_per_tok": "min"},
        screen={"keep": 3},
    )
    found = sim.sweep(made, output=tmp_path)
    assert len(found.frame) == 3
    assert search_summary(found) is None
    screened = load_results(tmp_path / "screen")
    assert told(screened)["evaluations"] == 48
    assert dict(screened.objectives) == {"ttft_s": "min", "energy_J_per_tok": "min"}


def test_a_command_says_what_the_search_came_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(json.dumps(study()), encoding="utf-8")

    def run(*line: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            main(["sweep", str(path), "-o", str(tmp_path / "out"), *line])
        assert stopped.value.code == 0
        return capsys.readouterr().out

    printed = json.loads(run("--json"))
    assert printed["search"]["evaluations"] == 48
    assert printed["search"]["hypervolume"] == pytest.approx(printed["hypervolume"])
    assert "Search: 48 evaluations of 5,490 points" in run()


# --- constraints and mistakes -------------------------------------------------------------------


def test_violations_are_shares_of_the_bound_and_never_nan() -> None:
    found = load_study(
        study(constraints=["tpot_s <= 0.5", "throughput_tok_per_s > 10", "kv_share == 0"])
    )
    frame = pd.DataFrame(
        {
            "status": ["ok", "ok", "ok", "ok", "infeasible", "ok", "ok"],
            "tpot_s": [0.5, 0.75, 0.1, 0.1, math.nan, 0.1, math.inf],
            "throughput_tok_per_s": [20.0, 20.0, 10.0, 20.0, math.nan, 20.0, 20.0],
            "kv_share": [0.0, 0.0, 0.0, 0.25, math.nan, math.nan, 0.0],
            "capex_usd": [1.0] * 7,
        }
    )
    worth = search.worth_of(found, frame)
    never = search.NEVER
    assert worth[:, -1] == pytest.approx([0.0, 0.5, search.LEAST, 0.25, never, never, never])
    assert np.isfinite(worth).all()
    assert worth[0, :-1] == pytest.approx([0.5, -20.0, 1.0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"search": {"evaluations": 0}}, "evaluations"),
        ({"search": {"evaluations": "many"}}, "evaluations"),
        ({"search": {"population": 10}}, "search.evaluations: is missing"),
        ({"search": {"evaluations": 10, "populaton": 4}}, "did you mean 'population'"),
        ({"search": {"evaluations": 10, "population": 3}}, "a population of at least 4"),
        ({"search": {"evaluations": 10, "seed": -1}}, "seed"),
        ({"sample": {"kind": "sobol", "points": 4}}, "give one or the other"),
    ],
)
def test_a_mistake_says_what_to_write(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_study(study(**changes))
    assert words in str(caught.value)
    assert len(caught.value.problems) == 1


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "pymoo"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pymoo", None)
    with pytest.raises(ConfigError, match="pip install pymoo"):
        sim.sweep(study())
