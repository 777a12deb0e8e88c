"""Energy tables: measured watts and joules a token of GPU servers against the event engine."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sim.config.fitted import load_law
from sim.evidence.calibration import power_fit
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.registry import formats_of
from sim.evidence.measured.tables import VARIABLE, Table, read_table
from sim.evidence.measured.validation import predictions

MEASURED = pytest.mark.skipif(
    not os.environ.get(VARIABLE), reason=f"{VARIABLE} names no folder of measured data"
)
ROW = {
    "task": "lm-arena-chat", "model_id": "meta-llama/Llama-3.1-8B-Instruct",
    "weight_precision": "bfloat16", "gpu_model": "H100", "num_gpus": 1, "tensor_parallel": 1,
    "avg_batch_size": 8.0, "avg_output_len": 200.0, "median_itl_ms": 8.0,
    "avg_power_watts": 400.0, "energy_per_token_joules": 0.5,
}  # fmt: skip


def table(*changes: dict[str, object]) -> Table:
    frame = pd.DataFrame([ROW | each for each in changes])
    return Table(dataset="energy", name="mlenergy_made", path=Path("energy/x.csv"), frame=frame)


def predicted(made: Table, constants: Constants) -> pd.DataFrame:
    (form,) = formats_of("energy/mlenergy_made")
    return form.predict(made, constants)


def by_phase(*changes: dict[str, object]) -> pd.DataFrame:
    """Predictions, a row a change and a column a phase."""
    rows = predicted(table(*changes), Constants())
    rows["case"] = np.arange(len(rows)) // 3
    return rows.pivot(index="case", columns="phase", values="predicted")


def test_bigger_batches_cost_less_a_token_and_draw_more_within_the_rated_power() -> None:
    found = by_phase({"avg_batch_size": 4.0}, {"avg_batch_size": 64.0}, {"avg_batch_size": 256.0})
    assert found["energy"].is_monotonic_decreasing
    assert found["power"].is_monotonic_increasing
    assert found["itl"].is_monotonic_increasing
    assert (found["power"] <= 700.0).all()


def test_power_is_of_all_devices() -> None:
    one, two = by_phase({}, {"num_gpus": 2, "tensor_parallel": 2}).itertuples()
    assert 1.3 * one.power < two.power < 2.0 * one.power
    assert two.itl < one.itl


def test_rows_that_cannot_be_predicted_say_why() -> None:
    rows = predicted(table({"task": "poetry"}, {"gpu_model": "H999"}, {"num_gpus": 4}), Constants())
    assert not np.isfinite(rows["predicted"]).any()
    assert rows["reason"].str.contains("poetry|H999|data-parallel").all()


def test_energies_change_no_time() -> None:
    law = load_law("nvidia")
    dear = Constants(power={"nvidia": replace(law, path_J_per_B=10.0 * law.path_J_per_B)})
    plain = predicted(table({}), Constants()).set_index("phase")["predicted"]
    other = predicted(table({}), dear).set_index("phase")["predicted"]
    assert other["itl"] == plain["itl"]
    assert other["power"] > plain["power"]


def test_a_fit_finds_the_constants_that_made_the_numbers() -> None:
    law = load_law("nvidia")
    true = replace(law, static_W_per_mm2=0.2, flop_J=0.8e-12, path_J_per_B=9e-11)
    made = table(*({"avg_batch_size": float(batch)} for batch in (2, 8, 32, 128)))
    metered = power_fit.metered(formats_of("energy/mlenergy_made")[0], made)
    before = metered.rows["predicted"].to_numpy(float)
    metered.rows["measured"] = metered.predicted(Constants(power={"nvidia": true}))
    power = (metered.rows["phase"] == "power").to_numpy(bool)
    assert not np.allclose(before[power], metered.rows["measured"][power], rtol=0.05)
    found = power_fit.fit("nvidia", law, [metered], lambda rows: rows["measured"] > 0.0)
    again = metered.predicted(Constants(power={"nvidia": found}))
    assert np.allclose(again, metered.rows["measured"], rtol=0.02)
    assert found.narrow == 1.0, "no row has 8-bit arithmetic"


def test_a_table_of_times_and_power_has_both_formats() -> None:
    assert [each.family for each in formats_of("e2e/splitwise_a100")] == ["splitwise", "energy"]


def scores(name: str) -> pd.DataFrame:
    """Median errors by phase and what was held out, and the share of rows predicted."""
    folder = Path(os.environ[VARIABLE])
    form = next(form for form in formats_of(name) if form.family == "energy")
    frames = list(predictions(form, read_table(folder / f"{name}.csv", form.required)))
    rows = pd.concat(frames)
    rows["error"] = (rows["predicted"] / rows["measured"] - 1.0).abs()
    groups = rows.groupby(["phase", "held_out"])
    return pd.DataFrame(
        {
            "error": groups["error"].median(),
            "coverage": groups["predicted"].apply(lambda each: np.isfinite(each).mean()),
        }
    )


@MEASURED
def test_joules_a_token_of_ml_energy() -> None:
    # the bars: every row with time and power both predicted; devices left out means that
    # neither kernels nor power have seen an H100 (the host's times have)
    found = scores("energy/mlenergy_h100_dense")
    assert found.loc[("energy", ""), "coverage"] >= 0.98
    assert found.loc[("energy", ""), "error"] <= 0.10
    assert found.loc[("energy", "models"), "error"] <= 0.15
    assert found.loc[("energy", "devices"), "error"] <= 0.15
    assert found.loc[("power", ""), "error"] <= 0.10
    assert found.loc[("itl", ""), "error"] <= 0.15


@MEASURED
def test_power_of_a100s() -> None:
    # 7B models at rest and at full batch, three frameworks whose idle time differs; and three
    # ways to cut one model, which tells static power from energy a byte
    argonne = scores("energy/argonne_power_a100")
    assert argonne.loc[("energy", ""), "error"] <= 0.20
    assert argonne.loc[("power", ""), "error"] <= 0.25
    assert argonne.loc[("energy", "devices"), "error"] <= 0.20
    splitwise = scores("e2e/splitwise_a100")
    assert splitwise.loc[("power-share", ""), "error"] <= 0.10
    assert splitwise.loc[("power-share", "devices"), "error"] <= 0.15


@MEASURED
def test_operators_of_a_gpt3_layer() -> None:
    (form,) = formats_of("llmcompass/gpt3_layer_A100x4")
    path = Path(os.environ[VARIABLE]) / "llmcompass" / "gpt3_layer_A100x4.csv"
    rows = form.predict(read_table(path, form.required), Constants())
    assert np.isfinite(rows["predicted"]).all()
    whole = rows[rows["phase"] == "gpt3-prefill"][["predicted", "measured"]].sum()
    assert whole["predicted"] == pytest.approx(whole["measured"], rel=0.25)
