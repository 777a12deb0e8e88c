"""Rows of a trace file as checked numbers: what every reader hands over, whatever the format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sim.errors import ConfigError, Problem
from sim.workload.traffic.columns import COLUMNS, Column
from sim.workload.traffic.forms import Blocks

Numbers = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MAX_TOKENS = 2**31 - 1
"""No prompt is longer; a larger number is another column read by mistake."""

MAX_ARRIVAL_S = 1e10
"""Three centuries; a later arrival is a time in milli- or nanoseconds read as seconds."""

MAX_NUMBER = 2**31 - 1
"""Classes are small numbers; a larger one is another column read by mistake."""

BLOCK_TOKENS = 512
"""Tokens of a block of Mooncake's traces, which are the ones that name blocks."""

_SHOWN = 10


@dataclass(kw_only=True)
class Findings:
    """What is wrong with one file, collected so that it can be told all at once."""

    file: str
    problems: list[Problem] = field(default_factory=list)
    more: int = 0

    def add(
        self,
        message: str,
        *,
        line: int | None = None,
        column: str | None = None,
        excerpt: str | None = None,
    ) -> None:
        """Remember one problem, at column `column` of the file; of many the first few."""
        if len(self.problems) == _SHOWN:
            self.more += 1
            return
        self.problems.append(
            Problem(
                message=message,
                file=self.file,
                line=line,
                path=column,
                excerpt=None if excerpt is None else excerpt[:200],
            )
        )

    def stop_if_any(self) -> None:
        """Raise what was found, and how much more there was."""
        if self.more:
            rest = Problem(message=f"and {self.more} more like these", file=self.file)
            raise ConfigError([*self.problems, rest])
        if self.problems:
            raise ConfigError(self.problems)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Requests as read, one element a row, not yet checked.

    `where` is the line of each row, or the index of each request in a JSON result. Arrivals are
    seconds; None if the file has none, and `no_arrivals` then says what to do. On a "wall" clock
    they count from the first row, on a "relative" clock they stand as the file writes them.
    """

    file: str
    where: Integers
    numbered: Literal["line", "index"] = "line"
    arrival: Numbers | None
    input: Numbers
    output: Numbers
    arrival_name: str = "arrival_s"
    input_name: str
    output_name: str
    clock: Literal["relative", "wall"] = "relative"
    no_arrivals: str = ""
    blocks: Sequence[Sequence[int]] | None = None
    """Ids of the blocks of `BLOCK_TOKENS` tokens that each prompt consists of."""
    more: Mapping[str, tuple[str, Numbers]] = field(default_factory=dict)
    """Of `COLUMNS` those that the file has: their names there, and values."""
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Of these, where values number names: the names."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Requests that can be served, and how many rows could not."""

    arrival_s: Numbers | None
    input_tokens: Integers
    output_tokens: Integers
    dropped: int
    blocks: Blocks | None
    more: Mapping[str, Any]
    """Of `COLUMNS` those that the file has, int64, and the `names` that some number."""


def checked(table: Table) -> Checked:
    """The rows of `table` as a simulation needs them; ConfigError names every row that is not.

    A row without output was not served when it was recorded: it is dropped and counted.
    """
    findings = Findings(file=table.file)
    _check_tokens(findings, table, table.output_name, table.output)
    with np.errstate(invalid="ignore"):
        served = ~(table.output == 0)
    _check_tokens(findings, table, table.input_name, table.input, served)
    empty = served & (table.input == 0)
    for row in np.flatnonzero(empty):
        _at(
            findings, table, int(row), table.input_name, "a prompt has at least 1 token, this has 0"
        )
    if table.arrival is not None:
        _check_arrivals(findings, table, table.arrival)
    for column in COLUMNS:
        if column.name in table.more:
            _check_column(findings, table, column)
    findings.stop_if_any()
    if not served.any():
        rows = len(served)
        findings.add(
            f"no requests to serve: all {rows} rows have 0 output tokens" if rows else "no requests"
        )
        findings.stop_if_any()
    return Checked(
        arrival_s=None if table.arrival is None else table.arrival[served],
        input_tokens=table.input[served].astype(np.int64),
        output_tokens=table.output[served].astype(np.int64),
        dropped=int(np.count_nonzero(~served)),
        blocks=None if table.blocks is None else _blocks(table, served),
        more={name: values[served].astype(np.int64) for name, (_, values) in table.more.items()}
        | ({"names": {name: tuple(names) for name, names in table.names.items()} or None}),
    )


def _blocks(table: Table, served: npt.NDArray[np.bool_]) -> Blocks:
    """The blocks of the rows served, numbered from 0 in order of first use."""
    assert table.blocks is not None
    kept = [row for row, keep in zip(table.blocks, served, strict=True) if keep]
    numbers: dict[int, int] = {}
    ids = [numbers.setdefault(block, len(numbers)) for row in kept for block in row]
    starts = np.cumsum([0, *(len(row) for row in kept)])
    return Blocks(ids=np.array(ids, np.int64), starts=starts.astype(np.int64), tokens=BLOCK_TOKENS)


def seconds(value: float) -> str:
    """A time as messages print it."""
    return f"{value:.9g} s"


def _at(findings: Findings, table: Table, row: int, column: str, message: str) -> None:
    place = int(table.where[row])
    if table.numbered == "line":
        findings.add(message, line=place, column=column)
    else:
        findings.add(message, column=f"{column}[{place}]")


def _check_tokens(
    findings: Findings,
    table: Table,
    name: str,
    values: Numbers,
    among: npt.NDArray[np.bool_] | None = None,
) -> None:
    wrong = ~((values >= 0) & (values <= MAX_TOKENS) & (values == np.floor(values)))
    if among is not None:
        wrong &= among
    for row in np.flatnonzero(wrong):
        value = float(values[row])
        if not np.isfinite(value):
            message = f"{value} is not a number of tokens"
        elif value < 0:
            message = f"{value:.17g} is negative: a number of tokens is due"
        elif value > MAX_TOKENS:
            message = f"{value:.17g} tokens are more than any prompt has: is this the right column?"
        else:
            message = f"{value:.17g} is not a whole number of tokens"
        _at(findings, table, int(row), name, message)


def _check_column(findings: Findings, table: Table, column: Column) -> None:
    name, values = table.more[column.name]
    whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) <= MAX_NUMBER)
    for row in np.flatnonzero(~whole):
        _at(findings, table, int(row), name, f"{float(values[row]):.17g}: {column.due}")


def _check_arrivals(findings: Findings, table: Table, arrival: Numbers) -> None:
    name = table.arrival_name
    wrong = ~np.isfinite(arrival)
    if table.clock == "relative":
        wrong |= arrival < 0
    wrong |= np.abs(arrival) > MAX_ARRIVAL_S
    for row in np.flatnonzero(wrong):
        value = float(arrival[row])
        if not np.isfinite(value):
            message = f"{value} is not an arrival time"
        elif value < 0 and table.clock == "relative":
            message = f"an arrival of {seconds(value)} is negative: times start at 0 s"
        else:
            message = f"an arrival of {seconds(value)} is out of range: is it in seconds?"
        _at(findings, table, int(row), name, message)
    if wrong.any():
        return
    backwards = np.flatnonzero(np.diff(arrival) < 0)
    if len(backwards):
        late = int(backwards[0]) + 1
        rows = "row comes" if len(backwards) == 1 else "rows come"
        _at(
            findings,
            table,
            late,
            name,
            f"arrives at {seconds(float(arrival[late]))}, before the row above "
            f"({seconds(float(arrival[late - 1]))}; {len(backwards)} {rows} too early): "
            f"sort the rows by {name!r}",
        )


def numbers(findings: Findings, texts: Sequence[str], lines: Sequence[int], column: str) -> Numbers:
    """`texts` as floats; what is no number is a finding and NaN."""
    try:
        if not any("_" in text for text in texts):  # float() would take "1_000"
            return np.array([float(text) for text in texts], dtype=np.float64)
    except ValueError:
        pass
    values = np.full(len(texts), np.nan)
    for row, text in enumerate(texts):
        try:
            if "_" in text:
                raise ValueError
            values[row] = float(text)
        except ValueError:
            message = (
                f"{text[:40]!r} is not a number" if text.strip() else "is empty: a number is due"
            )
            findings.add(message, line=lines[row], column=column)
    return values


def numbered(
    findings: Findings, texts: Sequence[str], lines: Sequence[int], column: str, known: list[str]
) -> Numbers:
    """The places of `texts` among the names `known`, which grow by new ones; none may be empty."""
    places = {name: place for place, name in enumerate(known)}
    values = np.empty(len(texts))
    for row, text in enumerate(texts):
        name = text.strip()
        if not name:
            findings.add("is empty: a name is due", line=lines[row], column=column)
        values[row] = places.setdefault(name, len(places))
    known[:] = places
    return values
