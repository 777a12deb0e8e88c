"""Small devices, models and programs for tests, as Python objects."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, Literal

import numpy as np

from sim.dtypes import Precision
from sim.engines import serving
from sim.engines.scheduler import Scheduler
from sim.engines.serving import Kind, Requests
from sim.engines.serving.outcome import Outcome, Served, Watch
from sim.hardware import Device, Efficiency, Link, Memory, Processor, System
from sim.hardware.device import Split
from sim.mapping.assemblies import assemble
from sim.mapping.layout import Parallel
from sim.mapping.parallelism import plan
from sim.mapping.program import Choices, Program
from sim.workload.architecture import (
    Architecture,
    Attention,
    Block,
    Encoder,
    Experts,
    FeedForward,
    LatentAttention,
    StateSpace,
)
from sim.workload.expert_slots import Placement
from sim.workload.layers import build_graph
from sim.workload.routing import Router
from sim.workload.speculation import Speculation, draft_graph, unfit
from sim.workload.traffic import Closed, Trace

HIDDEN, VOCABULARY = 64, 1000

EFFICIENCY = Efficiency(
    compute=0.8, attention=0.6, memory=0.9, ramp_B=4096.0, tile_m=16, tile_n=32, slots=4
)
GPU = Processor(
    name="gpu",
    kind="gpu",
    peak_flop_per_s={"fp16": 1e12, "fp32": 1e11, "int8": 2e12},
    weights_memory="hbm",
    kv_memory="hbm",
    activations_memory="hbm",
    efficiency=EFFICIENCY,
    launch_s=1e-7,
    energy_J_per_flop={"fp16": 1e-12, "fp32": 3e-12, "int8": 5e-13},
)
SMALL_CORE = replace(
    GPU,
    name="core",
    peak_flop_per_s={"fp16": 1e11, "fp32": 1e11},
    energy_J_per_flop={"fp16": 4e-13, "fp32": 1e-12},
    launch_s=1e-9,
)
PIM = replace(
    GPU,
    name="pim",
    kind="pim",
    peak_flop_per_s={"fp16": 8e10},
    energy_J_per_flop={"fp16": 2e-13},
    operators=("experts", "attention-decode"),
    bandwidth_scale=4.0,
    bundles=4,
    memory_energy_J_per_B=1e-11,
    efficiency=replace(EFFICIENCY, compute=0.95, memory=0.67, tile_m=1, tile_n=1, slots=160),
)
HBM = Memory(name="hbm", capacity_B=2.0**30, bandwidth_B_per_s=1e10, energy_J_per_B=3e-11)
LINK = Link(
    name="link", bandwidth_B_per_s=5e9, latency_s=1e-6, efficiency=0.8, energy_J_per_B=1e-11
)
NETWORK = replace(LINK, name="network", bandwidth_B_per_s=1e9, latency_s=5e-6)


def device(*processors: Processor, **changes: Any) -> Device:
    base = Device(
        name="toy",
        title="Toy device",
        processors=processors or (GPU,),
        memories=(HBM,),
        link=LINK,
        static_W=2.0,
        host_step_s=1e-5,
        host_sequence_s=2e-6,
    )
    return replace(base, **changes)


DEVICES = {
    "one unit": device(GPU),
    "two units": device(GPU, SMALL_CORE),
    "PIM": device(GPU, PIM),
}
"""A GPU; the same with a slow unit that launches fast; the same with a unit in its memory."""


def system(of: Device, count: int = 1, devices_per_node: int = 4, **changes: Any) -> System:
    base = System(
        name="toys", device=of, count=count, devices_per_node=devices_per_node, network=NETWORK
    )
    return replace(base, **changes)


MHA = Attention(heads=4, kv_heads=4, head_dim=16, bias=True)
GQA = Attention(heads=4, kv_heads=2, head_dim=16)
MLP = FeedForward(intermediate=160)
MOE = Experts(count=8, top_k=2, intermediate=96, shared_intermediate=32, shared_gate=True)
MAMBA = StateSpace(version=1, inner=128, state=8, dt_rank=4)
MAMBA2 = StateSpace(version=2, inner=128, state=16, heads=4)
MLA = LatentAttention(heads=4, q_rank=24, kv_rank=32, nope_dim=16, rope_dim=8, v_dim=16)


def model(*layers: Block, name: str = "toy", **changes: Any) -> Architecture:
    base = Architecture(
        name=name, title=name, hidden=HIDDEN, vocabulary=VOCABULARY, layers=tuple(layers)
    )
    return replace(base, **changes)


DENSE = Block(mixer=GQA, ffn=MLP)
LOCAL = Block(mixer=replace(GQA, window=12), ffn=MLP)
CHUNKED = Block(mixer=replace(GQA, window=10, local="chunked"), ffn=MLP)
ENCODER_LAYER = Block(mixer=MHA, ffn=FeedForward(intermediate=160, gated=False), norm_bias=True)
TEXT_ENCODER = Encoder(hidden=HIDDEN, layers=(ENCODER_LAYER,) * 2)
IMAGE_ENCODER = Encoder(
    hidden=48,
    layers=(replace(ENCODER_LAYER, mixer=replace(MHA, head_dim=12)),) * 2,
    tokens=20,
    output_tokens=10,
    patch_inputs=27,
    other_parameters=20 * 48,
    projector_parameters=48 * HIDDEN,
)

SMALL = model(Block(mixer=replace(GQA, head_dim=8), ffn=MLP), name="small", hidden=32)
"""What drafts for the models below."""

MODELS = {
    "dense": model(*(DENSE,) * 4),
    "moe": model(*(Block(mixer=GQA, ffn=MOE),) * 4),
    "sliding": model(*(LOCAL, DENSE) * 2),
    "chunked-window": model(*(CHUNKED, DENSE) * 2),
    "mla": model(*(Block(mixer=MLA, ffn=MOE),) * 4),
    "ssm": model(*(Block(mixer=MAMBA, norms=1),) * 4),
    "hybrid": model(Block(mixer=MAMBA2, ffn=MOE), DENSE, Block(mixer=MAMBA2, ffn=MLP), DENSE),
    "encoder-decoder": model(
        *(Block(mixer=MHA, cross_attention=MHA, ffn=MLP, norms=3),) * 2, encoder=TEXT_ENCODER
    ),
    "speech": model(
        *(Block(mixer=MHA, cross_attention=MHA, ffn=MLP, norms=3),) * 2, encoder=IMAGE_ENCODER
    ),
    "encoder-only": model(encoder=TEXT_ENCODER, head_outputs=3),
    "vision-language": model(*(DENSE,) * 4, encoder=IMAGE_ENCODER),
}
"""One tiny model of each kind of architecture."""

SCHEDULERS = ("chunked-prefill", "layered-prefill", "continuous", "prefill-first", "static")


@cache
def program(
    kind: str = "dense",
    on: str = "one unit",
    *,
    count: int = 1,
    tp: int | None = None,
    pp: int = 1,
    ep: int = 1,
    dp: int = 1,
    attention_dp: int = 1,
    precision: Precision | None = None,
    router: Router | None = None,
    coprocessing: Literal["none", "pe", "pe+et"] = "none",
    split: str | Split = "greedy",
    experts_on: str = "",
    experts: Placement | None = None,
    seed: int = 0,
) -> Program:
    """A model on `count` devices; `experts_on` names the processor that experts are pinned to."""
    graph = build_graph(MODELS[kind])
    machines = system(DEVICES[on], count, coprocessing=coprocessing, split=split)
    tp = count // (pp * dp * attention_dp) if tp is None else tp
    wanted = Parallel(tp=tp, pp=pp, ep=ep, dp=dp, attention_dp=attention_dp, experts=experts)
    return assemble(
        graph,
        machines,
        plan(graph, machines, wanted),
        precision or Precision(),
        Choices(router=router, placement={"experts": experts_on} if experts_on else {}, seed=seed),
    )


@cache
def drafted(
    kind: str = "dense",
    draft: str = "small",
    tokens: int = 3,
    acceptance: float | tuple[float, ...] = 0.7,
    on: str = "one unit",
    *,
    count: int = 1,
    ep: int = 1,
    attention_dp: int = 1,
    coprocessing: Literal["none", "pe", "pe+et"] = "none",
    seed: int = 0,
    router: Router | None = None,
) -> Program:
    """As `program`, with speculation: `draft` is "small", another model, "mtp" or "self"."""
    of, machines = MODELS[kind], system(DEVICES[on], count, coprocessing=coprocessing)
    graph, layers = build_graph(of), 1 if draft == "self" else None
    shares = (acceptance,) * tokens if isinstance(acceptance, float) else acceptance
    by: Any = draft if draft in ("mtp", "self") else SMALL if draft == "small" else MODELS[draft]
    speculation = Speculation(draft=by, tokens=tokens, acceptance=shares, layers=layers)
    assert not unfit(of, speculation)
    wanted = Parallel(tp=count // attention_dp, ep=ep, attention_dp=attention_dp)
    return assemble(
        graph,
        machines,
        plan(graph, machines, wanted),
        Precision(),
        Choices(
            router=router,
            seed=seed,
            speculation=speculation,
            draft=draft_graph(of, speculation),
        ),
    )


def trace(*requests: tuple[float, int, int]) -> Trace:
    """A trace of (arrival, input tokens, output tokens)."""
    arrivals, inputs, outputs = zip(*requests, strict=True)
    return Trace(
        name="made",
        arrival_s=np.array(arrivals, dtype=np.float64),
        input_tokens=np.array(inputs, dtype=np.int64),
        output_tokens=np.array(outputs, dtype=np.int64),
    )


def serve_trace(of: Program, scheduler: Scheduler, kv_B: float, requests: Trace) -> Served:
    """What replicas of `of` do with `requests`."""
    kind = Kind(program=of, scheduler=scheduler, kv_B=kv_B)
    return serving.serve_trace(kind, Requests.of(kind, requests))


def served(
    of: Program, scheduler: Scheduler, kv_B: float, requests: Trace, log: int = 0
) -> Outcome:
    """What the one replica of `of` did with `requests`."""
    kind = Kind(program=of, scheduler=scheduler, kv_B=kv_B)
    watch = Watch(log_iterations=log)
    (outcome,) = serving.serve_trace(kind, Requests.of(kind, requests), watch=watch).outcomes
    return outcome


def serve_closed(
    of: Program, scheduler: Scheduler, kv_B: float, loop: Closed, requests: Trace, seed: int = 0
) -> Served:
    """What replicas of `of` do with clients who send `requests`."""
    kind = Kind(program=of, scheduler=scheduler, kv_B=kv_B)
    return serving.serve_closed(kind, Requests.of(kind, requests), loop, seed=seed)


def at_once(inputs: Any, outputs: Any) -> Trace:
    """Requests of such lengths, which clients send."""
    return Trace(
        name="made",
        arrival_s=np.zeros(len(inputs)),
        input_tokens=np.asarray(inputs),
        output_tokens=np.asarray(outputs),
    )
