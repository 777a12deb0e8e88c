"""DRAM timing: formulas = commands issued one by one, tight from both sides; published figures."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from dram_commands import Channel, host_cycles_per_row, together_cycles_per_row
from hypothesis import given
from hypothesis import strategies as st

from sim.config.catalogue import load_device
from sim.config.document import parse_document
from sim.config.library import folder, names
from sim.config.memories import kind_of, memory_kind
from sim.errors import ConfigError
from sim.hardware.dram import Level, Organisation, Technology, Timing, row_cycles, spacing

HBM3 = memory_kind("hbm3").technology
assert HBM3 is not None
TIMED = {
    name: kind for name in names("memories") if (kind := memory_kind(name).technology) is not None
}
LEVELS = [(name, level) for name, kind in TIMED.items() for level in kind.levels]
TEXT = (folder("memories") / "hbm3.yaml").read_text(encoding="utf-8")


def test_figures_of_the_duplex_paper() -> None:
    """MICRO 2024, sections IV-B and VI: a stack of 32 pseudo-channels of 32 B."""
    host, logic = HBM3.levels["host"], HBM3.levels["logic-pim"]
    assert HBM3.peak_B_per_s(host) == pytest.approx(665.6e9, rel=1e-3)
    assert HBM3.peak_B_per_s(logic) == pytest.approx(2.66e12, rel=2e-3)
    ratios = {name: HBM3.peak_B_per_s(each) / HBM3.peak_B_per_s(host)
              for name, each in HBM3.levels.items()}  # fmt: skip
    assert ratios == pytest.approx({"host": 1, "logic-pim": 4, "bank-group-pim": 4, "bank-pim": 16})


def test_sustained_shares_follow_from_rows_and_refresh() -> None:
    refresh = 1 - 450e-9 / 3.9e-6
    assert HBM3.sustained_share(HBM3.levels["host"]) == pytest.approx(refresh)
    assert HBM3.sustained_share(HBM3.levels["logic-pim"]) == pytest.approx(refresh * 128 / 168)


def test_energy_is_the_read_and_its_part_of_the_row() -> None:
    """0.909 nJ for a row of 8,192 bits are 0.111 pJ/bit."""
    for name, read in {"host": 3.48, "logic-pim": 1.81, "bank-pim": 0.73}.items():
        assert HBM3.energy_J_per_B(HBM3.levels[name]) / 8e-12 == pytest.approx(
            read + 0.111, abs=1e-3
        )


def test_devices_take_what_their_levels_give() -> None:
    units = {"duplex": "logic-pim", "bank-group-pim": "bank-group-pim", "bank-pim": "bank-pim"}
    for (name, unit), scale in zip(units.items(), (4.0, 4.0, 16.0), strict=True):
        xpu, pim = load_device(name).processors
        assert pim.name == unit
        assert pim.bandwidth_scale == pytest.approx(scale)
        assert pim.efficiency.memory == HBM3.sustained_share(HBM3.levels[unit])
        assert xpu.efficiency.memory == HBM3.sustained_share(HBM3.levels["host"])
        assert pim.memory_energy_J_per_B == HBM3.energy_J_per_B(HBM3.levels[unit])


def test_host_stream_equals_commands_issued_one_by_one() -> None:
    expected = row_cycles(HBM3.levels["host"], HBM3.organisation, HBM3.timing)
    found = host_cycles_per_row(HBM3.organisation, HBM3.timing, 400)
    assert found == pytest.approx(expected, rel=0.01)


@given(st.integers(1, 4), st.sampled_from([2, 4, 8]))
def test_host_stream_alternates_between_as_many_groups_as_it_takes(ccd_s: int, times: int) -> None:
    """Eight groups hide a ccd_l of up to eight times ccd_s."""
    organisation = replace(HBM3.organisation, bank_groups=8)
    timing = replace(HBM3.timing, ccd_s=ccd_s, ccd_l=times * ccd_s)
    expected = row_cycles(HBM3.levels["host"], organisation, timing)
    found = host_cycles_per_row(organisation, timing, 400)
    assert found == pytest.approx(expected, rel=0.01)


timings = st.builds(
    lambda rcd, rp, ras, extra, ccd, rtp: replace(
        HBM3.timing, rcd=rcd, rp=rp, ras=ras, rc=ras + rp + extra, ccd_l=ccd, rtp=rtp
    ),
    st.integers(5, 40), st.integers(5, 40), st.integers(10, 300), st.integers(0, 60),
    st.integers(2, 8), st.integers(2, 12),
)  # fmt: skip


@given(timings, st.sampled_from([256.0, 1024.0, 2048.0]))
def test_banks_read_together_equal_commands_issued_one_by_one(timing: Timing, row_B: float) -> None:
    organisation = replace(HBM3.organisation, row_B=row_B)
    level = HBM3.levels["logic-pim"]
    expected = row_cycles(level, organisation, timing)
    found = together_cycles_per_row(level, organisation, timing, 6)
    assert found == pytest.approx(expected)


@given(timings)
def test_next_row_is_ready_on_its_cycle_and_not_one_before(timing: Timing) -> None:
    organisation = HBM3.organisation
    channel = Channel(organisation, timing)
    first = at = channel.activate(0, 0)
    for _ in range(organisation.columns):
        at = channel.read(0, at)
    channel.precharge(0, at)
    due = first + int(row_cycles(HBM3.levels["logic-pim"], organisation, timing))
    assert channel.may_activate(0, due)
    assert not channel.may_activate(0, due - 1)


@pytest.mark.parametrize(("name", "label"), LEVELS)
def test_levels_of_the_library_are_tight_from_both_sides(name: str, label: str) -> None:
    """Reads, and the next row of what waits for it, come on their cycle and not one before."""
    organisation, timing = TIMED[name].organisation, TIMED[name].timing
    level = TIMED[name].levels[label]
    channel = Channel(organisation, timing)
    first = at = channel.activate(0, 0)
    other = 1 if level.spacing == "ccd_s" else 0
    channel.banks[other].activated = first
    read = channel.read(0, at)
    assert channel.may_read(other, read + spacing(level, timing))
    assert not channel.may_read(other, read + spacing(level, timing) - 1)
    if level.rows == "hidden":
        return
    at = read
    for _ in range(organisation.columns - 1):
        at = channel.read(0, at)
    channel.precharge(0, at)
    due = first + int(row_cycles(level, organisation, timing))
    assert channel.may_activate(0, due)
    assert not channel.may_activate(0, due - 1)


@given(timings, st.integers(1, 20))
def test_slower_timing_never_sustains_more(timing: Timing, more: int) -> None:
    for name in ("rcd", "rp", "rtp", "faw", "rc"):
        longer = {name: getattr(timing, name) + more}
        if name == "rp":  # a cycle of a row is never shorter than its parts
            longer["rc"] = timing.rc + more
        slower = replace(timing, **longer)
        for level in HBM3.levels.values():
            share = replace_timing(HBM3, timing).sustained_share(level)
            assert 0.0 < replace_timing(HBM3, slower).sustained_share(level) <= share < 1.0


def replace_timing(technology: Technology, timing: Timing) -> Technology:
    return replace(technology, timing=timing)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("rc: 64 ", "rc: 63 ", "below ras 45 + rp 19"),
        ("ccd_l: 4", "ccd_l: 1", "ccd_l 1 is below ccd_s 2"),
        ("rfc: 450 ns", "rfc: 4 us", "below refi"),
        ("logic-pim: {banks: 8", "logic-pim: {banks: 12", "12 banks at once"),
        ("rows: hidden", "rows: hiden", "hidden"),
        ("  host:", "  hots:", "with `host`"),
        ("rcd: 19", "rcd: 19.5", "whole number"),
        ("clock: 0.769 ns", "clock: 0.769", "needs a unit"),
        ("activation: 0.909 nJ\n", "", "go together"),
        ("ccd_l: 4", "ccd_l: 9", "4 bank groups in turn are back before ccd_l 9"),
        ("[cell, column, mux]", "[cell, colum, mux]", "did you mean 'column'"),
        ("[cell, column, mux]", "[cell, cell]", "each segment on the way once"),
        ("[cell, column, mux]", "[]", "each segment on the way once"),
        ("cell: 0.44 pJ/bit", "cell: 0.44", "needs a unit"),
    ],
)  # fmt: skip
def test_impossible_memories_are_one_clear_error(old: str, new: str, words: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        kind_of("mine", parse_document(TEXT.replace(old, new, 1), "mine.yaml"))
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].file == "mine.yaml"


def test_capacity_of_a_stack_may_be_in_bits() -> None:
    text = TEXT.replace("capacity: 16 GiB", "capacity: 128 Gibit", 1)
    assert kind_of("mine", parse_document(text, "mine.yaml")).technology == HBM3


def test_a_level_the_memory_lacks_names_the_nearest(tmp_path: Path) -> None:
    text = (folder("devices") / "duplex.yaml").read_text(encoding="utf-8")
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("level: logic-pim", "level: logic-pm"), encoding="utf-8")
    with pytest.raises(ConfigError, match="did you mean 'logic-pim'"):
        load_device(path)
    path.write_text(text.replace("technology: hbm3", "technology: gddr6"), encoding="utf-8")
    with pytest.raises(ConfigError, match="gddr6: 'logic-pim' is not known"):
        load_device(path)


def test_a_level_of_one_bank_in_ideal_memory_is_its_peak() -> None:
    organisation = Organisation(channels=1, ranks=1, bank_groups=1, banks=4, row_B=1024.0,
                                access_B=32.0, capacity_B=1.0)  # fmt: skip
    timing = Timing(clock_s=1e-9, rcd=1, rp=1, ras=1, rc=2, ccd_s=1, ccd_l=1, rrd_s=1, faw=1, rtp=1,
                    refi_s=1.0, rfc_s=1e-12)  # fmt: skip
    level = Level(banks=1, spacing="ccd_s", rows="hidden", read_J_per_B=0.0)
    ideal = Technology(organisation=organisation, timing=timing, levels={}, activation_J=0.0)
    assert ideal.peak_B_per_s(level) == pytest.approx(32e9)
    assert ideal.sustained_share(level) == pytest.approx(1.0)
