"""Study: what is varied around a base scenario, and what counts as good; from its YAML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sim.config import library
from sim.config.document import Document
from sim.config.study_form import StudyForm
from sim.config.validate import validated
from sim.errors import ConfigError, Problem
from sim.quantities import unknown_name
from sim.results.metrics import CLOSED_FORM, EVENTS, Column
from sim.studies.sweep.axes import axis_of, wrong_values
from sim.studies.sweep.space import LOAD, Sample, Search, Space

Floats = npt.NDArray[np.float64]
_SIGNS: Final = {
    "<=": np.less_equal, ">=": np.greater_equal, "<": np.less, ">": np.greater, "==": np.equal,
}  # fmt: skip
_CONSTRAINT: Final = re.compile(r"\s*([\w.\-]+)\s*(<=|>=|<|>|==)\s*([-+0-9.eE]+)\s*")
LEVEL: Final = "known"
"""Column with how well a point's times are known, as bands call it."""


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """A bound on one column."""

    column: str
    sign: str
    value: float

    def __str__(self) -> str:
        return f"{self.column} {self.sign} {self.value!r}"

    @classmethod
    def of(cls, text: str) -> Constraint:
        """The constraint that was written as `str` does; ValueError where it is none."""
        match = _CONSTRAINT.fullmatch(text)
        if match is None:
            raise ValueError(text)
        return cls(column=match[1], sign=match[2], value=float(match[3]))

    def kept(self, values: Floats) -> npt.NDArray[np.bool_]:
        """Which values of the column keep the bound; NaN does not."""
        with np.errstate(invalid="ignore"):
            return np.asarray(_SIGNS[self.sign](values, self.value))


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """What to vary around a base scenario, and what counts as good."""

    name: str
    title: str
    base: Document
    base_name: str | None
    """Name or path of the base scenario; None where it is written in the study."""
    fidelity: str
    load: Mapping[str, int]
    space: Space
    objectives: Mapping[str, str]
    per: tuple[str, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    keep: int = 100
    screen: tuple[Constraint, ...] = field(default=())
    search: Search | None = None

    @property
    def results(self) -> tuple[Column, ...]:
        """Columns of what points come to."""
        return CLOSED_FORM if self.fidelity == "closed-form" else EVENTS

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of these columns."""
        return tuple(column.name for column in self.results)

    @property
    def banded(self) -> tuple[str, ...]:
        """Names of those that have error bands beside them: "tpot_s_low", "tpot_s_high"."""
        return tuple(column.name for column in self.results if column.banded)

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of all columns of numbers: results, then both ends of each error band."""
        ends = (end for column in self.results if column.banded for end in column.ends)
        return (*self.columns, *ends)


def load_study(given: str | Path | Mapping[str, Any]) -> Study:
    """The study of a name, a path or a mapping; ConfigError with all that is wrong in it."""
    name, document = library.document_of("studies", given)
    form = validated(StudyForm, document)
    problems: list[Problem] = []
    base = _base(form, document)
    axes = []
    for index, axis in enumerate(form.axes):
        try:
            axes.append(axis_of(axis))
        except ConfigError as error:
            problems += [document.problem(("axes", index), each.message) for each in error.problems]
    study = Study(
        name=form.name or name,
        title=form.title,
        base=base,
        base_name=form.base if isinstance(form.base, str) else None,
        fidelity=form.fidelity,
        load=form.load.model_dump(),
        space=Space(
            axes=tuple(axes),
            sample=None if form.sample is None else Sample(**form.sample.model_dump()),
        ),
        objectives=dict(form.objectives),
        per=form.per,
        keep=form.screen.keep,
        search=None if form.search is None else Search(**form.search.model_dump()),
    )
    problems += list(_wrong(study, form, document))
    study = replace(
        study,
        constraints=_constraints(
            form.constraints, study.results, ("constraints",), document, problems
        ),
        screen=_constraints(
            form.screen.constraints, CLOSED_FORM, ("screen", "constraints"), document, problems
        ),
    )
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return study


def _base(form: StudyForm, document: Document) -> Document:
    """The document of the base scenario."""
    given = form.base
    if isinstance(given, dict):
        return library.with_bases("scenarios", document.under(("base",)))
    try:
        folder = library.folder_of(document, ("base",))
        name, found = library.document_of("scenarios", given, folder)
    except ConfigError as error:
        raise ConfigError(
            [each if each.file else document.problem(("base",), each.message)
             for each in error.problems]
        ) from None  # fmt: skip
    return found if "name" in found.data else found.with_value(("name",), name, found.place(()))


def _wrong(study: Study, form: StudyForm, document: Document) -> Iterator[Problem]:
    """Problems of axes and objectives that only show together."""
    names = [axis.name for axis in study.space.axes]
    paths = [path for axis in study.space.axes for path in axis.paths]
    for path in sorted({path for path in paths if paths.count(path) > 1}):
        yield document.problem(("axes",), f"{path} is on two axes")
    for index, axis in enumerate(study.space.axes):
        at = ("axes", index)
        for path in axis.paths:
            if path.startswith("load.") and path.removeprefix("load.") not in LOAD:
                known = [f"load.{each}" for each in LOAD]
                yield document.problem(at, unknown_name(path, known))
            if path.startswith("load.") and study.fidelity != "closed-form":
                yield document.problem(at, f"{path}: simulated points have their traffic instead")
        for other in axis.when:
            if other not in names:
                yield document.problem((*at, "when"), unknown_name(other, names))
            elif names.index(other) >= index:
                yield document.problem((*at, "when"), f"{other} must come before {axis.name}")
    yield from wrong_values(base=study.base, space=study.space, document=document)
    for name in study.per:
        if name not in names:
            yield document.problem(("per",), unknown_name(name, names))
    for column in study.objectives:
        if column not in study.columns:
            message = unknown_name(column, list(study.columns))
            yield document.problem(("objectives", column), message)
    pools = ("fleet", "disaggregate", "split")
    fleets = any(study.base.data.get(key) is not None for key in pools)
    if study.fidelity != "events" and (fleets or any(p.split(".")[0] in pools for p in paths)):
        message = (
            "closed forms are of one replica: fleet, disaggregate, split need fidelity: events"
        )
        yield document.problem(("fidelity",), message)
    if not study.objectives:
        yield document.problem(("objectives",), "at least one column is due, e.g. tpot_s: min")


def _constraints(
    texts: Sequence[str],
    results: Sequence[Column],
    at: tuple[str, ...],
    document: Document,
    problems: list[Problem],
) -> tuple[Constraint, ...]:
    columns = [column.name for column in results]
    found = []
    for index, text in enumerate(texts):
        try:
            one = Constraint.of(text)
        except ValueError:
            message = f"'{text}': COLUMN <= NUMBER is due, e.g. tpot_s <= 0.05"
            problems.append(document.problem((*at, index), message))
            continue
        if one.column in columns:
            found.append(one)
        else:
            problems.append(document.problem((*at, index), unknown_name(one.column, columns)))
    for column in dict.fromkeys(each.column for each in found):
        above = [each.value for each in found if each.column == column and each.sign in (">=", ">")]
        below = [each.value for each in found if each.column == column and each.sign in ("<=", "<")]
        if above and below and max(above) > min(below):
            message = f"{column} cannot be above {max(above):g} and below {min(below):g}"
            problems.append(document.problem(at, message))
    return tuple(found)
