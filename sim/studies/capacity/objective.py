"""Objective: what a rate search asks of a system: an SLO, the share that keeps it, and limits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sim import units
from sim.errors import ConfigError, Problem
from sim.quantities import unknown_name
from sim.results.metrics import DISTRIBUTIONS
from sim.results.statistics import STATISTICS
from sim.scenario import Slo

EACH: Final = ("ttft", "tbt")
"""Times that each request is held to."""
EXAMPLES: Final = '--slo "ttft=2 s" --slo "tbt=100 ms"'
_BOUND: Final = re.compile(r"\s*([^=<]*?)\s*<?=\s*(.*?)\s*")


@dataclass(frozen=True, kw_only=True)
class Objective:
    """`attain` of all requests keep `slo`, and statistics of all keep their `limits`.

    A request keeps an SLO with its TTFT *and every* gap between its tokens. `limits` are seconds by
    name and statistic: ("ttft", "p99").
    """

    slo: Slo = field(default_factory=Slo)
    attain: float = 0.9
    limits: Mapping[tuple[str, str], float] = field(default_factory=dict)

    @property
    def each(self) -> dict[str, float]:
        """Seconds that each request is held to, by name."""
        limits = {"ttft": self.slo.ttft_s, "tbt": self.slo.tbt_s}
        return {name: limit for name, limit in limits.items() if limit is not None}

    def __str__(self) -> str:
        """In words: TTFT <= 2 s and every TBT <= 100 ms for 90 % of requests."""
        parts = [
            f"{'every ' if name == 'tbt' else ''}{DISTRIBUTIONS[name].title} <= {_time(limit)}"
            for name, limit in self.each.items()
        ]
        words = [" and ".join(parts) + f" for {100 * self.attain:g} % of requests"] if parts else []
        words += [
            f"{DISTRIBUTIONS[name].title} {statistic} <= {_time(limit)}"
            for (name, statistic), limit in self.limits.items()
        ]
        return ", ".join(words)

    def to_json(self) -> dict[str, Any]:
        """The objective as plain values."""
        return {
            "ttft_s": self.slo.ttft_s,
            "tbt_s": self.slo.tbt_s,
            "attain": self.attain,
            "limits": {
                f"{name}_{statistic}_s": limit for (name, statistic), limit in self.limits.items()
            },
        }


def _time(seconds: float) -> str:
    return units.format_quantity(seconds, units.TIME)


def objective_of(
    bounds: Slo | Mapping[str, str] | Sequence[str] | str, usual: Slo, attain: float
) -> Objective:
    """The objective of texts like "ttft=2 s" or "ttft.p99=5 s"; of none, that of the scenario.

    "<=" may stand for "="; a text may have several, with commas between. Raises ConfigError with
    everything wrong at once, and where there is nothing to hold a system to.
    """
    if not 0.0 < attain <= 1.0:
        raise ConfigError(f"attain {attain:g}: a share of requests above 0 and up to 1 is due")
    texts: Sequence[str] = ()
    if isinstance(bounds, Slo):
        usual = bounds
    elif isinstance(bounds, Mapping):
        texts = [f"{name}={limit}" for name, limit in bounds.items()]
    else:
        texts = [bounds] if isinstance(bounds, str) else bounds
    each: dict[str, float] = {}
    limits: dict[tuple[str, str], float] = {}
    problems: list[Problem] = []
    for text in (part for whole in texts for part in whole.split(",")):
        try:
            name, statistic, limit = _bound(text)
        except ConfigError as error:
            problems += [Problem(file=f"--slo {text.strip()}", message=str(error))]
            continue
        if statistic:
            limits[name, statistic] = limit
        else:
            each[name] = limit
    if problems:
        raise ConfigError(problems)
    slo = usual if not each and not limits else Slo(ttft_s=each.get("ttft"), tbt_s=each.get("tbt"))
    objective = Objective(slo=slo, attain=attain, limits=limits)
    if not objective.each and not limits:
        raise ConfigError(
            f"no SLO to search for: write {EXAMPLES}, or `slo: {{ttft: 2 s, tbt: 100 ms}}` in the "
            "scenario"
        )
    return objective


def _bound(text: str) -> tuple[str, str, float]:
    """Name, statistic (or "") and seconds of one bound."""
    match = _BOUND.fullmatch(text)
    if match is None:
        raise ConfigError(f"a name and a time are due: {EXAMPLES}")
    name, _, statistic = match[1].lower().removesuffix("_s").partition(".")
    if name not in DISTRIBUTIONS:
        raise ConfigError(unknown_name(name, list(DISTRIBUTIONS)))
    if statistic and statistic not in STATISTICS:
        raise ConfigError(f"{name}: {unknown_name(statistic, STATISTICS)}")
    if not statistic and name not in EACH:
        raise ConfigError(f"of {name} a statistic is due: {name}.p99={match[2] or '5 s'}")
    return name, statistic, units.parse(match[2], units.TIME)
