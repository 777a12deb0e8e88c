"""Does every quantity come out in base units, and does every wrong one say what to write?"""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import units
from sim.errors import ConfigError
from sim.units import DIMENSIONS, Dimension, format_quantity, parse

PREFIXES = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
SMALL = {"m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}
BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
WITH_UNIT = [dimension for dimension in DIMENSIONS if dimension.unit]

values = st.floats(min_value=1e-30, max_value=1e30, allow_nan=False)
dimensions = st.sampled_from(WITH_UNIT)


def message(text: str, dimension: Dimension, *, positive: bool = False) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, dimension, positive=positive)
    (problem,) = caught.value.problems
    return problem.message


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("3.35 TB/s", units.BANDWIDTH, 3.35e12),
        ("80 GiB", units.SIZE, 80 * 2**30),
        ("80 GB", units.SIZE, 80e9),
        ("  44 GB ", units.SIZE, 44e9),
        ("44GB", units.SIZE, 44e9),
        ("2.5e3 kB", units.SIZE, 2.5e6),
        (".5 us", units.TIME, 5e-7),
        ("300 us", units.TIME, 3e-4),
        ("2 h", units.TIME, 7200.0),
        ("5 min", units.TIME, 300.0),
        ("1 year", units.TIME, 365.25 * 86400),
        ("3.48 pJ/bit", units.ENERGY_PER_BYTE, 3.48e-12 * 8),
        ("27.84 pJ/B", units.ENERGY_PER_BYTE, 27.84e-12),
        ("0.6 pJ/flop", units.ENERGY_PER_FLOP, 6e-13),
        ("62 TOPS", units.COMPUTE, 62e12),
        ("989 TFLOPS", units.COMPUTE, 989e12),
        ("989 TFLOP/s", units.COMPUTE, 989e12),
        ("4 GOPS", units.COMPUTE, 4e9),
        ("400 Gbit/s", units.LINK_BANDWIDTH, 50e9),
        ("700 W", units.POWER, 700.0),
        ("5 mW", units.POWER, 0.005),
        ("23 kW", units.POWER, 23e3),
        ("2 kWh", units.ENERGY, 7.2e6),
        ("814 mm2", units.AREA, 814.0),
        ("1 cm2", units.AREA, 100.0),
        ("28000 USD", units.MONEY, 28000.0),
        ("380 gCO2e/kWh", units.CARBON_PER_ENERGY, 0.38 / 3.6e6),
        ("0.09 USD/kWh", units.MONEY_PER_ENERGY, 0.09 / 3.6e6),
        ("2 tCO2e", units.CARBON, 2000.0),
        ("2 /s", units.FREQUENCY, 2.0),
        ("120 /min", units.FREQUENCY, 2.0),
        ("1.1 GHz", units.FREQUENCY, 1.1e9),
        ("350 K", units.TEMPERATURE, 350.0),
        ("80 %", units.RATIO, 0.8),
        ("0.8", units.RATIO, 0.8),
        ("0 s", units.TIME, 0.0),
    ],
)
def test_quantity_in_base_units(text: str, dimension: Dimension, value: float) -> None:
    assert parse(text, dimension) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "dimension", "said"),
    [
        ("80", units.SIZE, "needs a unit, e.g. '80 GiB'"),
        ("80e9", units.SIZE, "needs a unit, e.g. '80 GiB'"),
        ("3.35", units.BANDWIDTH, "needs a unit, e.g. '3.35 TB/s'"),
        ("3.35 TB", units.BANDWIDTH, "is a size; a rate is due: write '3.35 TB/s'"),
        ("3.35 TB/s", units.SIZE, "is a rate; a size is due: write '3.35 TB'"),
        ("62 TOP", units.COMPUTE, "write '62 TOPS'"),
        ("700 J", units.POWER, "is an energy; a power is due: write '700 W'"),
        ("5 GHz", units.BANDWIDTH, "is a frequency; a rate is due"),
        ("1 TB/s", units.COMPUTE, "is a rate; a rate of operations is due"),
        ("3 USD", units.CARBON, "is a sum of money; a mass of CO2 is due"),
        ("80 Gb", units.SIZE, "write GB or Gbit"),
        ("400 Gb/s", units.LINK_BANDWIDTH, "write GB/s or Gbit/s"),
        ("400 Gbps", units.LINK_BANDWIDTH, "write GB/s or Gbit/s"),
        ("80 Gbit", units.SIZE, "is in bits; bytes are due: write '10 GB'"),
        ("400 Gbit/s", units.BANDWIDTH, "is in bits; bytes are due: write '50 GB/s'"),
        ("5 TBs", units.BANDWIDTH, "did you mean 'TB/s'?"),
        ("5 tb/s", units.BANDWIDTH, "did you mean 'TB/s'?"),
        ("80 gib", units.SIZE, "did you mean 'GiB'?"),
        ("80 KB", units.SIZE, "did you mean 'kB'?"),
        ("5 \N{MICRO SIGN}s", units.TIME, "did you mean 'us'?"),
        ("5 tflops", units.COMPUTE, "did you mean 'TFLOPS'?"),
        ("80 zorkmids", units.SIZE, "unknown unit 'zorkmids', write e.g. '80 GiB'"),
        ("-1 GB/s", units.BANDWIDTH, "is negative"),
        ("nan GB", units.SIZE, "is not a finite number"),
        ("inf GB", units.SIZE, "is not a finite number"),
        ("-inf", units.SIZE, "is not a finite number"),
        ("1e999 GB", units.SIZE, "is out of range"),
        ("1e9999999999 GB", units.SIZE, "GB"),
        ("", units.SIZE, "is not a quantity"),
        ("fast", units.BANDWIDTH, "is not a quantity; write e.g. '3.35 TB/s'"),
        ("1_000 GB", units.SIZE, "1_000"),
        ("1,000 GB", units.SIZE, "1,000"),
        ("12 34 GB", units.SIZE, "12 34 GB"),
        ("3 TB/s/s", units.BANDWIDTH, "unknown unit"),
        ("0.8 x", units.RATIO, "a plain number is due: write '0.8'"),
    ],
)
def test_wrong_quantity_says_what_to_write(text: str, dimension: Dimension, said: str) -> None:
    assert said in message(text, dimension)


def test_zero_only_where_it_can_be() -> None:
    assert parse("0 GB/s", units.BANDWIDTH) == 0.0
    assert "is zero; a rate above 0 is due" in message("0 GB/s", units.BANDWIDTH, positive=True)
    assert "is zero" in message("1e-999 GB/s", units.BANDWIDTH, positive=True)


@pytest.mark.parametrize("dimension", DIMENSIONS, ids=lambda dimension: dimension.name)
def test_example_of_every_dimension_is_right(dimension: Dimension) -> None:
    assert parse(dimension.example, dimension, positive=True) > 0.0
    if dimension.unit:
        assert re.search(units.PATTERN, dimension.example)
        assert re.search(units.PATTERN, f"{dimension.example} [some-source]")
        assert not any(re.search(units.PATTERN, text) for text in ("80e9", "80", "80e2 "))


@pytest.mark.parametrize("dimension", WITH_UNIT, ids=lambda dimension: dimension.name)
def test_ladder_rises_and_is_of_its_dimension(dimension: Dimension) -> None:
    steps = [parse(f"1 {unit}", dimension) for unit in dimension.ladder]
    assert steps == sorted(steps)


@given(values, dimensions)
def test_format_and_parse_are_inverse(value: float, dimension: Dimension) -> None:
    again = parse(format_quantity(value, dimension), dimension)
    assert math.isclose(again, value, rel_tol=1e-15)


@given(st.floats(min_value=1e-9, max_value=1e24), dimensions)
def test_format_keeps_the_number_readable(value: float, dimension: Dimension) -> None:
    number = float(format_quantity(value, dimension).split(" ")[0])
    highest = parse(f"1 {dimension.ladder[-1]}", dimension)
    lowest = parse(f"1 {dimension.ladder[0]}", dimension)
    if lowest <= value < highest:
        sizes = [parse(f"1 {unit}", dimension) for unit in dimension.ladder]
        widest = max(high / low for low, high in pairwise(sizes))
        assert 1.0 <= number < widest * (1 + 1e-12)


@given(values, st.sampled_from(["B", "bit", "flop", "FLOPS", "J", "W"]), st.data())
def test_prefixes_rescale(value: float, unit: str, data: st.DataObject) -> None:
    dimension = {
        "B": units.SIZE, "bit": units.LINK_BANDWIDTH, "flop": units.WORK,
        "FLOPS": units.COMPUTE, "J": units.ENERGY, "W": units.POWER,
    }[unit]  # fmt: skip
    legal = {"M": PREFIXES["M"], "k": PREFIXES["k"], "G": PREFIXES["G"]}
    legal |= SMALL if unit == "J" else {}
    legal |= BINARY if unit in ("B", "bit") else {}
    prefix = data.draw(st.sampled_from(sorted(legal)))
    rate = "/s" if unit == "bit" else ""
    bare = parse(f"{value!r} {unit}{rate}", dimension)
    scaled = parse(f"{value!r} {prefix}{unit}{rate}", dimension)
    assert math.isclose(scaled, bare * legal[prefix], rel_tol=1e-15)


@given(st.integers(min_value=1, max_value=10**9))
def test_equal_quantities_are_equal_floats(number: int) -> None:
    assert (
        parse(f"{number} GB/s", units.BANDWIDTH)
        == parse(f"{number}e-3 TB/s", units.BANDWIDTH)
        == parse(f"{number}e9 B/s", units.BANDWIDTH)
    )


@given(values, st.sampled_from(WITH_UNIT), st.sampled_from(WITH_UNIT))
def test_another_dimension_is_always_an_error(
    value: float, written: Dimension, due: Dimension
) -> None:
    text = format_quantity(value, written)
    if written.unit == due.unit:
        assert parse(text, due) > 0.0
        return
    assert "is due" in message(text, due)


@given(st.floats(max_value=-1e-300, allow_nan=False, allow_infinity=False), dimensions)
def test_negative_is_always_an_error(value: float, dimension: Dimension) -> None:
    assert "is negative" in message(f"{value!r} {dimension.ladder[0]}", dimension)


@given(st.text(max_size=30), st.sampled_from(DIMENSIONS))
def test_any_text_is_a_finite_number_or_one_clear_error(text: str, dimension: Dimension) -> None:
    try:
        value = parse(text, dimension)
    except ConfigError as error:
        problems = error.problems
        value = 0.0
    else:
        problems = ()
    assert math.isfinite(value)
    assert value >= 0.0
    assert len(problems) <= 1
    assert all(problem.message for problem in problems)
