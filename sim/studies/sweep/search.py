"""Search: a study's points chosen generation by generation, where the grid is too large.

Each generation is looked up in the study's folder, what is missing there is computed and written,
and the next follows from all values alone: the same seed chooses the same points again, so an
interrupted search goes on by repeating itself without computing anything twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from sim.studies.sweep.evolution import Breed
from sim.studies.sweep.pareto import front, hypervolume, scaled, signed
from sim.studies.sweep.space import Ints, Keys
from sim.studies.sweep.store import Store, parts
from sim.studies.sweep.study import Constraint, Study

if TYPE_CHECKING:
    import pandas as pd

    from sim.studies.sweep.results import Results

Floats = npt.NDArray[np.float64]
Compute = Callable[[Ints, Keys], Sequence[Path]]
"""Evaluates points and writes them; returns their parts."""
SEARCH: Final = "search"
"""What study.json calls it."""
FAR: Final = 1e6
"""The most that constraints count for, in their bounds."""
NEVER: Final = 1e9
"""Counted for a point that has no value at all."""
LEAST: Final = 1e-12
"""Counted for a bound that is missed by less than rounding."""


def places(study: Study) -> int:
    """Points a study looks at, at most."""
    if study.search is None:
        return study.space.size
    return min(study.space.size, study.search.evaluations * _fronts(study))


def is_search(study: Study) -> bool:
    """Whether points are to be chosen; a space that the budget covers is enumerated."""
    return places(study) < study.space.size


def _fronts(study: Study) -> int:
    return math.prod(study.space.shape[study.space.index(name)] for name in study.per)


def searched(study: Study, store: Store, identity: int, compute: Compute) -> Iterator[int]:
    """Points of each generation, once they are there; at the end study.json tells the course."""
    known, known_worth = _known(parts(store.folder), study)
    breeds = _Breeds(study=study, identity=identity)
    course = []
    while len(rows := breeds.ask()):
        keys = study.space.keys(rows, identity)
        new = store.missing(keys)
        computed, computed_worth = _known(compute(rows[new], keys[new]), study)
        worth = np.empty((len(rows), len(study.objectives) + 1))
        worth[new] = computed_worth[np.searchsorted(computed, keys[new])]
        worth[~new] = known_worth[np.searchsorted(known, keys[~new])]
        breeds.tell(worth)
        course.append((keys, worth))
        yield len(rows)
    store.tell(SEARCH, _told(study, course))


def worth_of(study: Study, frame: pd.DataFrame) -> Floats:
    """What points came to: objectives to minimise, and in the last column how far off they are.

    That violation is 0 for points that keep all constraints, and finite for all; so are values,
    which mean nothing where a point has none.
    """
    values = signed(frame, study.objectives)
    violation = np.zeros(len(frame))
    for constraint in study.constraints:
        violation += _missed(constraint, frame[constraint.column].to_numpy(float))
    whole = np.array(frame["status"] == "ok") & np.isfinite(values).all(axis=1)
    violation = np.where(whole & np.isfinite(violation), violation, NEVER)
    return np.column_stack([np.where(whole[:, None], values, 0.0), violation])


def _missed(constraint: Constraint, values: Floats) -> Floats:
    """By how much of its bound a constraint is missed; NaN where there is no value."""
    with np.errstate(invalid="ignore"):
        off = np.abs(values - constraint.value) / (abs(constraint.value) or 1.0)
    missed = np.where(np.isnan(off), off, np.clip(off, LEAST, FAR))
    return np.where(constraint.kept(values), 0.0, missed)


def _known(paths: Sequence[Path], study: Study) -> tuple[Keys, Floats]:
    """Keys of the points of some parts, in order, and their worth; no more is read than is due."""
    columns = {"key", "status", *study.objectives, *(each.column for each in study.constraints)}
    keys, worths = [np.zeros(0, np.uint64)], [np.zeros((0, len(study.objectives) + 1))]
    for path in paths:
        frame = pq.read_table(path, columns=sorted(columns)).to_pandas()
        keys.append(frame["key"].to_numpy(np.uint64))
        worths.append(worth_of(study, frame))
    order = np.argsort(np.concatenate(keys), kind="stable")
    return np.concatenate(keys)[order], np.concatenate(worths)[order]


@dataclass(kw_only=True, eq=False)
class _Breeds:
    """The searches for all fronts of a study, a generation of each at a time."""

    study: Study
    identity: int

    def __post_init__(self) -> None:
        """One breed for each combination of the axes in `per`."""
        study, search, seen = self.study, self.study.search, set[int]()
        assert search is not None
        axes = [study.space.index(name) for name in study.per]
        levels = product(*(range(study.space.shape[axis]) for axis in axes))
        self._breeds = [
            Breed(
                space=study.space, given=dict(zip(axes, each, strict=True)), seen=seen,
                objectives=len(study.objectives), population=search.population,
                seed=(search.seed, number), keys=partial(study.space.keys, base=self.identity),
            )
            for number, each in enumerate(levels)
        ]  # fmt: skip
        self._left = [search.evaluations] * len(self._breeds)
        self._asked = [0] * len(self._breeds)

    def ask(self) -> Ints:
        """Levels of the next generation; none once the evaluations are spent."""
        rows = []
        for number, breed in enumerate(self._breeds):
            chosen = breed.ask(self._left[number])
            self._asked[number] = len(chosen)
            self._left[number] = self._left[number] - len(chosen) if len(chosen) else 0
            rows.append(chosen)
        return np.concatenate(rows)

    def tell(self, worth: Floats) -> None:
        """What the generation asked for came to."""
        ends = np.cumsum(self._asked)
        for breed, end, count in zip(self._breeds, ends, self._asked, strict=True):
            result = worth[end - count : end]
            breed.tell(result[:, :-1], result[:, -1])


def _told(study: Study, course: Sequence[tuple[Keys, Floats]]) -> dict[str, Any]:
    """What study.json keeps of a search: its hypervolume after each generation.

    Objectives are scaled from the best to the worst of all good points of the search, as
    `summary.volume` does: the last is the share of that box that its front dominates.
    """
    assert study.search is not None
    good = [worth[worth[:, -1] == 0.0, :-1] for _, worth in course]
    every = np.concatenate([np.zeros((0, len(study.objectives))), *good])
    low, high = (every.min(axis=0), every.max(axis=0)) if len(every) else (None, None)
    best, keys = every[:0], np.zeros(0, np.uint64)
    generations: list[dict[str, Any]] = []
    evaluations = 0
    for (new_keys, worth), values in zip(course, good, strict=True):
        evaluations += len(new_keys)
        best = np.concatenate([best, values])
        keys = np.concatenate([keys, new_keys[worth[:, -1] == 0.0]])
        kept = front(best)
        best, keys = best[kept], keys[kept]
        share = None
        if low is not None and high is not None and len(best):
            share = hypervolume(scaled(best, low, high), np.ones(len(low)))
        generations.append({"evaluations": evaluations, "front": len(best), "hypervolume": share})
    return {
        "population": study.search.population,
        "seed": study.search.seed,
        "space": study.space.size,
        "evaluations": evaluations,
        "hypervolume": generations[-1]["hypervolume"] if generations else None,
        "low": None if low is None else low.tolist(),
        "high": None if high is None else high.tolist(),
        "generations": generations,
        "front": [f"{key:016x}" for key in sorted(map(int, keys))],
    }


def search_summary(results: Results) -> Mapping[str, Any] | None:
    """The course of the search that results came from; None if they came from none.

    `generations` have the evaluations so far, the points of the front, and its `hypervolume`
    between `low` and `high`, of objectives to minimise: those to maximise are negated. `front` has
    the keys of its points, which a folder may hold among others.
    """
    course: Mapping[str, Any] | None = results.about.get(SEARCH)
    return course


def search_history(results: Results) -> pd.DataFrame:
    """Evaluations, front and hypervolume after each generation; empty without a search."""
    import pandas as pd

    course = search_summary(results) or {"generations": []}
    return pd.DataFrame(course["generations"], columns=["evaluations", "front", "hypervolume"])


def search_line(results: Results) -> str | None:
    """One line about the search, for people; None if there was none."""
    course = search_summary(results)
    if course is None:
        return None
    count, space = course["evaluations"], course["space"]
    share = course["hypervolume"]
    worth = "no good point" if share is None else f"hypervolume {share:.4f}"
    return (
        f"Search: {count:,} evaluations of {space:,} points ({count / space:.2g} of them) in "
        f"{len(course['generations']):,} generations, seed {course['seed']}: {worth}"
    )
