"""Form of a study's YAML: a base scenario, what is varied around it, and what is wanted."""

from __future__ import annotations

from math import comb
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from sim.config.fields import Count, Form, Index, Text, wrong


def _reference(value: Any) -> Any:
    if not isinstance(value, str | dict):
        raise wrong("a name, a path, or the thing itself written inline is due")
    return value


Reference = Annotated[Any, BeforeValidator(_reference)]
MOST_WAYS: Final = 100_000


def _values(value: Any) -> Any:
    if not isinstance(value, list) or not value:
        raise wrong("a list of at least one value is due")
    return value


Values = Annotated[list[Any], BeforeValidator(_values)]


def _ends(value: Any) -> Any:
    if not isinstance(value, list) or len(value) != 2:
        raise wrong("[first, last] is due, e.g. [1 TB/s, 8 TB/s]")
    return value


Ends = Annotated[list[Any], BeforeValidator(_ends)]


class AxisForm(Form):
    """One axis: `path` with `values`, or with a `linear` or `log` range; or several in `zip`.

    Or the ways to `split` a `total` among several, such as replicas of pools.
    """

    path: Text | None = None
    """What is varied: a key of the scenario or of what it refers to, or `load.batch` and so on."""
    values: Values | None = None
    """Its levels, one by one."""
    linear: Ends | None = None
    """First and last of `levels` equally spaced ones."""
    log: Ends | None = None
    """First and last of `levels` whose ratios are equal."""
    levels: Count | None = None
    """How many levels a range has."""
    zip: dict[str, Values] = Field(default_factory=dict)
    """Several paths that change together, with lists of equal length."""
    split: tuple[Text, ...] = ()
    """Paths that share a `total` in every possible way."""
    total: Count | None = None
    """What the paths of `split` add up to."""
    when: dict[str, Values] = Field(default_factory=dict)
    """Levels of other axes for which this one is varied."""

    @model_validator(mode="after")
    def _one(self) -> AxisForm:
        if (self.total is None) == bool(self.split):
            raise wrong("`split: [path, path]` and `total`, what they add up to, go together")
        if self.levels is not None and self.levels > MOST_WAYS:
            raise wrong(f"{self.levels:,} values of one axis: {MOST_WAYS:,} at most", "levels")
        if self.split:
            if self.path or self.values or self.linear or self.log or self.zip or self.levels:
                raise wrong("`split` stands for path and values: give one or the other")
            if self.total is not None and not 2 <= len(self.split) <= self.total:
                raise wrong("two paths or more are due, and as large a total", "split")
            if self.total is not None:
                ways = comb(self.total - 1, len(self.split) - 1)
                if ways > MOST_WAYS:
                    raise wrong(f"{ways:,} ways to give it to them: {MOST_WAYS:,} at most", "total")
            return self
        if self.zip:
            if self.path or self.values or self.linear or self.log or self.levels:
                raise wrong("`zip` stands for path and values: give one or the other")
            if len({len(each) for each in self.zip.values()}) > 1:
                raise wrong("lists zipped together are equally long", "zip")
            return self
        given = [name for name in ("values", "linear", "log") if getattr(self, name) is not None]
        if self.path is None or len(given) != 1:
            raise wrong("a `path` with one of values, linear, log is due, or `zip`, or `split`")
        if (self.levels is None) != (given == ["values"]):
            raise wrong("`levels` goes with linear and log: how many values")
        return self


class LoadForm(Form):
    """What closed-form points are loaded with: sequences at once, tokens in and out of each."""

    batch: Count = 32
    """Sequences at once."""
    input: Count = 1024
    """Tokens in, of each."""
    output: Count = 256
    """Tokens out, of each."""


class SampleForm(Form):
    """Points drawn from the grid instead of all of it."""

    kind: Literal["sobol", "lhs"]
    """How points are drawn: a Sobol sequence, or a Latin hypercube."""
    points: Count
    """How many are drawn."""
    seed: Index = 0
    """What the draws begin from."""


class SearchForm(Form):
    """Points chosen generation by generation, each from what those before came to."""

    evaluations: Count
    """Points of each front: of each combination of the axes in `per`, if there are any."""
    population: Count = 100
    """Points of one generation."""
    seed: Index = 0
    """What the draws begin from."""

    @model_validator(mode="after")
    def _parents(self) -> SearchForm:
        if self.population < 4:
            raise wrong("a population of at least 4 is due: two pairs to choose from", "population")
        return self


class ScreenForm(Form):
    """Two stages: closed form first, and events for the best of it."""

    keep: Count = 100
    """Points that go on to events."""
    constraints: tuple[Text, ...] = ()
    """Bounds that the first stage keeps, e.g. "tpot_s <= 0.1"."""


class StudyForm(Form):
    """A study: a base scenario and what is varied, kept and wanted."""

    title: Text
    """What it asks."""
    name: Text | None = None
    """The name of its file, if left out."""
    base: Reference
    """The scenario around which things are varied."""
    fidelity: Literal["closed-form", "events", "two-stage"] = "closed-form"
    """How points are computed: without queueing, by traffic, or the best of one by the other."""
    load: LoadForm = LoadForm()
    """What points in closed form are loaded with."""
    axes: tuple[AxisForm, ...]
    """What is varied; every combination is a point."""
    sample: SampleForm | None = None
    """Points drawn instead of all of them."""
    search: SearchForm | None = None
    """Points chosen by a multi-objective search."""
    constraints: tuple[Text, ...] = ()
    """Bounds of good points, e.g. "tpot_s <= 0.1"."""
    objectives: dict[str, Literal["min", "max"]]
    """Columns of the front, and which way each is better."""
    per: tuple[Text, ...] = ()
    """Axes that are given rather than chosen: each combination has a front of its own."""
    screen: ScreenForm = ScreenForm()
    """The first of two stages."""

    @model_validator(mode="after")
    def _chosen(self) -> StudyForm:
        if self.sample and self.search:
            raise wrong("`sample` and `search` both choose points: give one or the other", "search")
        return self
