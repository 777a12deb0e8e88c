"""Tenants: what each got, and its part of what the run took in energy, money and carbon."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from sim.results.accounts.cost import owned_of
from sim.results.accounts.priorities import of_class
from sim.results.blocks import Block, Table
from sim.results.measurement import BASE, Measurement
from sim.results.quantity import UNKNOWN, share, si
from sim.simulation.outcomes import Outcomes
from sim.simulation.prepare import Prepared

MOST_SHOWN: Final = 20


def tenants(prepared: Prepared, outcomes: Outcomes) -> Block | None:
    """Counts, latencies, goodput, joules, USD and kgCO2e by tenant; None where there are none.

    Who was busy longest comes first. Energy and cost are of the whole run, not of the measured
    window: operators' joules as iterations are charged to requests, and static power, USD and
    kgCO2e by the same share of busy time. Joules of caches that are copied or sent are nobody's.
    """
    names = (prepared.requests.names or {}).get("tenant")
    if names is None:
        return None
    requests = outcomes.requests
    busy_s, joules, tokens = (
        np.bincount(requests["tenant"], weights=requests[name], minlength=len(names))
        for name in ("busy_s", "joules", "generated")
    )
    shares = busy_s / busy_s.sum() if busy_s.sum() > 0.0 else np.zeros(len(names))
    static_J = outcomes.static_W * outcomes.whole_s
    USD, kg = _run_costs(prepared, outcomes, float(tokens.sum()))
    rows = []
    for number in np.argsort(-busy_s, kind="stable"):
        own = requests[requests["tenant"] == number]
        if not len(own):  # none of its requests was served, or is in the part that runs
            continue
        measurement = Measurement(outcomes=outcomes, requests=own, slo=prepared.scenario.slo)
        spent_J = float(joules[number] + static_J * shares[number])
        rows.append(
            {
                "tenant": names[number],
                **of_class(measurement),
                "generated_tokens": int(tokens[number]),
                "busy_share": float(shares[number]),
                "energy_J": spent_J if math.isfinite(spent_J) else None,
                "usd": None if USD is None else USD * float(shares[number]),
                "kgCO2e": None if kg is None else kg * float(shares[number]),
            }
        )
    rest = len(rows) - MOST_SHOWN
    table = Table(
        title="By tenant, who was busy longest first"
        + (f" ({rest:,} more in --json)" if rest > 0 else ""),
        columns=(
            "", "completed", "TTFT p50", "TTFT p99", "TBT mean", "in SLO", "tokens", "of time",
            "energy", "USD", "kgCO2e",
        ),
        rows=tuple(_cells(row) for row in rows[:MOST_SHOWN]),
    )  # fmt: skip
    return Block(name="tenants", values=rows, lines=(table,))


def _run_costs(
    prepared: Prepared, outcomes: Outcomes, tokens: float
) -> tuple[float | None, float | None]:
    """USD and kgCO2e that all tokens of the run come to, as expected; None where not known."""
    owned = owned_of(prepared, outcomes)
    if isinstance(owned, str):
        return None, None
    USD, kg = (
        None if bounds is None else float(bounds[BASE]) * tokens / 1e6
        for bounds in (owned.USD_per_Mtok, owned.kg_per_Mtok)
    )
    return USD, kg


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["tenant"],
        f"{row['completed']:,}",
        *(si(row["ttft_s"][statistic], "s") for statistic in ("p50", "p99")),
        si(row["tbt_mean_s"], "s"),
        share(row["attainment"]),
        f"{row['generated_tokens']:,}",
        share(row["busy_share"]),
        si(row["energy_J"], "J"),
        *(UNKNOWN if row[name] is None else f"{row[name]:.3g}" for name in ("usd", "kgCO2e")),
    )
