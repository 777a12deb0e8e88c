"""Samples: requests for several answers to a prompt, each as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sim.kernel.records import DONE, REJECTED, WAITING
from sim.results.blocks import Block
from sim.results.measurement import Measurement
from sim.results.quantity import digits, si
from sim.results.statistics import rate, request_counts, spread
from sim.simulation.outcomes import Outcomes
from sim.simulation.prepare import Prepared

Records = npt.NDArray[np.void]


def samples(prepared: Prepared, outcomes: Outcomes) -> Block | None:
    """Latencies and rates of requests for several answers as a whole; else None."""
    if prepared.requests.parent is None:
        return None
    answers, whole = (
        Measurement(outcomes=outcomes, requests=requests, slo=prepared.scenario.slo)
        for requests in (outcomes.requests, whole_requests(outcomes.requests))
    )
    values = _values(answers, whole)
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


def whole_requests(answers: Records) -> Records:
    """Requests of which each has several answers, in order of their first rows.

    A request's first token is the first of any of its answers, and it ends with the last of them;
    it is rejected where one of them is.
    """
    answers = answers[np.argsort(answers["parent"], kind="stable")]
    starts = np.flatnonzero(np.diff(answers["parent"], prepend=0))
    whole: Records = answers[starts].copy()
    for name, merged in (("first_s", np.fmin), ("last_s", np.maximum), ("max_gap_s", np.maximum)):
        whole[name] = merged.reduceat(answers[name], starts)
    done, refused = (answers["status"] == status for status in (DONE, REJECTED))
    whole["status"] = WAITING
    whole["status"][np.logical_and.reduceat(done, starts)] = DONE
    whole["status"][np.logical_or.reduceat(refused, starts)] = REJECTED
    return whole


def _values(answers: Measurement, whole: Measurement) -> dict[str, Any]:
    """Counts, latencies, rates and goodput of whole requests, as metrics have them."""
    counts, duration_s = request_counts(whole.requests), whole.duration_s
    return {
        "samples_per_request": len(answers.requests) / len(whole.requests),
        **{name: counts[name] for name in ("arrived", "completed", "rejected")},
        **{name: spread(whole.times[name]) for name in ("ttft_s", "e2e_s")},
        "request_rate_per_s": rate(len(whole.counted), duration_s),
        "sample_rate_per_s": rate(len(answers.counted), duration_s),
        "goodput_req_per_s": rate(whole.good, duration_s),
        "attainment": whole.attainment,
    }
