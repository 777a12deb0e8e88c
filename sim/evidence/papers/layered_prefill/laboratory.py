"""The set-up of Layered Prefill: its machines, kernels and schedulers, and runs on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from scipy.optimize import least_squares

from sim.config.catalogue import load_system
from sim.evidence.papers.published import printed
from sim.hardware import System
from sim.results.run import Run
from sim.results.simulate import simulate

PAPER: Final = "layered-prefill"
PROMPT: Final = 8192
REQUESTS: Final = 100
SEEDS: Final = 5
BF16: Final = {"weights": "bf16", "kv": "bf16", "activations": "bf16", "experts": "bf16"}


def lengths(mean: float, sigma: float) -> dict[str, Any]:
    """Log-normal lengths of that mean, whose logarithm has that standard deviation."""
    return {"lognormal": {"mean": mean, "std": float(mean * np.sqrt(np.expm1(sigma**2)))}}


ARXIV: Final = {"input": lengths(9194.0, 0.5), "output": 190}
SHAREGPT: Final = {"input": lengths(2340.0, 0.8), "output": 439}


@dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """Means over seeds of what one scheduler gives."""

    metrics: Mapping[str, Mapping[str, float]]
    experts_B: float
    J_per_token: float


@dataclass(frozen=True, kw_only=True)
class Laboratory:
    """The paper's machines, with the constants fitted on its benchmark (a).

    `kernels` are the shares of bandwidth and of peak that experts reach, `host_s` what the host
    takes between iterations.
    """

    system: System
    kernels: tuple[float, float] = (1.0, 1.0)
    host_s: float = 0.0

    def serve(
        self,
        scheduler: Mapping[str, Any],
        traffic: Mapping[str, Any],
        per_s: float,
        system: System | None = None,
    ) -> Served:
        """Poisson arrivals of `REQUESTS` requests, for each seed."""
        arrivals = {"poisson": {"rate": f"{per_s} /s", "requests": REQUESTS, **traffic}}
        runs = [
            run_of(system or self.system, scheduler, arrivals, seed=seed) for seed in range(SEEDS)
        ]
        metrics = {
            name: {
                part: float(np.mean([run.metrics[name][part] for run in runs]))
                for part in ("mean", "p50", "p90", "p99")
            }
            for name in ("ttft_s", "tbt_s", "tpot_s", "e2e_s")
        }
        tokens = [
            sum(each.prefill_tokens + each.generated_tokens for each in run.served.outcomes)
            for run in runs
        ]
        joules = [run.metrics["energy_J"] / count for run, count in zip(runs, tokens, strict=True)]
        return Served(
            metrics=metrics,
            experts_B=float(np.mean([experts_read(run) for run in runs])),
            J_per_token=float(np.mean(joules)),
        )


def run_of(
    system: System, scheduler: Mapping[str, Any], traffic: Mapping[str, Any], *, seed: int = 0
) -> Run:
    """Qwen3-30B-A3B in bf16 on two devices."""
    return simulate(
        {
            "model": "qwen3-30b-a3b",
            "system": "h100-x2",
            "dtype": BF16,
            "parallel": {"tp": 2},
            "scheduler": {"max_batch": 256, **scheduler},
            "traffic": traffic,
            "seed": seed,
        },
        system=system,
    )


def experts_read(run: Run) -> float:
    """Bytes of experts' weights that all devices of a run read."""
    return float(run.breakdown["weights_read_B"]["by_class"]["experts"])


def experts_ms(run: Run) -> float:
    """Milliseconds of experts in a run."""
    return 1e3 * float(run.breakdown["time_s"]["by_class"]["experts"])


def iterations(run: Run) -> int:
    """Iterations of all engines of a run."""
    return sum(outcome.iterations for outcome in run.served.outcomes)


def chunked(tokens: int = 512) -> dict[str, Any]:
    """Sarathi's scheduler."""
    return {"kind": "chunked-prefill", "token_budget": tokens}


def layered(groups: int = 16) -> dict[str, Any]:
    """The paper's scheduler."""
    return {"kind": "layered-prefill", "groups": groups}


def one_prompt(system: System, chunk: int) -> Run:
    """The benchmark of (a): one prompt, cut in chunks, nothing else."""
    alone = {"concurrency": 1, "requests": 1, "input": PROMPT, "output": 1, "start": "cold"}
    return run_of(system, chunked(chunk), {"closed": alone})


def with_kernels(system: System, memory: float, large: float, host_s: float) -> System:
    """The system with other shares of bandwidth and peak for experts, and another host time."""
    (gpu,) = system.device.processors
    assert gpu.kernels is not None
    experts = {**gpu.kernels.experts, "memory": memory, "large": large}
    gpu = replace(gpu, kernels=replace(gpu.kernels, experts=experts))
    return replace(system, device=replace(system.device, processors=(gpu,), host_step_s=host_s))


def fitted() -> Laboratory:
    """The set-up with constants fitted on (a): both ends of its experts, the whole of one row."""
    system = load_system("h100-x2")
    ends = {chunk: printed(PAPER, f"a-{chunk}-experts") for chunk in (512, 8192)}

    def errors(shares: Sequence[float]) -> list[float]:
        tried = with_kernels(system, shares[0], shares[1], 0.0)
        return [experts_ms(one_prompt(tried, chunk)) / ms - 1.0 for chunk, ms in ends.items()]

    memory, large = least_squares(errors, [0.5, 0.5], diff_step=0.02).x
    bare = one_prompt(with_kernels(system, memory, large, 0.0), 512)
    whole_s = 1e-3 * printed(PAPER, "a-512-total")
    host_s = (whole_s - bare.breakdown["busy_s"]) / iterations(bare)
    return Laboratory(
        system=with_kernels(system, memory, large, host_s), kernels=(memory, large), host_s=host_s
    )
