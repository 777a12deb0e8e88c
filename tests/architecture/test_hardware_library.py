"""Is the hardware library in order: all of it loads, every number is sourced and as published?"""

from __future__ import annotations

import csv
import dataclasses
import math
import os
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from sim.config.catalogue import load_device, load_system
from sim.config.library import names
from sim.errors import Infeasible
from sim.hardware import Device, Processor
from sim.hardware.records import processor_records

LIBRARY = Path(__file__).parents[2] / "hw_configs"
DEVICES = sorted(path.stem for path in (LIBRARY / "devices").glob("*.yaml"))
SYSTEMS = sorted(path.stem for path in (LIBRARY / "systems").glob("*.yaml"))
SOURCES = yaml.safe_load((LIBRARY / "sources.yaml").read_text(encoding="utf-8"))
KINDS = {"datasheet", "paper", "measurement", "estimate", "calibrated", "derived"}
REFUSING = {"sn40l"}
IDEAL = {name for name in DEVICES if name.endswith("-micro24")}
"""As the Duplex paper's simulator has them, which knows no losses of a unit's peak."""

GB, GIB, TERA = 1e9, 2.0**30, 1e12

ROWS = {
    "NVIDIA A100 SXM 80GB": "a100-sxm-80gb",
    "NVIDIA A40": "a40",
    "NVIDIA RTX A6000": "rtx-a6000",
    "NVIDIA A30": "a30",
    "NVIDIA H100 SXM 80GB": "h100-sxm",
    "NVIDIA H100 PCIe 80GB": "h100-pcie",
    "NVIDIA H200 SXM": "h200",
    "NVIDIA H20": "h20",
    "NVIDIA H800 SXM": "h800",
    "NVIDIA B200 SXM": "b200",
    "NVIDIA GB200 (one GPU)": "gb200",
    "NVIDIA B300 SXM": "b300",
    "NVIDIA L40S": "l40s",
    "NVIDIA L4": "l4",
    "NVIDIA RTX 4090": "rtx-4090",
    "NVIDIA RTX PRO 6000 Blackwell (server)": "rtx-pro-6000",
    "NVIDIA DGX Spark (GB10)": "dgx-spark",
    "AMD MI210": "mi210",
    "AMD MI250": "mi250",
    "AMD MI300X": "mi300x",
    "Google TPU v4": "tpu-v4",
    "Google TPU v5e": "tpu-v5e",
    "Google TPU v5p": "tpu-v5p",
    "Google TPU v6e (Trillium)": "tpu-v6e",
    "Intel Gaudi 2": "gaudi-2",
    "Intel Gaudi 3 (OAM)": "gaudi-3",
    "Intel Arc Pro B60": "arc-pro-b60",
    "Cerebras WSE-3 / CS-3": "wse-3",
    "Groq LPU v1": "groq-lpu",
    "SambaNova SN40L": "sn40l",
    "HNLPU (hardwired gpt-oss-120b, 16 chips, paper design)": "hnlpu",
    "NVIDIA Jetson AGX Orin 64GB": "jetson-agx-orin",
    "NVIDIA Jetson Orin Nano 8GB": "jetson-orin-nano",
    "NVIDIA Jetson Orin Nano Super 8GB": "jetson-orin-nano-super",
    "Raspberry Pi 4 (BCM2711)": "raspberry-pi-4",
    "Raspberry Pi 5 (BCM2712)": "raspberry-pi-5",
    "Apple M1 (8-core GPU)": "apple-m1",
    "Apple M2 (10-core GPU)": "apple-m2",
    "Apple M1 Max (32)": "apple-m1-max",
    "Apple M2 Ultra (76)": "apple-m2-ultra",
    "Apple M3 Max (40)": "apple-m3-max",
    "Apple M4 (10)": "apple-m4",
    "Apple M4 Max (40)": "apple-m4-max",
    "Apple A17 Pro": "apple-a17-pro",
    "Qualcomm Snapdragon 8 Gen 3": "phone-snapdragon-8-gen-3",
    "Arm Ethos-U55": "cortex-m-ethos-u55",
    "Arm Ethos-U65": "cortex-m-ethos-u65",
    "Arm Ethos-U85": "cortex-m-ethos-u85",
}
"""Rows of hardware_specs.csv and the device each one is here."""

DISPUTED = {
    ("gaudi-3", "link_gb_s_one_way"): "24 ports of 200 Gbit/s are 600 GB/s one way, not 300",
    ("gb200", "mem_gb"): "189471 MiB, as the driver shows them, are 185 GiB",
    ("hnlpu", "die_mm2"): "13,232 mm2 are the 16 dies of the system; the device is one module",
    ("arc-pro-b60", "fp8_tflops_dense"): "no native FP8: the figure is the BF16 peak",
}
"""Cells the library departs from on purpose, and why."""

PEAKS = {
    "bf16_tflops_dense": "fp16",
    "fp8_tflops_dense": "fp8",
    "int8_tops_dense": "int8",
    "fp4_tflops_dense": "fp4",
}

SMALL_INT8 = {"b300", "gb300"}
"""Parts whose INT8 is deliberately small."""


def published() -> list[dict[str, str]]:
    """Rows of the published table, or a skip that says what to set."""
    folder = os.environ.get("SIM_DATA")
    if not folder:
        pytest.skip("set SIM_DATA to the folder of hardware_specs.csv")
    with (Path(folder) / "hardware_specs.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def readings(device: Device, column: str) -> set[float | str | None]:
    """What the library says in the place of one cell of the table: one or several candidates."""
    if column in PEAKS:
        peaks = [processor.peak_flop_per_s.get(PEAKS[column]) for processor in device.processors]
        known = [peak / TERA for peak in peaks if peak is not None]
        return {*known, sum(known)} if known else set()
    if column == "mem_gb":
        return {
            memory.capacity_B / (GB if memory.technology == "sram" else GIB)
            for memory in device.memories
            if memory.capacity_B is not None
        }
    if column == "mem_bw_gb_s":
        bandwidths = [memory.bandwidth_B_per_s for memory in device.memories]
        return {bandwidth / GB for bandwidth in bandwidths if bandwidth is not None}
    if column == "link_gb_s_one_way":
        return {device.link.bandwidth_B_per_s / GB} if device.link else set()
    plain: dict[str, float | str | None] = {
        "tdp_w": device.tdp_W,
        "die_mm2": device.die_area_mm2,
        "process": device.process,
        "price_usd": None if device.price_USD is None else device.price_USD[1],
    }
    return {plain[column]}


def agrees(cell: str, values: set[float | str | None]) -> bool:
    """Whether one of `values` is the cell's, to the rounding of a conversion of units."""
    for value in values:
        if value == cell:
            return True
        if isinstance(value, float) and math.isclose(value, float(cell), rel_tol=1e-9):
            return True
    return False


def stated(value: object) -> Iterator[float]:
    """Every number a frozen object states: defaults of its class and counts left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            derived = field.name in ("sources", "stacks")  # stacks: capacity over one stack's
            if not derived and item != field.default:
                yield from stated(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from stated(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from stated(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def test_every_device_file_is_in_the_catalogue() -> None:
    assert sorted(names("devices")) == DEVICES
    assert len(DEVICES) >= 52


def test_every_source_says_what_it_is() -> None:
    for key, source in SOURCES.items():
        assert source["kind"] in KINDS, key
        assert source["title"].strip(), key
        assert set(source) <= {"kind", "title", "note"}, key


def test_no_source_is_left_over() -> None:
    text = "\n".join(
        path.read_text(encoding="utf-8")
        for path in LIBRARY.rglob("*.yaml")
        if path.name != "sources.yaml"
    )
    assert [key for key in SOURCES if f"[{key}]" not in text and f"source: {key}" not in text] == []


@pytest.mark.parametrize("name", DEVICES)
def test_device_loads_with_a_source_for_every_number(name: str) -> None:
    device = load_device(name)
    assert device.name == name
    assert device.title
    for path, number in device.sources.items():
        assert number.source in SOURCES, f"{path}: {number.source}"
    sourced = [number.value for number in device.sources.values() if number.value is not None]
    for number in stated(device):
        assert any(math.isclose(number, value, rel_tol=1e-9) for value in sourced), (
            f"{number} of {name} has no source"
        )


@pytest.mark.parametrize("name", DEVICES)
def test_device_becomes_records_or_says_why_not(name: str) -> None:
    device = load_device(name)
    if name in REFUSING:
        assert device.refuses
        with pytest.raises(Infeasible, match="cannot be simulated"):
            processor_records(device)
        return
    assert device.refuses is None
    if device.hardwired is not None:  # a pipeline, not processors with peaks
        return
    for processor, record in zip(device.processors, processor_records(device), strict=True):
        known = [energy for energy in record["J_per_flop"] if not math.isnan(energy)]
        assert known, f"{processor.name} states no energy per flop"
        for memory in ("weights", "kv", "activations"):
            assert record[f"{memory}_B_per_s"] > 0.0
            assert record[f"{memory}_J_per_B"] > 0.0


@pytest.mark.parametrize("name", sorted(set(DEVICES) - REFUSING - IDEAL - {"hnlpu"}))
def test_no_unit_reaches_its_peaks(name: str) -> None:
    for processor in load_device(name).processors:
        efficiency = processor.efficiency
        shares = {"compute": efficiency.compute, "memory": efficiency.memory}
        if not processor.operators or any("attention" in item for item in processor.operators):
            shares["attention"] = efficiency.attention
        for share, value in shares.items():
            assert 0.2 <= value <= 0.95, f"{processor.name}: {share} is {value}"
        assert processor.launch_s > 0.0


@pytest.mark.parametrize("name", sorted(IDEAL))
def test_units_as_a_paper_simulates_them_say_so(name: str) -> None:
    device = load_device(name)
    assert "as the Duplex paper" in device.title
    assert all(processor.launch_s == 0.0 for processor in device.processors)
    assert all(processor.efficiency.compute == 1.0 for processor in device.processors)


def ordered(processor: Processor, int8: bool) -> Iterator[tuple[str, str]]:
    """Pairs of formats of which the second is at least as fast as the first."""
    present = processor.peak_flop_per_s
    ladder = [name for name in ("fp32", "fp16", "fp8", "fp4") if name in present]
    yield from pairwise(ladder)
    if int8 and "int8" in present:
        yield from ((name, "int8") for name in ("fp32", "fp16") if name in present)


@pytest.mark.parametrize("name", DEVICES)
def test_narrower_arithmetic_is_no_slower(name: str) -> None:
    for processor in load_device(name).processors:
        peak = processor.peak_flop_per_s
        for wide, narrow in ordered(processor, name not in SMALL_INT8):
            assert peak[wide] <= peak[narrow], f"{processor.name}: {wide} above {narrow}"


@pytest.mark.parametrize("name", SYSTEMS)
def test_system_loads_and_is_connected(name: str) -> None:
    system = load_system(name)
    assert system.name == name
    assert name.endswith(f"-x{system.count}")
    if system.count > 1:
        assert system.device.link is not None
    if system.count > system.devices_per_node:
        assert system.network is not None


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("a100", "a100-sxm-80gb"),
        ("h100", "h100-sxm"),
        ("h200-sxm", "h200"),
        ("pi5", "raspberry-pi-5"),
        ("snapdragon-8-gen-3", "phone-snapdragon-8-gen-3"),
    ],
)
def test_alias_finds_its_device(alias: str, name: str) -> None:
    assert load_device(alias).name == name


def test_logic_pim_shares_the_memory_of_the_xpu() -> None:
    device = load_device("duplex")
    xpu, pim = device.processors
    assert (xpu.name, pim.name) == ("xpu", "logic-pim")
    assert pim.weights_memory == xpu.weights_memory == "hbm"
    assert pim.bandwidth_scale == pytest.approx(4.0)
    assert set(pim.operators) == {"experts", "attention-decode"}
    bandwidth = device.memory("hbm").bandwidth_B_per_s
    assert bandwidth is not None
    ridge = pim.peak_flop_per_s["fp16"] / (pim.bandwidth_scale * bandwidth)
    assert ridge == pytest.approx(8.0, rel=1e-3)
    assert pim.memory_energy_J_per_B == pytest.approx(8 * 1.92e-12, rel=1e-3)
    assert not device.built


def test_every_published_row_is_a_device() -> None:
    assert {row["device"] for row in published()} == set(ROWS)
    assert set(ROWS.values()) <= set(DEVICES)


def test_devices_equal_the_published_numbers() -> None:
    wrong = []
    columns = [*PEAKS, "mem_gb", "mem_bw_gb_s", "link_gb_s_one_way"]
    for row in published():
        name = ROWS[row["device"]]
        device = load_device(name)
        for column in [*columns, "tdp_w", "die_mm2", "process", "price_usd"]:
            if not row[column]:
                continue
            same = agrees(row[column], readings(device, column))
            if same == ((name, column) in DISPUTED):
                wrong.append(f"{name}: {column} {row[column]} against {readings(device, column)}")
    assert not wrong, "\n".join(wrong)
