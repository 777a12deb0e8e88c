"""Priorities: classes of requests, some more urgent than others, drawn by their shares."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from sim.errors import ConfigError, Problem
from sim.workload.traffic.forms import Priorities, Trace, Traffic
from sim.workload.traffic.table import Integers

STREAM = 6
"""Which of a seed's streams draws classes; those before it draw all else."""


def check_priorities(traffic: Traffic) -> None:
    """ConfigError for shares that are none, and for a trace that says its classes itself."""
    shares = [share for _, share in traffic.priorities]
    message = ""
    if isinstance(traffic, Trace) and traffic.priority is not None and shares:
        message = f"trace {traffic.name} has a column 'priority': leave `priorities` out"
    elif shares and not (
        all(0.0 <= share <= 1.0 for share in shares) and math.isclose(sum(shares), 1.0)
    ):
        message = f"shares add up to {sum(shares):.6g}: 1 is due, e.g. {{0: 0.2, 1: 0.8}}"
    if message:
        raise ConfigError([Problem(path="traffic.priorities", message=message)])


def drawn_classes(priorities: Priorities, count: int, seed: int) -> Integers | None:
    """The class of each of `count` requests (or sessions), from a stream of its own; shape [count].

    None where there are no classes. Other shares leave the draws alone.
    """
    if not priorities:
        return None
    random = np.random.default_rng(np.random.SeedSequence(seed).spawn(STREAM + 1)[STREAM])
    ordered = sorted(priorities)
    ends = np.cumsum([share for _, share in ordered])
    which = np.searchsorted(ends, random.random(count) * ends[-1], side="right")
    return np.asarray(np.array([name for name, _ in ordered], np.int64)[which])


def with_priorities(trace: Trace, priorities: Priorities, seed: int) -> Trace:
    """`trace` with a class for each request, where there are classes to draw."""
    made = drawn_classes(priorities, len(trace.arrival_s), seed)
    return trace if made is None else replace(trace, priority=made)
