"""Fronts, knees and volumes: equal to what brute force and hand calculation give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim
from sim.report.studies import front_summary
from sim.studies.sweep import jobs as runner
from sim.studies.sweep.pareto import front, hypervolume, knee, ranks
from sim.studies.sweep.sensitivity import main_effects, tornado
from sim.studies.sweep.summary import attribution, summarize, volume

Floats = np.ndarray


def brute(values: Floats) -> Floats:
    """Points that no other is as good as in all and better than in one."""
    keep = np.ones(len(values), bool)
    for index, own in enumerate(values):
        better = (values <= own).all(axis=1) & (values < own).any(axis=1)
        keep[index] = not better.any()
    return keep


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 10**6), st.booleans())
def test_the_front_is_that_of_brute_force(n: int, d: int, seed: int, coarse: bool) -> None:
    values = np.random.default_rng(seed).random((n, d))
    if coarse:  # many ties
        values = np.round(values * 3)
    assert np.array_equal(front(values), brute(values))


def test_ten_thousand_points_near_the_front_equal_brute_force() -> None:
    values = np.random.default_rng(1).random((10_000, 3))
    values /= np.linalg.norm(values, axis=1)[:, None]
    values *= np.random.default_rng(2).uniform(1.0, 1.02, 10_000)[:, None]
    assert np.array_equal(front(values), brute(values))


def slices(values: Floats, reference: Floats) -> float:
    """Volume by slices along the last objective: independent of any library."""
    if values.shape[1] == 1:
        return float(max(reference[0] - values[:, 0].min(), 0.0)) if len(values) else 0.0
    values = values[(values < reference).all(axis=1)]
    order = np.argsort(values[:, -1])
    total = 0.0
    for position, index in enumerate(order):
        following = order[position + 1] if position + 1 < len(order) else None
        end = reference[-1] if following is None else values[following, -1]
        depth = end - values[index, -1]
        total += depth * slices(values[order[: position + 1], :-1], reference[:-1])
    return float(total)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(2, 4), st.integers(0, 10**6))
def test_volumes_are_those_of_slices(n: int, d: int, seed: int) -> None:
    values = np.random.default_rng(seed).random((n, d))
    reference = np.full(d, 0.9)
    assert hypervolume(values, reference) == pytest.approx(slices(values, reference), abs=1e-12)


def test_ranks_peel_fronts_and_knees_bend() -> None:
    values = np.array([[0.0, 4.0], [1.0, 1.0], [4.0, 0.0], [2.0, 2.0], [5.0, 5.0]])
    assert ranks(values).tolist() == [0, 0, 0, 1, 2]
    assert knee(values[:3]) == 1
    with pytest.raises(ValueError, match="finite"):
        front(np.array([[np.nan, 1.0]]))
    assert front(np.zeros((0, 2))).tolist() == []


GRID = {
    "title": "Effects",
    "base": "llama-8b-azure-h100",
    "axes": [
        {"path": "load.batch", "values": [1, 8, 64]},
        {"path": "system.device.memories.hbm.bandwidth", "values": ["1 TB/s", "2 TB/s", "4 TB/s"]},
        {"path": "system.device.price", "values": ["9000 USD", "30000 USD"]},
    ],
    "objectives": {"tpot_s": "min", "cost_usd_per_Mtok": "min"},
}


def test_sobol_indices_are_those_of_a_full_table() -> None:
    found = sim.sweep(GRID)
    table = found.frame.pivot_table(
        index="load.batch", columns=found.axes[1:], values="cost_usd_per_Mtok"
    ).to_numpy().reshape(3, 3, 2)  # fmt: skip
    variance = table.var()
    effects = main_effects(found, "cost_usd_per_Mtok").set_index("axis")
    for position, axis in enumerate(found.axes):
        others = tuple(i for i in range(3) if i != position)
        first = table.mean(axis=others).var() / variance
        total = table.var(axis=position).mean() / variance
        assert effects.loc[axis, "first_order"] == pytest.approx(first)
        assert effects.loc[axis, "total"] == pytest.approx(total)
        assert first <= total + 1e-12
    assert effects["first_order"].sum() <= 1.0 + 1e-12
    streamed = summarize(found).moments["cost_usd_per_Mtok"]
    for axis in found.axes:
        assert streamed.first_order(axis) == pytest.approx(effects.loc[axis, "first_order"])
    price = main_effects(found, "tpot_s").set_index("axis").loc["system.device.price"]
    assert price["first_order"] == price["total"] == pytest.approx(0.0, abs=1e-12)


def test_a_tornado_moves_one_axis_at_a_time() -> None:
    found = sim.sweep(GRID)
    at = found.frame.iloc[0]
    moved = tornado(found, "cost_usd_per_Mtok", at).set_index("axis")
    assert list(moved["span"]) == sorted(moved["span"], reverse=True)
    for axis in found.axes:
        others = [each for each in found.axes if each != axis]
        own = found.frame[(found.frame[others] == at[others]).all(axis=1)]["cost_usd_per_Mtok"]
        assert moved.loc[axis, "low"] == own.min()
        assert moved.loc[axis, "high"] == own.max()


def test_the_front_is_explained_by_what_it_shares() -> None:
    found = sim.sweep(GRID)
    explained = attribution(found).set_index("axis")
    price = explained.loc["system.device.price"]
    assert (price["most"], price["share"], price["all"]) == (9000.0, 1.0, 0.5)
    assert price["explains"] == pytest.approx(0.5)


def test_given_axes_have_a_front_each() -> None:
    each = sim.sweep({**GRID, "per": ["load.batch"]})
    together = sim.sweep(GRID)
    assert set(each.pareto()["load.batch"]) == {1, 8, 64}
    for batch, own in each.pareto().groupby("load.batch"):
        alone = sim.sweep({**GRID, "axes": [{"path": "load.batch", "values": [int(batch)]},
                                            *GRID["axes"][1:]]})  # type: ignore[misc]  # fmt: skip
        assert set(own["key"]) == set(alone.pareto()["key"])
        bend = each.knees()
        assert bend[bend["load.batch"] == batch]["key"].tolist() == [alone.knee()["key"]]
    assert set(together.pareto()["key"]) <= set(each.pareto()["key"])
    assert each.knee()["key"] == together.knee()["key"] == together.knees()["key"].item()
    told = front_summary(each, ())
    assert [row["load.batch"] for row in told["knees"]] == [1, 8, 64]


def test_parts_one_by_one_give_what_the_whole_table_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sim.sweep(GRID)
    monkeypatch.setattr(runner, "CHUNK", {"closed-form": 5})
    parted = sim.sweep(GRID, output=tmp_path)
    assert len(list(parted.tables())) == 4
    assert set(parted.pareto()["key"]) == set(whole.pareto()["key"])
    assert parted.knee()["key"] == whole.knee()["key"]
    one, other = summarize(whole), summarize(parted)
    assert (one.points, one.good, one.status, one.levels) == (
        other.points, other.good, other.status, other.levels,
    )  # fmt: skip
    wanted = whole.wanted()
    assert volume(parted, other, wanted) == pytest.approx(volume(whole, one, wanted))
