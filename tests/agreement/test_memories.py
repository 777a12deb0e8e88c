"""Memory technologies of the library: published headlines, sane shares, commands one by one."""

from __future__ import annotations

import pytest
from dram_commands import host_cycles_per_row, together_cycles_per_row

from sim.config.library import names
from sim.config.memories import memory_kind
from sim.errors import ConfigError
from sim.hardware.dram import Technology, row_cycles

TIMED = [name for name in names("memories") if memory_kind(name).technology is not None]
HEADLINES = {
    "hbm2e": 460.8e9,  # 1,024 bits at 3.6 Gbit/s
    "hbm3e": 1177.6e9,  # 9.2 Gbit/s
    "hbm4": 2048e9,  # 2,048 bits at 8 Gbit/s
    "gddr6": 64e9,  # 32 bits at 16 Gbit/s
    "gddr6-aim": 64e9,
    "lpddr5x": 4 * 17.07e9,  # 16 bits at 8,533 Mbit/s, four channels
    "ddr5": 51.2e9,  # 64 bits at 6,400 Mbit/s
    "hybrid-bonded": 6.14e12,
}


def technology(name: str) -> Technology:
    found = memory_kind(name).technology
    assert found is not None
    return found


def test_every_headline_belongs_to_a_technology_with_timing() -> None:
    assert set(TIMED) == set(HEADLINES) | {"hbm3"}


@pytest.mark.parametrize(("name", "want"), HEADLINES.items())
def test_peak_is_the_published_one(name: str, want: float) -> None:
    kind = technology(name)
    assert kind.peak_B_per_s(kind.levels["host"]) == pytest.approx(want, rel=0.01)


def test_units_of_aim_read_16_banks_a_nanosecond() -> None:
    """ISSCC 2022: 32 units of 16 multiply-adds at 1 GHz are 1 TFLOPS on 1 TB/s a chip."""
    kind = technology("gddr6-aim")
    assert kind.peak_B_per_s(kind.levels["bank-pim"]) == pytest.approx(1.024e12)


@pytest.mark.parametrize("name", TIMED)
def test_every_level_keeps_most_of_its_peak_and_not_all(name: str) -> None:
    kind = technology(name)
    for level in kind.levels.values():
        assert 0.4 < kind.sustained_share(level) < 1.0


@pytest.mark.parametrize("name", TIMED)
def test_rows_take_what_commands_issued_one_by_one_take(name: str) -> None:
    kind = technology(name)
    for label, level in kind.levels.items():
        formula = row_cycles(level, kind.organisation, kind.timing)
        if level.rows == "hidden":
            issued = host_cycles_per_row(kind.organisation, kind.timing, 400)
        else:
            issued = together_cycles_per_row(level, kind.organisation, kind.timing, 6)
        assert formula == pytest.approx(issued, rel=0.01), label


def test_a_price_that_falls_from_low_to_high_is_an_error() -> None:
    from sim.config.document import parse_document
    from sim.config.memories import kind_of

    text = "title: x\nenergy: 4 pJ/bit\nprice: {low: 3 USD, base: 2 USD, high: 5 USD}\n"
    with pytest.raises(ConfigError, match="must not fall"):
        kind_of("x", parse_document(text, "x.yaml"))
