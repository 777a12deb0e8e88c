"""Bands of a run and of a step: the values between which 80 % of measurements would lie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sim.config.fitted import load_errors
from sim.engines.roofline import Step
from sim.graph import breakdown_class
from sim.hardware import Device
from sim.hardware.processor import Processor
from sim.hardware.residuals import HOST, PRODUCT, Level, Residual
from sim.hardware.runtime import Runtime
from sim.kernel.records import SECONDS, UNIT
from sim.mapping.program import Program
from sim.results.bands.band import Band
from sim.results.bands.knowledge import (
    REGIME,
    Known,
    energy,
    host,
    least,
    operator,
    servers,
    whole,
)
from sim.results.bands.laws import ends, total, widened
from sim.results.bands.load import Load, load_of
from sim.results.metrics import EVENTS, Law
from sim.simulation.outcomes import Outcomes
from sim.simulation.prepare import Prepared

HOST_KEY: Final = ("", "host", HOST)
MATTERS: Final = 0.1
"""Share of the time from which an operator class counts for how well a result is known."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """Errors of time (of what prompts take and of what tokens do) and of energy, without load."""

    ttft: Known
    tpot: Known
    joules: Known
    watts: Known


class Spent:
    """Seconds by unit and regime, each with what is known of it.

    What is of one regime on one unit has one error together.
    """

    def __init__(self, runtime: Runtime | None) -> None:
        self.runtime = runtime
        self.errors = load_errors()
        self.known: dict[tuple[str, str, str], tuple[float, Known]] = {}

    def operator(self, device: Device, unit: Processor | None, name: str, seconds: float) -> None:
        """Add an operator of class `name` on a unit of `device`; None: on its links."""
        key = device.name, "" if unit is None else unit.name, REGIME.get(name, PRODUCT)
        if seconds <= 0.0:
            return
        if key not in self.known:
            self.known[key] = 0.0, operator(self.errors, device, unit, name)
        before, known = self.known[key]
        self.known[key] = before + seconds, known

    def host(self, seconds: float) -> None:
        """Add the host's time; of a runtime that is named, it is among what servers add."""
        if self.runtime is None and seconds > 0.0:
            before = self.known.get(HOST_KEY, (0.0,))[0]
            self.known[HOST_KEY] = before + seconds, host(self.errors)

    def step(self, program: Program, iteration: Step, times: float = 1.0) -> None:
        """Add one iteration, `times` as often."""
        device = program.system.device
        for index, op in enumerate(program.table.graph.ops):
            chosen = int(iteration.chosen[index, UNIT])
            unit = None if chosen < 0 else device.processors[chosen]
            seconds = float(iteration.rows[index, SECONDS]) * iteration.microbatches
            self.operator(device, unit, breakdown_class(op), times * seconds)
        self.host(times * iteration.host_s)

    def together(self, added: Residual) -> Known:
        """The error of all of it, with that of `added` on top."""
        whole_s = sum(seconds for seconds, _ in self.known.values())
        weighty = {
            regime: known
            for (_, _, regime), (seconds, known) in self.known.items()
            if seconds >= MATTERS * whole_s and known.of
        }
        level = least(known.level for known in weighty.values())
        worst = {regime: known for regime, known in weighty.items() if known.level == level}
        of = ", ".join(dict.fromkeys(known.of for known in worst.values()))
        if len(worst) < len(weighty):
            of = f"{', '.join(sorted(worst))}: {of}"
        parts = [(seconds, known.residual) for seconds, known in self.known.values()]
        return Known(
            residual=widened(total(parts), [added]),
            level=level,
            of=f"operators ({of}), widened by what servers add",
        )


def service(device: Device, decode: Spent, prefill: Spent) -> Service:
    """Errors of a device that spends its time on `decode` and `prefill` as they say.

    Where servers or edge runtimes were measured, these decide; elsewhere operators do, widened by
    what servers add. Joules that nobody measured are watts over a time, both off.
    """
    errors, runtime = decode.errors, decode.runtime
    ttft, tpot = (
        whole(errors, device, runtime, regime) or spent.together(servers(errors, device, regime))
        for regime, spent in (("ttft", prefill), ("tpot", decode))
    )
    joules, watts = (energy(errors, device, name) for name in ("energy", "power"))
    if joules.level not in ("calibrated", "held-out"):
        joules = replace(
            watts,
            residual=widened(watts.residual, [tpot.residual]),
            level=least((watts.level, tpot.level)),
        )
    return Service(ttft=ttft, tpot=tpot, joules=joules, watts=watts)


def widest(services: Sequence[Service]) -> Service:
    """Of several devices at work together, the largest error of each kind."""
    return Service(
        **{
            name: max(
                (getattr(each, name) for each in services), key=lambda one: one.residual.width
            )
            for name in ("ttft", "tpot", "joules", "watts")
        }
    )


def bands_of(
    prepared: Prepared, outcomes: Outcomes, row: Mapping[str, float]
) -> Mapping[str, Band]:
    """Bands of a run's metrics, by column: "ttft_p50_s", "throughput_tok_per_s" ...

    `row` has the metrics by column.

    No band for what is unknown, for costs (which have bounds of their own) and for goodput, a count
    of thresholds.
    """
    load = load_of(prepared, outcomes)
    laws = _factors(row, load, _service_of(prepared.scenario.runtime, outcomes))
    return {
        column.name: _band(row[column.name], *laws[column.metric.band])
        for column in EVENTS
        if column.metric and column.metric.band and not math.isnan(row[column.name])
    }


def _factors(
    row: Mapping[str, float], load: Load, errors: Service
) -> dict[Law, tuple[float, float, Known]]:
    """Low and high factor of each kind of metric, and what is known of it."""
    first, later = ends(errors.ttft.residual), ends(errors.tpot.residual)
    ttft = tuple(
        load.first(scale, of_prompt) for scale, of_prompt in zip(later, first, strict=True)
    )
    tpot = tuple(load.step(scale) for scale in later)
    e2e = tuple(_e2e(row, a, b) for a, b in zip(ttft, tpot, strict=True))
    rate = tuple(1.0 / load.duration(scale) for scale in reversed(later))
    joules = (*ends(errors.joules.residual), errors.joules)
    # where arrivals set how long it takes, watts are as wrong as joules
    paced = not load.closed and not load.beyond
    return {
        "ttft": (*_ordered(ttft), errors.ttft),
        "tpot": (*_ordered(tpot), errors.tpot),
        "e2e": (*_ordered(e2e), errors.tpot),
        "rate": (*_ordered(rate), errors.tpot),
        "joules": joules,
        "power": joules if paced else (*ends(errors.watts.residual), errors.watts),
    }


def _ordered(factors: Sequence[float]) -> tuple[float, float]:
    return min(*factors, 1.0), max(*factors, 1.0)


def _e2e(row: Mapping[str, float], ttft: float, tpot: float) -> float:
    """Factor of E2E: TTFT and the rest each have their own."""
    first, last = row["ttft_mean_s"], row["e2e_mean_s"]
    if not (first > 0.0 and last > 0.0):
        return tpot
    share = min(first / last, 1.0)
    return float(share * ttft + (1.0 - share) * tpot)


def _service_of(runtime: Runtime | None, outcomes: Outcomes) -> Service:
    """Errors of all groups of replicas together."""
    spent = Spent(runtime)
    for group in outcomes.groups:
        device = group.system.device
        for index, op in enumerate(group.prepared.program.table.graph.ops):
            for number, unit in enumerate((*device.processors, None)):
                seconds = float(group.seconds[index, number].sum())
                spent.operator(device, unit, breakdown_class(op), seconds)
    spent.host(sum(replica.host_s for replica in outcomes.replicas))
    return widest([service(group.system.device, spent, spent) for group in outcomes.groups])


def bands_of_step(
    program: Program, runtime: Runtime | None, iteration: Step, *, prefill: bool
) -> dict[str, Band]:
    """Bands of one iteration: "iteration_s", and "energy_J" where that is known."""
    spent = Spent(runtime)
    spent.step(program, iteration)
    errors = service(program.system.device, spent, spent)
    values = {
        "iteration_s": (iteration.seconds, errors.ttft if prefill else errors.tpot),
        "energy_J": (iteration.joules, errors.joules),
    }
    return {
        name: _band(value, *ends(known.residual), known)
        for name, (value, known) in values.items()
        if math.isfinite(value)
    }


def _band(value: float, low: float, high: float, known: Known) -> Band:
    return Band(low=value * low, high=value * high, level=known.level, basis=known.of)


def steady_factors(
    program: Program, runtime: Runtime | None, decode: Step, prefill: Step, *, steps: float,
    prompts: float,
) -> tuple[dict[Law, tuple[float, float]], Level]:  # fmt: skip
    """Low and high factors of a steady load's metrics, and how well its times are known.

    In the time of `steps` decode steps `prompts` prompts come in, so nothing queues: every time
    scales as its own error does, and rates inversely.
    """
    device = program.system.device
    one, mixed, first = Spent(runtime), Spent(runtime), Spent(runtime)
    one.step(program, decode)
    first.step(program, prefill)
    mixed.step(program, decode, steps)
    mixed.step(program, prefill, prompts)
    alone, both = service(device, one, first), service(device, mixed, first)
    tpot = ends(both.tpot.residual)
    factors: dict[Law, tuple[float, float]] = {
        "ttft": ends(both.ttft.residual),
        "tpot": tpot,
        "step": ends(alone.tpot.residual),
        "rate": (1.0 / tpot[1], 1.0 / tpot[0]),
        "joules": ends(both.joules.residual),
        "power": ends(both.watts.residual),
    }
    return factors, both.tpot.level
