"""Run: the result of one simulated scenario, as values, tables and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.engines.serving.outcome import Served
from sim.kernel.records import DONE, REJECTED
from sim.notebook import html_table
from sim.results.accounts import OF_HARDWARE, OF_SERVICE, Account
from sim.results.accounts.breakdown import operator_rows
from sim.results.accounts.cost import owned_of
from sim.results.bands.band import Band
from sim.results.bands.bands import bands_of
from sim.results.blocks import Block
from sim.results.cautions import cautions
from sim.results.measurement import Measurement
from sim.results.metrics import IN_RESULT, flat, measured
from sim.results.provenance import provenance
from sim.results.statistics import STATISTICS, latencies, request_counts
from sim.simulation.outcomes import Outcomes
from sim.simulation.prepare import Prepared

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from sim.economics.per_token import Owned
    from sim.scenario import Scenario


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Run:
    """What a scenario came to: metrics, and a block for each account (`accounts`)."""

    prepared: Prepared
    outcomes: Outcomes

    @property
    def scenario(self) -> Scenario:
        """The scenario that was run."""
        return self.prepared.scenario

    @property
    def served(self) -> Served:
        """What all replicas did, and the window that metrics count in."""
        return self.outcomes.served

    @property
    def systems(self) -> str:
        """Names of all systems, and how many of each."""
        return self.outcomes.title

    @property
    def records(self) -> npt.NDArray[np.void]:
        """Requests of all replicas, in order of arrival."""
        return self.outcomes.requests

    @cached_property
    def owned(self) -> Owned | None:
        """What a million tokens cost and emit, with the ledger; None where the die is not known."""
        ownership = owned_of(self.prepared, self.outcomes)
        return None if isinstance(ownership, str) else ownership

    @cached_property
    def measurement(self) -> Measurement:
        """What metrics are computed from, without what tokens cost."""
        return Measurement(outcomes=self.outcomes, requests=self.records, slo=self.scenario.slo)

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
    def bands(self) -> Mapping[str, Band]:
        """How far metrics may be off ("ttft_p50_s" ...): 80 % of measurements would lie within."""
        return bands_of(self.prepared, self.outcomes, self.row)

    @cached_property
    def of_service(self) -> tuple[Block, ...]:
        """What requests and tokens got, and for what."""
        return tuple(self._blocks(OF_SERVICE))

    @cached_property
    def of_hardware(self) -> tuple[Block, ...]:
        """What devices did."""
        return tuple(self._blocks(OF_HARDWARE))

    def _blocks(self, accounts: Iterable[Account]) -> Iterable[Block]:
        blocks = (account(self.prepared, self.outcomes) for account in accounts)
        return (block for block in blocks if block is not None)

    @cached_property
    def accounts(self) -> Mapping[str, Any]:
        """Values by account ("fleet", "speculation"), as in JSON; those that the run has."""
        return {block.name: block.values for block in (*self.of_service, *self.of_hardware)}

    @property
    def breakdown(self) -> Mapping[str, Any]:
        """Busy seconds and joules, by operator class and by processor."""
        return self._values("breakdown")

    @property
    def bound(self) -> Mapping[str, float | None]:
        """Share of busy time by what it waited for; "overhead" is launches, host and pipeline."""
        return self._values("bound")

    @property
    def memory(self) -> Mapping[str, float]:
        """Bytes of one device: weights, activations, KV capacity and peak, all it may use."""
        return self._values("memory")

    @property
    def cost(self) -> Mapping[str, Any]:
        """USD and kgCO2e per million generated tokens, each low, base and high, and whose price."""
        return self._values("cost")

    def _values(self, name: str) -> Mapping[str, Any]:
        values: Mapping[str, Any] = self.accounts[name]
        return values

    @cached_property
    def requests(self) -> pd.DataFrame:
        """One row a request: lengths, status and latencies in seconds (NaN where it has none).

        `busy_s` and `joules` are its share of the iterations that it was in, by its tokens among
        all; without static power.
        """
        import pandas as pd

        records, trace = self.records, self.prepared.requests
        status = np.full(len(records), "unfinished", object)
        status[records["status"] == DONE] = "completed"
        status[records["status"] == REJECTED] = "rejected"
        with np.errstate(invalid="ignore"):
            queue_s = records["admitted_s"] - records["arrival_s"]
        kept = [(name, (trace.names or {}).get(name)) for name, _ in trace.columns()]
        return pd.DataFrame(
            {
                "arrival_s": records["arrival_s"],
                "input_tokens": records["input"],
                "output_tokens": records["output"],
                "status": status.astype(str),
                "queue_s": queue_s,
                **latencies(records),
                "max_tbt_s": np.where(records["output"] > 1, records["max_gap_s"], np.nan),
                "preemptions": records["preemptions"],
                "busy_s": records["busy_s"],
                "joules": records["joules"],
                **{
                    name: records[name] if names is None else np.array(names)[records[name]]
                    for name, names in kept
                },
            }
        )

    @cached_property
    def ops(self) -> pd.DataFrame:
        """One row an operator and processor that ran it: seconds by bound, joules, all replicas."""
        return operator_rows(self.outcomes)

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
        return tuple(cautions(self.prepared, self.outcomes, self.accounts.get("speculation")))

    def to_json(self) -> dict[str, Any]:
        """The result as plain values; equal inputs give equal values, and no wall-clock time."""
        scenario = self.scenario
        return {
            "scenario": scenario.name,
            "model": scenario.model.name,
            "system": self.prepared.program.system.name,
            "seed": scenario.seed,
            "requests": request_counts(self.records),
            "metrics": dict(self.metrics),
            "bands": {name: band.to_json() for name, band in self.bands.items()},
            **self.accounts,
            "cautions": list(self.cautions),
            "provenance": provenance(scenario),
        }


def _cells(value: Mapping[str, float | None] | float | None) -> list[float | None]:
    """Statistics of a metric; a single number stands first."""
    return list(value.values()) if isinstance(value, Mapping) else [value]
