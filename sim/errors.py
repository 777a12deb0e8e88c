"""The two ways a run ends early: the input is wrong, or the design cannot work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

Key = tuple[str | int, ...]
"""A path in a document."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a value was written; `source` is the nearest `source:` around it in that file."""

    file: str
    line: int | None = None
    column: int | None = None
    source: str | None = None


Places = Mapping[Key, Place]
"""Where the values of a document were written; at () the document itself."""


def nearest(places: Places, path: Sequence[str | int]) -> Place | None:
    """Where `path` was written, or the nearest thing around it that was."""
    for length in range(len(path), -1, -1):
        found = places.get(tuple(path[:length]))
        if found is not None:
            return found
    return None


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing wrong in the input: where, what, and what to write instead."""

    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    path: str | None = None
    excerpt: str | None = None

    def __str__(self) -> str:
        place = ":".join(
            str(part) for part in (self.file, self.line, self.column) if part is not None
        )
        return ": ".join(part for part in (place, self.path or "", self.message) if part)


class ConfigError(Exception):
    """Everything wrong with the user's input, all at once."""

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        if isinstance(problems, str):
            problems = [Problem(message=problems)]
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


@contextmanager
def placing(places: Places, within: Key = ()) -> Iterator[None]:
    """Gives problems raised inside, whose path is known but no file, those of `places`.

    What the part `within` of the document says instead of the whole is told at its path there.
    """
    try:
        yield
    except ConfigError as error:
        raise ConfigError([_placed(each, places, within) for each in error.problems]) from None


def _placed(problem: Problem, places: Places, within: Key) -> Problem:
    if problem.file is not None or problem.path is None:
        return problem
    path: Key = tuple(int(part) if part.isdecimal() else part for part in problem.path.split("."))
    if within and (*within, path[0]) in places:
        path = (*within, *path)
    place = nearest(places, path)
    if place is None:
        return problem
    return replace(
        problem,
        file=place.file,
        line=place.line,
        column=place.column,
        path=".".join(map(str, path)),
    )


class Infeasible(Exception):
    """A well-formed design that cannot work, with the numbers that say so."""

    def __init__(self, reason: str, **numbers: float) -> None:
        self.reason = reason
        self.numbers = numbers
        super().__init__(reason)
