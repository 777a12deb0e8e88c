"""Studies: points are what `explain` says of each, chunks resume, mistakes are one clear error."""

from __future__ import annotations

import errno
import json
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
from sim.config.scenarios import load_document
from sim.errors import ConfigError
from sim.report.study_figures import study_figures
from sim.results.metrics import CLOSED_FORM
from sim.studies.sweep import jobs as runner
from sim.studies.sweep import store
from sim.studies.sweep.closed_form import Evaluator
from sim.studies.sweep.programs import Loader
from sim.studies.sweep.results import load_results
from sim.studies.sweep.study import load_study

BANDWIDTH = "system.device.memories.hbm.bandwidth"
PEAK = "system.device.processors.gpu.peak.fp16"
SMALL: dict[str, Any] = {
    "title": "A small one",
    "base": "llama-8b-azure-h100",
    "load": {"batch": 8, "input": 512, "output": 64},
    "axes": [
        {"path": "model", "values": ["llama-3-8b", "mixtral-8x7b"]},
        {"path": "load.batch", "values": [1, 16]},
        {"path": BANDWIDTH, "log": ["1 TB/s", "8 TB/s"], "levels": 4},
        {"path": PEAK, "values": ["200 TFLOPS", "900 TFLOPS"]},
        {"path": "system.device.price", "values": ["9000 USD", "30000 USD"]},
    ],
    "objectives": {"tpot_s": "min", "cost_usd_per_Mtok": "min"},
}


def study(**changes: Any) -> dict[str, Any]:
    return {**SMALL, **changes}


def axes(*made: dict[str, Any]) -> dict[str, Any]:
    return study(axes=list(made))


def test_every_point_is_what_explain_says_of_it() -> None:
    found = load_study(study(base="gpt-oss-azure"))
    evaluator = Evaluator(study=found)
    rows = found.space.rows(0, found.space.size)
    answer = evaluator.evaluate(rows, found.space.inactive(rows))
    for index in range(0, len(rows), 5):
        sets = [text for axis, level in zip(found.space.axes, rows[index], strict=True)
                for text in axis.sets(int(level))]  # fmt: skip
        load = dict(found.load)
        for axis, level in zip(found.space.axes, rows[index], strict=True):
            load |= axis.load(int(level))
        scenario = load_document(found.base, sets=sets)
        told = sim.explain(
            scenario, sequences=load["batch"], context=load["input"] + load["output"] // 2
        )
        assert answer.columns["step_s"][index] == pytest.approx(told.seconds, rel=1e-12)


def test_axes_are_of_the_kind_they_should_be() -> None:
    made = axes(
        {"path": "system", "values": ["h100-x4", "duplex-x4"]},
        {"path": "load.input", "values": [128, 256]},
        {"path": BANDWIDTH, "values": ["2 TB/s", "4 TB/s"]},
        {"path": "system.device.memories.hbm.capacity", "values": ["80 GiB", "160 GiB"]},
        {"path": "cost.practice.years", "values": [3, 5]},
        {"path": "dtype.weights", "values": ["fp8", "fp16"]},
    )
    kinds = Loader(study=load_study(made)).kinds
    assert kinds == ("structural", "load", "number", "structural", "number", "structural")


def test_axes_that_change_one_number_together_are_tabled_together() -> None:
    """Bandwidth and its scale: the kernel sees their product."""
    made = axes(
        {"path": BANDWIDTH, "values": ["1 TB/s", "4 TB/s"]},
        {"path": "system.device.processors.gpu.bandwidth_scale", "values": [0.5, 1.0, 2.0]},
    )
    frame = sim.sweep(made).frame
    product = frame[BANDWIDTH] * frame["system.device.processors.gpu.bandwidth_scale"]
    assert product.nunique() == 5
    assert frame.groupby(product)["step_s"].nunique().eq(1).all()
    assert frame["step_s"].nunique() == 5


def test_costs_follow_the_run_of_the_same_rate_and_power() -> None:
    row = sim.sweep(axes({"path": "system.device.price", "values": ["9000 USD"]})).frame.iloc[0]
    system = load_document(load_study(SMALL).base, sets=["system.device.price=9000 USD"]).system
    from sim.config.costs import costs_of, usual_costing
    from sim.economics.per_token import Served, owned

    costing = usual_costing()
    costs = costs_of(system, costing.site, costing.practice)
    served = Served(tok_per_s=row["throughput_tok_per_s"], power_W=row["power_W"])
    found = owned(system, served, costs)
    assert found.USD_per_Mtok is not None
    assert found.kg_per_Mtok is not None
    ends = [row[f"cost_usd_per_Mtok{end}"] for end in ("_low", "", "_high")]
    assert ends == pytest.approx(list(found.USD_per_Mtok))
    assert row["carbon_kgCO2e_per_Mtok"] == pytest.approx(found.kg_per_Mtok[1])


def test_closed_form_agrees_with_events_under_a_steady_load() -> None:
    """16 clients, equal requests: throughput within a tenth, energy too."""
    load = {"batch": 16, "input": 512, "output": 128}
    row = sim.sweep(study(load=load, axes=[{"path": "seed", "values": [0]}])).frame.iloc[0]
    closed = {"concurrency": 16, "requests": 160, "input": 512, "output": 128}
    run = sim.simulate("llama-8b-azure-h100", traffic={"closed": closed})
    for column in ("throughput_tok_per_s", "energy_J_per_tok", "power_W", "cost_usd_per_Mtok"):
        assert row[column] == pytest.approx(run.metrics[column], rel=0.1), column
    assert row["tpot_s"] == pytest.approx(run.metrics["tpot_s"]["mean"], rel=0.15)


# --- spaces -------------------------------------------------------------------------------------


def test_zipped_axes_move_together_and_inactive_ones_stay() -> None:
    made = axes(
        {"zip": {"system.count": [2, 4], "parallel.tp": [1, 4]}},
        {"path": "model", "values": ["llama-3-8b", "mixtral-8x7b"]},
        {"path": "dtype.weights", "values": ["fp16", "fp8", "int4"],
         "when": {"model": ["llama-3-8b"]}},
    )  # fmt: skip
    frame = sim.sweep(made).frame
    assert len(frame) == 2 * (3 + 1)
    assert set(zip(frame["system.count"], frame["parallel.tp"], strict=True)) == {
        (2, "1"),
        (4, "4"),
    }
    inactive = frame[frame["model"] == "mixtral-8x7b"]
    assert inactive["dtype.weights"].isna().all()
    assert frame["key"].is_unique


@pytest.mark.parametrize("kind", ["sobol", "lhs"])
def test_samples_are_points_of_the_grid_each_once(kind: str) -> None:
    whole = sim.sweep(SMALL).frame.set_index("key")
    sample = {"kind": kind, "points": 32, "seed": 3}
    some = sim.sweep(study(sample=sample)).frame.set_index("key")
    assert 8 < len(some) <= 32
    assert some.index.is_unique
    both = whole.loc[some.index]
    assert np.array_equal(both["tpot_s"], some["tpot_s"], equal_nan=True)


def test_infeasible_and_impossible_points_are_rows_with_their_reason() -> None:
    made = axes(
        {"path": "load.batch", "values": [1, 100000]},
        {"path": "parallel.tp", "values": [1, 3]},
    )
    frame = sim.sweep(made).frame
    assert sorted(frame["status"]) == ["failed", "failed", "infeasible", "ok"]
    told = dict(zip(frame["status"], frame["reason"], strict=True))
    assert "KV cache of" in told["infeasible"]
    assert "3 does not divide the 32 heads" in told["failed"]
    assert (
        frame.loc[frame["status"] != "ok", [column.name for column in CLOSED_FORM]]
        .isna()
        .all()
        .all()
    )


# --- running ------------------------------------------------------------------------------------


def canonical(folder: Path) -> pd.DataFrame:
    return load_results(folder).frame.sort_values("key", ignore_index=True)


def same(one: Path, other: Path) -> None:
    pd.testing.assert_frame_equal(canonical(one), canonical(other), check_exact=True)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "CHUNK", {"closed-form": 10, "events": 2})


@pytest.mark.usefixtures("small_chunks")
def test_interrupted_and_extended_studies_compute_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim.sweep(SMALL, output=tmp_path / "whole")
    done: list[int] = []
    work = runner.work

    def stop_after_two(job: runner.Job) -> int:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(len(job.rows))
        return work(job)

    monkeypatch.setattr(runner, "work", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        sim.sweep(SMALL, output=tmp_path / "part")
    assert len(store.parts(tmp_path / "part")) == 2
    computed: list[int] = []

    def count(job: runner.Job) -> int:
        computed.append(len(job.rows))
        return work(job)

    monkeypatch.setattr(runner, "work", count)
    sim.sweep(SMALL, output=tmp_path / "part")
    assert sum(computed) == 64 - 20
    same(tmp_path / "whole", tmp_path / "part")
    computed.clear()
    longer = json.loads(json.dumps(SMALL))
    longer["axes"][3]["values"].append("1500 TFLOPS")
    sim.sweep(longer, output=tmp_path / "part")
    assert sum(computed) == 32
    assert len(canonical(tmp_path / "part")) == 96


YAML = f"""
title: Killed
base: llama-8b-azure-h100
axes:
  - {{path: load.batch, values: [{", ".join(map(str, range(1, 41)))}]}}
  - {{path: load.input, values: [{", ".join(map(str, range(64, 104)))}]}}
  - {{path: {BANDWIDTH}, log: [1 TB/s, 8 TB/s], levels: 20}}
  - {{path: {PEAK}, log: [100 TFLOPS, 900 TFLOPS], levels: 20}}
objectives: {{tpot_s: min}}
"""


def test_killed_at_any_moment_the_same_command_ends_the_same(tmp_path: Path) -> None:
    """640,000 points in five chunks; what was written before the kill is kept."""
    (tmp_path / "study.yaml").write_text(YAML, encoding="utf-8")
    line = [sys.executable, "-m", "sim", "sweep", "study.yaml", "--json", "-o"]
    environment = os.environ | {"PYTHONPATH": str(Path(sim.__file__).parents[1])}
    broken = subprocess.Popen(
        [*line, "killed"], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not store.parts(tmp_path / "killed") and time.monotonic() < deadline:
        time.sleep(0.02)
    broken.send_signal(signal.SIGKILL)
    broken.wait()
    before = {path.name: path.stat().st_mtime_ns for path in store.parts(tmp_path / "killed")}
    assert 1 <= len(before) < 5
    sim.sweep(tmp_path / "study.yaml", output=tmp_path / "killed")
    for name, written in before.items():
        assert (tmp_path / "killed" / name).stat().st_mtime_ns == written
    sim.sweep(tmp_path / "study.yaml", output=tmp_path / "whole")
    assert not list((tmp_path / "killed").glob("*.tmp"))
    files = [{path.name: path.read_bytes() for path in store.parts(tmp_path / name)}
             for name in ("killed", "whole")]  # fmt: skip
    assert files[0] == files[1]


@pytest.mark.usefixtures("small_chunks")
def test_events_on_one_worker_and_on_two_are_the_same_bytes(tmp_path: Path) -> None:
    made = study(
        fidelity="events",
        axes=[
            {"path": "system", "values": ["h100-sxm", "a100-sxm-80gb"]},
            {"path": "traffic.limit", "values": [20, 40, 60]},
        ],
        objectives={"ttft_p90_s": "min", "energy_J_per_tok": "min"},
    )
    for workers in (1, 2):
        sim.sweep(made, output=tmp_path / str(workers), workers=workers)
    same(tmp_path / "1", tmp_path / "2")
    row = canonical(tmp_path / "1").set_index(["system", "traffic.limit"]).loc["h100-sxm", 40.0]
    run = sim.simulate(
        "llama-8b-azure-h100", system="h100-sxm", traffic={"trace": "azure-like-2k", "limit": 40}
    )
    assert row["ttft_p90_s"] == run.metrics["ttft_s"]["p90"]
    assert row["completed"] == 40


@pytest.mark.usefixtures("small_chunks")
def test_a_dask_cluster_gives_the_same(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="needs the package distributed")
    sim.sweep(SMALL, output=tmp_path / "here")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        sim.sweep(SMALL, output=tmp_path / "there", dask=cluster.scheduler_address)
    same(tmp_path / "here", tmp_path / "there")


def test_two_stages_simulate_the_best_of_the_closed_form(tmp_path: Path) -> None:
    made = study(
        fidelity="two-stage",
        axes=[
            {"path": BANDWIDTH, "log": ["1 TB/s", "8 TB/s"], "levels": 5},
            {"path": PEAK, "values": ["200 TFLOPS", "900 TFLOPS"]},
            {"path": "traffic.limit", "values": [30]},
        ],
        screen={"keep": 3},
        objectives={"ttft_p90_s": "min", "tpot_p50_s": "min"},
    )
    found = sim.sweep(made, output=tmp_path)
    assert len(found.frame) == 3
    assert len(load_results(tmp_path / "screen").frame) == 10
    assert found.frame[BANDWIDTH].max() == pytest.approx(8.0)
    assert (found.frame[PEAK] == 900).any()


def test_a_worker_that_outlives_a_study_does_not_mistake_it_for_the_next() -> None:
    """Same name and axes, another base and load: workers of a cluster see one after the other."""
    first = load_study(axes({"path": "seed", "values": [0]}))
    for other in (study(load={"batch": 2}), study(base="mixtral-azure-duplex")):
        second = load_study({**other, "axes": [{"path": "seed", "values": [0]}]})
        runner._evaluators.clear()
        assert runner._evaluator(first).study is first
        assert runner._evaluator(second).study is second
        assert runner._evaluator(second) is runner._evaluator(second)


def test_points_of_other_costs_are_another_study(tmp_path: Path) -> None:
    """A process that a device's file names by path changes under the same path."""
    from sim.config.library import files

    wafers = files("processes")["5nm"].read_text(encoding="utf-8")
    process = tmp_path / "mine.yaml"
    process.write_text(wafers, encoding="utf-8")
    chip = tmp_path / "chip.yaml"
    text = files("devices")["h100-sxm"].read_text(encoding="utf-8")
    chip.write_text(text.replace("process: TSMC 4N", "process: mine.yaml"), encoding="utf-8")
    made = study(
        base={"model": "llama-3-8b", "traffic": "azure-like-2k", "system": {"device": str(chip)}},
        axes=[{"path": "seed", "values": [0]}],
    )
    sim.sweep(made, output=tmp_path / "out")
    process.write_text(wafers.replace("base: 16988 USD", "base: 17000 USD"), encoding="utf-8")
    with pytest.raises(ConfigError, match="with another base"):
        sim.sweep(made, output=tmp_path / "out")


def test_a_constraint_keeps_all_its_digits() -> None:
    made = axes({"path": "load.batch", "values": [1, 2]})
    values = sim.sweep(made).frame["tpot_s"].sort_values().to_numpy()
    bound = f"tpot_s <= {float(values[0])!r}"
    assert sim.sweep({**made, "constraints": [bound]}).good.sum() == 1


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"axes": [{"path": "system.device.memories.hbm.bandwith", "values": [1]}]},
         "did you mean 'bandwidth'"),
        ({"axes": [{"path": "load.batsh", "values": [1]}]}, "did you mean 'load.batch'"),
        ({"axes": [{"path": "model", "values": []}]}, "a list of at least one value"),
        ({"axes": [{"path": "model", "values": ["a", "a"]}]}, "stands there twice"),
        ({"axes": [{"path": BANDWIDTH, "log": ["1 TB/s", "8 GB/s"], "levels": 3}]}, "of one unit"),
        ({"axes": [{"path": BANDWIDTH, "log": ["1 TB/s", "8 TB/s"]}]}, "`levels` goes with"),
        ({"axes": [{"path": "seed", "values": [1], "when": {"modell": ["x"]}}]}, "is not known"),
        ({"axes": [{"path": "seed", "values": [1]}, {"path": "seed", "values": [2]}]},
         "seed is on two axes"),
        ({"axes": [{"zip": {"seed": [1, 2], "system.count": [1]}}]}, "equally long"),
        ({"constraints": ["tpot_s <= 1", "tpot_s >= 2"]}, "cannot be above 2 and below 1"),
        ({"constraints": ["tpot <= 1"]}, "did you mean 'tpot_s'"),
        ({"constraints": ["tpot_s below 1"]}, "COLUMN <= NUMBER is due"),
        ({"objectives": {"tpot": "min"}}, "did you mean 'tpot_s'"),
        ({"objectives": {}}, "at least one column"),
        ({"objectives": {"tpot_s": "least"}}, "known: min, max"),
        ({"per": ["modl"]}, "did you mean 'model'"),
        ({"fidelity": "events"}, "simulated points have their traffic"),
        ({"base": "llama-8b-azure-h10"}, "did you mean 'llama-8b-azure-h100'"),
        ({"sample": {"kind": "sobel", "points": 4}}, "did you mean 'sobol'"),
        ({"axess": []}, "did you mean 'axes'"),
        ({"axes": [{"split": ["seed", "system.count"]}]}, "go together"),
        ({"axes": [{"split": ["seed"], "total": 2}]}, "two paths or more"),
        ({"axes": [{"split": ["seed", "system.count"], "total": 1}]}, "as large a total"),
        ({"axes": [{"split": ["seed", "system.count"], "total": 3, "path": "x"}]}, "stands for"),
        ({"axes": [{"path": "scheduler.kind", "values": ["static", "chunkd-prefill"]}]},
         "did you mean 'chunked-prefill'"),
        ({"axes": [{"path": "model", "values": ["llama-3-8b", "mixtral-8x7"]}]},
         "did you mean 'mixtral-8x7b'"),
        ({"axes": [{"path": "system", "values": ["h100-sxm", "h100-x"]}]}, "did you mean"),
        ({"axes": [{"path": "traffic.trace", "values": ["azure-like-2k", "azure-lik-2k"]}]},
         "did you mean 'azure-like-2k'"),
        ({"axes": [{"path": BANDWIDTH, "values": ["1 TB/s", "3 TBs"]}]}, "bandwidth"),
        ({"axes": [{"path": "scheduler.max_batch", "linear": [0, 64], "levels": 5}]},
         "a whole number from 1"),
        ({"axes": [{"zip": {"seed": [1, 2], "scheduler.order": ["arrival", "short"]}}]},
         "did you mean 'shortest'"),
        ({"axes": [{"path": "load.batch", "values": [1, "many"]}]}, "a whole number from 1 is due"),
        ({"axes": [{"path": "scheduler.kind", "values": ["static", "continuous"]},
                   {"path": "scheduler.order", "values": ["arrival", "deadlin"],
                    "when": {"scheduler.kind": ["continuous"]}}]}, "did you mean 'deadline'"),
    ],
)  # fmt: skip
def test_a_mistake_says_what_to_write(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_study(study(**changes))
    assert words in str(caught.value)


def test_a_misspelt_value_is_told_at_its_line_and_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "title: Mine\nbase: llama-8b-azure-h100\nobjectives: {tpot_s: min}\n"
        "axes:\n  - path: scheduler.kind\n    values:\n      - static\n      - chunked\n"
        "  - path: load.batch\n    values: [1, 2, 4]\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_study(path)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (str(path), 8)
    assert "did you mean 'chunked-prefill'" in problem.message


def test_values_that_do_not_go_with_others_are_points_of_their_own() -> None:
    """A corner of a grid that cannot be is no mistake in the study."""
    rule = {"min": 1, "max": 2, "target": 8, "start_up": "1 s"}
    base = {
        "model": "llama-3.1-8b",
        "system": "h100-sxm",
        "fleet": {"autoscale": rule},
        "traffic": {"poisson": {"rate": "1 /s", "requests": 2, "input": 8, "output": 2}},
    }
    made = {"title": "Grid", "base": base, "fidelity": "events",
            "objectives": {"ttft_p50_s": "min"},
            "axes": [{"path": "fleet.autoscale.min", "values": [1, 4]},
                     {"path": "fleet.autoscale.max", "values": [2, 8]}]}  # fmt: skip
    frame = sim.sweep(made).frame
    assert sorted(frame["status"]) == ["failed", "ok", "ok", "ok"]


def test_pools_split_a_total(tmp_path: Path) -> None:
    """The shipped study: all splits of six, an inner one best, and a figure of goodput over it."""
    with pytest.raises(SystemExit, match="0"):
        main(["sweep", "prefill-decode-split", "-o", str(tmp_path), "--workers", "1"])
    results = load_results(tmp_path)
    frame = results.frame.astype(
        {"disaggregate.prefill.replicas": int, "disaggregate.decode.replicas": int}
    )
    pairs = frame[["disaggregate.prefill.replicas", "disaggregate.decode.replicas"]]
    assert sorted(set(map(tuple, pairs.to_numpy().tolist()))) == [
        (1, 5), (2, 4), (3, 3), (4, 2), (5, 1),
    ]  # fmt: skip
    assert (frame["status"] == "ok").all()
    for _, own in frame.groupby("traffic.rate_scale"):
        best = own.loc[own["goodput_req_per_s"].idxmax(), "disaggregate.prefill.replicas"]
        assert 1 < best < 5
    # one point is what the scenario says by itself
    study_ = load_study("prefill-decode-split")
    sets = ["disaggregate.prefill.replicas=3", "disaggregate.decode.replicas=3",
            "traffic.rate_scale=16"]  # fmt: skip
    alone = sim.simulate(load_document(study_.base, sets=sets))
    row = frame[(frame["disaggregate.prefill.replicas"] == 3) & (frame["traffic.rate_scale"] == 16)]
    assert row["goodput_req_per_s"].item() == alone.metrics["goodput_req_per_s"]
    figures = list(study_figures(results, tmp_path, "png"))
    assert (tmp_path / "split.png") in figures


def test_a_total_is_split_among_three() -> None:
    made = load_study(axes({"split": ["seed", "scheduler.groups", "scheduler.max_batch"],
                            "total": 4}))  # fmt: skip
    (axis,) = made.space.axes
    assert axis.levels == (("1", "1", "2"), ("1", "2", "1"), ("2", "1", "1"))


def test_the_folder_of_another_study_is_left_alone(tmp_path: Path) -> None:
    sim.sweep(SMALL, output=tmp_path / "one")
    before = sorted(path.name for path in (tmp_path / "one").iterdir())
    with pytest.raises(ConfigError, match="holds 'A small one' with another base"):
        sim.sweep(study(load={"batch": 9}), output=tmp_path / "one")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == before
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="neither empty nor a study's"):
        sim.sweep(SMALL, output=tmp_path / "thesis")


@pytest.mark.usefixtures("small_chunks")
def test_a_corrupt_part_is_put_aside_and_computed_again(tmp_path: Path) -> None:
    sim.sweep(SMALL, output=tmp_path / "whole")
    sim.sweep(SMALL, output=tmp_path / "hurt")
    part = store.parts(tmp_path / "hurt")[3]
    part.write_bytes(part.read_bytes()[:200])
    told: list[str] = []
    sim.sweep(SMALL, output=tmp_path / "hurt", warn=told.append)
    assert len(told) == 1
    assert "cannot be read" in told[0]
    assert part.with_suffix(".corrupt").is_file()
    same(tmp_path / "whole", tmp_path / "hurt")


@pytest.mark.usefixtures("small_chunks")
def test_a_full_disk_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.json").write_text(json.dumps(SMALL), encoding="utf-8")
    (tmp_path / "s.yaml").write_text(json.dumps(SMALL), encoding="utf-8")
    write, written = store.pq.write_table, []

    def full(table: Any, path: Path, **options: Any) -> None:
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        write(table, path, **options)

    monkeypatch.setattr(store.pq, "write_table", full)
    with pytest.raises(SystemExit) as stopped:
        main(["sweep", str(tmp_path / "s.yaml"), "-o", str(tmp_path / "out")])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert "the same command resumes" in error
    assert len(store.parts(tmp_path / "out")) == 3
    monkeypatch.setattr(store.pq, "write_table", write)
    sim.sweep(SMALL, output=tmp_path / "out")
    sim.sweep(SMALL, output=tmp_path / "whole")
    same(tmp_path / "whole", tmp_path / "out")


def test_commands_print_tables_json_and_a_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "out")

    def run(*line: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            main(list(line))
        assert stopped.value.code == 0
        return capsys.readouterr().out

    told = json.loads(run("sweep", "duplex-vs-gpu", "-o", folder, "--json"))
    assert told["points"] == 112
    assert told["status"]["ok"] + told["status"]["infeasible"] == 112
    assert {"front", "knee", "hypervolume", "objectives"} <= set(told)
    assert "Which axes explain the front" in run("sweep", "duplex-vs-gpu", "-o", folder)
    png = tmp_path / "front.png"
    two = json.loads(run("pareto", folder, "--x", "tpot_s", "--y", "energy_J_per_tok", "--json",
                         "--png", str(png)))  # fmt: skip
    assert png.read_bytes()[:4] == b"\x89PNG"
    assert two["objectives"] == {"tpot_s": "min", "energy_J_per_tok": "min"}
    with pytest.raises(SystemExit) as stopped:
        main(["pareto", folder, "--x", "tpot"])
    assert stopped.value.code == 2
    assert "did you mean 'tpot_s'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["pareto", str(tmp_path)])
    assert "no study's folder" in capsys.readouterr().err
