"""Figures of the Duplex paper whose bars are not printed, as tables on its axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from sim.engines.roofline import Batch, decode_batch, prefill_batch, step
from sim.evidence.papers.duplex.systems import (
    BATCHES,
    DENSE,
    SETUPS,
    Kind,
    closed,
    open_loop,
    sequence_bytes,
)
from sim.graph import breakdown_class
from sim.kernel.records import SECONDS
from sim.results.run import Run
from sim.simulation.prepare import Prepared

Table = list[Mapping[str, Any]]
CLASSES: Final = {
    "fc": "fc",
    "lm-head": "fc",
    "embedding": "fc",
    "norm": "fc",
    "attention-prefill": "attention",
    "attention-decode": "attention",
    "experts": "moe",
    "communication": "communication",
}
"""The paper's parts of a stage."""
FIVE: Final[tuple[Kind, ...]] = ("gpu", "2xgpu", "duplex", "duplex+pe", "duplex+pe+et")


def figures(progress: Callable[[str], None]) -> dict[str, Table]:
    """Tables by name of the figure."""
    tables: dict[str, Table] = {}
    for name, rows in (
        ("figure-4", figure_4),
        ("figure-12", figure_12),
        ("figure-13", figure_13),
        ("figure-14", figure_14),
        ("figure-15", figure_15),
        ("figure-16", figure_16),
        ("infiniband", infiniband),
    ):
        progress(name)
        tables[name] = list(rows())
    return tables


def figure_4() -> Iterator[Mapping[str, Any]]:
    """Share of a GPU's stage by part: decode only, and with one prompt of 2,048 tokens among it."""
    for model, outputs in (("mixtral", (256, 1024, 4096)), ("glam", (512, 1024, 2048))):
        for output in outputs:
            for batch in BATCHES:
                prepared = closed("gpu", model, batch, (2048, output), stages=1).prepared
                decodes = ((2048, max(output // 2, 1)),)
                prompt = ((2048, 0, 2048),)
                for stage, work in (
                    ("decode", Batch(decodes=decodes * batch)),
                    ("mixed", Batch(decodes=decodes * (batch - 1), prompts=prompt)),
                ):
                    yield {
                        "model": model,
                        "output_tokens": output,
                        "batch": batch,
                        "stage": stage,
                        **_parts(prepared, work),
                    }


def _parts(prepared: Prepared, work: Batch) -> dict[str, float]:
    timed = step(prepared.program, work)
    shares = dict.fromkeys(dict.fromkeys(CLASSES.values()), 0.0)
    for op, row in zip(prepared.program.table.graph.ops, timed.rows, strict=True):
        shares[CLASSES[breakdown_class(op)]] += float(row[SECONDS]) / timed.seconds
    return {f"{name}_share": share for name, share in shares.items()} | {
        "stage_ms": 1e3 * timed.seconds
    }


def _latencies(run: Run) -> dict[str, float]:
    metrics = run.metrics
    return {
        **{f"tbt_{part}_ms": 1e3 * metrics["tbt_s"][part] for part in ("p50", "p90", "p99")},
        "t2ft_p50_s": metrics["ttft_s"]["p50"],
        "e2e_p50_s": metrics["e2e_s"]["p50"],
    }


def figure_12() -> Iterator[Mapping[str, Any]]:
    """Latencies of GLaM at batch 64 on the five systems."""
    for length in SETUPS["glam"].lengths:
        for kind in FIVE:
            run = closed(kind, "glam", 64, (length, length), rounds=4)
            yield {"tokens": length, "system": kind, **_latencies(run)}


def figure_13() -> Iterator[Mapping[str, Any]]:
    """Latencies of Mixtral, 4,096 in and 512 out, by rate of arrival; at most 128 at a time."""
    kinds: tuple[Kind, ...] = ("duplex", "gpu", "2xgpu")
    for rate in range(4, 17, 2):
        for kind in kinds:
            run = open_loop(kind, "mixtral", float(rate), 4096, 512)
            yield {"rate_per_s": rate, "system": kind, **_latencies(run)}


def figure_14() -> Iterator[Mapping[str, Any]]:
    """Throughput of Mixtral, Llama3 and OPT with and without units in memory, of two kinds."""
    kinds: tuple[Kind, ...] = ("gpu", "bank-pim", "duplex")
    for model, setup in {"mixtral": SETUPS["mixtral"], **DENSE}.items():
        for batch in (32, 64):
            for length in setup.lengths:
                for kind in kinds:
                    metrics = closed(kind, model, batch, (length, length)).metrics
                    yield {
                        "model": model,
                        "batch": batch,
                        "tokens": length,
                        "system": kind,
                        "throughput_tok_per_s": metrics["throughput_tok_per_s"],
                    }


def infiniband() -> Iterator[Mapping[str, Any]]:
    """Grok1 on two nodes, with the bandwidth the paper prints and the one its simulator has."""
    for bandwidth in ("50 GB/s", "400 GB/s"):
        for batch in BATCHES:
            rates = {
                kind: closed(kind, "grok", batch, (1024, 1024), infiniband=bandwidth).metrics[
                    "throughput_tok_per_s"
                ]
                for kind in FIVE
            }
            yield {
                "infiniband": bandwidth,
                "batch": batch,
                **{f"{kind}_over_gpu": rate / rates["gpu"] for kind, rate in rates.items()},
            }


def figure_15() -> Iterator[Mapping[str, Any]]:
    """Joules a token of each part, DRAM and compute, on GPU and Duplex+PE+ET."""
    kinds: tuple[Kind, ...] = ("gpu", "duplex+pe+et")
    for model, setup in SETUPS.items():
        for batch in BATCHES:
            for length in setup.lengths:
                for kind in kinds:
                    run = closed(kind, model, batch, (length, length))
                    yield {
                        "model": model,
                        "batch": batch,
                        "tokens": length,
                        "system": kind,
                        **_energies(run),
                    }


def figure_16() -> Iterator[Mapping[str, Any]]:
    """Throughput of Mixtral at 128 on Duplex, and split in two devices a phase.

    Of Duplex-Split in closed form: whichever of prompts on two devices and decoding on the other
    two is slower; each pair holds all weights, which leaves less memory for KV. Waiting between the
    two, and sending the cache over, are not simulated.
    """
    for length in SETUPS["mixtral"].lengths:
        whole = closed("duplex+pe+et", "mixtral", 128, (length, length))
        pair = closed(
            "duplex+pe+et", "mixtral", 128, (length, length), stages=1, devices=2
        ).prepared
        held = sequence_bytes(pair, length, length)
        batch = min(128, int(pair.budget.kv_B / held))
        decode_s = step(pair.program, decode_batch(batch, length + length // 2)).seconds
        prompt_s = step(pair.program, prefill_batch(1, length)).seconds
        rates = {"decode": batch / decode_s, "prefill": length / prompt_s}
        slower = min(rates, key=lambda phase: rates[phase])
        for kind, rate, why in (
            ("duplex+pe+et", whole.metrics["throughput_tok_per_s"], "all phases"),
            ("duplex-split", rates[slower], f"{slower}, batch {batch}"),
        ):
            yield {
                "tokens": length,
                "system": kind,
                "throughput_tok_per_s": rate,
                "limited_by": why,
            }


def _energies(run: Run) -> dict[str, float]:
    """Joules a generated token by part of the model, of memory and of compute."""
    tokens = sum(outcome.generated_tokens for outcome in run.served.outcomes)
    joules = {
        f"{part}_{kind}_J": 0.0
        for part in ("fc", "attention", "moe")
        for kind in ("dram", "compute")
    }
    for outcome in run.served.outcomes:
        by_part = outcome.joules.sum(axis=1) / tokens  # [op, (compute, memory, link)]
        for op, (compute, memory, _) in zip(
            run.prepared.program.table.graph.ops, by_part, strict=True
        ):
            part = CLASSES[breakdown_class(op)]
            if part != "communication":
                joules[f"{part}_compute_J"] += float(compute)
                joules[f"{part}_dram_J"] += float(memory)
    return joules
