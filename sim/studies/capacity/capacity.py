"""Capacity: the highest load at which a system keeps an SLO, with all that was tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sim.notebook import html_table
from sim.results.metrics import HEADED
from sim.studies.capacity.objective import Objective
from sim.studies.capacity.trial import FEW, Trial, Unit, level_json

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Capacity:
    """What a system sustains under an SLO: the `best` trial, the next one above that fails, all.

    `unit` is what levels count: clients of a closed loop, whose number is searched instead of a
    rate, or sessions a second. `trials` are sorted by level.
    """

    scenario: str
    model: str
    system: str
    seed: int
    objective: Objective
    tolerance: float
    unit: Unit
    best: Trial
    failed: Trial
    trials: tuple[Trial, ...]
    provenance: Mapping[str, Any]

    @property
    def clients(self) -> bool:
        """Whether a number of clients was searched, of a closed loop."""
        return self.unit == "clients"

    @property
    def rate_per_s(self) -> float | None:
        """Highest rate found to meet the SLO, requests/s; None of a closed loop."""
        return None if self.clients else self.best.level

    @property
    def limited_by(self) -> str:
        """What breaks first above: ttft, tbt, a limit such as ttft_p99, or saturation."""
        if self.failed.meets:
            return "saturation"
        misses = self.failed.misses
        return max(misses, key=lambda name: misses[name])

    @property
    def overloaded_from(self) -> float | None:
        """Lowest level tried at which the system doesn't keep up; None if it always does."""
        return min((each.level for each in self.trials if each.overloaded), default=None)

    @property
    def cautions(self) -> tuple[str, ...]:
        """What a reader should know before believing the answer."""
        sentences = list(self.best.cautions)
        turnovers = self.best.turnovers
        if turnovers is not None and turnovers < FEW:
            what = "arrivals last {} times as long as a request takes: too few requests"
            if self.unit == "sessions/s":
                what = "sessions begin for {} times as long as one lasts: too few"
            sentences.append(
                f"at the answer {what.format(f'{turnovers:.2g}')} to show what lasts; give the "
                "traffic more"
            )
        beyond = [each for each in self.trials if each.passes and each.level > self.best.level]
        below = [each for each in self.trials if not each.passes and each.level < self.best.level]
        if beyond or below:
            levels = ", ".join(self.shown(each.level) for each in (*below, *beyond))
            sentences.append(
                f"not every higher load is worse: {levels} speak against the answer; "
                "more requests make the difference smaller"
            )
        return tuple(sentences)

    def shown(self, level: float) -> str:
        """A level in words."""
        return shown(level, self.unit)

    @property
    def answer(self) -> str:
        """The answer in a sentence."""
        verb = "keep" if self.clients else "meet"
        words = f"{self.system}: {self.shown(self.best.level)} {verb} {self.objective}"
        if self.best.attainment is not None:
            words += f" ({100 * self.best.attainment:.1f} % reached)"
        words += f"; {self.shown(self.failed.level)} don't: "
        if self.failed.meets:
            queue = (
                "clients wait longer than they are served" if self.clients else "the queue grows"
            )
            words += f"{queue} though the SLO is still met"
        elif self.failed.attainment is not None and self.limited_by in self.objective.each:
            words += f"{100 * self.failed.attainment:.1f} %, by {self.limited_by.upper()} most"
        else:
            words += f"by {self.limited_by}"
        if self.overloaded_from is not None:
            words += f". Overloaded from {self.shown(self.overloaded_from)} on"
        return words

    @property
    def frame(self) -> pd.DataFrame:
        """One row a trial: its level, attainment, latencies, rates, energy and cost."""
        import pandas as pd

        return pd.DataFrame([self._row(each) for each in self.trials])

    def _row(self, trial: Trial) -> dict[str, Any]:
        return {
            "clients" if self.clients else "rate_per_s": trial.level,
            "attainment": trial.attainment,
            "meets_slo": trial.meets,
            "keeps_up": trial.keeps_up,
            "overloaded": trial.overloaded,
            "worst_gap_p99_s": trial.worst_gap_s["p99"],
            **trial.row,
            "bound": trial.main_bound,
        }

    def __repr__(self) -> str:
        """One line: a notebook shows this."""
        return f"<Capacity {self.scenario} on {self.answer}>"

    def _repr_html_(self) -> str:
        rows = [
            [trial.level, trial.attainment, *(trial.row[column.name] for column, _ in HEADED)]
            for trial in self.trials
        ]
        headings = [self.unit, "within SLO", *(heading for _, heading in HEADED)]
        return html_table(self.answer, headings, rows)

    def to_json(self) -> dict[str, Any]:
        """The result as plain values; equal inputs give equal values, and no wall-clock time."""
        return {
            "scenario": self.scenario,
            "model": self.model,
            "system": self.system,
            "seed": self.seed,
            "unit": self.unit,
            "slo": self.objective.to_json(),
            "tolerance": self.tolerance,
            **level_json(self.best.level, self.unit),
            "fails_at": self.failed.level,
            "limited_by": self.limited_by,
            "overloaded_from": self.overloaded_from,
            "attainment": self.best.attainment,
            "goodput_req_per_s": self.best.metrics["goodput_req_per_s"],
            "answer": self.answer,
            "trials": [each.to_json(self.unit) for each in self.trials],
            "cautions": list(self.cautions),
            "provenance": dict(self.provenance),
        }


def shown(level: float, unit: Unit) -> str:
    """A rate or a number of clients, for people."""
    if unit == "clients":
        return f"{level:,.0f} client{'' if level == 1.0 else 's'}"
    return f"{level:,.0f} {unit}" if level >= 1000.0 else f"{level:.3g} {unit}"
