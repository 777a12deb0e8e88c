"""Do errors add up as they should, and do bands never get narrower as less is known?"""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sim.config.fitted import load_errors
from sim.hardware.residuals import EXACT, LEVELS, REGIMES, Residual
from sim.results.bands.laws import ends, total, widened
from sim.results.bands.load import Load

FACTOR = st.floats(1.0, 8.0)
SECONDS = st.floats(1e-6, 1e3)
SCALE = st.floats(0.3, 3.0)


@st.composite
def residuals(draw: st.DrawFn) -> Residual:
    mid = draw(st.floats(0.3, 3.0))
    return Residual(low=mid / draw(FACTOR), mid=mid, high=mid * draw(FACTOR))


PARTS = st.lists(st.tuples(SECONDS, residuals()), min_size=1, max_size=6)


@given(SECONDS, residuals())
def test_one_part_alone_keeps_its_residual(seconds: float, residual: Residual) -> None:
    found = total([(seconds, residual), (0.0, Residual(low=0.1, mid=1.0, high=9.0))])
    assert found.low == pytest.approx(residual.low)
    assert found.mid == pytest.approx(residual.mid)
    assert found.high == pytest.approx(residual.high)


@given(PARTS)
def test_a_sum_is_no_surer_than_exact_and_no_less_sure_than_its_parts(
    parts: list[tuple[float, Residual]],
) -> None:
    found = total(parts)
    assert found.low <= found.mid <= found.high
    assert found.up <= math.hypot(*(each.up for _, each in parts)) + 1e-9
    mids = [each.mid for _, each in parts]
    assert min(mids) * (1 - 1e-9) <= found.mid <= max(mids) * (1 + 1e-9)


@given(PARTS, FACTOR)
def test_a_sum_does_not_depend_on_units_of_time(
    parts: list[tuple[float, Residual]], factor: float
) -> None:
    one, other = total(parts), total([(factor * seconds, each) for seconds, each in parts])
    assert (one.low, one.high) == pytest.approx((other.low, other.high))


@given(PARTS, st.floats(1.01, 4.0))
def test_a_wider_part_widens_the_sum(parts: list[tuple[float, Residual]], factor: float) -> None:
    (seconds, first), *rest = parts
    wide = total([(seconds, first.wider(factor)), *rest])
    assert wide.up >= total(parts).up - 1e-12
    assert wide.down >= total(parts).down - 1e-12


@given(residuals(), residuals())
def test_errors_on_top_widen_and_keep_the_middle(one: Residual, other: Residual) -> None:
    found = widened(one, [other])
    assert found.mid == one.mid
    assert found.up == pytest.approx(math.hypot(one.up, other.up), abs=1e-12)
    assert widened(one, [EXACT]).high == pytest.approx(one.high)


@given(residuals())
def test_a_band_holds_what_was_predicted(residual: Residual) -> None:
    low, high = ends(residual)
    assert low <= 1.0 <= high
    assert low <= residual.low
    assert high >= residual.high


def test_nothing_spent_is_exact() -> None:
    assert total([]) == EXACT


# --- load ---------------------------------------------------------------------------------------


@st.composite
def loads(draw: st.DrawFn) -> Load:
    ttft_s = draw(st.floats(1e-3, 10.0))
    return Load(
        closed=False, growing=draw(st.floats(0.0, 0.95)), used=draw(st.floats(0.0, 0.99)),
        ttft_s=ttft_s, wait_s=ttft_s * draw(st.floats(0.0, 1.0)),
        span_s=draw(st.floats(1.0, 1e4)), tail_s=draw(st.floats(0.0, 100.0)),
        beyond=draw(st.sampled_from([0.0, 1.2, 2.0])),
    )  # fmt: skip


@given(loads())
def test_without_an_error_nothing_changes(load: Load) -> None:
    for factor in (load.step(1.0), load.wait(1.0), load.first(1.0), load.duration(1.0)):
        assert factor == pytest.approx(1.0)


@given(loads(), SCALE, SCALE)
def test_slower_parts_never_make_a_run_faster(load: Load, one: float, other: float) -> None:
    slow, fast = max(one, other), min(one, other)
    for law in (load.step, load.wait, load.first, load.duration):
        assert law(slow) >= law(fast) * (1 - 1e-9)


@given(loads(), st.floats(1.01, 2.0))
def test_load_amplifies_an_error_and_never_hides_it(load: Load, scale: float) -> None:
    assume(load.beyond == 0.0)
    assert load.step(scale) >= scale * (1 - 1e-9)
    assert load.wait(scale) >= scale * (1 - 1e-9)
    assert load.duration(scale) >= 1.0 - 1e-9


@given(SCALE)
def test_clients_that_wait_scale_as_service_does(scale: float) -> None:
    load = Load(closed=True)
    assert load.step(scale) == load.first(scale) == load.duration(scale) == scale


# --- the library --------------------------------------------------------------------------------


def inside(narrow: Residual, wide: Residual) -> bool:
    return wide.low <= narrow.low and narrow.high <= wide.high


def test_less_known_is_never_narrower() -> None:
    errors = load_errors()
    pairs = 0
    for one in errors.generations:
        for regime, found in one.residuals["calibrated"].items():
            held_out = one.residuals["held-out"][regime]
            assert inside(found, held_out), (one.name, regime)
            assert inside(held_out, errors.others["unmeasured"][regime]), (one.name, regime)
            pairs += 1
    for less, more in zip(LEVELS[3:], LEVELS[2:], strict=False):
        for regime, found in errors.others[more].items():
            assert inside(found, errors.others[less][regime]), (less, regime)
            assert less != "unbuilt" or errors.others[less][regime].width > found.width
    assert pairs >= 20


def test_every_regime_has_a_band_whatever_is_known() -> None:
    errors = load_errors()
    for level in LEVELS[2:]:
        assert set(errors.others[level]) == set(REGIMES) - {"edge-prefill", "edge-decode"}
    assert errors.edge is not None
    assert set(errors.edge.residuals["calibrated"]) == {"edge-prefill", "edge-decode"}
