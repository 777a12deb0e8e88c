"""Measurement: what happened in a run, or under a lasting load, as metrics are computed of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from sim.kernel.records import DONE, REJECTED
from sim.results.statistics import latencies, within

if TYPE_CHECKING:
    from sim.economics.per_token import Owned
    from sim.scenario import Slo
    from sim.simulation.outcomes import Outcomes

Floats = npt.NDArray[np.float64]
Records = npt.NDArray[np.void]
BASE: Final = 1
"""Place of the expected value between the cheap and the dear end."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measurement:
    """What happened in a run, and what is counted of `requests`: all of them, or some."""

    outcomes: Outcomes
    requests: Records
    slo: Slo
    owned: Owned | None = None
    """What tokens cost; None where that is not known."""

    @cached_property
    def counted(self) -> Records:
        """Requests that ended inside the measured window."""
        window, ended = self.outcomes.served.window, self.requests["last_s"]
        inside = (ended > window.from_s) & (ended <= window.until_s)
        counted: Records = self.requests[(self.requests["status"] == DONE) & inside]
        return counted

    @cached_property
    def times(self) -> dict[str, Floats]:
        """TTFT, TPOT and E2E of each counted request."""
        return latencies(self.counted)

    @property
    def gaps(self) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Lengths of the gaps between tokens inside the window, and how often each occurs."""
        served = self.outcomes.served
        pooled = [
            outcome.gaps[skip:]
            for outcome, skip in zip(served.outcomes, served.window.first_gaps, strict=True)
        ]
        records = np.concatenate([np.zeros((0, 2)), *pooled])
        return records[:, 0], records[:, 1].astype(np.int64)

    @property
    def good(self) -> int | None:
        """Counted requests that keep the SLO; None without one."""
        return within(self.slo, self.times["ttft_s"], self.counted["max_gap_s"])

    @property
    def attainment(self) -> float | None:
        """Share of counted and of rejected requests that keep the SLO; None of none, or without."""
        judged = len(self.counted) + int((self.requests["status"] == REJECTED).sum())
        return None if self.good is None or not judged else self.good / judged

    @property
    def duration_s(self) -> float:
        """Length of the measured window."""
        return self.outcomes.window_s

    @property
    def tokens(self) -> float:
        """Tokens generated inside the window."""
        return self.outcomes.served.window.generated_tokens

    @property
    def devices(self) -> float:
        """Devices of all systems that are on, in the mean."""
        return sum(group.devices * group.on_share for group in self.outcomes.groups)

    @property
    def energy_J(self) -> float:
        """Joules of all systems inside the window; NaN where not known."""
        outcomes = self.outcomes
        return outcomes.served.window.operator_joules + outcomes.static_W * outcomes.window_s

    def usd_per_Mtok(self, end: int) -> float | None:
        """USD a million tokens at one end: 0 cheap, 1 expected, 2 dear."""
        return _end(None if self.owned is None else self.owned.USD_per_Mtok, end)

    def kg_per_Mtok(self, end: int) -> float | None:
        """The same of kgCO2e."""
        return _end(None if self.owned is None else self.owned.kg_per_Mtok, end)

    def total(self, name: str) -> float | None:
        """The expected value of a total of the ledger."""
        return _end(None if self.owned is None else self.owned.ledger.totals.get(name), BASE)


def _end(bounds: Any, end: int) -> float | None:
    return None if bounds is None else float(bounds[end])


@dataclass(frozen=True, kw_only=True, eq=False)
class SteadyState:
    """What a lasting load comes to in closed form, an array over points each."""

    prefill_s: Floats
    """Time of one prompt alone."""
    step_s: Floats
    """Time of one decode step."""
    answer_s: Floats
    """Time from the first token of an answer to its last."""
    answer_tokens: int
    tok_per_s: Floats
    power_W: Floats
    kv_share: Floats
    devices: int
    usd_per_Mtok: Floats
    """Cheap, expected and dear [3, point], as the three below."""
    kg_per_Mtok: Floats
    capital_USD: Floats
    die_area_mm2: Floats
