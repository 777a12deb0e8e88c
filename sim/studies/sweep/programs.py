"""Loaded: the scenarios behind a study's points, each value loaded once.

Axes are of three kinds. A *load* axis says with what a closed-form point is loaded. A *number* axis
changes numbers of the system or its costs and nothing that a program is made of; values of several
such axes are put together. Any other axis is *structural*: each combination has a program of its
own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np

from sim.config.costs import usual_costing
from sim.config.scenarios import load_document
from sim.errors import ConfigError, Infeasible
from sim.hardware import System
from sim.mapping.capacity import Budget
from sim.mapping.program import Program
from sim.scenario import Costing, Scenario
from sim.simulation.prepare import Prepared, prepare
from sim.studies.sweep.compose import changes, clash, with_changes
from sim.studies.sweep.space import Axis
from sim.studies.sweep.study import Study

_NUMBERS: Final = ("system.device.", "system.network.", "cost.")
"""Where number axes are."""
_NEVER: Final = (".capacity", ".technology", ".hardwired.", ".operators")
"""Parts of paths that decide what fits or what runs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Owner:
    """A system and how it is owned: what number axes change."""

    system: System
    cost: Costing


@dataclass(frozen=True, kw_only=True, eq=False)
class Built:
    """One structural combination, ready to evaluate."""

    prepared: Prepared
    owner: Owner

    @property
    def program(self) -> Program:
        """What one replica runs."""
        return self.prepared.program

    @property
    def budget(self) -> Budget:
        """Memory of one device."""
        return self.prepared.budget


@dataclass(kw_only=True, eq=False)
class Loader:
    """Scenarios of a study by the levels of its axes."""

    study: Study
    _built: dict[tuple[int, ...], Built | tuple[str, str]] = field(default_factory=dict)
    _changed: dict[tuple[Any, ...], list[tuple[Any, Any]]] = field(default_factory=dict)

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each axis: load, number or structural."""
        axes = self.study.space.axes
        kinds = [
            "load" if all(path.startswith("load.") for path in axis.paths) else "structural"
            for axis in axes
        ]
        numbers = [i for i, axis in enumerate(axes) if _may_be_number(axis)]
        touched: dict[int, list[Any]] = {}
        base = self._scenario(()) if numbers else None
        for index in numbers:
            leaves = None if base is None else self._leaves(base, index)
            if leaves is not None:
                touched[index] = leaves
        for index, leaves in touched.items():
            others = [other_leaves for other, other_leaves in touched.items() if other != index]
            if not any(clash(leaves, other_leaves) for other_leaves in others):
                kinds[index] = "number"
        return tuple(kinds)

    def _leaves(self, base: Scenario, index: int) -> list[Any] | None:
        """Leaves of the system or its costs that an axis changes; None if it does anything else."""
        leaves: set[Any] = set()
        try:
            ready = prepare(base)
            for level in range(len(self.study.space.axes[index].levels)):
                one = self._scenario(self.study.space.axes[index].sets(level))
                if not _same_program(ready, prepare(one)):
                    return None
                leaves |= {path for path, _ in changes(_owner(base), _owner(one))}
        except (Infeasible, ConfigError):
            return None
        return sorted(leaves, key=str)

    def _scenario(self, sets: Sequence[str]) -> Scenario:
        return load_document(self.study.base, sets=sets)

    def of_kind(self, kind: str) -> list[int]:
        """Positions of the axes of a kind."""
        return [index for index, own_kind in enumerate(self.kinds) if own_kind == kind]

    def structural_sets(self, levels: Sequence[int]) -> tuple[str, ...]:
        """Changes of one structural combination; -1 leaves an axis out."""
        axes = self.study.space.axes
        chosen = zip(self.of_kind("structural"), levels, strict=True)
        return tuple(text for index, level in chosen if level >= 0
                     for text in axes[index].sets(level))  # fmt: skip

    def built(self, levels: tuple[int, ...]) -> Built | tuple[str, str]:
        """The program of one structural combination; or its status, and why there is none."""
        if levels not in self._built:
            try:
                prepared = prepare(self._scenario(self.structural_sets(levels)))
                outcome: Built | tuple[str, str] = Built(
                    prepared=prepared, owner=_owner(prepared.scenario)
                )
            except Infeasible as error:
                outcome = ("infeasible", error.reason)
            except ConfigError as error:
                outcome = ("failed", "; ".join(problem.message for problem in error.problems))
            self._built[levels] = outcome
        return self._built[levels]

    def changed(self, levels: tuple[int, ...], axis: int, level: int) -> list[tuple[Any, Any]]:
        """What one level of a number axis changes in the owner of a structural combination."""
        key = (self._systems(levels), axis, level)
        if key not in self._changed:
            built = self.built(levels)
            assert isinstance(built, Built)
            sets = self.structural_sets(levels) + self.study.space.axes[axis].sets(level)
            self._changed[key] = list(changes(built.owner, _owner(self._scenario(sets))))
        return self._changed[key]

    def _systems(self, levels: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """The part of a structural combination that decides the system and its costs."""
        axes = self.study.space.axes
        chosen = zip(self.of_kind("structural"), levels, strict=True)
        return tuple((index, level) for index, level in chosen
                     if any(path.split(".")[0] in ("system", "cost")
                            for path in axes[index].paths))  # fmt: skip

    def owner(self, levels: tuple[int, ...], numbers: Sequence[tuple[int, int]]) -> Owner:
        """The owner of a structural combination with levels of number axes, (axis, level)."""
        built = self.built(levels)
        assert isinstance(built, Built)
        changed_owner = built.owner
        for axis, level in numbers:
            if level >= 0:
                changed_owner = with_changes(changed_owner, self.changed(levels, axis, level))
        return changed_owner


def _may_be_number(axis: Axis) -> bool:
    return all(
        path.startswith(_NUMBERS) and not any(part in f".{path}" for part in _NEVER)
        for path in axis.paths
    )


def _owner(scenario: Scenario) -> Owner:
    return Owner(system=scenario.system, cost=scenario.cost or usual_costing())


def _same_program(one: Prepared, other: Prepared) -> bool:
    """Whether two programs differ in no more than the records of units, links and the machine."""
    a, b = one.program, other.program
    return (
        a.table.records.tobytes() == b.table.records.tobytes()
        and a.streams.tobytes() == b.streams.tobytes()
        and a.layout == b.layout
        and one.budget == other.budget
        and all(np.array_equal(x, y) if x is not None and y is not None else x is y
                for x, y in zip(a.routing, b.routing, strict=True))
    )  # fmt: skip
