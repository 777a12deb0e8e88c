"""Rows of the Duplex paper that need no traffic: organisation, models, capacity, EDAP, one step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sim.config.catalogue import load_device, load_model, load_system
from sim.config.memory_form import memory_kind
from sim.config.scenarios import load_scenario
from sim.evidence.papers import duplex_figure_8 as edap
from sim.evidence.papers.duplex_systems import SETUPS, lengths, released_split, sequence_bytes
from sim.evidence.reproduction import Row
from sim.hardware import Link, System
from sim.hardware.device import Coprocessing
from sim.mapping.layout import Parallel
from sim.results.explain import explain
from sim.simulation.prepare import prepare
from sim.workload.layers import build_graph


def organisation() -> Iterator[Row]:
    """Bandwidth and peak of a stack from its timing, area from its parts."""
    technology = memory_kind("hbm3").technology
    assert technology is not None
    peak = technology.peak_B_per_s(technology.levels["logic-pim"])
    logic_pim = load_device("duplex").processors[1]
    area, die = sum(logic_pim.area_mm2.values()), logic_pim.host_die_mm2
    assert die is not None
    for id, quantity, unit, published, simulated, tolerance in (
        ("S1-bandwidth", "bandwidth of Logic-PIM a stack", "TB/s", 2.66, peak / 1e12, 0.002),
        (
            "S1-compute",
            "peak of Logic-PIM a stack at 8 Op/B",
            "TFLOPS",
            21.3,
            8 * peak / 1e12,
            0.002,
        ),
        ("S1-area", "area of Logic-PIM a stack", "mm2", 17.80, area, 0.001),
        ("S1-share", "its share of the logic die", "%", 14.71, 100.0 * area / die, 0.001),
    ):
        yield Row(
            id=id, quantity=quantity, unit=unit, published=published, simulated=simulated,
            tolerance=tolerance, kind="identity", source="IV, VI, VII-E",
        )  # fmt: skip


def models() -> Iterator[Row]:
    """Table I with the dimensions it leaves out; it counts embeddings apart, hence 1 %."""
    for name, billions, kv_KiB in (
        ("mixtral-8x7b", 46.7, 128.0), ("glam-143b", 143.8, 512.0), ("grok-1", 316.5, 256.0),
        ("llama-3-70b", 70.6, 320.0), ("opt-66b", 66.2, 2304.0),
    ):  # fmt: skip
        graph = build_graph(load_model(name))
        yield Row(
            id=f"M-parameters-{name}", quantity=f"parameters of {name}", unit="1e9",
            published=billions, simulated=graph.parameters / 1e9, tolerance=0.01,
            kind="identity", source="Table I with the released model_config.h",
        )  # fmt: skip
        yield Row(
            id=f"M-kv-{name}", quantity=f"KV cache of {name} a token", unit="KiB",
            published=kv_KiB, simulated=graph.kv_bytes_per_token("fp16") / 1024.0, tolerance=0.0,
            kind="identity", source="Table I with the released model_config.h",
        )  # fmt: skip


def figure_5c() -> Iterator[Row]:
    """Requests of which two GPUs and two Logic-PIM devices hold the whole KV cache."""
    system = load_system({"device": "hetero-micro24", "count": 2, "source": "duplex-paper"})
    for inputs, outputs, published in ((2048, 4096, 101), (4096, 4096, 75), (8192, 4096, 50)):
        scenario = load_scenario(
            {
                "model": SETUPS["mixtral"].model,
                "system": system,
                "dtype": {"weights": "fp16", "kv": "fp16", "activations": "fp16"},
                "traffic": {"closed": {"concurrency": 1, "requests": 1, "input": inputs,
                                       "output": outputs}},
                "scheduler": {"max_batch": 128, "max_prefill_tokens": inputs,
                              "memory_utilization": 1.0, "kv_reserve": "full"},
            }
        )  # fmt: skip
        prepared = prepare(scenario)
        held = sequence_bytes(prepared, inputs, outputs)
        yield Row(
            id=f"F5c-{inputs}-{outputs}", quantity=f"batch of hetero at {inputs}, {outputs}",
            unit="requests", published=float(published),
            simulated=float(min(128, int(prepared.budget.kv_B / held))), error_unit="points",
            tolerance=0.0, source="Fig. 5(c)",
        )  # fmt: skip


def figure_8() -> Iterator[Row]:
    """EDAP of the three units, with four constants fitted on it."""
    constants = edap.fit()
    yield Row(
        id="F8", quantity="RMS error of the 18 cells", unit="%", published=0.0,
        simulated=100.0 * edap.rms(constants), error_unit="points", tolerance=8.0,
        kind="calibrated", source="Fig. 8",
    )  # fmt: skip
    yield Row(
        id="F8-order", quantity="columns whose units come in the printed order", unit="columns",
        published=6.0, simulated=float(edap.same_order(constants)), error_unit="points",
        tolerance=0.0, kind="calibrated", source="Fig. 8",
    )  # fmt: skip
    table = edap.cells(constants)
    for row, unit in enumerate(edap.UNITS):
        for column, intensity in enumerate(edap.OP_PER_B):
            yield Row(
                id=f"F8-{unit}-{intensity:g}", quantity=f"EDAP of {unit} at {intensity:g} Op/B",
                unit="of the worst", published=float(edap.PRINTED[row, column]),
                simulated=float(table[row, column]), tolerance=None, kind="calibrated",
                source="Fig. 8",
            )  # fmt: skip


def fitted() -> str:
    """The constants fitted on Fig. 8, in words."""
    constants = zip(edap.CONSTANTS, edap.fit(), strict=True)
    return "fitted on Fig. 8: " + ", ".join(f"{name} {value:.3g}" for name, value in constants)


def released() -> Iterator[Row]:
    """A run of the released simulator by others: Mixtral, batch 32, context 2,144, ideal DRAM."""
    link = Link(name="nvlink", bandwidth_B_per_s=900e9, latency_s=0.8e-6, collective="ring")
    printed: tuple[tuple[str, Coprocessing, int, dict[str, float]], ...] = (
        ("h100", "none", 4, {"experts": 6.76, "attention-decode": 0.69, "communication": 0.33}),
        ("duplex", "none", 4, {"experts": 2.14, "communication": 0.33}),
        ("duplex", "pe+et", 1, {"experts": 1.71, "communication": 0.50}),
    )
    for name, mode, ranks, parts in printed:
        device = load_device(f"{name}-micro24")
        ideal = tuple(
            replace(each, efficiency=replace(each.efficiency, memory=1.0))
            for each in device.processors
        )
        device = replace(device, processors=ideal, link=link)
        system = System(
            name=name,
            device=device,
            count=4,
            coprocessing=mode,
            split=released_split,
        )
        explained = explain(
            {
                "model": SETUPS["mixtral"].model,
                "system": system,
                "traffic": {"closed": {"concurrency": 32, "requests": 32, **lengths(2048, 256)}},
                "router": {"kind": "uniform", "draw": "sampled"},
                "dtype": {"weights": "fp16", "kv": "fp16", "activations": "fp16"},
            },
            parallel=Parallel(tp=4, ep=ranks),
            sequences=32,
            context=2144,
        )
        found: dict[str, float] = {}
        for row in explained.rows:
            if not row["operator"].startswith(("embedding", "lm_head")):  # free in the release
                found[row["class"]] = found.get(row["class"], 0.0) + row["time_s"] * 1e3
        for part, published in parts.items():
            yield Row(
                id=f"S12-{name}-{mode}-{part}", quantity=f"{part} of a step, {name}, {mode}",
                unit="ms", published=published, simulated=found[part], tolerance=0.04,
                source="independent run of the release",
            )  # fmt: skip
