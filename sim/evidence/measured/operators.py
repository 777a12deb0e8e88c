"""Operators alone: rows of measured operator times predicted with the public cost kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sim.dtypes import BITS, Precision
from sim.evidence.measured.formats import Format
from sim.evidence.measured.spellings import spellings
from sim.graph import Graph, Op, Phase, lower
from sim.hardware import Device
from sim.hardware.records import link_records, processor_records
from sim.kernel import passes
from sim.kernel.records import Routing

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
NOWHERE = Routing(np.zeros((1, 4)), np.zeros((0, 2)), np.zeros((1, 0)), None, np.zeros(0))
"""Experts touched come with each row."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """What an operator works on, a number for all rows or one each: the features of the kernel.

    `prompt_tokens` are of prompts that are in the same launch as new tokens.
    """

    tokens: npt.ArrayLike
    pairs: npt.ArrayLike = 0.0
    cached: npt.ArrayLike = 0.0
    sequences: npt.ArrayLike = 1.0
    prompt_tokens: npt.ArrayLike = 0.0


@dataclass(eq=False)
class Rows:
    """Operator executions to time: each an operator of `ops` with features of its own."""

    ops: list[np.void] = field(default_factory=list)
    which: list[Ints] = field(default_factory=list)
    features: list[Floats] = field(default_factory=list)
    experts: list[Floats] = field(default_factory=list)
    index: list[Ints] = field(default_factory=list)

    def add(
        self,
        op: Op,
        index: Ints,
        work: Work,
        *,
        formats: tuple[str, str, str] = ("bf16", "bf16", "bf16"),
        experts: Floats | None = None,
        expert_ranks: int = 1,
    ) -> None:
        """Time `op` for the rows `index` of a table, which have this work.

        `formats` are of weights, KV cache and activations; `experts` [rows, 3] as
        `records.TOUCHED` and so on.
        """
        weights, kv, activations = formats
        table = lower(
            Graph(name="", ops=(op,), layers=1, hidden=1),
            Precision(weights=weights, kv=kv, activations=activations),
            expert_ranks=expert_ranks,
        )
        count = len(index)
        features = np.zeros((count, 1, 4, 4))
        counts = (work.tokens, work.pairs, work.cached, work.sequences)
        for feature, value in enumerate(counts):
            features[:, 0, int(op.phase), feature] = value
        if op.phase == Phase.DECODE:
            features[:, 0, int(Phase.PREFILL), 0] = work.prompt_tokens
        seen = np.ones((count, 1, 3))
        if experts is not None:
            seen[:, 0] = experts
        self.which.append(np.full(count, len(self.ops), np.int64))
        self.ops.append(table.records[0])
        self.features.append(features)
        self.experts.append(seen)
        self.index.append(np.asarray(index, np.int64))

    def seconds(self, device: Device, rows: int, *, repeated: bool) -> Floats:
        """Seconds of each of `rows` rows of the table, all operators of one together.

        `repeated`: the benchmark calls an operator again and again on the same data, of which the
        last-level cache keeps what fits. NaN where a row has no operator.
        """
        out = np.full(rows, np.nan)
        if not self.ops:
            return out
        ops, which, features, experts, index = self._joined
        units, links = hardware(device, repeated=repeated)
        times = np.empty(len(index))
        on = np.zeros(len(index), np.int64)
        passes.operators(ops, which, features, experts, NOWHERE, units, links, on, times)
        sums = np.bincount(index, times, rows)
        out[index] = sums[index]
        return out

    @cached_property
    def _joined(self) -> tuple[npt.NDArray[np.void], Ints, Floats, Floats, Ints]:
        """Everything added, in arrays: nothing can be added any more."""
        return (
            np.array(self.ops),
            np.concatenate(self.which),
            np.concatenate(self.features),
            np.concatenate(self.experts),
            np.concatenate(self.index),
        )


def as_it_is(device: Device) -> Device:
    """`device`."""
    return device


@dataclass(frozen=True, kw_only=True, eq=False)
class Timed:
    """Rows of a table with the device `on` which their operators run, as they see it."""

    rows: Rows
    on: Callable[[Device], Device] = as_it_is


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """A table whose columns are called as readers call them, and the device that it is of.

    `folder` is that of all data. Readers add columns that texts of `form` have.
    """

    form: Format
    frame: pd.DataFrame
    device: Device
    folder: Path

    def groups(self, *columns: str) -> Iterator[tuple[Any, pd.DataFrame]]:
        """Rows that share the values of `columns`, with these values."""
        return grouped(self.frame, columns)


def grouped(frame: pd.DataFrame, keys: Sequence[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Rows of `frame` that share the values of `keys`, with these values."""
    yield from frame.groupby(list(keys))


def hardware(
    device: Device, *, repeated: bool
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
    """Units [1, 1] and links [1, 2] of a device, without the launches of an engine."""
    units = np.stack([processor_records(device)[:1]])
    units["launch_s"] = 0.0
    if repeated:
        units["cache_B"] = device.processors[0].cache_B
    return units, np.stack([link_records(device.link, None)])


def known_format(name: str) -> tuple[str, str, str] | None:
    """Formats of weights, KV cache and activations that a table's name stands for."""
    formats = spellings("formats").get(name)
    if formats is None:
        return (name, name, name) if name in BITS else None
    weights, cache, activations = formats
    return weights, cache, activations
