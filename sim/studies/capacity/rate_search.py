"""Rate search: the highest rate of requests, or number of clients, at which a system keeps an SLO.

Every rate serves the same requests in the same order, drawn from the same seed and stretched in
time (common random numbers): between rates nothing differs but the load.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, Unpack

from sim import units
from sim.config.replacements import Parts
from sim.config.scenarios import load_scenario
from sim.errors import ConfigError, Infeasible
from sim.results.provenance import provenance
from sim.scenario import Scenario, Slo
from sim.studies.capacity.bisection import highest
from sim.studies.capacity.capacity import Capacity, shown
from sim.studies.capacity.objective import Objective, objective_of
from sim.studies.capacity.trial import Trial, level_of, tried, unit_of

VANISHING: Final = 1e-3
"""Mean number of requests in the system that is as good as none."""
CURVE: Final = (0.25, 0.5, 0.75, 1.25, 1.5, 2.0)
"""Shares of the answer that are tried besides, for the curve of goodput."""
NEAR: Final = 1.1
"""A share is left out where a level this many times as high or low has been tried."""
OnTrial = Callable[[float, int], None]
"""Called with each level before it is tried, and how many were tried before."""
Asked = Slo | Mapping[str, str] | Sequence[str] | str


def capacity(
    scenario: str | Path | Mapping[str, Any] | Scenario,
    *,
    slo: Asked = (),
    attain: float = 0.9,
    tolerance: float = 0.02,
    curve: bool = True,
    sets: Sequence[str] = (),
    on_trial: OnTrial | None = None,
    **replacements: Unpack[Parts],
) -> Capacity:
    """The highest rate at which `scenario` keeps an SLO and its system keeps up.

    `slo` is texts ("ttft=2 s", "tbt.p99=100 ms"), a mapping ({"ttft": "2 s"}) or an Slo; by default
    the scenario's. `attain` is the share of requests whose TTFT and every gap keep it. The rate is
    found to a relative `tolerance`, from that of the scenario: a trace is stretched, Poisson
    arrivals too; of a closed loop the number of clients is found instead. `curve` tries rates
    below and above the answer besides. `sets` and `replacements` are as for `sim.simulate`.
    Raises ConfigError for wrong input, Infeasible where no rate meets the SLO: with the best
    reached.
    """
    if not 0.0 < tolerance <= 1.0:
        raise ConfigError(f"tolerance {tolerance:g}: a number above 0 and up to 1 is due")
    loaded = load_scenario(scenario, sets=sets, **replacements)
    objective = objective_of(slo, loaded.slo, attain)
    search = _Search(
        scenario=load_scenario(loaded, slo=objective.slo), objective=objective, on_trial=on_trial
    )
    return search.found(tolerance, curve)


def capacities(
    search: Callable[..., Capacity],
    systems: Sequence[str],
    *,
    workers: int = 1,
    on_trial: OnTrial | None = None,
) -> Iterator[Capacity | Infeasible]:
    """The capacity of each of `systems`, or why it has none, in their order, as they are found.

    `search` is `capacity` with all arguments but these. `workers` are processes, which each take a
    system at a time; they don't call `on_trial`.
    """
    if workers == 1 or len(systems) < 2:
        yield from (_one(search, system, on_trial) for system in systems)
        return
    context = get_context("spawn")  # numba's threads do not survive a fork
    with ProcessPoolExecutor(min(workers, len(systems)), mp_context=context) as pool:
        try:
            yield from pool.map(partial(_one, search), systems)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _one(
    search: Callable[..., Capacity], system: str, on_trial: OnTrial | None = None
) -> Capacity | Infeasible:
    try:
        return search(system=system, on_trial=on_trial)
    except Infeasible as error:
        return error


@dataclass(kw_only=True, eq=False)
class _Search:
    """Trials so far, by level."""

    scenario: Scenario
    objective: Objective
    on_trial: OnTrial | None
    trials: dict[float, Trial] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.unit = unit_of(self.scenario.traffic)
        self.clients = self.unit == "clients"

    def trial(self, level: float) -> Trial:
        """The trial at a level, run once."""
        if level not in self.trials:
            if self.on_trial is not None:
                self.on_trial(level, len(self.trials))
            self.trials[level] = tried(self.scenario, self.objective, level)
        return self.trials[level]

    def found(self, tolerance: float, curve: bool) -> Capacity:
        start = level_of(self.scenario.traffic)
        low, high = highest(
            lambda level: self.trial(level).passes,
            start,
            least=lambda: 1.0 if self.clients else VANISHING / self._service_s(start),
            tolerance=tolerance,
            whole=self.clients,
        )
        if low is None:
            raise self._nobody()
        if high is None:
            raise ConfigError(
                f"{len(self.trials)} rates up to {shown(max(self.trials), self.unit)} all meet "
                f"{self.objective}: too few requests to load {self.trials[low].system}; give the "
                "traffic more"
            )
        if curve:
            self._curve(low)
        return Capacity(
            scenario=self.scenario.name,
            model=self.scenario.model.name,
            system=self.trials[low].system,
            seed=self.scenario.seed,
            objective=self.objective,
            tolerance=tolerance,
            unit=self.unit,
            best=self.trials[low],
            failed=self.trials[high],
            trials=tuple(self.trials[level] for level in sorted(self.trials)),
            provenance=provenance(self.scenario),
        )

    def _service_s(self, level: float) -> float:
        """Mean seconds of a request once admitted, whatever the queue before it."""
        service = self.trials[level].service_s
        if service is None:
            counts = self.trials[level].requests
            raise Infeasible(
                f"no request completes: {counts['rejected']:,} of {counts['arrived']:,} could "
                "never fit the KV memory",
                **{name: float(count) for name, count in counts.items()},
            )
        return service

    def _curve(self, answer: float) -> None:
        for share in CURVE:
            level = answer * share
            if self.clients:
                level = float(max(1, round(level)))
            if all(max(level / each, each / level) > NEAR for each in self.trials):
                self.trial(level)

    def _nobody(self) -> Infeasible:
        """What to say where the least load breaks the SLO: the best reached."""
        least = self.trials[min(self.trials)]
        best = max(self.trials.values(), key=lambda each: (each.attainment or 0.0, -each.level))
        where = shown(least.level, self.unit)
        alone = "one client" if self.clients else f"{where}, where requests all but never meet"
        tails = ("p50", "p90", "p99")
        reached = {f"ttft_{tail}_s": least.metrics["ttft_s"][tail] for tail in tails}
        reached |= {f"worst_gap_{tail}_s": least.worst_gap_s[tail] for tail in tails}
        words = ", ".join(
            f"{name.removesuffix('_s').replace('_', ' ')} {_time(value)}"
            for name, value in reached.items()
            if value is not None and not name.endswith("p50_s")
        )
        share = "" if least.attainment is None else f" {100 * least.attainment:.1f} % of requests;"
        top = ""
        if best.attainment is not None and best is not least:
            top = f"; the best of all is {100 * best.attainment:.1f} % at "
            top += shown(best.level, self.unit)
        numbers = {"least_level": least.level, "attainment": least.attainment} | reached
        over = "; requests never keep up" if least.meets and least.overloaded else ""
        return Infeasible(
            f"{least.system}: no load meets {self.objective}. Reached at {alone}:{share} "
            f"{words}{top}{over}",
            **{name: float(value) for name, value in numbers.items() if value is not None},
        )


def _time(seconds: float) -> str:
    return units.format_quantity(seconds, units.TIME, 3)
