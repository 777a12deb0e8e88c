"""Engine: one replica of a pool as a SimPy process, for sources that look at its answers."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import simpy

from sim.engines.serving.pool import Pool
from sim.kernel import records

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


class Source(Protocol):
    """Who hands requests to an engine, and is told when some have ended."""

    def horizon_s(self, engine: Engine) -> float:
        """Until when nothing but the engine's own completions can bring it another request."""

    def on_completion(self, engine: Engine) -> None:
        """One or more requests of `engine` have ended now."""


@dataclass(kw_only=True, eq=False)
class Engine:
    """Replica `number` of `pool`, advanced by the kernel to its next completion.

    Rows handed over may lie in the future, sorted by arrival: what nothing can influence is handed
    over whole, and the kernel admits each request at its arrival.
    """

    env: simpy.Environment
    pool: Pool
    source: Source
    number: int = 0
    rows: list[int] = field(default_factory=list)
    """Rows handed over so far."""

    def __post_init__(self) -> None:
        self._wake = self.env.event()
        self._before = self.pool.mark(self.number)

    def hand_over(self, rows: Rows) -> None:
        """Queue `rows` of the table, none of which arrives before those handed over already."""
        self.pool.hand_over(self.number, rows, 0.0)
        self.rows.extend(rows.tolist())
        if not self._wake.triggered:
            self._wake.succeed()

    def done_by(self, at_s: float) -> Floats:
        """Tokens generated, tokens prefilled and joules of operators until `at_s`, shape [3].

        An engine runs ahead of the world to its next completion; within that stretch, linear.
        """
        before, after = self._before, self.pool.mark(self.number)
        span = after[0] - before[0]
        share = min(max((at_s - before[0]) / span, 0.0), 1.0) if span > 0.0 else 1.0
        return np.asarray(before[1:] + share * (after[1:] - before[1:]))

    def run(self) -> Generator[simpy.Event, Any, None]:
        """The SimPy process: advance to the next event of the world, then let it happen."""
        state = self.pool.states[self.number]
        while True:
            self._before = self.pool.mark(self.number)
            reason = self.pool.step(self.number, self.source.horizon_s(self))
            if state["now_s"] > self.env.now:
                yield self.env.timeout(float(state["now_s"]) - self.env.now)
                state["now_s"] = self.env.now
            if reason == records.COMPLETED:
                self.source.on_completion(self)
            elif reason == records.HORIZON:
                yield self.env.timeout(0.0)  # lets what happens now happen first
            elif reason == records.IDLE and state["head"] >= state["tail"]:
                self._wake = self.env.event()
                yield self._wake
                state["now_s"] = max(float(state["now_s"]), self.env.now)
