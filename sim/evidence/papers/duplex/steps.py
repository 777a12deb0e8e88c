"""Results of the Duplex paper that need no traffic: organisation, models, capacity, one step."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sim.config.catalogue import load_device, load_model, load_system
from sim.config.memories import memory_kind
from sim.config.scenarios import load_scenario
from sim.evidence.papers.duplex.systems import (
    DENSE,
    FP16,
    SETUPS,
    lengths,
    released_split,
    sequence_bytes,
)
from sim.hardware import Link, System
from sim.hardware.device import Coprocessing
from sim.mapping.layout import Parallel
from sim.results.explain import explain
from sim.simulation.prepare import prepare
from sim.workload.layers import build_graph

LENGTHS_5C: Final = ((2048, 4096), (4096, 4096), (8192, 4096))
"""Input and output of Fig. 5(c)."""
RELEASED: Final[tuple[tuple[str, Coprocessing, int, tuple[str, ...]], ...]] = (
    ("h100", "none", 4, ("experts", "attention-decode", "communication")),
    ("duplex", "none", 4, ("experts", "communication")),
    ("duplex", "pe+et", 1, ("experts", "communication")),
)
"""Steps run by others: device, co-processing, ranks of experts, and the parts they print."""


def organisation() -> dict[str, float]:
    """Bandwidth and peak of a stack from its timing, area from its parts."""
    technology = memory_kind("hbm3").technology
    assert technology is not None
    peak = technology.peak_B_per_s(technology.levels["logic-pim"])
    logic_pim = load_device("duplex").processors[1]
    area, die = sum(logic_pim.area_mm2.values()), logic_pim.host_die_mm2
    assert die is not None
    return {
        "S1-bandwidth": peak / 1e12,
        "S1-compute": 8 * peak / 1e12,
        "S1-area": area,
        "S1-share": 100.0 * area / die,
    }


def models() -> dict[str, float]:
    """Table I with the dimensions it leaves out; it counts embeddings apart, hence 1 %."""
    simulated = {}
    for setup in (SETUPS | DENSE).values():
        graph = build_graph(load_model(setup.model))
        simulated[f"M-parameters-{setup.model}"] = graph.parameters / 1e9
        simulated[f"M-kv-{setup.model}"] = graph.kv_bytes_per_token("fp16") / 1024.0
    return simulated


def figure_5c() -> dict[str, float]:
    """Requests of which two GPUs and two Logic-PIM devices hold the whole KV cache."""
    system = load_system({"device": "hetero-micro24", "count": 2, "source": "duplex-paper"})
    simulated = {}
    for inputs, outputs in LENGTHS_5C:
        traffic = {"concurrency": 1, "requests": 1, "input": inputs, "output": outputs}
        scenario = load_scenario(
            {
                "model": SETUPS["mixtral"].model,
                "system": system,
                "dtype": FP16,
                "traffic": {"closed": traffic},
                "scheduler": {
                    "max_batch": 128,
                    "max_prefill_tokens": inputs,
                    "memory_utilization": 1.0,
                    "kv_reserve": "full",
                },
            }
        )
        prepared = prepare(scenario)
        held = sequence_bytes(prepared, inputs, outputs)
        simulated[f"F5c-{inputs}-{outputs}"] = float(min(128, int(prepared.budget.kv_B / held)))
    return simulated


def released() -> dict[str, float]:
    """A run of the released simulator by others: Mixtral, batch 32, context 2,144, ideal DRAM."""
    simulated: dict[str, float] = {}
    for name, mode, ranks, parts in RELEASED:
        explained = explain(
            {
                "model": SETUPS["mixtral"].model,
                "system": _ideal(name, mode),
                "traffic": {"closed": {"concurrency": 32, "requests": 32, **lengths(2048, 256)}},
                "router": {"kind": "uniform", "draw": "sampled"},
                "dtype": FP16,
            },
            parallel=Parallel(tp=4, ep=ranks),
            sequences=32,
            context=2144,
        )
        times: dict[str, float] = {}
        for row in explained.rows:
            if not row["operator"].startswith(("embedding", "lm_head")):  # free in the release
                times[row["class"]] = times.get(row["class"], 0.0) + row["time_s"] * 1e3
        simulated |= {f"S12-{name}-{mode}-{part}": times[part] for part in parts}
    return simulated


def _ideal(name: str, mode: Coprocessing) -> System:
    """Four devices whose memory gives its peak bandwidth."""
    device = load_device(f"{name}-micro24")
    ideal = tuple(
        replace(each, efficiency=replace(each.efficiency, memory=1.0)) for each in device.processors
    )
    link = Link(name="nvlink", bandwidth_B_per_s=900e9, latency_s=0.8e-6, collective="ring")
    device = replace(device, processors=ideal, link=link)
    return System(name=name, device=device, count=4, coprocessing=mode, split=released_split)
