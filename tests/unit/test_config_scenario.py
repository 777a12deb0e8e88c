"""Does a scenario become the right values, with a digest of its content and all its sources?"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim.config import library
from sim.config.catalogue import load_model, load_system
from sim.config.kinds import SHOWN
from sim.config.library import names
from sim.config.scenarios import load_scenario
from sim.config.show import resolved
from sim.config.sources import load_sources
from sim.engines.scheduler import Scheduler
from sim.errors import ConfigError
from sim.scenario import Scenario
from sim.workload.traffic import Closed, Constant, Empirical, Gaussian, LogNormal, Poisson, Trace

PLAIN: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "system": "h100-x1",
    "traffic": {"trace": "azure-like-2k", "limit": 20},
}
POISSON = {"poisson": {"rate": "2 /s", "requests": 10, "input": 512, "output": 64}}


def scenario(**changes: Any) -> Scenario:
    return load_scenario({**PLAIN, **changes})


@pytest.mark.parametrize("name", names("scenarios"))
def test_every_shipped_scenario_loads_with_all_its_sources(name: str) -> None:
    found = load_scenario(name)
    assert found.name == name
    used = {number.source for number in found.sources.values()}
    assert set(found.bibliography) == used
    for part in ("model.", "system.device."):
        assert any(path.startswith(part) for path in found.sources), part
    assert any(path.startswith("traffic") for path in found.sources)


def test_defaults_are_those_of_the_values() -> None:
    found = scenario()
    assert found.scheduler == Scheduler()
    assert found.router is None
    assert (found.slo.ttft_s, found.slo.tbt_s, found.seed) == (None, None, 0)


def test_formats_left_out_are_as_published() -> None:
    found = scenario(model="gpt-oss-120b").precision
    assert (found.weights, found.experts) == ("bf16", "mxfp4")
    asked = scenario(model="gpt-oss-120b", dtype={"weights": "int8"}).precision
    assert (asked.weights, asked.experts) == ("int8", None)


def test_traffic_in_its_three_forms() -> None:
    trace = scenario(traffic={"trace": "azure-like-2k", "window": ["10 s", "1 min"]}).traffic
    assert isinstance(trace, Trace)
    assert 0.0 <= trace.arrival_s[0] < trace.arrival_s[-1] < 50.0
    lengths = {"input": {"gaussian": {"mean": 512, "std": 100}}, "output": 64}
    poisson = scenario(traffic={"poisson": {"rate": "120 /min", "requests": 9, **lengths}}).traffic
    assert poisson == Poisson(
        rate_per_s=2.0, requests=9, input=Gaussian(mean=512, std=100), output=Constant(tokens=64)
    )
    log = {"input": {"lognormal": {"mean": 512, "std": 100}}, "output": {"constant": 8}}
    closed = scenario(traffic={"closed": {"concurrency": 4, "requests": 9, **log}}).traffic
    assert closed == Closed(
        concurrency=4,
        requests=9,
        input=LogNormal(mean=512, std=100),
        output=Constant(tokens=8),
        start="steady",
    )


def test_lengths_default_to_the_sample_or_come_from_a_file(tmp_path: Path) -> None:
    sample = scenario(traffic={"trace": "azure-like-2k"}).traffic
    assert isinstance(sample, Trace)
    found = scenario(traffic={"poisson": {"rate": "2 /s", "requests": 9}}).traffic
    assert isinstance(found, Poisson)
    assert found.input == Empirical(tokens=tuple(sample.input_tokens.tolist()))
    assert found.output == Empirical(tokens=tuple(sample.output_tokens.tolist()))
    (tmp_path / "seen.csv").write_text("num_prefill_tokens,num_decode_tokens\n5,1\n7,2\n")
    text = (
        "model: llama-3.1-8b\nsystem: h100-x1\ntraffic:\n  closed: {concurrency: 1, requests: 2, "
        "input: {empirical: seen.csv}, output: {empirical: seen.csv}}\n"
    )
    (tmp_path / "own.yaml").write_text(text)
    closed = load_scenario(tmp_path / "own.yaml").traffic
    assert isinstance(closed, Closed)
    assert (closed.input, closed.output) == (Empirical(tokens=(5, 7)), Empirical(tokens=(1, 2)))


def test_scenario_may_extend_another(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("extends: mixtral-azure-duplex\nsystem: h100-x4\nslo: {tbt: null}\n")
    found, base = load_scenario(path), load_scenario("mixtral-azure-duplex")
    assert found.system.device.name == "h100-sxm"
    assert (found.slo.ttft_s, found.slo.tbt_s) == (base.slo.ttft_s, None)
    assert found.model == base.model


def test_digest_is_of_the_content(tmp_path: Path) -> None:
    source = library.folder("scenarios") / "mixtral-azure-duplex.yaml"
    base = load_scenario("mixtral-azure-duplex")
    lines = source.read_text().splitlines()
    assert lines[-1].startswith("slo:")
    path = tmp_path / "sub" / "other.yaml"
    path.parent.mkdir()
    path.write_text(
        "# another file\n" + "\n".join(reversed(lines)).replace("5 s", "5000 ms") + "\n"
    )
    assert load_scenario(path).digest == base.digest
    shutil.copy(library.folder("traffic") / "azure-like-2k.csv", path.parent / "rows.csv")
    path.write_text("\n".join(lines).replace("azure-like-2k", "rows.csv") + "\n")
    assert load_scenario(path).digest == base.digest


@pytest.mark.parametrize(
    "change",
    [
        "seed=1", "slo.ttft=6 s", "system.count=8", "model.layers=31", "traffic.limit=1999",
        "system.device.memories.hbm.bandwidth=3.353 TB/s", "dtype.kv=fp8", "placement.fc=xpu",
        "techniques=[{kind: token-pruning, layer: 3, keep: 0.5}]", "router={kind: zipf, skew: 1}",
        "scheduler.watermark=0.02", "parallel.ep=2", "system.device.processors.xpu.launch=3 us",
    ],
)  # fmt: skip
def test_digest_changes_with_every_part(change: str) -> None:
    base = load_scenario("mixtral-azure-duplex")
    assert load_scenario("mixtral-azure-duplex", sets=[change]).digest != base.digest


def test_equal_input_gives_equal_digest_in_another_process() -> None:
    code = "from sim.config.scenarios import load_scenario as l; print(l('llama-1b-pi5').digest)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=library.folder("scenarios").parents[1],
    )  # fmt: skip
    assert done.stdout.strip() == load_scenario("llama-1b-pi5").digest


def test_config_loads_without_the_heavy_libraries() -> None:
    code = (
        "import sys, sim.config.catalogue, sim.config.scenarios;"
        "print([m for m in ('numba', 'pandas', 'simpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=library.folder("scenarios").parents[1],
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_numbers_of_the_scenario_itself_are_the_users() -> None:
    found = scenario(traffic=POISSON)
    rate = found.sources["traffic.poisson.rate"]
    assert (rate.value, rate.text, rate.unit, rate.source) == (2.0, "2 /s", "/s", "user")
    assert found.sources["traffic.poisson.requests"].value == 10.0


def test_sources_of_own_files_are_in_the_bibliography(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "extends: wse-3\nprice: '9 USD [quote]'\n"
        "sources: {quote: {kind: estimate, title: a quotation}}\n"
    )
    (tmp_path / "system.yaml").write_text("device: own.yaml\n")
    found = scenario(system=tmp_path / "system.yaml")
    assert found.system.device.price_USD == (9.0, 9.0, 9.0)
    assert found.bibliography["quote"].title == "a quotation"
    assert found.sources["system.device.price.base"].source == "quote"


def test_parts_made_in_python() -> None:
    ready = scenario()
    found = load_scenario(
        {"model": ready.model, "system": ready.system, "traffic": ready.traffic, "seed": 0}
    )
    assert found.digest == ready.digest
    assert found.sources["model.hidden"].value == 4096.0
    assert found.sources["system.device.memories.hbm.bandwidth"].source == "aiconfigurator-0.12"


def test_ready_scenario_passes_and_changes() -> None:
    ready = scenario()
    assert load_scenario(ready) == ready
    other = load_scenario(ready, system="duplex-x4", seed=3)
    assert (other.system.name, other.seed) == ("duplex-x4", 3)
    assert other.digest != ready.digest
    assert other.sources["system.device.die.area"].source in other.bibliography
    assert set(other.bibliography) == {each.source for each in other.sources.values()}


@pytest.mark.parametrize(
    ("name", "device", "count", "node"),
    [
        ("h100-x4", "h100-sxm", 4, 8),
        ("h100-x12", "h100-sxm", 12, 8),
        ("a100-x2", "a100-sxm-80gb", 2, 8),
        ("h200", "h200", 1, 8),
        ("pi5", "raspberry-pi-5", 1, 1),
        ("raspberry-pi-5-x3", "raspberry-pi-5", 3, 1),
        ("gb200-x72", "gb200", 72, 72),
    ],
)
def test_systems_by_device_and_count(name: str, device: str, count: int, node: int) -> None:
    system = load_system(name)
    assert (system.name, system.device.name) == (name, device)
    assert (system.count, system.devices_per_node) == (count, node)


def test_inline_system_and_device() -> None:
    system = load_system({"device": "h200", "count": 3, "devices_per_node": 2})
    assert (system.device.name, system.count, system.devices_per_node) == ("h200", 3, 2)
    inline = {"device": {"extends": "nvidia-datacenter", "title": 7}}
    with pytest.raises(ConfigError) as caught:
        load_system(inline)
    told = str(caught.value)
    assert "device.title: 7: text is due" in told
    assert "device.memories: is missing" in told


@pytest.mark.parametrize("kind", SHOWN)
def test_every_entry_of_a_kind_resolves(kind: str) -> None:
    found = names(kind)
    assert found == sorted(found)
    for name in found:
        assert resolved(kind, name)["name"] == name


def test_resolved_device_shows_value_text_and_source() -> None:
    bandwidth = resolved("devices", "h100")["memories"]["hbm"]["bandwidth"]
    assert bandwidth == {
        "value": 3.35e12, "unit": "B/s", "text": "3350 GB/s", "source": "aiconfigurator-0.12",
    }  # fmt: skip
    network = resolved("systems", "h100-x16")["network"]
    assert network["latency"]["value"] == 5e-6


def test_sources_have_a_kind_and_a_title() -> None:
    assert all(source.kind and source.title for source in load_sources().values())
    assert load_model("mixtral-8x7b").source in load_sources()


def test_empirical_lengths_are_plain_integers() -> None:
    found = scenario(traffic={"closed": {"concurrency": 1, "requests": 1}}).traffic
    assert isinstance(found, Closed)
    assert isinstance(found.input, Empirical)
    assert not any(isinstance(each, np.generic) for each in found.input.tokens)
