"""Load: what an error of service times does to latency and throughput where requests queue.

Let all service times be `scale` times as long while requests arrive as they do.

- A step that decodes B sequences takes T = a + (what each of them adds) + (what prompts that come in
  meanwhile add). By Little's law B is arrivals x tokens x T, so T = a / (1 - r), where r is the
  share of a step that grows with load: an error e of times becomes e / (1 - r) of a step.
- The limit of the batch makes requests wait. With B of at most M sequences running, the system is
  1 - (1 - r)(1 - B / M) full: rho. Waits go as scale x (1 - rho) / (1 - rho x scale), as in any
  queue with one server; the factor (1 - rho) / (1 - rho x scale) is capped, because a run that ends
  has no steady state to diverge to.
- Beyond saturation the queue grows as long as requests arrive: at their end (rho x scale - 1) x span
  of work is left, and waits grow linearly to that.

In a closed loop clients wait for answers: every time scales alike, and nothing is amplified.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST: Final = 10.0
"""Cap of what load makes of an error."""
_MIDDLE: Final = {"mean": 0.5, "p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
"""Share of the longest wait that a statistic has where waits grow linearly."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """How loaded a run was. Times in seconds.

    `closed`: clients wait for answers. `growing` is the share of a step that load adds, `full` rho
    above, `batch_share` B / M. Requests arrive for `span_s` and wait `wait_s` on average; the last
    ends `tail_s` after the last arrival.
    """

    closed: bool
    growing: float = 0.0
    full: float = 0.0
    batch_share: float = 0.0
    wait_s: float = 0.0
    span_s: float = 0.0
    tail_s: float = 0.0

    def step(self, scale: float) -> float:
        """Times as long that a step takes, batch and all."""
        if self.closed:
            return scale
        free = scale * self._amplified(self.growing, scale)
        if self.batch_share <= 0.0:
            return free
        # at its limit the batch grows no more, and neither does what a step takes
        limit = scale * max(self.full / self.batch_share, 1.0)
        return min(free, limit) if scale > 1.0 else free

    def wait(self, scale: float, statistic: str = "mean") -> float:
        """Times as long as `wait_s` that a statistic's wait is, of its own wait before."""
        if self.closed:
            return scale
        return scale * self._amplified(self.full, scale)

    def backlog_s(self, scale: float, statistic: str = "mean") -> float:
        """Seconds that a statistic's wait grows by beyond saturation."""
        if self.closed:
            return 0.0
        share = _MIDDLE[statistic]
        over, before = max(self.full * scale - 1.0, 0.0), max(self.full - 1.0, 0.0)
        return share * max(over - before, 0.0) * self.span_s

    def duration(self, scale: float) -> float:
        """Times as long as the run that takes from its first arrival to its last completion."""
        if self.closed:
            return scale
        before = self.span_s * max(self.full, 1.0) + self.tail_s
        after = self.span_s * max(self.full * scale, 1.0) + self.tail_s * self.step(scale)
        return after / before if before > 0.0 else scale

    def _amplified(self, share: float, scale: float) -> float:
        """(1 - share) / (1 - share x scale), between 1 / MOST and MOST."""
        if share >= 1.0:
            return 1.0
        left = max(1.0 - share * scale, (1.0 - share) / MOST)
        return max((1.0 - share) / left, 1.0 / MOST)
