"""Metrics: every number that a result is judged by, declared once.

A row of `METRICS` says what a metric is called, in which unit, which way is better, what it means
and how it is computed of a simulated run, of a closed form, or of both. The `metrics` of a result,
tables, columns of studies, names in an SLO, error bands, figures and the reference page follow from
the rows: a new metric is one more row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from sim.results.measurement import BASE, Measurement, SteadyState
from sim.results.statistics import (
    STATISTICS,
    finite,
    rate,
    request_counts,
    spread,
)

Floats = npt.NDArray[np.float64]
Value = Mapping[str, float | None] | float | None
"""Statistics by name, or one number; None where it cannot be given."""
Law = Literal["ttft", "tpot", "e2e", "step", "rate", "joules", "power"]
"""Which error a metric has: bands know how each follows from those of times and energies."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Metric:
    """One number of a result, or several statistics of it; its functions say where it exists."""

    key: str
    """Name in JSON and of the column; ends in the unit."""
    title: str
    unit: str = ""
    better: Literal["min", "max", ""] = "min"
    text: str
    """Definition, for the reference page."""
    statistics: tuple[str, ...] = ()
    """Names of its statistics; empty for a single number."""
    band: Law | None = None
    """None: it has no error band."""
    simulated: Callable[[Measurement], Value] | None = None
    steady: Callable[[SteadyState], Floats] | None = None
    in_result: bool = True
    """Whether it is among the `metrics` of a run, rather than a column of studies alone."""
    heading: str = ""
    """Heading in tables of many loads; "" leaves it out of them."""
    screened_by: str = ""
    """Metric of closed forms that stands for this one in the first of two stages."""

    @property
    def name(self) -> str:
        """Name in an SLO: the key without its unit."""
        return self.key.removesuffix("_s")

    def column(self, statistic: str) -> Column:
        """The column of one statistic, or of the single number ("")."""
        return Column(
            name=f"{self.name}_{statistic}_s" if statistic else self.key,
            text=f"{self.title} {statistic}" if statistic else self.title,
            unit=self.unit,
            better=self.better,
            metric=self,
            statistic=statistic,
        )


@dataclass(frozen=True, kw_only=True)
class Column:
    """One number a point or a run has: a metric or a statistic of it ("ttft_p90_s").

    `unit` is "" for shares and counts; `better` is "min", "max" or "".
    """

    name: str
    text: str
    unit: str = ""
    better: str = ""
    metric: Metric | None = None
    statistic: str = ""

    @property
    def titled(self) -> str:
        """Text and unit, as an axis of a plot has it."""
        return f"{self.text} ({self.unit})" if self.unit else self.text

    @property
    def banded(self) -> bool:
        """Whether it has an error band."""
        return self.metric is not None and self.metric.band is not None

    @property
    def ends(self) -> tuple[str, str]:
        """Names of the columns of its error band."""
        return f"{self.name}_low", f"{self.name}_high"


METRICS: Final[tuple[Metric, ...]] = (
    Metric(
        key="ttft_s", title="TTFT", unit="s", statistics=STATISTICS, band="ttft", heading="TTFT",
        text="Arrival to first token, queueing included. Over completed requests.",
        simulated=lambda run: spread(run.times["ttft_s"]),
        steady=lambda load: load.prefill_s,
    ),
    Metric(
        key="tbt_s", title="TBT", unit="s", statistics=STATISTICS, band="tpot",
        screened_by="tpot_s",
        text="Every gap between consecutive output tokens, pooled over requests. Tokens that one "
        "verification gives (`speculation`) come together and are one for this, as a chunk is for "
        "the ITL of vLLM's benchmark; TPOT counts each. A request that prefills or waits between "
        "two tokens (preemption, another prompt in the same iteration) has a long gap, and it "
        "counts.",
        simulated=lambda run: spread(*run.gaps),
    ),
    Metric(
        key="tpot_s", title="TPOT", unit="s", statistics=STATISTICS, band="tpot",
        text="Per request, (E2E - TTFT) / (n - 1) for n > 1 output tokens.",
        simulated=lambda run: spread(run.times["tpot_s"]),
        steady=lambda load: load.answer_s / load.answer_tokens,
    ),
    Metric(
        key="e2e_s", title="E2E", unit="s", statistics=STATISTICS, band="e2e",
        screened_by="tpot_s",
        text="Arrival to last token.",
        simulated=lambda run: spread(run.times["e2e_s"]),
    ),
    Metric(
        key="step_s", title="Decode step", unit="s", band="step",
        text="One decode iteration of the whole batch, half through its answers.",
        steady=lambda load: load.step_s,
    ),
    Metric(
        key="throughput_tok_per_s", title="Throughput", unit="tok/s", better="max", band="rate",
        heading="tok/s",
        text="Generated tokens / (last completion - first arrival).",
        simulated=lambda run: rate(run.tokens, run.duration_s),
        steady=lambda load: load.tok_per_s,
    ),
    Metric(
        key="throughput_tok_per_s_per_device", title="Throughput per device", unit="tok/s",
        better="max", band="rate",
        text="Throughput over the devices that are on in the mean, of all systems and pools: what "
        "makes systems of unlike size comparable.",
        simulated=lambda run: rate(run.tokens, run.duration_s * run.devices),
        steady=lambda load: load.tok_per_s / load.devices,
    ),
    Metric(
        key="prefill_tok_per_s", title="Prompt throughput", unit="tok/s", better="max",
        band="rate",
        text="Prompt tokens computed, recomputed ones included, over the same time.",
        simulated=lambda run: rate(run.outcomes.served.window.prefill_tokens, run.duration_s),
    ),
    Metric(
        key="request_rate_per_s", title="Request rate", unit="requests/s", better="max",
        band="rate",
        text="Completed requests over the same time.",
        simulated=lambda run: rate(len(run.counted), run.duration_s),
    ),
    Metric(
        key="goodput_req_per_s", title="Goodput", unit="requests/s", better="max",
        heading="goodput/s",
        text="Completed requests whose TTFT *and every* TBT meet the scenario's `slo`, over the "
        "same time; `null` without an `slo`.",
        simulated=lambda run: rate(run.good, run.duration_s),
    ),
    Metric(
        key="energy_J", title="Energy", unit="J", band="joules",
        text="Joules of all devices of the system: what operators use, and static power over the "
        "whole time, idle included.",
        simulated=lambda run: finite(run.energy_J),
    ),
    Metric(
        key="energy_J_per_tok", title="Energy per token", unit="J/tok", band="joules",
        heading="J/tok",
        text="`energy_J` / generated tokens.",
        simulated=lambda run: finite(run.energy_J / run.tokens) if run.tokens else None,
        steady=lambda load: load.power_W / load.tok_per_s,
    ),
    Metric(
        key="power_W", title="Power", unit="W", band="power", heading="power",
        text="`energy_J` / the same time.",
        simulated=lambda run: run.outcomes.power_W,
        steady=lambda load: load.power_W,
    ),
    Metric(
        key="cost_usd_per_Mtok", title="Cost", unit="USD/Mtok", heading="USD/Mtok",
        text="Owning the system for its years (3 to 5) over the tokens it would generate, if this "
        "traffic came 40 to 100 % of the time and nothing the rest: devices, spares, facility, "
        "maintenance, electricity at the run's mean power and, idle, the static one. Devices have "
        "their list price, else their cost with a part of the NRE and a markup (`cost.basis` says "
        "which). The expected value; `cost` has low and high, all inputs at their cheap or all at "
        "their dear end. `null` where die, process or rated power are not known (`cost.unknown`).",
        simulated=lambda run: run.usd_per_Mtok(BASE),
        steady=lambda load: load.usd_per_Mtok[BASE],
    ),
    Metric(
        key="cost_usd_per_Mtok_low", title="Cost, low", unit="USD/Mtok", in_result=False,
        text="The same with all inputs at their cheap end.",
        simulated=lambda run: run.usd_per_Mtok(0),
        steady=lambda load: load.usd_per_Mtok[0],
    ),
    Metric(
        key="cost_usd_per_Mtok_high", title="Cost, high", unit="USD/Mtok", in_result=False,
        text="The same with all inputs at their dear end.",
        simulated=lambda run: run.usd_per_Mtok(2),
        steady=lambda load: load.usd_per_Mtok[2],
    ),
    Metric(
        key="carbon_kgCO2e_per_Mtok", title="Carbon", unit="kgCO2e/Mtok",
        text="The same of carbon, embodied and emitted.",
        simulated=lambda run: run.kg_per_Mtok(BASE),
        steady=lambda load: load.kg_per_Mtok[BASE],
    ),
    Metric(
        key="capex_usd", title="Capital", unit="USD", in_result=False,
        text="What the systems cost to buy, with spares, network and facility.",
        simulated=lambda run: run.total("capex_usd"),
        steady=lambda load: load.capital_USD[BASE],
    ),
    Metric(
        key="die_area_mm2", title="Die area", unit="mm²", in_result=False,
        text="Area of the dies of one device.",
        simulated=lambda run: run.total("die_area_mm2"),
        steady=lambda load: load.die_area_mm2[BASE],
    ),
    Metric(
        key="kv_share", title="KV cache in use", better="",
        text="Bytes of the batch's whole sequences over those free for the KV cache.",
        steady=lambda load: load.kv_share,
    ),
    Metric(
        key="completed", title="Completed requests", better="max", in_result=False,
        text="Requests that ended; in JSON under `requests`.",
        simulated=lambda run: request_counts(run.requests)["completed"],
    ),
    Metric(
        key="rejected", title="Rejected requests", in_result=False,
        text="Requests that could never fit the KV cache; in JSON under `requests`.",
        simulated=lambda run: request_counts(run.requests)["rejected"],
    ),
)  # fmt: skip
"""All metrics, in the order in which they are shown."""
IN_RESULT: Final = tuple(each for each in METRICS if each.in_result and each.simulated)
"""Those that `metrics` of a run has."""
DISTRIBUTIONS: Final = {each.name: each for each in METRICS if each.statistics}
"""Those with statistics, by the name that an SLO has for them."""
EVENTS: Final = tuple(
    each.column(statistic)
    for each in METRICS
    if each.simulated
    for statistic in each.statistics or ("",)
)
"""Columns of a simulated run or point."""
CLOSED_FORM: Final = tuple(each.column("") for each in METRICS if each.steady)
"""Columns of a point in closed form."""
COMPARED: Final = tuple(
    each.column(statistic)
    for each in IN_RESULT
    for statistic in (("p50", "p99") if each.statistics else ("",))
)
"""Columns that runs are compared by."""
HEADED: Final = tuple(
    (each.column(statistic), f"{each.heading} {statistic}".rstrip())
    for each in METRICS
    for statistic in (("p50", "p90", "p99") if each.statistics else ("",))
    if each.heading
)
"""Columns that tables of many loads show, and their headings."""
_COLUMNS: Final = {column.name: column for column in (*CLOSED_FORM, *EVENTS)}


def column_of(name: str) -> Column:
    """The column called `name`; a bare one of a name that is no metric's."""
    for metric in DISTRIBUTIONS.values():
        if metric.key == name:
            return metric.column("")
    return _COLUMNS.get(name) or Column(name=name, text=name)


def measured(measurement: Measurement) -> dict[str, Value]:
    """Every metric of a run by its key."""
    return {each.key: each.simulated(measurement) for each in METRICS if each.simulated}


def flat(values: Mapping[str, Any]) -> dict[str, float]:
    """Metrics of a run as one row: ttft_s.p90 is ttft_p90_s; NaN where a value is not known."""
    row: dict[str, float] = {}
    for column in EVENTS:
        assert column.metric is not None
        value = values[column.metric.key]
        value = value[column.statistic] if column.statistic else value
        row[column.name] = np.nan if value is None else float(value)
    return row


def steady_columns(load: SteadyState) -> dict[str, Floats]:
    """Every column of points in closed form."""
    return {each.key: each.steady(load) for each in METRICS if each.steady}
