"""Trial: what one rate, or one number of clients, came to against an objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from sim.errors import ConfigError
from sim.results.cautions import overloaded
from sim.results.simulate import run_prepared
from sim.results.statistics import finite, kept, spread
from sim.scenario import Scenario
from sim.simulation.prepare import prepare
from sim.studies.capacity.objective import Objective
from sim.workload.traffic import Closed, Poisson, Sessions, Trace, Traffic

if TYPE_CHECKING:
    import pandas as pd

    from sim.results.run import Run

Unit = Literal["requests/s", "sessions/s", "clients"]
"""What a level counts."""
KEEPS_UP: Final = 0.95
"""Completions a request offered, from which on a system is not overloaded."""
TURNS: Final = 4
"""Requests each client of a closed loop sends at least, on average."""
FEW: Final = 3
"""Arrivals that last fewer times as long as a request takes show no steady state."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """A run at `level` requests (or sessions) a second, or with `level` clients.

    `attainment` is the share of requests within the SLO, None without one; `misses` the share that
    breaks it by TTFT and by TBT, and 1 for each limit on a statistic that is broken. `worst_gap_s`
    has the longest gap of each request. `keeps_up` is completions a request offered, once started.
    """

    level: float
    requests: Mapping[str, int]
    metrics: Mapping[str, Any]
    row: Mapping[str, float]
    """Metrics flattened, as columns of studies have them."""
    worst_gap_s: Mapping[str, float | None]
    attainment: float | None
    misses: Mapping[str, float]
    meets: bool
    keeps_up: float | None
    overloaded: bool
    service_s: float | None
    """Mean time of a request from its admission on."""
    turnovers: float | None
    """How many times as long as a request takes arrivals last; for how many times as long as one
    lasts sessions begin; None of a closed loop."""
    bound: Mapping[str, float | None]
    cautions: tuple[str, ...]
    system: str

    @property
    def passes(self) -> bool:
        """Whether the SLO is met by a system that keeps up."""
        return self.meets and not self.overloaded

    @property
    def main_bound(self) -> str | None:
        """What most of the busy time was bound by."""
        known = {name: share for name, share in self.bound.items() if share is not None}
        return max(known, key=lambda name: known[name]) if known else None

    def to_json(self, unit: Unit) -> dict[str, Any]:
        """The trial as plain values."""
        return {
            **level_json(self.level, unit),
            "requests": dict(self.requests),
            "attainment": self.attainment,
            "misses": dict(self.misses),
            "meets_slo": self.meets,
            "keeps_up": self.keeps_up,
            "overloaded": self.overloaded,
            "worst_gap_s": dict(self.worst_gap_s),
            "metrics": dict(self.metrics),
            "bound": dict(self.bound),
            "cautions": list(self.cautions),
        }


def level_json(level: float, unit: Unit) -> dict[str, float | int | None]:
    """A level under the name of what it counts; the other name has None."""
    clients = unit == "clients"
    return {"rate_per_s": None if clients else level, "clients": int(level) if clients else None}


def unit_of(traffic: Traffic) -> Unit:
    """What the level of this traffic counts."""
    if isinstance(traffic, Closed):
        return "clients"
    return "sessions/s" if isinstance(traffic, Sessions) else "requests/s"


def level_of(traffic: Traffic) -> float:
    """Requests or sessions a second, one over the mean gap of a trace; clients of a closed loop."""
    if isinstance(traffic, Closed):
        return float(traffic.concurrency)
    if isinstance(traffic, Poisson | Sessions):
        return traffic.rate_per_s
    arrival = traffic.arrival_s
    if len(arrival) < 2 or arrival[-1] <= arrival[0]:
        raise ConfigError(
            f"trace {traffic.name}: {len(arrival):,} requests at one moment have no rate to change"
        )
    return float((len(arrival) - 1) / (arrival[-1] - arrival[0]))


def at_level(scenario: Scenario, level: float) -> Scenario:
    """The same requests in the same order, arriving so many a second or sent by so many clients.

    Of sessions the beginnings: people think as long as before.
    """
    traffic = scenario.traffic
    changed: Traffic
    match traffic:
        case Closed():
            clients = int(level)
            changed = replace(
                traffic, concurrency=clients, requests=max(traffic.requests, TURNS * clients)
            )
        case Poisson() | Sessions():
            changed = replace(traffic, rate_per_s=level)
        case Trace():
            changed = replace(traffic, arrival_s=traffic.arrival_s * (level_of(traffic) / level))
    return replace(scenario, traffic=changed)


def tried(scenario: Scenario, objective: Objective, level: float) -> Trial:
    """The trial of `scenario` at a level."""
    return trial_of(run_prepared(prepare(at_level(scenario, level))), objective, level)


def trial_of(run: Run, objective: Objective, level: float) -> Trial:
    """What `run` came to against `objective`."""
    closed = isinstance(run.scenario.traffic, Closed)
    counted = measured(run)
    done = counted[counted["status"] == "completed"]
    gaps_s = done["max_tbt_s"].fillna(0.0).to_numpy(float)  # one token alone has no gap
    limits = kept(objective.slo, done["ttft_s"].to_numpy(float), gaps_s)
    misses = {name: float((~keeps).mean()) if len(done) else 1.0 for name, keeps in limits.items()}
    attainment = None
    if limits:
        good = np.logical_and.reduce(list(limits.values())).sum()
        attainment = float(good / len(counted)) if len(counted) else 0.0
    for (name, statistic), limit in objective.limits.items():
        value = run.metrics[f"{name}_s"][statistic]
        misses[f"{name}_{statistic}"] = float(value is None or value > limit)
    limits_kept = not any(misses[f"{name}_{each}"] for name, each in objective.limits)
    counts = run.to_json()["requests"]
    service = float((done["e2e_s"] - done["queue_s"]).mean()) if len(done) else np.nan
    up = None if closed else kept_up(done)
    if closed:
        over = bool(len(done)) and float(done["queue_s"].mean()) > service
    else:
        over = (up is not None and up < KEEPS_UP) or overloaded(run.scenario, run.records)
    return Trial(
        level=level,
        requests=counts,
        metrics=run.metrics,
        row=run.row,
        worst_gap_s=spread(done["max_tbt_s"].to_numpy(float)),
        attainment=attainment,
        misses=misses,
        meets=limits_kept and (attainment is None or attainment >= objective.attain),
        keeps_up=up,
        overloaded=over,
        service_s=finite(service),
        turnovers=_turnovers(run, service),
        bound=run.bound,
        cautions=run.cautions,
        system=run.systems,
    )


def _turnovers(run: Run, service_s: float) -> float | None:
    traffic, arrival = run.scenario.traffic, run.requests["arrival_s"]
    if isinstance(traffic, Closed) or not service_s > 0.0:
        return None
    span = float(arrival.max() - arrival.min())
    if not isinstance(traffic, Sessions):
        return span / service_s
    beginnings = min(traffic.sessions / traffic.rate_per_s, span)
    return beginnings / (span - beginnings + service_s)


def measured(run: Run) -> pd.DataFrame:
    """The requests that attainment counts.

    Of open traffic all. Of a closed loop those that arrived and ended while it was measured, and
    those rejected.
    """
    requests = run.requests
    if not isinstance(run.scenario.traffic, Closed):
        return requests
    window = run.served.window
    ended = requests["arrival_s"] + requests["e2e_s"]
    inside = requests["e2e_s"].notna() & (ended > window.from_s) & (ended <= window.until_s)
    return requests[inside | (requests["status"] == "rejected")]


def kept_up(done: pd.DataFrame) -> float | None:
    """Completions a request offered, of open traffic: 1 in a steady state, less beyond saturation.

    One over the seconds between the ends of requests that arrive a second apart and answer as
    many tokens: the least-squares slope of end over arrival beside output length. Counting what is
    completed by the last arrival would call every short trace overloaded, whose last requests are
    merely under way. None of too few requests.
    """
    arrival = done["arrival_s"].to_numpy(float)
    outputs = done["output_tokens"].to_numpy(float)
    if len(arrival) < 20 or arrival.max() <= arrival.min():
        return None
    centred = arrival - arrival.mean()
    columns = np.stack([np.ones(len(centred)), centred, outputs - outputs.mean()], axis=1)
    scale = np.maximum(np.abs(columns).max(axis=0), np.finfo(float).tiny)
    grown, *_ = np.linalg.lstsq(columns / scale, done["e2e_s"].to_numpy(float), rcond=None)
    slope = 1.0 + float(grown[1] / scale[1])
    return float(min(1.0, 1.0 / slope)) if slope > 0.0 else 1.0
