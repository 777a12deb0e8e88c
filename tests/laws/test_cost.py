"""Laws of cost: monotone, additive, arrays equal scalars, and shared masks never dearer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.economics.carbon import embodied_die, operational
from sim.economics.masks import LayerStack
from sim.economics.ownership import (
    Site,
    electricity_cost,
    energy_kWh,
    facility_cost,
    facility_W,
    per_Mtok,
)
from sim.economics.silicon import YIELDS, die_cost, dies_per_wafer, negative_binomial_yield
from sim.errors import ConfigError

areas = st.floats(1.0, 858.0)
defects = st.floats(0.001, 2.0)
SITE = Site(pue=1.3, facility_USD_per_W=12.0, electricity_USD_per_kWh=0.1, carbon_kg_per_kWh=0.4)


@given(areas, areas, defects, st.sampled_from(sorted(YIELDS)))
def test_a_larger_die_is_never_cheaper(one: float, other: float, defect: float, law: str) -> None:
    small, large = sorted((one, other))
    cost = [
        die_cost(10_000.0, dies_per_wafer(area), YIELDS[law](area, defect))
        for area in (small, large)
    ]
    assert cost[0] <= cost[1] * (1.0 + 1e-12)


@given(areas, defects, defects, st.sampled_from(sorted(YIELDS)))
def test_more_defects_never_yield_more(area: float, one: float, other: float, law: str) -> None:
    few, many = sorted((one, other))
    assert 0.0 < YIELDS[law](area, many) <= YIELDS[law](area, few) <= 1.0


@given(areas, defects)
def test_clustered_defects_spare_dies_and_the_limit_is_poisson(area: float, defect: float) -> None:
    poisson = YIELDS["poisson"](area, defect)
    assert poisson <= YIELDS["murphy"](area, defect) * (1.0 + 1e-9)
    assert negative_binomial_yield(area, defect, clustering=1e7) == pytest.approx(poisson, rel=1e-3)


@given(areas, st.floats(0.0, 5.0), st.floats(0.0, 0.3))
def test_rims_and_streets_never_add_dies(area: float, edge: float, scribe: float) -> None:
    assert dies_per_wafer(area, edge_mm=edge, scribe_mm=scribe) <= dies_per_wafer(area)


stacks = st.builds(
    lambda euv, duv, own_euv, own_duv, weight: LayerStack(
        euv=euv, duv=duv, own_euv=min(own_euv, euv), own_duv=min(own_duv, duv), euv_weight=weight
    ),
    st.integers(0, 20), st.integers(1, 80), st.integers(0, 20), st.integers(0, 80),
    st.floats(1.0, 10.0),
)  # fmt: skip


@given(stacks, st.integers(1, 64), st.floats(1e5, 5e7))
def test_sharing_layers_never_costs_more_and_parts_add_up(
    stack: LayerStack, products: int, price: float
) -> None:
    first = stack.first_cost(price, products)
    assert first <= products * price * (1.0 + 1e-12)
    assert first == pytest.approx(stack.shared_cost(price) + stack.own_cost(price, products))
    assert stack.first_cost(price, 1) == pytest.approx(price)
    assert stack.own_cost(price, products) <= first * (1.0 + 1e-12)


def test_more_own_layers_than_layers_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match="own_duv: 11 of 10 DUV layers"):
        LayerStack(euv=2, duv=10, own_duv=11)


@given(st.lists(areas, min_size=1, max_size=6), defects)
def test_arrays_equal_scalars(sizes: list[float], defect: float) -> None:
    array = np.array(sizes)
    for law in YIELDS.values():
        together = die_cost(1e4, dies_per_wafer(array), law(array, defect))
        alone = [die_cost(1e4, dies_per_wafer(size), law(size, defect)) for size in sizes]
        assert np.asarray(together) == pytest.approx(alone)


@given(st.floats(1.0, 1e8), st.floats(0.5, 10.0))
def test_ownership_grows_with_power_and_years(watts: float, years: float) -> None:
    drawn = facility_W(watts, SITE)
    assert drawn == pytest.approx(watts * 1.3)
    kWh = energy_kWh(drawn, years)
    assert electricity_cost(drawn, years, SITE) == pytest.approx(0.1 * kWh)
    assert operational(kWh, SITE.carbon_kg_per_kWh) == pytest.approx(0.4 * kWh)
    assert energy_kWh(drawn, 2.0 * years) == pytest.approx(2.0 * kWh)
    assert facility_cost(drawn, SITE, nodes=2.0, node_USD=100.0) == pytest.approx(
        12.0 * drawn + 200.0
    )


def test_a_dollar_a_second_at_a_million_tokens_a_second_is_a_dollar_a_million() -> None:
    seconds = 3.0 * 8760.0 * 3600.0
    assert per_Mtok(seconds, 1e6, 3.0) == pytest.approx(1.0)
    assert per_Mtok(seconds, 1e6, 3.0, utilisation=0.5) == pytest.approx(2.0)


@given(areas, st.floats(0.05, 1.0))
def test_lost_dies_are_on_the_good_one_s_account(area: float, share: float) -> None:
    whole = embodied_die(area, 1.0, kg_per_cm2=2.0)
    assert whole == pytest.approx(area / 50.0)
    assert embodied_die(area, share, kg_per_cm2=2.0) == pytest.approx(whole / share)


def test_a_million_variants_are_one_call() -> None:
    rng = np.random.default_rng(0)
    area, defect = rng.uniform(10.0, 858.0, 10**6), rng.uniform(0.01, 0.5, 10**6)
    cost = die_cost(17_000.0, dies_per_wafer(area), YIELDS["murphy"](area, defect))
    total = np.asarray(cost) + np.asarray(electricity_cost(area * 10.0, 3.0, SITE))
    assert total.shape == (10**6,)
    assert np.isfinite(total).all()
