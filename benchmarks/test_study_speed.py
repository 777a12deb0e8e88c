"""Studies: points a second end to end, Parquet and front included, beside the kernel alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

import sim
from sim.studies.sweep.closed_form import Evaluator
from sim.studies.sweep.study import load_study

MILLION = {
    "title": "A million points",
    "base": "gpt-oss-azure",
    "axes": [
        {"path": "model", "values": ["llama-3-70b", "mixtral-8x7b"]},
        {"path": "system.count", "values": [4, 8]},
        {"path": "load.batch", "values": [1, 4, 16, 64, 128]},
        {"path": "load.input", "values": [512, 1024, 2048, 4096, 8192]},
        {"path": "system.device.memories.hbm.bandwidth", "log": ["1 TB/s", "8 TB/s"], "levels": 10},
        {"path": "system.device.processors.gpu.peak.fp16",
         "log": ["200 TFLOPS", "2000 TFLOPS"], "levels": 10},
        {"path": "system.device.link.bandwidth", "log": ["100 GB/s", "900 GB/s"], "levels": 10},
        {"path": "system.device.price", "linear": ["10000 USD", "30000 USD"], "levels": 10},
    ],
    "objectives": {"tpot_s": "min", "cost_usd_per_Mtok": "min", "energy_J_per_tok": "min",
                   "carbon_kgCO2e_per_Mtok": "min"},
}  # fmt: skip


def test_a_million_points(benchmark: Any, tmp_path: Path) -> None:
    """Eight axes, a dense and an expert model; latency, energy, USD and carbon."""
    folders = iter(range(10))

    def whole() -> Any:
        found = sim.sweep(MILLION, output=tmp_path / str(next(folders)))
        found.pareto()
        return found

    benchmark.pedantic(whole, rounds=1)
    study = load_study(MILLION)
    evaluator = Evaluator(study=study)
    rows = study.space.rows(0, 1 << 17)
    off = np.zeros(rows.shape, bool)
    evaluator.evaluate(rows, off)
    started = time.perf_counter()
    evaluator.evaluate(rows, off)
    alone = (time.perf_counter() - started) / len(rows)
    end_to_end = benchmark.stats.stats.min / 1e6 if benchmark.stats else float("nan")
    rates = f"end to end {1e-3 / end_to_end:.0f} k points/s, evaluation alone {1e-3 / alone:.0f} k"
    print(rates)  # noqa: T201
