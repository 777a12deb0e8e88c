"""Autoscaling: which replicas of a fleet are on, and when the rule starts and stops some.

The rule is that of Kubernetes' Horizontal Pod Autoscaler for a metric with an average value a
replica (which KEDA drives too): requests in flight over the target, rounded up, unless the mean is
within the tolerance of it; down only to the highest wish of the stabilization window.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sim.engines.fleet import Autoscale

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

OFF, STARTING, UP, DRAINING = range(4)
"""Not there; loading; taking requests; finishing those it has."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scaling:
    """When each replica was on, as rows [replica, from, until] of `spans` [n, 3], and what changed.

    A replica is on from its start, loading included, until it has finished what it had. `changes`
    [m, 3] are the time, how many are on and how many of these take requests, from then on.
    """

    replicas: int
    spans: Floats
    changes: Floats
    starts: int
    stops: int

    def on_s(self, from_s: float, until_s: float) -> Floats:
        """Seconds that each replica was on between two moments; shape [replicas]."""
        times = np.clip(self.spans[:, 1:], from_s, until_s)
        total = np.zeros(self.replicas)
        np.add.at(total, self.spans[:, 0].astype(np.int64), times[:, 1] - times[:, 0])
        return total


@dataclass(kw_only=True, eq=False)
class Autoscaler:
    """The replicas of a fleet that `rule` scales, each OFF, STARTING, UP or DRAINING.

    There are `rule.most` of them, and the first `rule.least` are up at the beginning.
    """

    rule: Autoscale
    state: Numbers = field(init=False)
    since_s: Floats = field(init=False)
    """When each was started last."""
    starts: int = 0
    stops: int = 0

    def __post_init__(self) -> None:
        rule = self.rule
        self.state = np.full(rule.most, OFF)
        self.state[: rule.least] = UP
        self.since_s = np.zeros(rule.most)
        self._drains_s = np.zeros(rule.most)
        self._wishes: deque[tuple[float, int]] = deque()
        """Those of the window that no later one exceeds: they fall, the first is the highest."""
        self._spans: list[tuple[float, float, float]] = []
        self._changes: list[tuple[float, int, int]] = [(0.0, rule.least, rule.least)]
        """Time, and how many more are on and take requests since."""

    @property
    def moves(self) -> bool:
        """Whether there is anything to decide."""
        return self.rule.least < self.rule.most

    @property
    def running(self) -> Flags:
        """Which replicas hold requests, or may."""
        return np.asarray((self.state == UP) | (self.state == DRAINING))

    def wanted(self, now_s: float, in_flight: int) -> int:
        """How many replicas the rule wants to be up or starting, from `in_flight` requests."""
        rule = self.rule
        there = int(np.isin(self.state, (STARTING, UP)).sum())
        wish = there
        ratio = in_flight / (rule.target * there)
        if not 1.0 - rule.tolerance <= ratio <= 1.0 + rule.tolerance:
            wish = min(max(math.ceil(in_flight / rule.target), rule.least), rule.most)
        while self._wishes and self._wishes[0][0] <= now_s - rule.stabilization_s:
            self._wishes.popleft()
        while self._wishes and self._wishes[-1][1] <= wish:
            self._wishes.pop()
        self._wishes.append((now_s, wish))
        highest = self._wishes[0][1]
        return wish if wish >= there else min(there, highest)

    def start(self, count: int, now_s: float, dead: Flags) -> Numbers:
        """Start up to `count` replicas that are off, those first that are not away; which ones."""
        free = np.flatnonzero(self.state == OFF)
        chosen = free[np.argsort(dead[free], kind="stable")][:count]
        self.state[chosen] = STARTING
        self.since_s[chosen] = now_s
        self.starts += len(chosen)
        self._changes.append((now_s, len(chosen), 0))
        return np.asarray(chosen)

    def ready(self, number: int, now_s: float) -> bool:
        """A start is over; whether the replica is up now, and was not stopped meanwhile."""
        if self.state[number] != STARTING or self.since_s[number] + self.rule.start_up_s > now_s:
            return False
        self.state[number] = UP
        self._changes.append((now_s, 0, 1))
        return True

    def stop(self, count: int, now_s: float, dead: Flags) -> None:
        """Let `count` replicas go: those that start yet, those away, then the youngest first.

        A replica that is up drains: it takes no more requests and finishes those it has.
        """
        there = np.flatnonzero(np.isin(self.state, (STARTING, UP)))
        order = np.lexsort(
            (-there, -self.since_s[there], ~dead[there], self.state[there] != STARTING)
        )
        for number in there[order][:count]:
            self.stops += 1
            if self.state[number] == STARTING:
                self._off(int(number), now_s)
            else:
                self.state[number] = DRAINING
                self._drains_s[number] = now_s
                self._changes.append((now_s, 0, -1))

    def drained(self, number: int, last_s: float) -> None:
        """A replica that drains has finished, its last iteration at `last_s`: it is off since."""
        self._off(number, max(float(self._drains_s[number]), last_s))

    def _off(self, number: int, at_s: float) -> None:
        self.state[number] = OFF
        self._spans.append((float(number), float(self.since_s[number]), at_s))
        self._changes.append((at_s, -1, 0))

    def scaling(self) -> Scaling:
        """What happened; what is on yet is so without end."""
        still = [(float(n), float(self.since_s[n]), math.inf) for n in np.flatnonzero(self.state)]
        changes = np.array(sorted(self._changes, key=lambda each: each[0]), float)
        changes[:, 1:] = np.cumsum(changes[:, 1:], axis=0)
        lasting = np.append(np.diff(changes[:, 0]) > 0.0, True)
        return Scaling(
            replicas=self.rule.most,
            spans=np.array([*self._spans, *still], float).reshape(-1, 3),
            changes=changes[lasting],
            starts=self.starts,
            stops=self.stops,
        )
