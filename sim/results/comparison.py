"""Comparison: one workload on several systems, and which differences are beyond the error bands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from sim.config.replacements import Replacements
from sim.engines.serving.outcome import Progress
from sim.errors import ConfigError, Infeasible
from sim.hardware import Device, System
from sim.notebook import html_table
from sim.results.bands.band import alike
from sim.results.conclusion import Conclusion, conclude
from sim.results.metrics import COMPARED
from sim.results.run import Run
from sim.results.simulate import simulate
from sim.scenario import Scenario

if TYPE_CHECKING:
    import pandas as pd

Watch = Callable[[str], AbstractContextManager[Progress | None]]
"""Gives what is called with the progress of the run on the system of a name."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Comparison:
    """Runs of one workload, the first of which the others are compared with.

    `refused` has the systems that cannot run it, by name, and why.
    """

    runs: tuple[Run, ...]
    refused: Mapping[str, Infeasible]

    @cached_property
    def conclusion(self) -> Conclusion | None:
        """Which system is cheapest and what would change that; None without two costs."""
        return conclude(self.runs)

    @cached_property
    def alike(self) -> list[dict[str, Any]]:
        """Of each run but the first, the metrics whose differences from it lie within the bands."""
        first = self.runs[0]
        return [
            {
                "system": run.scenario.system.name,
                "metrics": [
                    name
                    for name, band in run.bands.items()
                    if alike(band, run.row[name], first.bands.get(name), first.row[name])
                ],
            }
            for run in self.runs[1:]
        ]

    @property
    def frame(self) -> pd.DataFrame:
        """All metrics of each run: a row a system, a column a metric or a statistic of it."""
        import pandas as pd

        return pd.DataFrame(
            [run.row for run in self.runs],
            index=[run.scenario.system.name for run in self.runs],
        )

    def __repr__(self) -> str:
        """One line: a notebook shows this."""
        names = ", ".join(run.scenario.system.name for run in self.runs)
        return f"<Comparison {self.runs[0].scenario.name} on {names}>"

    def _repr_html_(self) -> str:
        return html_table(
            self.runs[0].scenario.name,
            ["", *(run.scenario.system.name for run in self.runs)],
            [[each.titled, *(run.row[each.name] for run in self.runs)] for each in COMPARED],
        )

    def to_json(self) -> dict[str, Any]:
        """The comparison as plain values."""
        return {
            "alike": self.alike,
            "runs": [run.to_json() for run in self.runs],
            "infeasible": [
                {"system": name, "reason": error.reason, **error.numbers}
                for name, error in self.refused.items()
            ],
            "conclusion": None if self.conclusion is None else self.conclusion.to_json(),
        }


def compare(
    scenario: str | Path | Mapping[str, Any] | Scenario,
    systems: Sequence[str | Path | Mapping[str, Any] | System | Device] = (),
    *,
    sets: Sequence[str] = (),
    watch: Watch = lambda system: nullcontext(),
    **replacements: Unpack[Replacements],
) -> Comparison:
    """`scenario` (given as to `simulate`) on each of `systems`, by default on its own alone.

    Raises ConfigError for wrong input, and Infeasible where no system can run it.
    """
    runs: list[Run] = []
    refused: dict[str, Infeasible] = {}
    if isinstance(systems, str):
        raise ConfigError(f"`systems` is a list: write [{systems!r}]")
    for system in systems or (None,):
        chosen = replacements if system is None else replacements | Replacements(system=system)
        name = str(getattr(system, "name", system or scenario))
        try:
            with watch(name) as on_progress:
                runs.append(simulate(scenario, sets=sets, on_progress=on_progress, **chosen))
        except Infeasible as error:
            refused[name] = error
    if not runs:
        raise next(iter(refused.values()))
    return Comparison(runs=tuple(runs), refused=refused)
