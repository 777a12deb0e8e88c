"""Axes of a study: from their form to levels, and what is wrong with these before anything runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from typing import Any, Final

import numpy as np

from sim.config.changes import changed
from sim.config.document import Document
from sim.config.scenarios import load_document
from sim.config.study_form import AxisForm
from sim.errors import ConfigError, Problem
from sim.studies.sweep.space import Axis, Space

_NUMBER: Final = re.compile(r"([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*(.*)", re.DOTALL)


def text_of(value: Any) -> str:
    """A value as `--set` takes it."""
    if isinstance(value, bool) or value is None or isinstance(value, dict | list):
        return json.dumps(value)
    return value if isinstance(value, str) else f"{value!r}"


def axis_of(form: AxisForm) -> Axis:
    """The axis that `form` describes; ConfigError for values that are none together."""
    if form.zip:
        paths = tuple(form.zip)
        levels = tuple(tuple(map(text_of, each)) for each in zip(*form.zip.values(), strict=True))
    elif form.split:
        assert form.total is not None
        paths, levels = form.split, tuple(_shares(form.total, len(form.split)))
    else:
        assert form.path is not None
        paths = (form.path,)
        levels = tuple((text_of(each),) for each in form.values or _range(form))
    if len(set(levels)) < len(levels):
        raise ConfigError(f"{paths[0]}: a value stands there twice")
    numbers, unit = _numbers([level[0] for level in levels])
    when = {name: tuple(map(text_of, each)) for name, each in form.when.items()}
    return Axis(paths=paths, levels=levels, numbers=numbers, unit=unit, when=when)


def _numbers(texts: Sequence[str]) -> tuple[tuple[float, ...] | None, str]:
    """Levels as numbers, and their unit, where all are in the same one."""
    matches = [_NUMBER.fullmatch(text) for text in texts]
    units = {match[2] for match in matches if match}
    if len(units) != 1 or None in matches:
        return None, ""
    try:
        return tuple(float(match[1]) for match in matches if match), units.pop()
    except ValueError:
        return None, ""


def _range(form: AxisForm) -> list[str]:
    ends, log = (form.linear, False) if form.linear is not None else (form.log, True)
    assert ends is not None
    assert form.levels is not None
    numbers, unit = _numbers([text_of(each) for each in ends])
    if numbers is None:
        raise ConfigError(f"{form.path}: the ends of a range are numbers of one unit")
    if log and min(numbers) <= 0:
        raise ConfigError(f"{form.path}: the ends of a log range are above 0")
    levels = (np.geomspace if log else np.linspace)(numbers[0], numbers[1], form.levels)
    whole = all(isinstance(each, int) for each in ends)
    if whole:
        levels = np.unique(np.rint(levels))
    return [f"{each:.6g}{' ' if unit else ''}{unit}" for each in levels]


def _shares(total: int, parts: int) -> Iterator[tuple[str, ...]]:
    """Every way to give `parts` at least one of `total`, the first part's least first."""
    for cuts in combinations(range(1, total), parts - 1):
        yield tuple(f"{last - first}" for first, last in pairwise((0, *cuts, total)))


def wrong_values(*, base: Document, space: Space, document: Document) -> Iterator[Problem]:
    """Paths that the base scenario does not have, and values that cannot stand there.

    What only doesn't go with the values of other axes is a point's own matter.
    """
    for index, axis in enumerate(space.axes):
        if not all(name in [each.name for each in space.axes[:index]] for name in axis.when):
            continue  # told already
        for level in range(len(axis.levels)):
            at = _place(document, index, level)
            problems = list(_unreachable(base, axis, level))
            if problems:
                yield from (document.problem(("axes", index), each) for each in problems)
                break
            if level not in _telling(axis):
                continue
            yield from (
                document.problem(at, each) for each in _impossible(base, space, axis, level)
            )


def _telling(axis: Axis) -> set[int]:
    """Levels to look at: all, but of numbers of one unit only the least and the greatest."""
    if axis.numbers is None or len(axis.paths) > 1:
        return set(range(len(axis.levels)))
    return {int(np.argmin(axis.numbers)), int(np.argmax(axis.numbers))}


def _place(document: Document, index: int, level: int) -> tuple[str | int, ...]:
    """Where a value of an axis is written."""
    values = ("axes", index, "values", level)
    return values if values in document.places else ("axes", index)


def _unreachable(base: Document, axis: Axis, level: int) -> Iterator[str]:
    try:
        changed(base, axis.sets(level))
    except ConfigError as error:
        for each in error.problems:
            yield f"{each.path or axis.name}: {each.message}"


def _impossible(base: Document, space: Space, axis: Axis, level: int) -> list[str]:
    """What is wrong with one value beside the first values of other axes, and beside the last."""
    for path, text in zip(axis.paths, axis.levels[level], strict=True):
        if path.startswith("load.") and not (text.isdecimal() and int(text) > 0):
            return [f"{path}: {text!r}: a whole number from 1 is due"]
    changes = axis.sets(level)
    complaints: list[list[str]] = []
    for which in (0, -1):
        sets = [text for other in space.axes if other is not axis
                for text in other.sets(_beside(other, axis, which))]  # fmt: skip
        problems = _problems(base, [*sets, *changes])
        complaints.append([f"{each.path or axis.name}: {each.message}" for each in problems
                      if each.file in {f"--set {text}" for text in changes}])  # fmt: skip
        if not complaints[-1]:
            return []
    return [each for each in complaints[0] if each in complaints[1]]


def _problems(base: Document, sets: Sequence[str]) -> Sequence[Problem]:
    try:
        load_document(base, sets=sets)
    except ConfigError as error:
        return error.problems
    return ()


def _beside(other: Axis, axis: Axis, which: int) -> int:
    """The first or last level of another axis at which `axis` is there."""
    allowed = axis.when.get(other.name)
    texts = [level[0] for level in other.levels]
    fits = [number for number, text in enumerate(texts) if allowed is None or text in allowed]
    return fits[which] if fits else 0
