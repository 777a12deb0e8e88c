"""Space: axes with levels, and the points of a grid or a sample of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from sim.kernel.splitmix import bits_at

Ints = npt.NDArray[np.int32]
Keys = npt.NDArray[np.uint64]
LOAD: Final = ("batch", "input", "output")
"""What a closed-form point is loaded with; axes reach it as load.batch and so on."""
WORD: Final = 2**64


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One dimension: paths that move together, and what each says at every level.

    `numbers` are the levels as numbers of `unit`, where they are; `when` names levels of other
    axes: elsewhere this one stays as in the base.
    """

    paths: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]
    numbers: tuple[float, ...] | None = None
    unit: str = ""
    when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The first path, by which tables and conditions know the axis."""
        return self.paths[0]

    def sets(self, level: int) -> tuple[str, ...]:
        """The changes of one level, as for `--set`; those of the load are not of a scenario."""
        pairs = zip(self.paths, self.levels[level], strict=True)
        return tuple(f"{path}={text}" for path, text in pairs if not path.startswith("load."))

    def load(self, level: int) -> dict[str, int]:
        """What one level says of the load."""
        pairs = zip(self.paths, self.levels[level], strict=True)
        return {path.removeprefix("load."): int(text) for path, text in pairs
                if path.startswith("load.")}  # fmt: skip

    def keys(self) -> Keys:
        """A random number for each level, the same whatever else the study has."""
        texts = (
            ";".join(f"{path}={text}" for path, text in zip(self.paths, level, strict=True))
            for level in self.levels
        )
        return np.array([_hash(text) for text in texts], np.uint64)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Points drawn instead of the whole grid."""

    kind: Literal["sobol", "lhs"]
    points: int
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Search:
    """Points chosen by evolution instead of the whole grid: so many for each front."""

    evaluations: int
    population: int = 100
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Space:
    """Points of some axes: the grid, the last axis varying fastest, a sample, or `chosen`."""

    axes: tuple[Axis, ...]
    sample: Sample | None = None
    chosen: Ints | None = None
    """Levels [point, axis] of points that were picked."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Levels of each axis."""
        return tuple(len(axis.levels) for axis in self.axes)

    @property
    def size(self) -> int:
        """Points, those that a condition makes equal to others counted too."""
        return math.prod(self.shape) if self._picked is None else len(self._picked)

    @cached_property
    def _picked(self) -> Ints | None:
        """Levels of points picked or drawn; None of a whole grid."""
        if self.chosen is not None or self.sample is None:
            return self.chosen
        from scipy.stats import qmc

        kinds = {"sobol": qmc.Sobol, "lhs": qmc.LatinHypercube}
        draw = kinds[self.sample.kind](d=len(self.axes), rng=self.sample.seed)
        shape = np.array(self.shape, np.int32)
        points = draw.random(self.sample.points) * shape
        rows = self._settled(np.minimum(points.astype(np.int32), shape - 1), drop=False)
        _, first = np.unique(rows, axis=0, return_index=True)
        return rows[np.sort(first)]

    def rows(self, begin: int, end: int) -> Ints:
        """Levels [point, axis] of points [begin, end), inactive axes at their first level.

        Points of a grid that are equal to others, because a condition leaves an axis out, come
        once.
        """
        end = min(end, self.size)
        if self._picked is not None:
            return self._picked[begin:end]
        flat = np.arange(begin, end, dtype=np.int64)
        levels = np.stack(np.unravel_index(flat, self.shape), axis=1) if self.axes else (
            np.zeros((len(flat), 0))
        )  # fmt: skip
        return self._settled(levels.astype(np.int32), drop=True)

    def settled(self, rows: Ints) -> Ints:
        """Levels of points as `rows` has them: inactive axes at their first level."""
        return self._settled(rows, drop=False)

    def _settled(self, rows: Ints, *, drop: bool) -> Ints:
        keep = np.ones(len(rows), bool)
        for index, axis in enumerate(self.axes):
            if axis.when:
                off = ~self._active(axis, rows)
                keep &= ~(off & (rows[:, index] > 0))
                rows = rows.copy()
                rows[off, index] = 0
        return rows[keep] if drop else rows

    def _active(self, axis: Axis, rows: Ints) -> npt.NDArray[np.bool_]:
        on = np.ones(len(rows), bool)
        for name, allowed in axis.when.items():
            other = self.index(name)
            texts = [level[0] for level in self.axes[other].levels]
            wanted = np.array([text in allowed for text in texts])
            on &= wanted[rows[:, other]]
        return on

    def inactive(self, rows: Ints) -> npt.NDArray[np.bool_]:
        """Whether each axis [point, axis] stays as in the base."""
        off = np.zeros(rows.shape, bool)
        for index, axis in enumerate(self.axes):
            if axis.when:
                off[:, index] = ~self._active(axis, rows)
        return off

    def index(self, name: str) -> int:
        """Position of the axis called `name`."""
        return [axis.name for axis in self.axes].index(name)

    def keys(self, rows: Ints, base: int) -> Keys:
        """A number for each point, of its base and of what its axes say, in whatever order."""
        total = np.full(len(rows), base, np.uint64)
        off = self.inactive(rows)
        for index, axis in enumerate(self.axes):
            own = axis.keys()[rows[:, index]]
            own[off[:, index]] = 0
            total += own
        return np.asarray(bits_at(total, 0))  # sums that differ anywhere differ everywhere


def base_key(parts: Sequence[str]) -> int:
    """A number for what all points of a study share."""
    return _hash("\n".join(parts)) % WORD
