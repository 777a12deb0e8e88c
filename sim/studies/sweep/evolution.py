"""Evolution: which points to look at next, from what those before came to; by pymoo's NSGA-II.

A gene is a place in [0, 1) that the levels of an axis share evenly, so that neighbouring levels
are near. Deb, Pratap, Agarwal, Meyarivan, IEEE Transactions on Evolutionary Computation 6, 2002;
with more than two objectives, crowding by nearest neighbours: Kukkonen and Deb, PPSN 2006.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sim.errors import ConfigError
from sim.studies.sweep.space import Ints, Keys, Space

Floats = npt.NDArray[np.float64]
TRIES: Final = 50
"""Draws for points that were not proposed yet, before a space counts as exhausted."""


def _library(name: str) -> Any:
    """A module of pymoo, which only searches need and which takes a while to load."""
    try:
        return import_module(f"pymoo.{name}")
    except ImportError:
        raise ConfigError("`search` needs the package pymoo: pip install pymoo") from None


@dataclass(kw_only=True, eq=False)
class Breed:
    """The search for one front: `given` axes stay at their level, the others are chosen.

    `seen` are the keys of all points proposed before, by whatever breed: none comes twice.
    """

    space: Space
    given: Mapping[int, int]
    objectives: int
    population: int
    seed: tuple[int, ...]
    keys: Callable[[Ints], Keys]
    seen: set[int]
    _free: list[int] = field(init=False)
    _algorithm: Any = field(init=False)
    _asked: Any = None

    def __post_init__(self) -> None:
        """The algorithm before its first generation."""
        shape = self.space.shape
        self._free = [i for i in range(len(shape)) if i not in self.given and shape[i] > 1]
        self._random = np.random.default_rng([*self.seed, 1])
        self._problem = _library("core.problem").Problem(
            n_var=len(self._free), n_obj=self.objectives, n_ieq_constr=1, xl=0.0, xu=1.0
        )
        crowding = _library("operators.survival.rank_and_crowding").RankAndCrowding(
            crowding_func="mnn" if self.objectives > 2 else "cd"
        )
        self._algorithm = _library("algorithms.moo.nsga2").NSGA2(
            pop_size=self.population,
            survival=crowding,
            sampling=_library("operators.sampling.lhs").LHS(),
            eliminate_duplicates=_Unseen(breed=self),
        )
        endless = ("n_gen", 2**62)  # the budget is the caller's
        self._algorithm.setup(self._problem, seed=[*self.seed, 0], termination=endless)

    def rows(self, genes: Floats) -> Ints:
        """Levels [point, axis] of points."""
        levels = np.zeros((len(genes), len(self.space.axes)), np.int32)
        for axis, level in self.given.items():
            levels[:, axis] = level
        shape = np.array(self.space.shape, np.int32)[self._free]
        levels[:, self._free] = np.minimum((genes * shape).astype(np.int32), shape - 1)
        return self.space.settled(levels)

    def ask(self, most: int) -> Ints:
        """The next generation, of no more than `most` points; none once the space is exhausted."""
        population = _library("core.population").Population
        proposed = self._algorithm.ask() if self._free else None
        generation = population.empty() if proposed is None else proposed
        size = min(self.population, most)
        for _ in range(TRIES):  # mating brings too few where most was seen: draw the others
            if len(generation) >= size:
                break
            drawn = population.new("X", self._random.random((size, len(self._free))))
            generation = population.merge(generation, _Unseen(breed=self).do(drawn, generation))
        self._asked = generation[:size]
        rows = self.rows(_genes(self._asked, len(self._free)))
        self.seen.update(map(int, self.keys(rows)))
        return rows

    def tell(self, values: Floats, violation: Floats) -> None:
        """What the points asked for came to: objectives to minimise, and how far off they are."""
        if not len(values) or not self._free:
            return
        static = _library("problems.static").StaticProblem
        static_problem = static(self._problem, F=values, G=violation[:, None])
        _library("core.evaluator").Evaluator().eval(static_problem, self._asked)
        self._algorithm.tell(infills=self._asked)


def _genes(individuals: Any, count: int) -> Floats:
    return np.asarray(individuals.get("X"), float).reshape(len(individuals), count)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Unseen:
    """What pymoo calls duplicate elimination: against all points proposed before."""

    breed: Breed

    def _keys(self, individuals: Any) -> list[int]:
        count = len(self.breed._free)
        rows = self.breed.rows(_genes(individuals, count))
        return [int(key) for key in self.breed.keys(rows)]

    def do(self, individuals: Any, *others: Any, **_: Any) -> Any:
        """Those of `individuals` that are neither among `others` nor seen, each once."""
        taken = {key for own in others if len(own) for key in self._keys(own)}
        keep = []
        for position, key in enumerate(self._keys(individuals)):
            if key not in taken and key not in self.breed.seen:
                taken.add(key)
                keep.append(position)
        return individuals[keep]
