"""Layered Prefill (arXiv 2510.08055, MLSys 2026): its tables beside what the simulator serves.

The authors' kernels for experts are slower than those our constants are fitted on, so two of these
and the time between iterations are fitted on three rows of their one-prompt benchmark (a), which
are marked calibrated. Everything else is served: traffic, batches, experts touched, waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from sim.config.catalogue import load_system
from sim.evidence.papers.layered_prefill.laboratory import (
    ARXIV,
    PAPER,
    REQUESTS,
    SEEDS,
    SHAREGPT,
    Laboratory,
    Served,
    chunked,
    experts_ms,
    experts_read,
    fitted,
    iterations,
    layered,
    one_prompt,
)
from sim.evidence.papers.published import reproduction
from sim.evidence.reproduction import Reproduction
from sim.workload.routing import DEFAULT_SKEW, Router, coverage_table

CHUNKS: Final = (512, 1024, 2048, 4096, 8192)
"""(a): prompt tokens of an iteration."""
DECODES: Final = (16, 32, 64, 128)
"""(b): decoding sequences; of 16 and 64 an upper bound is printed."""
SATURATED_PER_S: Final = 50.0
"""Rate at which all requests wait: what (c) was measured at isn't printed, its bytes say this."""
GROUP_COUNTS: Final = (1, 2, 4, 8, 16)
STATISTICS: Final = {
    "ttft": ("ttft_s", "mean"),
    "ttft-p99": ("ttft_s", "p99"),
    "tbt": ("tbt_s", "mean"),
    "tbt-p99": ("tbt_s", "p99"),
    "tpot": ("tpot_s", "mean"),
    "itl-p50": ("tbt_s", "p50"),
    "itl-p90": ("tbt_s", "p90"),
    "itl-p99": ("tbt_s", "p99"),
    "e2e": ("e2e_s", "mean"),
}
"""Metric and statistic by how ids call them."""

ASSUMPTIONS: Final = (
    "two H100 SXM, tensor parallel 2, bf16; chunk 512, decode first; at most 16 groups of layers, "
    "one for each 512 prompt tokens",
    "arXiv prompts log-normal, mean 9,194, sigma 0.5 (the spread is assumed), 190 tokens of "
    "output; ShareGPT prompts mean 2,340, sigma 0.8, 439 of output",
    f"means over {SEEDS} seeds of {REQUESTS} requests each, the same requests for both schedulers",
    "(c) under full load: 955 and 304 GB a request leave no room for decodes alone",
    "(f) sets vLLM's kernels (ours as fitted on TensorRT-LLM) against the authors' with the "
    "kernels of (a)",
    "bytes of (d) of Qwen3-30B-A3B at 1.3 requests/s; which model they are of isn't known",
)


def reproduce(
    progress: Callable[[str], None], *, figures: bool = False, rounding: bool = True
) -> Reproduction:
    """All rows of (a) to (f) of the facts."""
    progress("one prompt")
    laboratory = fitted()
    simulated = one_prompts(laboratory) | experts_touched()
    progress("chunk sizes")
    simulated |= chunk_sizes(laboratory)
    progress("fixed load")
    simulated |= fixed_load(laboratory)
    progress("against vLLM")
    simulated |= against_vllm(laboratory)
    memory, large = laboratory.kernels
    constants = (
        f"fitted on (a): experts stream at {memory:.3f} of the bandwidth and compute at "
        f"{large:.3f} of the peak in large tiles; {1e3 * laboratory.host_s:.2f} ms of host"
    )
    return reproduction(
        PAPER,
        "Layered Prefill: experts loaded once a prompt",
        simulated,
        assumptions=(*ASSUMPTIONS, constants),
        tables={"groups": groups_table(laboratory)} if figures else {},
    )


def one_prompts(laboratory: Laboratory) -> dict[str, float]:
    """(a): one prompt in chunks of five sizes, and how experts grow with the passes."""
    simulated: dict[str, float] = {}
    passes, times = [], []
    for chunk in CHUNKS:
        run = one_prompt(laboratory.system, chunk)
        passes.append(iterations(run))
        times.append(experts_ms(run))
        simulated[f"a-{chunk}-bytes"] = experts_read(run) / 1e9
        simulated[f"a-{chunk}-experts"] = times[-1]
        if chunk in (CHUNKS[0], CHUNKS[-1]):
            classes = run.breakdown["time_s"]["by_class"]
            simulated[f"a-{chunk}-attention"] = 1e3 * classes["attention-prefill"]
        simulated[f"a-{chunk}-total"] = 1e3 * run.breakdown["busy_s"]
    slope, start = np.polyfit(passes, times, 1)
    left = np.var(np.asarray(times) - slope * np.asarray(passes) - start) / np.var(times)
    return simulated | {"a-linear": float(1.0 - left), "a-slope": float(slope)}


def experts_touched() -> dict[str, float]:
    """(b): share of 128 experts that so many decoding sequences touch."""
    table = coverage_table(Router(kind="zipf", skew=DEFAULT_SKEW), 128, 8)
    return {f"b-{sequences}": float(table[sequences, 1]) / 128.0 for sequences in DECODES}


def chunk_sizes(laboratory: Laboratory) -> dict[str, float]:
    """(c): experts read, energy and gaps with two sizes of chunks, under full load."""
    served = {
        chunk: laboratory.serve(chunked(chunk), ARXIV, SATURATED_PER_S) for chunk in (512, 2048)
    }
    simulated = {"c-energy": served[2048].J_per_token / served[512].J_per_token - 1.0}
    for chunk, one in served.items():
        simulated[f"c-{chunk}-bytes"] = one.experts_B / REQUESTS / 1e9
        simulated[f"c-{chunk}-energy"] = 1e3 * one.J_per_token
        simulated[f"c-{chunk}-tbt"] = 1e3 * one.metrics["tbt_s"]["p99"]
    return simulated


def fixed_load(laboratory: Laboratory) -> dict[str, float]:
    """(d) and (e): from chunked to layered prefill at 1.3 requests a second."""
    before = laboratory.serve(chunked(), ARXIV, 1.3)
    after = laboratory.serve(layered(), ARXIV, 1.3)
    simulated = {"d-arxiv": after.experts_B / before.experts_B - 1.0}
    for name in ("ttft", "ttft-p99", "e2e"):
        simulated[f"e-chunked-{name}"] = statistic(before, name)
        simulated[f"e-layered-{name}"] = statistic(after, name)
    for name in ("ttft", "ttft-p99", "tbt", "tbt-p99"):
        simulated[f"e-{name}"] = statistic(after, name) / statistic(before, name) - 1.0
    before = laboratory.serve(chunked(), SHAREGPT, 1.3)
    after = laboratory.serve(layered(), SHAREGPT, 1.3)
    return simulated | {"d-sharegpt": after.experts_B / before.experts_B - 1.0}


def against_vllm(laboratory: Laboratory) -> dict[str, float]:
    """(f): vLLM beside layered prefill at 1.5 requests a second, in ms."""
    plain = load_system("h100-x2")
    host = replace(laboratory.system.device, host_step_s=plain.device.host_step_s)
    newer = replace(laboratory.system, device=host)
    vllm = laboratory.serve(chunked(), ARXIV, 1.5, plain)
    authors = laboratory.serve(layered(), ARXIV, 1.5, newer)
    simulated: dict[str, float] = {}
    for name in ("ttft", "tpot", "itl-p50", "itl-p90", "itl-p99", "e2e"):
        before, after = 1e3 * statistic(vllm, name), 1e3 * statistic(authors, name)
        simulated[f"f-vllm-{name}"] = before
        simulated[f"f-layered-{name}"] = after
        simulated[f"f-{name}"] = after / before
    return simulated


def statistic(served: Served, name: str) -> float:
    """One of `STATISTICS`, in seconds."""
    metric, part = STATISTICS[name]
    return served.metrics[metric][part]


def groups_table(laboratory: Laboratory) -> list[Mapping[str, float]]:
    """TTFT and p99 TBT by the most groups of layers, at 1.3 requests/s."""
    served = {groups: laboratory.serve(layered(groups), ARXIV, 1.3) for groups in GROUP_COUNTS}
    return [
        {
            "groups": groups,
            "ttft_s": statistic(one, "ttft"),
            "tbt_p99_s": statistic(one, "tbt-p99"),
            "experts_TB": one.experts_B / 1e12,
        }
        for groups, one in served.items()
    ]
