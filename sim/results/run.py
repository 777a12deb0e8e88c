"""Run: the result of one simulated scenario, as values, tables and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sim.config.cost_form import usual_costing
from sim.engines.serving.simulation import Served
from sim.kernel.records import DONE, REJECTED
from sim.notebook import html_table
from sim.results.bands.bands import Band, bands_of
from sim.results.breakdown import bound_of, breakdown_of, operator_rows
from sim.results.cautions import cautions
from sim.results.cost import Owned, owned_together, owned_under
from sim.results.expert_ranks import mean_ranks
from sim.results.fleet import account_json
from sim.results.mean_step import mean_step
from sim.results.metrics import IN_RESULT, Measurement, flat, measured
from sim.results.offload import cache_json, swap_json
from sim.results.provenance import provenance
from sim.results.speculation import speculation_json
from sim.results.split_report import sides_of
from sim.results.statistics import (
    STATISTICS,
    by_priority,
    by_request,
    finite,
    latencies,
    rate,
    request_counts,
)
from sim.simulation.fleet import Account
from sim.simulation.prepare import Prepared
from sim.simulation.replica_groups import Part, titles

if TYPE_CHECKING:
    import pandas as pd

    from sim.scenario import Scenario

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Run:
    """What a scenario came to. `metrics`, `breakdown`, `bound` and `memory` are as in the JSON."""

    prepared: Prepared
    served: Served
    pools: tuple[Part, ...] = ()
    account: Account | None = None
    """Of a fleet: its pools, as outcomes follow, and what went on between them."""

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """All replicas, of one kind of system each."""
        if self.pools:
            return self.pools
        return (Part(prepared=self.prepared, systems=1, outcomes=self.served.outcomes),)

    @cached_property
    def fleet(self) -> Mapping[str, Any] | None:
        """Pools, replicas, failures and transfers of a fleet; None of one system."""
        if self.account is None:
            return None
        return account_json(self.account, self.parts, self.served)

    @property
    def systems(self) -> str:
        """Names of all systems, and how many of each."""
        return titles(self.parts)

    def unit_name(self, part: Part, unit: str) -> str:
        """How a processor is called here: with its system, where there are several."""
        names = {each.system.name for each in self.parts}
        return unit if len(names) == 1 else f"{part.system.name} {unit}"

    @property
    def scenario(self) -> Scenario:
        """The scenario that was run."""
        return self.prepared.scenario

    @cached_property
    def records(self) -> npt.NDArray[np.void]:
        """Requests of all replicas, in order of arrival."""
        parts = [outcome.requests for outcome in self.served.outcomes]
        arrivals = np.concatenate([part["arrival_s"] for part in parts])
        records = np.empty(len(arrivals), parts[0].dtype)
        places = np.empty(len(arrivals), np.int64)
        places[np.argsort(arrivals, kind="stable")] = np.arange(len(arrivals))
        first = 0
        for part in parts:  # one by one: a fleet's may be most of the memory
            records[places[first : first + len(part)]] = part
            first += len(part)
        return records

    @cached_property
    def measurement(self) -> Measurement:
        """What metrics are computed from, without what tokens cost."""
        return Measurement(
            served=self.served, requests=self.records, slo=self.scenario.slo, parts=self.parts
        )

    @cached_property
    def _measured(self) -> Mapping[str, Any]:
        return measured(replace(self.measurement, owned=self.owned))

    @cached_property
    def metrics(self) -> Mapping[str, Any]:
        """Latency, throughput, energy and cost; None where a value cannot be given."""
        return {metric.key: self._measured[metric.key] for metric in IN_RESULT}

    @cached_property
    def row(self) -> dict[str, float]:
        """All metrics as one row of a table ("ttft_p90_s"); NaN where a value cannot be given."""
        return flat(self._measured)

    @cached_property
    def priorities(self) -> list[dict[str, Any]] | None:
        """Counts, latencies and goodput by class; None where requests have no priorities."""
        if self.prepared.requests.priority is None:
            return None
        return by_priority(self.served, self.records, self.scenario.slo)

    @cached_property
    def samples(self) -> Mapping[str, Any] | None:
        """Latencies and rates of requests for several answers as a whole; else None."""
        if self.prepared.requests.parent is None:
            return None
        return by_request(self.served, self.records, self.scenario.slo)

    @cached_property
    def bands(self) -> Mapping[str, Band]:
        """How far metrics may be off ("ttft_p50_s" ...): 80 % of measurements would lie within."""
        return bands_of(self)

    def power_of(self, part: Part) -> float | None:
        """Mean power of a part of the run, in W; None where not known."""
        if not self.pools:
            return self.measurement.power_W
        duration = self.measurement.duration_s
        return finite(part.static_W + part.operator_joules / duration) if duration > 0 else None

    @cached_property
    def _owned(self) -> Owned | str:
        measurement = self.measurement
        tok_per_s = rate(measurement.tokens, measurement.duration_s)
        costing = self.scenario.cost or usual_costing()
        if self.pools or self.scenario.split is not None:
            return owned_together(self.parts, costing, tok_per_s, measurement.duration_s)
        return owned_under(self.scenario.system, costing, tok_per_s, measurement.power_W)

    @property
    def owned(self) -> Owned | None:
        """What a million tokens cost and emit, with the ledger; None where the die is not known."""
        return self._owned if isinstance(self._owned, Owned) else None

    @property
    def _per_Mtok(self) -> tuple[Floats | None, Floats | None]:
        found = self.owned
        return (None, None) if found is None else (found.USD_per_Mtok, found.kg_per_Mtok)

    @cached_property
    def cost(self) -> Mapping[str, Any]:
        """USD and kgCO2e per million generated tokens, each low, base and high, and whose price."""
        names = ("usd_per_Mtok", "kgCO2e_per_Mtok")
        return {
            name: None
            if value is None
            else dict(zip(("low", "base", "high"), map(float, value), strict=True))
            for name, value in zip(names, self._per_Mtok, strict=True)
        } | {
            "basis": None if self.owned is None else self.owned.ledger.basis,
            "unknown": self._owned if isinstance(self._owned, str) else None,
        }

    @property
    def duration_s(self) -> float:
        """From the first arrival to the end of measuring, warm-up included."""
        return self.served.window.until_s - float(self.records["arrival_s"].min())

    @cached_property
    def breakdown(self) -> Mapping[str, Any]:
        """Busy seconds and joules, by operator class and by processor: see `breakdown_of`."""
        return breakdown_of(self)

    @cached_property
    def bound(self) -> Mapping[str, float | None]:
        """Share of busy time by what it waited for; "overhead" is launches, host and pipeline."""
        return bound_of(self)

    @cached_property
    def memory(self) -> Mapping[str, float]:
        """Bytes of one device: weights, activations, KV capacity and peak, all it may use.

        Of pools with different devices, of the one that stands for the scenario.
        """
        budget = self.prepared.budget
        return {
            "capacity_B": budget.usable_B,
            "weights_B": budget.weights_B,
            "activations_B": budget.activations_B,
            "kv_capacity_B": budget.kv_B,
            "kv_peak_B": max(outcome.kv_peak_B for outcome in self._lead.outcomes),
        }

    @cached_property
    def expert_ranks(self) -> Mapping[str, Any] | None:
        """How unevenly expert-parallel ranks were loaded, and what that cost; None without any.

        Of pools with different devices, of the one that stands for the scenario.
        """
        return mean_ranks(self._lead)

    @cached_property
    def sides(self) -> Mapping[str, Any] | None:
        """What attention, experts apart from it and the link take in a mean iteration; or None."""
        done = None if self.scenario.split is None else mean_step(self._lead)
        if done is None:
            return None
        return sides_of(self.prepared.program, self.scenario.pools[0].system, done)

    @property
    def _lead(self) -> Part:
        """The part that stands for the scenario: of pools apart the one that decodes."""
        return self.parts[-1] if self.scenario.disaggregate is not None else self.parts[0]

    @property
    def prefix_cache(self) -> Mapping[str, Any] | None:
        """What was found of prompts in the prefix cache and tiers below it; None without one."""
        return cache_json(self.scenario.scheduler, self.served.outcomes, self.records)

    @property
    def swap(self) -> Mapping[str, Any] | None:
        """Caches swapped to the host and back; None where preempted ones are dropped."""
        return swap_json(self.scenario.scheduler, self.served.outcomes)

    @cached_property
    def speculation(self) -> Mapping[str, Any] | None:
        """Drafted tokens, how many were accepted, what the draft took; None without any."""
        return speculation_json(self)

    @cached_property
    def requests(self) -> pd.DataFrame:
        """One row a request: lengths, status and latencies in seconds (NaN where it has none)."""
        import pandas as pd

        records = self.records
        status = np.full(len(records), "unfinished", object)
        status[records["status"] == DONE] = "completed"
        status[records["status"] == REJECTED] = "rejected"
        times = latencies(records)
        with np.errstate(invalid="ignore"):
            queue = records["admitted_s"] - records["arrival_s"]
        named = {} if self.priorities is None else {"priority": records["priority"]}
        if self.prepared.requests.parent is not None:
            named["parent"] = records["parent"]
        return pd.DataFrame(
            {
                "arrival_s": records["arrival_s"],
                "input_tokens": records["input"],
                "output_tokens": records["output"],
                "status": status.astype(str),
                "queue_s": queue,
                **times,
                "max_tbt_s": np.where(records["output"] > 1, records["max_gap_s"], np.nan),
                "preemptions": records["preemptions"],
                **named,
            }
        )

    @cached_property
    def ops(self) -> pd.DataFrame:
        """One row an operator and processor that ran it: seconds by bound, joules, all replicas."""
        return operator_rows(self)

    def __repr__(self) -> str:
        """One line: a notebook shows this."""
        counts = request_counts(self.records)
        return (
            f"<Run {self.scenario.name} on {self.scenario.system.name}: "
            f"{counts['completed']:,} of {counts['arrived']:,} requests completed, "
            f"TPOT p50 {self.metrics['tpot_s']['p50']} s, "
            f"{self.metrics['throughput_tok_per_s']} tok/s>"
        )

    def _repr_html_(self) -> str:
        title = f"{self.scenario.name}: {self.scenario.model.title} on {self.systems}"
        rows = [
            [metric.title, metric.unit, *_cells(self.metrics[metric.key])] for metric in IN_RESULT
        ]
        return html_table(title, ["", "", *STATISTICS], rows)

    @cached_property
    def cautions(self) -> tuple[str, ...]:
        """What a reader should know before believing the numbers."""
        return tuple(cautions(self))

    def to_json(self) -> dict[str, Any]:
        """The result as plain values; equal inputs give equal values, and no wall-clock time."""
        scenario, layout = self.scenario, self.prepared.program.layout
        return {
            "scenario": scenario.name,
            "model": scenario.model.name,
            "system": self.prepared.program.system.name,
            "seed": scenario.seed,
            "requests": request_counts(self.records),
            "metrics": dict(self.metrics),
            "bands": {name: band.to_json() for name, band in self.bands.items()},
            "breakdown": dict(self.breakdown),
            "bound": dict(self.bound),
            "memory": {name: finite(value) for name, value in self.memory.items()},
            "prefix_cache": self.prefix_cache,
            **({} if self.swap is None else {"swap": self.swap}),
            **({} if self.expert_ranks is None else {"expert_ranks": dict(self.expert_ranks)}),
            **({} if self.speculation is None else {"speculation": dict(self.speculation)}),
            "cost": dict(self.cost),
            "mapping": {
                "tp": layout.tp,
                "pp": layout.pp,
                "ep": layout.ep,
                "dp": layout.dp if not self.pools else len(self.served.outcomes),
                "attention_dp": layout.attention_dp,
                "iterations": sum(outcome.iterations for outcome in self.served.outcomes),
            },
            **({} if self.priorities is None else {"priorities": self.priorities}),
            **({} if self.samples is None else {"samples": dict(self.samples)}),
            **({} if self.fleet is None else {"fleet": dict(self.fleet)}),
            **({} if self.sides is None else {"sides": dict(self.sides)}),
            "cautions": list(self.cautions),
            "provenance": provenance(scenario),
        }


def _cells(value: Mapping[str, float | None] | float | None) -> list[float | None]:
    """Statistics of a metric; a single number stands first."""
    return list(value.values()) if isinstance(value, Mapping) else [value]
