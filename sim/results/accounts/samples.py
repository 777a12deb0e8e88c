"""Samples: requests for several answers to a prompt, each as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sim.engines.serving.simulation import Served
from sim.kernel.records import DONE, REJECTED
from sim.results.blocks import Block
from sim.results.quantity import digits, si
from sim.results.statistics import rate, spread, within
from sim.scenario import Slo
from sim.simulation.outcomes import Outcomes
from sim.simulation.prepare import Prepared

Records = npt.NDArray[np.void]


def samples(prepared: Prepared, outcomes: Outcomes) -> Block | None:
    """Latencies and rates of requests for several answers as a whole; else None."""
    if prepared.requests.parent is None:
        return None
    values = by_request(outcomes.served, outcomes.requests, prepared.scenario.slo)
    ttft, e2e, good = values["ttft_s"], values["e2e_s"], values["goodput_req_per_s"]
    line = (
        f"Requests of {values['samples_per_request']:g} answers: "
        f"{values['completed']:,} of {values['arrived']:,} completed, "
        f"{digits(values['request_rate_per_s'])}/s; first token of any after "
        f"{si(ttft['p50'], 's')} (p50) and {si(ttft['p99'], 's')} (p99), end of the last after "
        f"{si(e2e['p50'], 's')} and {si(e2e['p99'], 's')}"
    )
    line += "" if good is None else f"; goodput {digits(good)}/s within the SLO"
    return Block(name="samples", values=values, lines=(line,))


def by_request(served: Served, requests: Records, slo: Slo) -> dict[str, Any]:
    """Of requests for several answers: counts, latencies, rates and goodput of whole requests.

    A request's first token is the first of any of its answers, and it ends with the last of them;
    it is rejected where one of them is. Of what ended inside the measured window, as
    all metrics.
    """
    window = served.window
    duration = window.until_s - window.from_s
    requests = requests[np.argsort(requests["parent"], kind="stable")]
    starts = np.flatnonzero(np.diff(requests["parent"], prepend=0))
    done = np.logical_and.reduceat(requests["status"] == DONE, starts)
    refused = np.logical_or.reduceat(requests["status"] == REJECTED, starts)
    arrival = requests["arrival_s"][starts]
    first = np.fmin.reduceat(requests["first_s"], starts)
    last = np.maximum.reduceat(requests["last_s"], starts)
    gap = np.maximum.reduceat(requests["max_gap_s"], starts)
    with np.errstate(invalid="ignore"):
        inside = done & (last > window.from_s) & (last <= window.until_s)
    answers = requests["status"] == DONE
    answers &= (requests["last_s"] > window.from_s) & (requests["last_s"] <= window.until_s)
    ttft_s, e2e_s = (first - arrival)[inside], (last - arrival)[inside]
    good = within(slo, ttft_s, gap[inside])
    judged = len(ttft_s) + int(refused.sum())
    return {
        "samples_per_request": len(requests) / len(starts),
        "arrived": len(starts),
        "completed": int(done.sum()),
        "rejected": int(refused.sum()),
        "ttft_s": spread(ttft_s),
        "e2e_s": spread(e2e_s),
        "request_rate_per_s": rate(len(ttft_s), duration),
        "sample_rate_per_s": rate(int(answers.sum()), duration),
        "goodput_req_per_s": rate(good, duration),
        "attainment": None if good is None or not judged else good / judged,
    }
